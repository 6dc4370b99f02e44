//! Router, store and log as they are, on a simulated disk or without one, driven by hand.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use agentmq_codec::{
    Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, Publish, QoS, Subscribe,
    SubscribeFilter, SubscriptionOptions, frame,
};
use agentmq_identity::Open;
use agentmq_log::SimulatedDisk;
use agentmq_router::{ConnectionId, PORTION_BYTES, Router, Settings};
use agentmq_session::{MemoryEngine, Time};
use agentmq_store::{Clocks, Committer, OpenedStore, Waker};

/// A packet of the broker: its first byte and its body.
pub(crate) type Sent = (u8, Vec<u8>);

pub(crate) struct Broker {
    pub(crate) disk: SimulatedDisk,
    pub(crate) router: Router,
    /// None where nothing survives.
    committer: Option<Committer<SimulatedDisk>>,
    settings: Settings,
    outputs: BTreeMap<u32, Vec<Sent>>,
    now: Time,
}

impl Broker {
    pub(crate) fn start(disk: SimulatedDisk, settings: Settings) -> Self {
        Self::start_later(disk, settings, 0)
    }

    fn start_later(disk: SimulatedDisk, settings: Settings, millis: u64) -> Self {
        let store = agentmq_store::Settings {
            folder: PathBuf::new(),
            syncs: true,
            segment_bytes: 8192,
            seed: 7,
            watermarks: agentmq_store::Watermarks::default(),
        };
        let clocks = Clocks { now: Time::ZERO, wall: wall() + millis };
        let mut opened = OpenedStore::open(disk.clone(), &store, clocks).expect("a store");
        assert_eq!(opened.damage, []);
        let restored = std::mem::take(&mut opened.restored);
        let wake: Waker = Box::new(|| {});
        let (committer, mut engines) = opened.by_hand(vec![wake]);
        let engine = Box::new(engines.remove(0));
        let shared = Arc::new(settings.clone());
        let mut router = Router::new(shared, Arc::new(Open), engine, 1);
        router.submit(Time::ZERO);
        restored.retained.into_iter().for_each(|it| router.restore_retained(it));
        for session in restored.sessions {
            router.restore(session, Time::ZERO);
        }
        restored.wills.into_iter().for_each(|will| router.restore_will(will, Time::ZERO));
        let (outputs, committer) = (BTreeMap::new(), Some(committer));
        Self { disk, router, committer, settings, outputs, now: Time::ZERO }
    }

    /// With `durability = "memory"`.
    pub(crate) fn in_memory(settings: Settings) -> Self {
        let shared = Arc::new(settings.clone());
        let mut router = Router::new(shared, Arc::new(Open), Box::new(MemoryEngine), 1);
        router.submit(Time::ZERO);
        let (disk, outputs) = (SimulatedDisk::default(), BTreeMap::new());
        Self { disk, router, committer: None, settings, outputs, now: Time::ZERO }
    }

    /// The process is killed, and started again.
    pub(crate) fn restart(self) -> Self {
        self.restart_later(0)
    }

    /// The process is killed, and started again when the clock on the wall says so much more than
    /// it does.
    pub(crate) fn restart_later(self, millis: u64) -> Self {
        Self::start_later(self.disk, self.settings, millis)
    }

