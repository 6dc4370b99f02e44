//! The router: its state, and the doors through which the shard drives it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use agentmq_codec::{Packet, PacketType, ProtocolVersion, ReasonCode, varint_len};
use agentmq_identity::Authenticator;
use agentmq_quota::Seat;
use agentmq_session::{
    AuditTrail, CommitEngine, Gates, NoAudit, Outbox, OutboxPool, Recipient, Session, Slab, Slots,
    Ticket, Time,
};

use crate::argument_check::ArgumentSchemas;
use crate::connection::{Arrival, Connection, ConnectionId, Phase, property_limits};
use crate::counters::Counters;
use crate::fan_out::Layout;
use crate::flapping::Flapping;
use crate::load_average::LoadAverages;
use crate::mail_gate::MailGate;
use crate::places::{Peers, Place};
use crate::queue_drain::PORTION_BYTES;
use crate::quotas::Quotas;
use crate::recall::Leaving;
use crate::recording::HeldDelivery;
use crate::refusal_log::RefusalLog;
use crate::remote_member::{AwayGroups, RemoteMembers};
use crate::retain_source::RetainSource;
use crate::retained::Retained;
use crate::route_cache::RouteCache;
use crate::server_presence::Replicas;
use crate::settings::Settings;
use crate::shared_group::SharedGroups;
use crate::subscriptions::Subscriptions;
use crate::timers::{Due, Timers};
use crate::tool_calls::ToolCalls;
use crate::undecided::Undecided;
use crate::verdicts::WorkOf;

/// The brain of one shard.
#[derive(Debug)]
pub struct Router {
    pub(crate) settings: Arc<Settings>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) commit: Box<dyn CommitEngine>,
    pub(crate) audit: Box<dyn AuditTrail>,
    pub(crate) connections: Slots<Option<Connection>>,
    pub(crate) sessions: Slab<Session>,
    pub(crate) by_client: HashMap<Arc<str>, u32>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) routes: RouteCache,
    pub(crate) groups: SharedGroups,
    pub(crate) retained: Retained,
    pub(crate) retain_source: RetainSource,
    pub(crate) peers: Peers,
    pub(crate) remote_members: RemoteMembers,
    pub(crate) away_groups: AwayGroups,
    pub(crate) timers: Timers,
    /// No sweep before this point.
    sweep_at: Time,
    pub(crate) flapping: Arc<Flapping>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) tool_calls: ToolCalls,
    pub(crate) argument_schemas: ArgumentSchemas,
    pub(crate) quotas: Arc<Quotas>,
    /// What the client whose CONNECT is at hand has taken of its organisation's connections.
    pub(crate) seat: Option<Seat>,
    pub(crate) counters: Counters,
    pub(crate) loads: LoadAverages,
    /// The organisations whose numbers stand below `$SYS`.
    pub(crate) shown_organizations: BTreeSet<Arc<str>>,
    pub(crate) refusal_log: RefusalLog,
    /// Verdicts that others are to find.
    pub(crate) work: Vec<WorkOf>,
    /// Where the connection comes from whose first packet comes.
    pub(crate) arrival: Arrival,
    pub(crate) layout: Layout,
    /// Text of a topic that an alias stood for; kept for its memory.
    pub(crate) alias_topic: String,
    dirty: Vec<ConnectionId>,
    /// Silence before this point is not the clients'.
    pub(crate) listening_since: Time,
    /// Connections whose acknowledgements wait for their tickets.
    pub(crate) waiting: Vec<ConnectionId>,
    /// Who must get the message under way and must not lose it in a crash.
    pub(crate) recipients: Vec<(u32, Recipient)>,
    /// The ticket of what the packet at hand has recorded.
    pub(crate) recorded: Ticket,
    /// Where the audit log says what the packet at hand has brought about.
    pub(crate) audited: Ticket,
    /// The position of the mail that it has posted and that others must keep.
    pub(crate) posted: Ticket,
    pub(crate) mail_gate: MailGate,
    pub(crate) undecided: Undecided,
    /// What waited for gates up to these has been sent.
    pub(crate) released: Gates,
    /// QoS 2 deliveries whose identifiers are not safe yet.
    pub(crate) held: VecDeque<HeldDelivery>,
    /// Messages in line that leave memory when they are safe, in the order of their tickets.
    pub(crate) leaving: VecDeque<Leaving>,
    /// Shared groups of which absent members hold more than was read back so far.
    pub(crate) gathering: Vec<u32>,
    /// Connections that may not write yet, see [`Connection::opens_at`].
    pub(crate) shut: Vec<ConnectionId>,
    /// Memory of outboxes that are empty.
    outboxes: OutboxPool,
    generations: u32,
    pub(crate) entropy: Entropy,
}

