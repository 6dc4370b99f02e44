//! A router, a clock, and the two lines to it.

use std::io::IoSlice;
use std::sync::Arc;

use agentmq_agents::Namespaces;
use agentmq_codec::{DecodeError, Packet, PropertyLimits, ReasonCode, frame};
use agentmq_router::{
    AgentSettings, ConnectionId, DoorSettings, PORTION_BYTES, Router, Settings, ShareStrategy,
};
use agentmq_session::{CommitEngine, Limits, MemoryEngine, Time};

use crate::authenticators::Riddle;
use crate::engine::DelayedEngine;
use crate::receiver::{Phase, Receiver, Sessions};

pub(crate) struct World {
    router: Router,
    limits: Limits,
    now: Time,
    pub(crate) lines: [Line; 2],
    sessions: Sessions,
    opened: usize,
    /// Acknowledgements wait for it; without one they come at once.
    engine: Option<DelayedEngine>,
}

/// One client's connection. Its number is its place.
#[derive(Default)]
pub(crate) struct Line {
    /// Since the first packet.
    pub(crate) receiver: Option<Receiver>,
    /// Takes nothing from its socket.
    pub(crate) is_stalled: bool,
    /// Bytes of the outbox that have been looked at and not been written.
    seen: usize,
}

fn agents() -> AgentSettings {
    AgentSettings {
        namespaces: Namespaces::new(&["a"]).expect("is one"),
        session_expiry_secs: 60,
        return_secs: 1,
        hold_on_resume_ms: 1,
        hold_per_subscription_ms: 1,
        check_arguments: true,
        mcp: true,
        mcp_component_type: false,
    }
}

impl World {
    /// A world whose settings the bits of `choice` vary.
    pub(crate) fn new(choice: u8) -> Self {
        let limits = narrow();
        let strategy = usize::from(choice >> 5) % STRATEGIES.len();
        let settings = Settings {
            limits: limits.clone(),
            hold_on_resume_ms: if choice & 2 == 0 { 0 } else { LONGEST_PAUSE as u32 },
            retained_gap_ms: if choice & 4 == 0 { 10 } else { 0 },
            queue_qos0: choice & 8 != 0,
            server_keep_alive: if choice & 16 == 0 { 0 } else { 30 },
            share_strategy: STRATEGIES[strategy],
            agents: if choice & 2 == 0 { AgentSettings::default() } else { agents() },
            doors: vec![DoorSettings { serves_agents: true, ..DoorSettings::default() }],
            ..Settings::default()
        };
        let engine = (choice & 1 == 1).then(DelayedEngine::default);
        let commit: Box<dyn CommitEngine> = match &engine {
            Some(engine) => Box::new(engine.clone()),
            None => Box::new(MemoryEngine),
        };
        let router = Router::new(Arc::new(settings), Arc::new(Riddle), commit, 7);
        let now = Time::from_millis(1_000_000);
        let (lines, sessions) = (Default::default(), Sessions::new());
        Self { router, limits, now, lines, sessions, opened: 0, engine }
    }

    /// The client behind a line sends bytes, as one read brings them.
    pub(crate) fn send(&mut self, line: usize, mut bytes: &[u8]) {
        let id = ConnectionId(line as u32);
        while !bytes.is_empty() {
            match frame::cut(bytes, self.limits.packet_bytes as usize) {
                Ok(Some(cut)) => self.packet(line, cut.first, &bytes[cut.body_at..cut.total]),
                Ok(None) => break, // the rest never comes
                Err(DecodeError { reason, what }) => {
                    self.router.malformed(id, reason, what, self.now);
                    self.settle();
                    self.close(line);
                    break;
                }
            }
            if self.lines[line].receiver.is_none() {
                break; // what comes behind is not read
            }
            let cut = frame::cut(bytes, usize::MAX).ok().flatten().expect("it was cut above");
            bytes = &bytes[cut.total..];
        }
    }

