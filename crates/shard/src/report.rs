//! Where shards leave their counters for whoever reports them, and when they do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use agentmq_router::{Counters, SysReport};
use agentmq_session::Time;

use crate::shard::Shard;

/// One place per shard. Each shard writes its own now and then; readers add them up.
#[derive(Debug)]
pub struct ReportBoard {
    places: Vec<Mutex<Counters>>,
    /// The most clients that were connected at one report.
    connections_max: AtomicU64,
}

impl ReportBoard {
    /// A board for this many shards.
    pub fn new(shards: usize) -> Self {
        let places = (0..shards).map(|_| Mutex::default()).collect();
        Self { places, connections_max: AtomicU64::new(0) }
    }

    /// All shards' counters together.
    pub fn total(&self) -> Counters {
        let mut total = Counters::default();
        let mut highest = 0;
        for place in &self.places {
            let counters = *place.lock().unwrap_or_else(PoisonError::into_inner);
            highest = highest.max(counters.connections_max);
            total += counters;
        }
        // The shards' highest marks were not at the same time: the highest sum of a report, but no
        // less than one shard has seen.
        let sum = total.connections_now;
        let before = self.connections_max.fetch_max(sum, Ordering::Relaxed);
        total.connections_max = highest.max(before).max(sum);
        total
    }

    /// The other shards' counters together.
    pub(crate) fn others(&self, shard: usize) -> Counters {
        let mut total = Counters::default();
        for (_, place) in self.places.iter().enumerate().filter(|(at, _)| *at != shard) {
            total += *place.lock().unwrap_or_else(PoisonError::into_inner);
        }
        total
    }

    pub(crate) fn write(&self, shard: usize, counters: Counters) {
        if let Some(place) = self.places.get(shard) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = counters;
        }
    }
}

/// When a shard reports.
#[derive(Debug)]
pub(crate) struct Reporting {
    board: Arc<ReportBoard>,
    number: usize,
    /// Not before this point.
    at: Time,
    /// There was a turn since the last report: the board may be out of date.
    is_owed: bool,
    /// The load that was told last is to be corrected once there is less.
    is_loaded: bool,
    sys_interval_secs: u32,
    sys_at: Time,
    version: String,
}

impl Reporting {
    pub(crate) fn new(
        board: Arc<ReportBoard>,
        number: usize,
        sys_interval_secs: u32,
        version: String,
    ) -> Self {
        let (at, sys_at) = (Time::ZERO, Time::ZERO);
        let (is_owed, is_loaded) = (true, false);
        Self { board, number, at, is_owed, is_loaded, sys_interval_secs, sys_at, version }
    }

    /// Takes over another interval; the next publication begins it.
    pub(crate) fn set_sys_interval(&mut self, secs: u32) {
        if secs != self.sys_interval_secs {
            (self.sys_interval_secs, self.sys_at) = (secs, self.at);
        }
    }

    fn publishes_sys(&self) -> bool {
        self.number == 0 && self.sys_interval_secs > 0
    }
}

impl Shard {
    /// When there is something to report. An idle shard has nothing, and sleeps.
    pub(crate) fn next_report(&self) -> Option<Time> {
        let reporting = &self.reporting;
        let sys = reporting.publishes_sys().then_some(reporting.sys_at.max(reporting.at));
        reporting.is_owed.then_some(reporting.at).into_iter().chain(sys).min()
    }

    /// Leaves the counters on the board, and publishes the statistics of all shards from shard 0.
    pub(crate) fn report(&mut self) {
        self.reporting.is_owed = true; // for what this turn did
        if let Some(meter) = &mut self.meter
            && meter.is_due(self.now)
        {
            let load = meter.measure(self.now);
            self.directory.set_load(self.place, load);
            self.reporting.is_loaded = load > 0;
        }
        if self.now < self.reporting.at {
            return;
        }
        self.leave_counters();
        self.log_refusals();
        self.log_more_refusals();
        let reporting = &mut self.reporting;
        reporting.at = self.now.after_millis(REPORT_MS);
        reporting.is_owed = reporting.is_loaded;
        if !reporting.publishes_sys() || self.now < reporting.sys_at {
            return;
        }
        reporting.sys_at = self.now.after_secs(reporting.sys_interval_secs);
        let report = SysReport {
            version: &reporting.version,
            uptime_secs: self.now.as_millis() / 1000,
            counters: reporting.board.total(),
        };
        self.router.publish_sys(&report, self.now);
        self.send_out(); // this turn has flushed already, and the next may be far away
    }