impl Router {
    /// A router without connections. `entropy` seeds client identifiers and random choices.
    pub fn new(
        settings: Arc<Settings>,
        authenticator: Arc<dyn Authenticator>,
        commit: Box<dyn CommitEngine>,
        entropy: u64,
    ) -> Self {
        let mail_gate = MailGate::new(commit.is_durable());
        Self {
            settings,
            authenticator,
            commit,
            audit: Box::new(NoAudit),
            connections: Slots::default(),
            sessions: Slab::default(),
            by_client: HashMap::new(),
            subscriptions: Subscriptions::default(),
            routes: RouteCache::default(),
            groups: SharedGroups::default(),
            retained: Retained::new(),
            retain_source: RetainSource::default(),
            peers: Peers::default(),
            remote_members: RemoteMembers::default(),
            away_groups: AwayGroups::default(),
            timers: Timers::default(),
            sweep_at: Time::ZERO,
            flapping: Arc::default(),
            replicas: Arc::default(),
            tool_calls: ToolCalls::default(),
            argument_schemas: ArgumentSchemas::default(),
            quotas: Arc::default(),
            seat: None,
            counters: Counters::default(),
            loads: LoadAverages::default(),
            shown_organizations: BTreeSet::new(),
            refusal_log: RefusalLog::default(),
            work: Vec::new(),
            arrival: Arrival::default(),
            layout: Layout::default(),
            alias_topic: String::new(),
            dirty: Vec::new(),
            listening_since: Time::ZERO,
            waiting: Vec::new(),
            recipients: Vec::new(),
            recorded: Ticket::default(),
            audited: Ticket::default(),
            posted: Ticket::default(),
            mail_gate,
            undecided: Undecided::default(),
            released: Gates::default(),
            held: VecDeque::new(),
            leaving: VecDeque::new(),
            gathering: Vec::new(),
            shut: Vec::new(),
            outboxes: OutboxPool::default(),
            generations: 0,
            entropy: Entropy(entropy),
        }
    }

    /// Takes over new settings. Connections keep what their CONNACK told them.
    pub fn reconfigure(&mut self, settings: Arc<Settings>) {
        let told_by_routes = |it: &Settings| {
            (it.identity_topics.clone(), it.audit_topics.clone(), it.dollar_prefixes.clone())
        };
        if told_by_routes(&settings) != told_by_routes(&self.settings) {
            self.routes = RouteCache::default();
        }
        self.settings = settings;
    }

    /// Handles one packet of a connection: its first byte and its body. The first packet must be
    /// CONNECT [MQTT-3.1.0-1]; after that, whatever breaks the protocol ends the connection with
    /// the standard's reason code.
    pub fn packet(&mut self, id: ConnectionId, first: u8, body: &[u8], now: Time) {
        (self.recorded, self.posted, self.audited) = Default::default();
        self.counters.packets_received += 1;
        self.counters.bytes_received += (1 + varint_len(body.len()) + body.len()) as u64;
        let Some(connection) = self.connection_mut(id) else {
            self.first_packet(id, first, body, now);
            return;
        };
        connection.last_packet = now;
        if connection.phase == Phase::Closing {
            return;
        }
        let (version, phase) = (connection.version, connection.phase);
        let limits = property_limits(&self.settings.limits);
        // Matched where it is: moving a packet that was just written field by field waits until all
        // stores before it, those into cold outboxes too, have left the processor.
        match &Packet::decode(first, body, version, &limits) {
            // [MQTT-3.1.0-2], whatever else is wrong with it: DISCONNECT may have no code for that.
            Err(_) if PacketType::of(first) == Some(PacketType::Connect) => {
                self.refuse(id, ReasonCode::ProtocolError, SECOND_CONNECT, now);
            }
            Err(error) => self.refuse(id, error.reason, error.what, now),
            Ok(Packet::Auth(auth)) => self.handle_auth(id, auth, now),
            Ok(Packet::Disconnect(packet)) => self.handle_disconnect(id, packet, now),
            Ok(_) if phase == Phase::Authenticating => {
                self.refuse(id, ReasonCode::ProtocolError, "only AUTH may follow CONNECT", now);
            }
            Ok(Packet::Publish(publish)) => self.handle_publish(id, publish, now),
            Ok(Packet::Ack(ack)) => self.handle_ack(id, ack),
            Ok(Packet::Subscribe(packet)) => self.handle_subscribe(id, packet, now),
            Ok(Packet::Unsubscribe(packet)) => self.handle_unsubscribe(id, packet),
            Ok(Packet::PingReq) => self.handle_ping(id, now),
            Ok(Packet::Connect(_)) => {
                // [MQTT-3.1.0-2]
                self.refuse(id, ReasonCode::ProtocolError, SECOND_CONNECT, now);
            }
            Ok(Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp) => {
                let what = "a packet that only servers send";
                self.refuse(id, ReasonCode::ProtocolError, what, now);
            }
        }
    }