    fn packet(&mut self, line: usize, first: u8, body: &[u8]) {
        let id = ConnectionId(line as u32);
        let limits = PropertyLimits {
            max_user_properties: self.limits.user_properties,
            max_user_property_bytes: self.limits.user_property_bytes,
        };
        let mut is_valid = true;
        match &mut self.lines[line].receiver {
            Some(receiver) => match Packet::decode(first, body, receiver.version, &limits) {
                Ok(packet) => receiver.sends(&packet, &mut self.sessions),
                Err(_) => is_valid = false,
            },
            none => {
                self.opened += 1;
                let anonymous = format!("the {}. connection", self.opened);
                *none = Some(Receiver::new(first, body, &limits, anonymous));
                is_valid = first == 0x10;
            }
        }
        let other = ConnectionId(1 - line as u32);
        let other_closes = self.router.is_closing(other);
        self.router.packet(id, first, body, self.now);
        assert!(is_valid || self.router.is_closing(id), "{first:#x} {body:?} was accepted");
        let took_over = self.client_of(line) == self.client_of(1 - line);
        assert!(
            self.router.is_closing(other) == other_closes || took_over,
            "{first:#x} {body:?} closed another client's connection"
        );
        self.settle();
        self.check(line, false);
    }

    fn client_of(&self, line: usize) -> &str {
        self.lines[line].receiver.as_ref().map_or("", |receiver| &receiver.client_id)
    }

    /// The socket breaks.
    pub(crate) fn cut(&mut self, line: usize) {
        self.close(line);
        self.settle();
    }

    pub(crate) fn evict(&mut self, line: usize) {
        let why = "the test says so";
        self.router.evict(ConnectionId(line as u32), ReasonCode::QuotaExceeded, why, self.now);
        self.settle();
    }

    /// Everything recorded so far is safe.
    pub(crate) fn commit(&mut self) {
        if let Some(engine) = &self.engine {
            engine.complete_all();
            self.router.committed(self.now);
            self.settle();
            for line in 0..self.lines.len() {
                self.check_answered(line);
            }
        }
    }

    /// Time passes at once; what falls due on the way happens at its end.
    pub(crate) fn advance(&mut self, millis: u64) {
        self.now = self.now.after_millis(millis);
        self.router.tick(self.now);
        self.settle();
        self.check(0, millis >= LONGEST_PAUSE);
    }

    /// A socket takes some bytes, or all of them.
    pub(crate) fn write(&mut self, line: usize, count: usize) {
        self.lines[line].is_stalled = false;
        self.flush(line, count);
        self.settle();
    }

    /// Carries bytes until nothing moves. Output of a connection that does not stand in the list
    /// would never be written.
    fn settle(&mut self) {
        let mut dirty = Vec::new();
        loop {
            self.router.dirty(&mut dirty);
            for line in 0..self.lines.len() {
                let id = ConnectionId(line as u32);
                let len = self.router.outbox(id).map_or(0, |outbox| outbox.len());
                let told = dirty.contains(&id) || len == self.lines[line].seen;
                assert!(told, "output for {line} that nobody writes");
            }
            if dirty.is_empty() {
                return;
            }
            for id in dirty.drain(..) {
                let line = id.0 as usize;
                let count = if self.lines[line].is_stalled { 0 } else { usize::MAX };
                self.flush(line, count);
            }
        }
    }

    /// Looks at the new bytes of an outbox, and writes at most `count`.
    fn flush(&mut self, line: usize, count: usize) {
        let id = ConnectionId(line as u32);
        let Some(outbox) = self.router.outbox(id) else { return };
        let mut slices = [IoSlice::new(&[]); 256];
        let used = outbox.slices(&mut slices);
        let bytes: Vec<u8> = slices[..used].iter().flat_map(|it| it.to_vec()).collect();
        assert_eq!(bytes.len(), outbox.len());
        let count = count.min(bytes.len());
        outbox.consume(count);
        let is_empty = outbox.is_empty();
        if self.router.flushed(id, count) {
            self.router.resume_queue(id, PORTION_BYTES, self.now);
        }
        let seen = std::mem::replace(&mut self.lines[line].seen, bytes.len() - count);
        let receiver = self.lines[line].receiver.as_mut().expect("output follows a packet");
        let mut new = &bytes[seen..];
        while !new.is_empty() {
            let cut = frame::cut(new, usize::MAX).expect("the router sends frames");
            let cut = cut.expect("the router sends whole packets");
            receiver.receives(cut.first, &new[cut.body_at..cut.total], &mut self.sessions);
            new = &new[cut.total..];
        }
        if self.router.is_closing(id) && is_empty {
            self.close(line);
        }
    }

