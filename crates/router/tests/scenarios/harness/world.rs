//! The router and the lines to it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use agentmq_codec::{Ack, AckKind, ProtocolVersion, QoS, ReasonCode, frame};
use agentmq_identity::{Authenticator, Open};
use agentmq_router::{ConnectionId, PORTION_BYTES, Quotas, Router, Settings, SysReport};
use agentmq_session::{CommitEngine, MemoryEngine, Message, RestoredRetained, RestoredWill, Time};

use super::Got;
use super::got::reason_string;

/// Everything but the tests' own objects.
pub(crate) struct World {
    pub(crate) router: Router,
    settings: Settings,
    now: Time,
    lines: Vec<Line>,
    /// Connection numbers to use again, the one freed last first.
    free: Vec<u32>,
    connections: u32,
    /// Packets and bytes that all clients have received.
    pub(crate) received: (u64, u64),
}

/// One client's connection.
pub(crate) struct Line {
    connection: Option<ConnectionId>,
    version: ProtocolVersion,
    /// Answers publications as a well-behaved client does.
    pub(crate) acks: bool,
    /// Takes nothing from its socket.
    pub(crate) stalled: bool,
    bytes: Vec<u8>,
    pub(crate) inbox: VecDeque<Got>,
    /// Reason Strings of acknowledgements and DISCONNECT.
    pub(crate) reasons: Vec<String>,
    /// Length of the longest packet received.
    pub(crate) longest: usize,
    pub(crate) next_id: u16,
}

impl World {
    pub(crate) fn new(
        settings: Settings,
        authenticator: Arc<dyn Authenticator>,
        engine: Box<dyn CommitEngine>,
    ) -> Self {
        let router = Router::new(Arc::new(settings.clone()), authenticator, engine, 1);
        let now = Time::from_millis(1_000_000);
        Self {
            router,
            settings,
            now,
            lines: Vec::new(),
            free: Vec::new(),
            connections: 0,
            received: (0, 0),
        }
    }

    /// Before the first packet.
    pub(crate) fn count_in(&mut self, quotas: Arc<Quotas>) {
        let nothing = Router::new(Arc::default(), Arc::new(Open), Box::new(MemoryEngine), 1);
        let router = std::mem::replace(&mut self.router, nothing);
        self.router = router.counting_in(quotas);
    }

    /// A new connection; returns the number of its line.
    pub(crate) fn open(&mut self, version: ProtocolVersion, acks: bool) -> usize {
        let connection = self.free.pop().unwrap_or_else(|| {
            self.connections += 1;
            self.connections - 1
        });
        self.lines.push(Line {
            connection: Some(ConnectionId(connection)),
            version,
            acks,
            stalled: false,
            bytes: Vec::new(),
            inbox: VecDeque::new(),
            reasons: Vec::new(),
            longest: 0,
            next_id: 0,
        });
        self.lines.len() - 1
    }

    pub(crate) fn line(&mut self, line: usize) -> &mut Line {
        &mut self.lines[line]
    }

    pub(crate) fn version(&self, line: usize) -> ProtocolVersion {
        self.lines[line].version
    }

    pub(crate) fn is_open(&self, line: usize) -> bool {
        self.lines[line].connection.is_some()
    }

    /// Sends packets, as one read brings them.
    pub(crate) fn send(&mut self, line: usize, packets: &[u8]) {
        let mut rest = packets;
        while !rest.is_empty() {
            let cut = frame::cut(rest, usize::MAX).expect("tests send frames");
            let cut = cut.expect("tests send whole packets");
            let Some(id) = self.lines[line].connection else { break };
            self.router.packet(id, cut.first, &rest[cut.body_at..cut.total], self.now);
            rest = &rest[cut.total..];
            if self.router.is_closing(id) {
                break; // what comes behind is not read
            }
        }
        self.settle();
    }

    /// The socket breaks.
    pub(crate) fn cut(&mut self, line: usize) {
        self.close(line);
        self.settle();
    }

    pub(crate) fn committed(&mut self) {
        self.router.committed(self.now);
        self.settle();
    }

    pub(crate) fn reconfigure(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.router.reconfigure(Arc::new(self.settings.clone()));
    }

    pub(crate) fn restore_will(&mut self, will: RestoredWill) {
        self.router.restore_will(will, self.now);
        self.settle();
    }