    fn handle_ping(&mut self, id: ConnectionId, now: Time) {
        let limit = self.settings.limits.outbox_bytes as usize;
        let is_full = |it: &mut Connection| it.opens_at.is_some() && it.outbox.len() > limit;
        if self.connection_mut(id).is_some_and(is_full) {
            // Whoever asks and asks while nothing can be answered.
            return self.refuse(id, ReasonCode::QuotaExceeded, "too many PINGREQ at once", now);
        }
        self.write(id, |_, out| out.extend_from_slice(&[0xD0, 0]));
    }

    /// What the shard knows of the connection whose first packet comes next.
    pub fn arrives(&mut self, arrival: Arrival) {
        self.arrival = arrival;
    }

    /// Does everything that is due.
    pub fn tick(&mut self, now: Time) {
        while let Some(due) = self.timers.pop(now) {
            match due {
                Due::KeepAlive(index, generation) => self.keep_alive_due(index, generation, now),
                Due::Session(index, generation) => self.session_due(index, generation, now),
                Due::Drain(index, generation) => {
                    if self
                        .sessions
                        .get(index as usize)
                        .is_some_and(|it| it.generation == generation)
                    {
                        self.drain(index, PORTION_BYTES, now);
                    }
                }
                Due::Proof(index, generation) => self.proof_due(index, generation, now),
                Due::Judging(first) => self.judge_from(first, now),
                Due::Gather(group, recorded) => self.gather_due(group, recorded, now),
            }
        }
        if self.next_sweep().is_some_and(|at| at <= now) {
            self.sweep_at = now.after_millis(SWEEP_MS);
            for (topic, stamp) in self.retained.sweep(now) {
                self.quotas.retained.forget(&topic, stamp);
            }
            self.away_groups.sweep();
        }
    }

    /// When to look for what has expired; never while there is nothing that could, so that an idle
    /// shard sleeps.
    fn next_sweep(&self) -> Option<Time> {
        let is_needed = self.retained.needs_sweep() || self.away_groups.needs_sweep();
        is_needed.then_some(self.sweep_at)
    }

    /// When [`Self::tick`] has something to do next.
    pub fn next_deadline(&self) -> Option<Time> {
        let (timer, sweep) = (self.timers.next(), self.next_sweep());
        timer.into_iter().chain(sweep).min()
    }

    /// Moves the list of connections that have something to write, or are to be closed, into
    /// `list`, which is empty and kept for its memory.
    pub fn dirty(&mut self, list: &mut Vec<ConnectionId>) {
        debug_assert!(list.is_empty(), "the shard has worked off the last list");
        std::mem::swap(&mut self.dirty, list);
        for id in list.iter() {
            if let Some(connection) =
                self.connections.get_mut(id.0 as usize).and_then(Option::as_mut)
            {
                connection.is_dirty = false;
            }
        }
    }

    /// The bytes to write to a connection; `None` also while they must wait for a commit.
    pub fn outbox(&mut self, id: ConnectionId) -> Option<&mut Outbox> {
        let opens_at = self.connections.get(id.0 as usize)?.as_ref()?.opens_at.as_deref();
        if opens_at.is_some_and(|gates| !gates.are_open(self.passed_at_last())) {
            self.shut.push(id);
            return None;
        }
        let connection = self.connections.get_mut(id.0 as usize)?.as_mut()?;
        connection.opens_at = None;
        Some(&mut connection.outbox)
    }