    pub(crate) fn send_as(&mut self, version: ProtocolVersion, id: u32, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes);
        let cut = frame::cut(&bytes, usize::MAX).expect("a frame").expect("a whole one");
        let body = &bytes[cut.body_at..cut.total];
        self.router.packet(ConnectionId(id), cut.first, body, self.now);
        self.flush();
    }

    pub(crate) fn send(&mut self, id: u32, packet: &Packet<'_>) {
        self.send_as(ProtocolVersion::V5, id, packet);
    }

    /// A session that lasts, with the standard's newest version.
    pub(crate) fn connect(&mut self, id: u32, client_id: &str, clean_start: bool) {
        let expiry = Property::U32(PropertyId::SessionExpiryInterval, EXPIRY);
        let properties = PropertiesBuf::new().with(expiry);
        let connect = Connect {
            version: ProtocolVersion::V5,
            client_id,
            clean_start,
            properties: properties.view(),
            ..Connect::default()
        };
        self.send(id, &Packet::Connect(Box::new(connect)));
    }

    pub(crate) fn subscribe(&mut self, id: u32, filter: &str, qos: QoS) {
        let none = PropertiesBuf::new();
        let filters = [SubscribeFilter { filter, options: SubscriptionOptions::at(qos) }];
        let mut bytes = Vec::new();
        let version = ProtocolVersion::V5;
        Subscribe::encode_parts(9, none.view(), filters, version, &mut bytes);
        let cut = frame::cut(&bytes, usize::MAX).expect("a frame").expect("a whole one");
        let body = &bytes[cut.body_at..cut.total];
        self.router.packet(ConnectionId(id), cut.first, body, self.now);
        self.flush();
    }

    pub(crate) fn publish(&mut self, id: u32, topic: &str, payload: &str, qos: QoS, retain: bool) {
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { 1 };
        let payload = payload.as_bytes();
        let publish = Publish { qos, retain, topic, packet_id, payload, ..Publish::default() };
        self.send(id, &Packet::Publish(publish));
    }

    pub(crate) fn close(&mut self, id: u32) {
        self.router.closed(ConnectionId(id), self.now);
        self.flush();
    }

    /// Everything recorded becomes durable.
    pub(crate) fn commit(&mut self) {
        if let Some(committer) = &mut self.committer {
            committer.step();
        }
        self.router.committed(self.now);
        self.flush();
    }

    pub(crate) fn wait(&mut self, millis: u64) {
        self.now = self.now.after_millis(millis);
        self.router.tick(self.now);
        self.flush();
    }

    /// What a connection got since the last time.
    pub(crate) fn got(&mut self, id: u32) -> Vec<Sent> {
        self.outputs.remove(&id).unwrap_or_default()
    }

    fn flush(&mut self) {
        let mut dirty = Vec::new();
        loop {
            self.router.submit(self.now);
            self.router.dirty(&mut dirty);
            if dirty.is_empty() {
                return;
            }
            for id in dirty.drain(..) {
                let Some(outbox) = self.router.outbox(id) else { continue };
                let mut bytes = Vec::new();
                while !outbox.is_empty() {
                    let mut slices = [IoSlice::new(&[]); 16];
                    let used = outbox.slices(&mut slices);
                    let part: Vec<u8> = slices[..used].iter().flat_map(|it| it.to_vec()).collect();
                    outbox.consume(part.len());
                    bytes.extend(part);
                }
                if self.router.flushed(id, bytes.len()) {
                    self.router.resume_queue(id, PORTION_BYTES, self.now);
                }
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let cut = frame::cut(rest, usize::MAX).expect("frames").expect("whole ones");
                    let body = rest[cut.body_at..cut.total].to_vec();
                    self.outputs.entry(id.0).or_default().push((cut.first, body));
                    rest = &rest[cut.total..];
                }
                if self.router.is_closing(id) {
                    self.router.closed(id, self.now);
                }
            }
        }
    }
}

/// Session Expiry Interval of the clients, in seconds.
pub(crate) const EXPIRY: u32 = 100_000;

/// The kinds of packets: the first four bits of each.
pub(crate) fn kinds(sent: &[Sent]) -> Vec<u8> {
    sent.iter().map(|(first, _)| first >> 4).collect()
}

/// The PUBLISH that a packet to a client of version 5 is, if it is one.
pub(crate) fn publish_of((first, body): &Sent) -> Option<Publish<'_>> {
    let limits = agentmq_codec::PropertyLimits::UNLIMITED;
    match Packet::decode(*first, body, ProtocolVersion::V5, &limits) {
        Ok(Packet::Publish(publish)) => Some(publish),
        _ => None,
    }
}

/// Payloads of the PUBLISHes among packets to a client of version 5.
pub(crate) fn payloads(sent: &[Sent]) -> Vec<String> {
    let payload = |it: Publish<'_>| String::from_utf8_lossy(it.payload).into_owned();
    sent.iter().filter_map(publish_of).map(payload).collect()
}

/// Milliseconds since 1970.
fn wall() -> u64 {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    wall.map_or(0, |it| it.as_millis() as u64)
}