    pub(crate) fn restore_retained(&mut self, all: &[(&str, &str)]) {
        for (topic, payload) in all {
            let message = Message::plain(topic, payload.as_bytes(), QoS::AtLeastOnce, true);
            self.router.restore_retained(RestoredRetained { message, author: None });
        }
        self.router.clear_lost_presence(self.now);
        self.settle();
    }

    pub(crate) fn judge_again(&mut self) {
        self.router.judge_again(self.now);
        self.router.tick(self.now);
        self.settle();
    }

    pub(crate) fn publish_sys(&mut self) {
        let counters = self.router.counters();
        let report = SysReport { version: "test", uptime_secs: 0, counters };
        self.router.publish_sys(&report, self.now);
        self.settle();
    }

    pub(crate) fn evict(&mut self, line: usize, reason: ReasonCode) {
        if let Some(id) = self.lines[line].connection {
            self.router.evict(id, reason, "the test says so", self.now);
            self.settle();
        }
    }

    pub(crate) fn advance(&mut self, millis: u64) {
        let end = self.now.after_millis(millis);
        while let Some(at) = self.router.next_deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.router.tick(self.now);
            self.settle();
        }
        self.now = end;
    }

    pub(crate) fn jump(&mut self, millis: u64) {
        self.now = self.now.after_millis(millis);
        self.router.tick(self.now);
        self.settle();
    }

    /// A stalled client reads again.
    pub(crate) fn unstall(&mut self, line: usize) {
        self.lines[line].stalled = false;
        self.flush(line);
        self.settle();
    }

    /// Carries bytes and answers to and fro until nothing moves.
    fn settle(&mut self) {
        let mut dirty = Vec::new();
        loop {
            self.router.dirty(&mut dirty);
            if dirty.is_empty() {
                return;
            }
            for id in dirty.drain(..) {
                if let Some(line) = self.lines.iter().position(|it| it.connection == Some(id)) {
                    self.flush(line);
                }
            }
        }
    }

    fn flush(&mut self, line: usize) {
        let Some(id) = self.lines[line].connection else { return };
        let mut written = 0;
        if !self.lines[line].stalled {
            let Some(outbox) = self.router.outbox(id) else { return };
            while !outbox.is_empty() {
                let mut slices = [IoSlice::new(&[]); 8];
                let used = outbox.slices(&mut slices);
                let part: Vec<u8> = slices[..used].iter().flat_map(|it| it.to_vec()).collect();
                outbox.consume(part.len());
                written += part.len();
                self.lines[line].bytes.extend(part);
            }
        }
        if self.router.flushed(id, written) {
            self.router.resume_queue(id, PORTION_BYTES, self.now);
        }
        if self.router.is_closing(id) && !self.lines[line].stalled {
            self.close(line);
        }
        self.receive(line);
    }

    fn close(&mut self, line: usize) {
        if let Some(id) = self.lines[line].connection.take() {
            self.router.closed(id, self.now);
            self.free.push(id.0);
        }
    }

    fn receive(&mut self, at: usize) {
        let line = &mut self.lines[at];
        let mut answers = Vec::new();
        let bytes = std::mem::take(&mut line.bytes);
        let mut rest = bytes.as_slice();
        while let Some(cut) = frame::cut(rest, usize::MAX).expect("the broker sends frames") {
            let body = &rest[cut.body_at..cut.total];
            let got = Got::decode(cut.first, body, line.version);
            line.reasons.extend(reason_string(cut.first, body, line.version));
            line.longest = line.longest.max(cut.total);
            self.received.0 += 1;
            self.received.1 += cut.total as u64;
            rest = &rest[cut.total..];
            let answer = match &got {
                Got::Publish(it) if it.qos == 1 => Some((AckKind::PubAck, it.id)),
                Got::Publish(it) if it.qos == 2 => Some((AckKind::PubRec, it.id)),
                Got::PubRel(id, _) => Some((AckKind::PubComp, *id)),
                Got::PubRec(id, code) if *code < 0x80 => Some((AckKind::PubRel, *id)),
                _ => None,
            };
            if let (Some((kind, id)), true) = (answer, line.acks) {
                Ack::new(kind, id, ReasonCode::Success).encode(line.version, &mut answers);
            }
            line.inbox.push_back(got);
        }
        assert!(rest.is_empty(), "the broker sends whole packets");
        let mut rest = answers.as_slice();
        while let (Ok(Some(cut)), Some(id)) =
            (frame::cut(rest, usize::MAX), self.lines[at].connection)
        {
            self.router.packet(id, cut.first, &rest[cut.body_at..cut.total], self.now);
            rest = &rest[cut.total..];
        }
    }
}