    /// Whether anything waits to be written to a connection.
    pub fn has_output(&self, id: ConnectionId) -> bool {
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        connection.is_some_and(|connection| !connection.outbox.is_empty())
    }

    /// Whether an exchange of AUTH packets has not decided yet about the connection.
    pub fn is_authenticating(&self, id: ConnectionId) -> bool {
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        connection.is_some_and(|connection| connection.phase == Phase::Authenticating)
    }

    /// The outbox has been written as far as the socket takes it, `written` bytes this time: an
    /// empty one gives its memory back. True when the queue had to stop and may go on: then the
    /// shard calls [`Self::resume_queue`], once, when it has time for it.
    #[must_use = "a queue that nobody resumes stands still"]
    pub fn flushed(&mut self, id: ConnectionId, written: usize) -> bool {
        self.counters.bytes_sent += written as u64;
        let Some(connection) = self.connections.get_mut(id.0 as usize).and_then(Option::as_mut)
        else {
            return false;
        };
        if connection.outbox.is_empty() {
            connection.outbox.release(&mut self.outboxes);
        }
        connection.has_more && connection.outbox.len() < PORTION_BYTES
    }

    /// Hands over what was recorded since the last time.
    pub fn submit(&mut self, now: Time) {
        self.commit.submit(now);
        self.audit.submit();
    }

    /// Connections that serve a session or negotiate one.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        let open = |(index, slot): (usize, &Option<Connection>)| {
            slot.as_ref().map(|_| ConnectionId(index as u32))
        };
        self.connections.iter().enumerate().filter_map(open)
    }

    /// The client identifier that a connection serves.
    pub fn client_id(&self, id: ConnectionId) -> Option<&Arc<str>> {
        let session = self.connections.get(id.0 as usize)?.as_ref()?.session()?;
        self.sessions.get(session as usize).map(|session| &session.client_id)
    }

    /// The session of a client identifier.
    pub fn session(&self, client_id: &str) -> Option<&Session> {
        self.sessions.get(*self.by_client.get(client_id)? as usize)
    }

    /// How many deadlines wait, for those who look for leaks.
    pub fn deadlines(&self) -> usize {
        self.timers.len()
    }

    /// What the shard has counted.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters;
        counters.sessions_now = self.sessions.len() as u64;
        counters.subscriptions_now = self.subscriptions.len();
        counters.shared_subscriptions_now = self.subscriptions.shared();
        if self.peers.own == Place(0) {
            // Every active shard has them all; the first is always active.
            counters.retained_now = self.retained.len() as u64;
            counters.retained_bytes = self.retained.bytes();
        }
        counters.queued_now = self.sessions.iter().map(|(_, it)| it.queue.len() as u64).sum();
        counters
    }

    pub(crate) fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.0 as usize)?.as_mut()
    }

    /// A connection that is about to get output: puts it into the list and gives it a buffer.
    pub(crate) fn dirty_connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.dirty_connection_and_layout(id).map(|(connection, _)| connection)
    }

    /// The same, with what the last receiver of the message got.
    pub(crate) fn dirty_connection_and_layout(
        &mut self,
        id: ConnectionId,
    ) -> Option<(&mut Connection, &mut Layout)> {
        let connection = self.connections.get_mut(id.0 as usize)?.as_mut()?;
        if !connection.is_dirty {
            connection.is_dirty = true;
            connection.outbox.adopt(&mut self.outboxes);
            self.dirty.push(id);
        }
        Some((connection, &mut self.layout))
    }

    /// Appends one packet to a connection's outbox, as `encode` writes it.
    pub(crate) fn write(
        &mut self,
        id: ConnectionId,
        encode: impl FnOnce(ProtocolVersion, &mut Vec<u8>),
    ) {
        if let Some(connection) = self.dirty_connection(id) {
            encode(connection.version, connection.outbox.bytes());
            self.counters.packets_sent += 1;
        }
    }

    pub(crate) fn next_generation(&mut self) -> u32 {
        self.generations = self.generations.wrapping_add(1);
        self.generations
    }
}

/// Random numbers from a seed (SplitMix64).
#[derive(Debug)]
pub(crate) struct Entropy(u64);

impl Entropy {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

const SECOND_CONNECT: &str = "a second CONNECT";
/// Milliseconds between sweeps, at least.
const SWEEP_MS: u64 = 1_000;
