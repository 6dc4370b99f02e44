//! A shard with one session, driven by hand.

use agentmq_codec::{Properties, ProtocolVersion, QoS};
use agentmq_log::Disk;
use agentmq_session::{
    Change, CommitEngine, Durable, Recipient, RecordedMessage, Session, SessionKey,
    StoreStatistics, Ticket, Time,
};
use agentmq_store::{Committer, DiskEngine, OpenedStore, Settings, Watermarks};

pub(crate) struct Shard<D: Disk> {
    committer: Committer<D>,
    pub(crate) engine: DiskEngine,
    session: SessionKey,
    /// The newest message's place in line.
    pub(crate) ordinal: u64,
}

impl<D: Disk + Clone + Send + Sync + 'static> Shard<D> {
    pub(crate) fn new(opened: OpenedStore<D>) -> Self {
        let (committer, mut engines) = opened.by_hand(vec![Box::new(|| {})]);
        let mut engine = engines.remove(0);
        let key = engine.new_key();
        let mut session = Session::new("worker".into(), 0, ProtocolVersion::V5);
        session.expiry = u32::MAX;
        let (next_ordinal, exchanges) = (0, Ticket::default());
        session.durable =
            Some(Box::new(Durable { key, next_ordinal, exchanges, posted: exchanges }));
        engine.record(Change::Session(&session));
        let mut shard = Self { committer, engine, session: key, ordinal: 0 };
        shard.turn();
        shard
    }

    /// One more message waits, with so many bytes.
    pub(crate) fn enqueue(&mut self, bytes: usize) -> Ticket {
        self.ordinal += 1;
        let recipient = Recipient {
            session: self.session,
            ordinal: self.ordinal,
            packet_id: 0,
            qos: QoS::AtLeastOnce,
            retain: false,
            ids: None,
            group: None,
        };
        self.engine.record(Change::Message(&RecordedMessage {
            topic: "jobs",
            payload: &vec![7; bytes],
            properties: Properties::EMPTY,
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: None,
            recipients: &[recipient],
            is_retained: false,
            author: None,
            arrived: None,
            depends_on: None,
            will_of: SessionKey::NONE,
        }))
    }

    pub(crate) fn drop(&mut self, ordinal: u64) -> Ticket {
        self.engine.record(Change::Dropped { session: self.session, ordinal })
    }

    /// A turn of the shard, a commit, and a look at the disk.
    pub(crate) fn turn(&mut self) {
        self.engine.submit(Time::ZERO);
        self.committer.step();
        self.committer.look_again();
    }

    pub(crate) fn statistics(&self) -> StoreStatistics {
        self.engine.statistics().unwrap()
    }
}

/// Settings for a folder.
pub(crate) fn settings(folder: &str, segment_bytes: u64) -> Settings {
    let watermarks = Watermarks::default();
    Settings { folder: folder.into(), syncs: true, segment_bytes, seed: 1, watermarks }
}

pub(crate) const KIB: u64 = 1024;
