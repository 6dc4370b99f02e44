//! A shard: what it has, and how it begins.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use agentmq_identity::Authenticator;
use agentmq_router::{ConnectionId, Mail, Place, Quotas, Router, Settings};
use agentmq_session::{
    AuditTrail, CommitEngine, RestoredRetained, RestoredSession, RestoredWill, Slab, Time,
};
use mio::{Interest, Poll, Token, Waker};

use crate::accept::{Accepting, Door};
use crate::catching_up::CatchingUp;
use crate::clock::Clock;
use crate::command::{Command, ShardHandle};
use crate::conn::Conn;
use crate::deadlines::Deadlines;
use crate::directory::{ClientKey, Directory};
use crate::handoff::Handoff;
use crate::mailbox::{Mailboxes, Parcel};
use crate::placement::{LoadMeter, Placement, Placer};
use crate::report::{ReportBoard, Reporting};
use crate::workers::Workers;

/// What a shard is started with.
#[derive(Debug)]
pub struct ShardOptions {
    /// The shard's number; shard 0 publishes the statistics.
    pub number: usize,
    /// Sockets to accept from.
    pub doors: Vec<Door>,
    /// Protocol settings and limits.
    pub settings: Arc<Settings>,
    /// Who may come in.
    pub authenticator: Arc<dyn Authenticator>,
    /// What organisations may use and use, of which all shards have one.
    pub quotas: Arc<Quotas>,
    /// What releases acknowledgements.
    pub commit: Box<dyn CommitEngine + Send>,
    /// What clients do is told here.
    pub audit: Box<dyn AuditTrail + Send>,
    /// Sessions that survived, for this shard.
    pub sessions: Vec<RestoredSession>,
    /// Retained messages that survived.
    pub retained: Vec<RestoredRetained>,
    /// Wills that were on their way.
    pub wills: Vec<RestoredWill>,
    /// The broker's clock.
    pub clock: Clock,
    /// Seed for client identifiers and random choices.
    pub entropy: u64,
    /// Where the shard leaves its counters.
    pub board: Arc<ReportBoard>,
    /// Seconds between `$SYS` publications; 0 turns them off.
    pub sys_interval_secs: u32,
    /// Program and version for `$SYS/broker/version`.
    pub version: String,
    /// What the broker's shards share.
    pub directory: Arc<Directory>,
    /// How they write to each other.
    pub mailboxes: Arc<Mailboxes>,
    /// How new clients are spread over them.
    pub placement: Placement,
    /// Who does what takes long.
    pub workers: Workers,
}

/// Why a shard cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// The system gave no event queue or refused a registration.
    #[error(
        "the event loop failed: {0}; check the limits on open files and threads (ulimit -n, -u)"
    )]
    EventLoop(#[from] io::Error),
}

/// One core's connections and the router that serves them.
#[derive(Debug)]
pub struct Shard {
    pub(crate) poll: Poll,
    pub(crate) router: Router,
    pub(crate) settings: Arc<Settings>,
    pub(crate) conns: Slab<Conn>,
    pub(crate) doors: Vec<Door>,
    pub(crate) accepting: Accepting,
    /// What every connection reads into.
    pub(crate) scratch: Vec<u8>,
    /// Connections with more to read than their turn allowed.
    pub(crate) again: Vec<ConnectionId>,
    pub(crate) dirty: Vec<ConnectionId>,
    pub(crate) catching_up: CatchingUp,
    pub(crate) connecting: Deadlines,
    pub(crate) blocked: Deadlines,
    pub(crate) lingering: Deadlines,
    pub(crate) paused: Deadlines,
    pub(crate) now: Time,
    pub(crate) generation: u32,
    /// Sockets whose CONNECT has not come.
    pub(crate) connecting_now: usize,
    pub(crate) draining_until: Option<Time>,
    pub(crate) place: Place,
    pub(crate) directory: Arc<Directory>,
    pub(crate) mailboxes: Arc<Mailboxes>,
    /// Sends new clients to their shards, where there are several: on shard 0, which accepts.
    pub(crate) placer: Option<Placer>,
    /// No client has come here yet.
    pub(crate) is_dormant: bool,
    /// There is another active shard.
    pub(crate) has_company: bool,
    /// Some shard keeps mail back: clients are not read.
    pub(crate) is_congested: bool,
    /// This shard does.
    pub(crate) keeps_back: bool,
    /// For each shard what is to be posted to it.
    pub(crate) unsent: Vec<VecDeque<Parcel>>,
    /// Connections that wait until this shard is welcomed.
    pub(crate) arriving: Vec<Handoff>,
    /// Connections whose CONNECT is not decided yet, where there are several shards.
    pub(crate) undecided: HashMap<usize, ClientKey>,
    /// Kept for their memory.
    pub(crate) parcels: Vec<(Place, Parcel)>,
    pub(crate) outgoing: Vec<(Place, Mail)>,
    pub(crate) session_changes: Vec<(Arc<str>, bool)>,
    pub(crate) meter: Option<LoadMeter>,
    /// Sockets that full reports in a row have named.
    pub(crate) unheard: usize,
    pub(crate) commands: Receiver<Command>,
    /// How others reach this shard.
    pub(crate) own: ShardHandle,
    pub(crate) workers: Workers,
    pub(crate) clock: Clock,
    pub(crate) reporting: Reporting,
    /// When the last wait for events was to end by itself.
    pub(crate) wakes_at: Time,
}