    fn close(&mut self, line: usize) {
        if self.lines[line].receiver.is_some() {
            self.lines[line] = Line::default();
            self.router.closed(ConnectionId(line as u32), self.now);
        }
    }

    /// What must hold after every packet, or `is_later` than the last one.
    fn check(&mut self, line: usize, is_later: bool) {
        if self.engine.is_none() {
            self.check_answered(line);
        }
        let (counters, limits) = (self.router.counters(), self.limits.clone());
        assert!(counters.sessions_now <= u64::from(limits.sessions));
        assert!(counters.retained_now <= u64::from(limits.retained_messages));
        assert!(counters.retained_bytes <= limits.retained_bytes);
        let filters = u64::from(limits.subscriptions_per_session);
        assert!(counters.subscriptions_now <= counters.sessions_now * filters);
        let mut cursors = 0;
        for client_id in self.sessions.keys() {
            let Some(session) = self.router.session(client_id) else { continue };
            assert!(session.queue.len() <= limits.queue_messages as usize);
            assert!(session.queue.bytes() <= limits.queue_bytes as usize);
            assert!(session.window.open_count() <= limits.in_flight);
            assert!(session.subscriptions.len() as u64 <= filters);
            assert!(session.queue.cursors() as u64 <= filters);
            cursors += session.queue.cursors();
        }
        // The sweep, two keep alives, and for each session its end and its will. Those of queues
        // that wait for a moment stay until they are due.
        if is_later {
            let deadlines = 3 + 2 * counters.sessions_now as usize + cursors;
            assert!(self.router.deadlines() <= deadlines, "{} deadlines", self.router.deadlines());
        }
        for line in 0..self.lines.len() {
            let outbox = self.router.outbox(ConnectionId(line as u32));
            let len = outbox.map_or(0, |outbox| outbox.len());
            assert!(len <= OUTBOX, "an outbox of {len} bytes");
        }
    }

    /// Every request has its answer before the next one is read [MQTT-4.6.0-2].
    fn check_answered(&self, line: usize) {
        let is_open = !self.router.is_closing(ConnectionId(line as u32));
        if let Some(receiver) = self.lines[line].receiver.as_ref().filter(|_| is_open) {
            let connected = receiver.phase == Phase::Connected;
            assert!(!connected || receiver.is_answered(), "an answer is missing: {receiver:?}");
        }
    }

    /// When everybody has gone for good, nothing is left of them.
    pub(crate) fn end(mut self) {
        for line in 0..self.lines.len() {
            self.cut(line);
        }
        for _ in 0..2 {
            self.advance(u64::from(self.limits.session_expiry_secs) * 1000);
        }
        let counters = self.router.counters();
        let left = [counters.connections_now, counters.sessions_now, counters.subscriptions_now];
        assert_eq!(left, [0; 3], "connections, sessions, subscriptions");
        assert_eq!(counters.queued_now, 0);
        assert_eq!(self.router.deadlines(), 0, "no deadline is left");
    }
}

/// Bounds that a short stream reaches.
fn narrow() -> Limits {
    Limits {
        sessions: 3,
        session_expiry_secs: 600,
        packet_bytes: 20_000,
        topic_levels: 5,
        topic_bytes: 40,
        user_properties: 2,
        user_property_bytes: 40,
        topic_aliases_in: 2,
        topic_aliases_out: 2,
        subscriptions_per_session: 4,
        receive_maximum: 4,
        in_flight: 3,
        queue_messages: 4,
        queue_bytes: 12_000,
        outbox_bytes: 2_000,
        retained_messages: 3,
        retained_bytes: 8_000,
        open_requests: 2,
        route_cache: 3,
        ..Limits::default()
    }
}

/// What may wait for a reader that does not read: its bound, one packet beyond it, and what its
/// own requests cause (answers, its queue, and the retained messages of its subscriptions).
const OUTBOX: usize = 2_000 + 16_000 + 30_000;
/// Milliseconds for which a queue waits at most.
const LONGEST_PAUSE: u64 = 1_000;

const STRATEGIES: [ShareStrategy; 6] = [
    ShareStrategy::RoundRobin,
    ShareStrategy::Random,
    ShareStrategy::LeastInFlight,
    ShareStrategy::Sticky,
    ShareStrategy::HashClient,
    ShareStrategy::HashTopic,
];