    pub(crate) fn leave_counters(&self) {
        let counters = Counters { sockets: self.accepting.sockets, ..self.router.counters() };
        self.reporting.board.write(self.reporting.number, counters);
    }

    /// Learns what the other shards have reported: it counts against the limits here. As often as
    /// this shard reports, but before it lets anybody in after a long sleep.
    pub(crate) fn look_elsewhere(&mut self) {
        if self.now >= self.reporting.at {
            let others = self.reporting.board.others(self.reporting.number);
            self.router.set_elsewhere(others.connections_now, others.sessions_now);
        }
    }
}

/// Milliseconds between reports to the board.
const REPORT_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use agentmq_identity::Open;
    use agentmq_router::{ConnectionId, Settings};
    use agentmq_session::MemoryEngine;
    use mio::{Events, Poll, Token, Waker};

    use super::*;
    use crate::shard::ShardOptions;
    use crate::{Clock, Directory, Mailboxes, Placement, ShardHandle, Workers};

    fn shard(sys_interval_secs: u32) -> Shard {
        let options = ShardOptions {
            number: 0,
            doors: Vec::new(),
            settings: Arc::new(Settings::default()),
            authenticator: Arc::new(Open),
            quotas: Arc::default(),
            commit: Box::new(MemoryEngine),
            audit: Box::new(agentmq_session::NoAudit),
            sessions: Vec::new(),
            retained: Vec::new(),
            wills: Vec::new(),
            clock: Clock::new(),
            entropy: 1,
            board: Arc::new(ReportBoard::new(1)),
            sys_interval_secs,
            version: String::new(),
            directory: Arc::new(Directory::new(1)),
            mailboxes: Arc::new(Mailboxes::new(1)),
            placement: Placement::ByLoad { busy_percent: 60 },
            workers: Workers::new(1),
        };
        let (sender, commands) = channel();
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        Shard::new(options, poll, commands, ShardHandle { commands: sender, waker })
    }

    #[test]
    fn an_idle_shard_sleeps_until_something_happens() {
        let (mut shard, nothing) = (shard(0), Events::with_capacity(1));
        shard.turn(&nothing); // the first report
        assert_eq!(shard.own_timeout(), None);
        shard.turn(&nothing); // sooner than the next report may be
        assert!(shard.own_timeout().is_some_and(|it| it.as_millis() <= u128::from(REPORT_MS)));
        shard.reporting.at = shard.now;
        shard.turn(&nothing);
        assert_eq!(shard.own_timeout(), None, "reported, and nothing has happened since");
    }

    #[test]
    fn statistics_wake_it_at_their_interval() {
        let (mut shard, nothing) = (shard(10), Events::with_capacity(1));
        shard.router.packet(ConnectionId(0), 0x10, CONNECT, shard.now);
        shard.router.packet(ConnectionId(0), 0x82, SUBSCRIBE, shard.now);
        shard.turn(&nothing);
        assert!(shard.router.counters().publish_sent > 0);
        let mut waiting = Vec::new();
        shard.router.dirty(&mut waiting);
        assert_eq!(waiting, [], "nothing is left for a turn that is far away");
        assert!(shard.own_timeout().is_some_and(|it| it.as_millis() > u128::from(REPORT_MS)));
        assert!(shard.router.counters().retained_now > 0);
    }

    #[test]
    fn what_a_report_finds_is_on_the_board() {
        let (mut shard, nothing) = (shard(0), Events::with_capacity(1));
        shard.turn(&nothing);
        shard.router.packet(ConnectionId(0), 0x10, CONNECT, shard.now);
        shard.reporting.at = shard.now;
        shard.turn(&nothing);
        assert_eq!(shard.reporting.board.total().connections, 1);
    }

    /// To `$SYS/#`.
    const SUBSCRIBE: &[u8] = b"\0\x01\0\x06$SYS/#\0";
    const CONNECT: &[u8] = b"\0\x04MQTT\x04\x02\0\0\0\x01a";
}