impl Shard {
    /// Starts a shard on a thread of its own. Its listeners accept when this returns.
    pub fn spawn(
        mut options: ShardOptions,
    ) -> Result<(ShardHandle, JoinHandle<Result<(), ShardError>>), ShardError> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let place = Place(u8::try_from(options.number).unwrap_or(u8::MAX));
        options.mailboxes.set_waker(place, Arc::clone(&waker));
        let ends_all = EndsAll(Arc::clone(&options.mailboxes));
        let (sender, commands) = channel();
        for (index, door) in options.doors.iter_mut().enumerate() {
            let token = Token(FIRST_LISTENER - index);
            poll.registry().register(&mut door.listener, token, Interest::READABLE)?;
        }
        let name = format!("shard-{}", options.number);
        let handle = ShardHandle { commands: sender, waker };
        let own = handle.clone();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _ends_all = ends_all;
            Self::new(options, poll, commands, own).run()
        })?;
        Ok((handle, thread))
    }

    pub(crate) fn new(
        options: ShardOptions,
        poll: Poll,
        commands: Receiver<Command>,
        own: ShardHandle,
    ) -> Self {
        let settings = options.settings;
        let place = Place(u8::try_from(options.number).unwrap_or(u8::MAX));
        let is_one_of_several = options.directory.shards() > 1;
        let mut router = Router::new(
            Arc::clone(&settings),
            options.authenticator,
            options.commit,
            options.entropy,
        )
        .counting_in(options.quotas);
        router.tell_audit(options.audit);
        if is_one_of_several {
            router = router.among(options.directory.neighborhood(place));
        }
        let placer = (is_one_of_several && options.number == 0)
            .then(|| Placer::new(options.placement, options.directory.shards()));
        let now = options.clock.now();
        router.submit(now); // the first time that it hears of the clock
        options.retained.into_iter().for_each(|it| router.restore_retained(it));
        for session in options.sessions {
            router.restore(session, now);
        }
        options.wills.into_iter().for_each(|will| router.restore_will(will, now));
        router.clear_lost_presence(now);
        Self {
            poll,
            router,
            settings,
            conns: Slab::default(),
            accepting: Accepting::all(options.doors.len()),
            doors: options.doors,
            scratch: vec![0; SCRATCH_BYTES],
            again: Vec::new(),
            dirty: Vec::new(),
            catching_up: CatchingUp::default(),
            connecting: Deadlines::default(),
            blocked: Deadlines::default(),
            lingering: Deadlines::default(),
            now,
            generation: 0,
            connecting_now: 0,
            draining_until: None,
            place,
            directory: options.directory,
            mailboxes: options.mailboxes,
            placer,
            is_dormant: options.number != 0,
            has_company: false,
            is_congested: false,
            keeps_back: false,
            unsent: Vec::new(),
            arriving: Vec::new(),
            undecided: HashMap::new(),
            parcels: Vec::new(),
            outgoing: Vec::new(),
            session_changes: Vec::new(),
            meter: is_one_of_several.then(|| LoadMeter::new(now)),
            paused: Deadlines::default(),
            unheard: 0,
            commands,
            own,
            workers: options.workers,
            clock: options.clock,
            reporting: Reporting::new(
                options.board,
                options.number,
                options.sys_interval_secs,
                options.version,
            ),
            wakes_at: now,
        }
    }
}

/// Makes all shards end when one does, whether it has drained, failed or panicked: a broker
/// without one of its shards would lose messages in silence.
#[derive(Debug)]
struct EndsAll(Arc<Mailboxes>);

impl Drop for EndsAll {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What one read may bring, and with it all that a connection may in one turn.
const SCRATCH_BYTES: usize = 256 * 1024;
pub(crate) const WAKER: Token = Token(usize::MAX);
/// Listeners count down from here; connections count up from 0.
pub(crate) const FIRST_LISTENER: usize = usize::MAX - 1;
