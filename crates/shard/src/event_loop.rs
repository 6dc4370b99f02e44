//! The event loop: its state and one turn of it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use agentmq_identity::Authenticator;
use agentmq_router::{ConnectionId, Mail, Place, Quotas, Router, Settings};
use agentmq_session::{
    AuditTrail, CommitEngine, RestoredRetained, RestoredSession, RestoredWill, Slab, Time,
};
use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::accept::{Accepting, Door};
use crate::catching_up::CatchingUp;
use crate::clock::Clock;
use crate::command::{Command, ShardHandle};
use crate::conn::Conn;
use crate::correspondence::CONGESTED_MS;
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
    unheard: usize,
    commands: Receiver<Command>,
    /// How others reach this shard.
    pub(crate) own: ShardHandle,
    pub(crate) workers: Workers,
    clock: Clock,
    pub(crate) reporting: Reporting,
    /// When the last wait for events was to end by itself.
    wakes_at: Time,
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

    /// Runs turns until the shard has drained.
    fn run(mut self) -> Result<(), ShardError> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_drained() {
            let timeout = self.timeout();
            self.wakes_at = timeout.map_or(Time::NEVER, |timeout| self.now.after(timeout));
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            self.turn(&events);
        }
        self.leave_counters();
        Ok(())
    }

    /// One turn: read what arrived, do what is due, write once to everyone who got something.
    pub(crate) fn turn(&mut self, events: &Events) {
        if self.is_dormant {
            self.now = self.clock.now(); // it has slept on purpose
        }
        let slept = self.has_stood_still(self.now.max(self.wakes_at));
        if self.has_company() || self.is_dormant {
            self.take_mail();
        }
        if self.has_company() {
            self.look_elsewhere();
        }
        if self.guarded("a commit", Router::committed).is_none() {
            tracing::error!("what waited for a commit goes on with the next one");
        }
        let mut again = std::mem::take(&mut self.again);
        for event in events {
            self.event(event);
        }
        for id in again.drain(..) {
            self.read_again(id);
        }
        if self.again.is_empty() {
            self.again = again; // keeps the list's memory
        }
        if self.is_dormant {
            return;
        }
        self.read_behind();
        self.accept_pending();
        let stood_still = self.has_stood_still(self.now) || slept;
        if self.has_heard_everybody(events) && !stood_still {
            // One that panics is not due again; the others are.
            while self.guarded("a deadline", Router::tick).is_none() {}
            self.deadlines();
        }
        self.send_out();
        self.report();
    }

    /// Lets go what this turn has brought forth.
    pub(crate) fn send_out(&mut self) {
        // What others record because of this turn stands behind it in the log.
        self.router.submit(self.now);
        if self.has_company() {
            self.send_mail(); // before the acknowledgements leave
        }
        self.flush_all();
        self.router.submit(self.now); // of queues that went on, of connections that failed
        if self.has_company() {
            self.send_mail(); // the wills of connections that failed
        }
    }

    /// Reads the clock; true when it is much later than `expected`, so that this process stood
    /// still: suspended, frozen, without a CPU. What arrived meanwhile waits to be read, so nothing
    /// is due before the next turn, and clients' silence counts from now on only. A pause that
    /// ends before the shard was to wake harms nobody, because nothing was due in it.
    fn has_stood_still(&mut self, expected: Time) -> bool {
        let now = self.clock.now();
        let millis = now.millis_since(expected);
        self.now = now;
        if millis < STANDSTILL_MS {
            return false;
        }
        tracing::warn!(millis, "the process stood still; keep alives count from now");
        self.router.listens_again(now);
        true
    }

    /// Whether nobody can have been left out of `events`. One call reports a bounded number of
    /// sockets; after a pause of the whole process more may have something to say, and whoever has
    /// must not be disconnected for silence before it is read. The next calls report the others
    /// first; after as many as all connections need, deadlines count in any case.
    fn has_heard_everybody(&mut self, events: &Events) -> bool {
        let heard = events.iter().count();
        self.unheard = if heard < EVENTS { 0 } else { self.unheard + heard };
        let everybody = self.unheard == 0 || self.unheard > self.conns.len();
        if everybody {
            self.unheard = 0;
        }
        everybody
    }

    fn event(&mut self, event: &Event) {
        match event.token() {
            WAKER => {
                self.obey();
                self.take_mail();
            }
            Token(token) if token > FIRST_LISTENER - MAX_LISTENERS => {
                self.accepting.ready(FIRST_LISTENER - token);
            }
            Token(token) => {
                if event.is_writable() {
                    self.writable(token);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.read(token, event.is_read_closed() || event.is_error());
                }
            }
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Reconfigure { settings, sys_interval_secs } => {
                    self.reporting.set_sys_interval(sys_interval_secs);
                    self.settings = Arc::clone(&settings);
                    self.router.reconfigure(settings);
                    self.router.judge_again(self.now);
                }
                Command::Adopt { link, door } => {
                    if self.draining_until.is_none() {
                        self.adopt(link, usize::from(door));
                    }
                }
                Command::Verdict(verdict) => self.verdict(verdict),
                Command::Drain => self.begin_drain(),
            }
        }
        if self.mailboxes.is_closing() {
            self.begin_drain();
        }
    }

    /// How long to wait for events. Announces sleep to the other shards, if there are any.
    fn timeout(&self) -> Option<Duration> {
        if self.is_dormant {
            // Until it gets a connection or a command. After a command it has to say again that it
            // sleeps, or nobody wakes it for its first connection.
            let may_sleep = self.mailboxes.announce_sleep(self.place);
            return (!may_sleep).then_some(Duration::ZERO);
        }
        let timeout = self.own_timeout();
        if !self.has_company() || timeout == Some(Duration::ZERO) {
            return timeout;
        }
        if !self.mailboxes.announce_sleep(self.place) {
            return Some(Duration::ZERO);
        }
        if self.is_congested || self.keeps_back {
            let soon = Duration::from_millis(CONGESTED_MS);
            return Some(timeout.map_or(soon, |timeout| timeout.min(soon)));
        }
        timeout
    }

    pub(crate) fn own_timeout(&self) -> Option<Duration> {
        let is_unread = !self.again.is_empty() || self.catching_up.has_unread();
        let reads_again = is_unread && !self.is_congested;
        let writes_again = !self.dirty.is_empty() || self.catching_up.has_unfinished();
        if reads_again || writes_again || self.accepting.is_pending() {
            return Some(Duration::ZERO);
        }
        let mut next = self.router.next_deadline();
        let own = [
            self.connecting.next(),
            self.blocked.next(),
            self.lingering.next(),
            self.paused.next(),
            self.accepting.resume_at(),
            self.draining_until,
            self.next_report(),
        ];
        for at in own.into_iter().flatten() {
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        let now = self.clock.now();
        next.map(|at| Duration::from_millis(at.millis_since(now)))
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
const EVENTS: usize = 1024;
/// Milliseconds that no turn takes, and by which no wake-up is late.
const STANDSTILL_MS: u64 = 2_000;
const WAKER: Token = Token(usize::MAX);
/// Listeners count down from here; connections count up from 0.
const FIRST_LISTENER: usize = usize::MAX - 1;
const MAX_LISTENERS: usize = 1024;
