//! The protocol side of one connection.

use core::net::IpAddr;

use agentmq_codec::{PropertyLimits, ProtocolVersion};
use agentmq_identity::{Exchange, Principal};
use agentmq_session::{Gates, InboundAliases, OutboundAliases, Outbox, PendingAcks, Ticket, Time};

use crate::rights::Permits;

/// A connection's number, given by the shard and free for another connection once the shard has
/// said [`Router::closed`](crate::Router::closed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// Where a connection comes from.
#[derive(Debug, Clone, Default)]
pub struct Arrival {
    /// The listener, by its place in the settings.
    pub door: u16,
    /// Its address; `None` for a Unix socket.
    pub source: Option<IpAddr>,
    /// The client's certificate in DER, which the handshake has verified.
    pub certificate: Option<Vec<u8>>,
}

/// One connection from its CONNECT on.
#[derive(Debug)]
pub struct Connection {
    pub(crate) generation: u32,
    pub(crate) version: ProtocolVersion,
    pub(crate) phase: Phase,
    pub(crate) session: u32,
    pub(crate) principal: Principal,
    /// It is of an organisation that is kept apart.
    pub(crate) is_apart: bool,
    /// What it publishes may go to another topic than it says, see [`Principal::published`].
    pub(crate) is_moved: bool,
    /// It has said at CONNECT that it is a part of MCP over MQTT.
    pub(crate) is_mcp_component: bool,
    /// The listener that it came through, by its place in the settings.
    pub(crate) door: u16,
    /// Its address; `None` for a Unix socket.
    pub(crate) source: Option<IpAddr>,
    /// What it was allowed lately, where it is not allowed everything.
    pub(crate) permits: Option<Box<Permits>>,
    pub(crate) outbox: Outbox,
    pub(crate) acks: PendingAcks,
    /// Made with the first alias of the client.
    pub(crate) aliases_in: Option<Box<InboundAliases>>,
    /// `None` where the client accepts none.
    pub(crate) aliases_out: Option<Box<OutboundAliases>>,
    /// The client's Maximum Packet Size in bytes.
    pub(crate) max_packet: u32,
    /// Whether acknowledgements may carry Reason Strings [MQTT-3.1.2-29].
    pub(crate) wants_problems: bool,
    /// 1.5 times the keep alive; 0 for none [MQTT-3.1.2-22].
    pub(crate) keep_alive_ms: u32,
    pub(crate) last_packet: Time,
    /// When the keep alive is looked at next.
    pub(crate) keep_alive_at: Time,
    /// Retained messages wait for the SUBACK with this ticket.
    pub(crate) suback: Ticket,
    /// And for what the audit log says of it.
    pub(crate) suback_audited: Ticket,
    /// Receive Maximum and Topic Alias Maximum as CONNACK told them.
    pub(crate) receive_maximum: u16,
    pub(crate) topic_alias_maximum: u16,
    /// Stands in the router's list of connections to write to.
    pub(crate) is_dirty: bool,
    /// Something waited in the session's queue when that was last asked, or much of it is not
    /// acknowledged yet.
    pub(crate) catches_up: bool,
    /// The session's queue stopped for the outbox: go on when it is written.
    pub(crate) has_more: bool,
    /// Nothing is written before these gates are open: the will of the CONNECT is not safe yet,
    /// or the end of the session before, or what the audit log says of it.
    pub(crate) opens_at: Option<Box<Gates>>,
    /// When the proof of who it is ends; never, if it stays good.
    pub(crate) proof_ends: Time,
    /// Publications since `second` began.
    pub(crate) publishes: u32,
    /// The second that they are counted in.
    pub(crate) second: u32,
    /// Where authentication is more than one step.
    pub(crate) auth: Option<Box<AuthState>>,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// CONNECT came; an exchange of AUTH packets decides, or somebody who takes long.
    Authenticating,
    /// CONNACK with success is sent.
    Connected,
    /// The client has shut its side: its session has left it, and once the acknowledgements that
    /// wait are written it closes.
    HalfClosed,
    /// Nothing more is read; the socket closes once the outbox is written.
    Closing,
}

/// An authentication that takes more than one step, or may be repeated.
#[derive(Debug)]
pub(crate) struct AuthState {
    /// The method of enhanced authentication (§4.12), if CONNECT had one.
    pub(crate) method: Option<Box<str>>,
    /// Judges the next AUTH; `None` between exchanges.
    pub(crate) exchange: Option<Box<dyn Exchange>>,
    /// The verdict is being found elsewhere; nothing is read until it comes.
    pub(crate) awaits_verdict: bool,
    /// The body of the CONNECT that waits for the verdict.
    pub(crate) connect: Option<Box<[u8]>>,
    /// Exchanges after that of CONNECT, since `minute` began.
    pub(crate) exchanges: u8,
    /// The minute that they are counted in.
    pub(crate) minute: u64,
}

impl AuthState {
    pub(crate) fn new(method: Option<&str>, connect: &[u8]) -> Self {
        let (method, connect) = (method.map(Into::into), Some(connect.into()));
        let (exchange, awaits_verdict) = (None, false);
        Self { method, exchange, awaits_verdict, connect, exchanges: 0, minute: 0 }
    }

    /// Counts one more exchange; false when there are too many.
    pub(crate) fn takes_another(&mut self, now: Time) -> bool {
        let minute = now.as_millis() / 60_000;
        if minute != self.minute {
            (self.minute, self.exchanges) = (minute, 0);
        }
        self.exchanges = self.exchanges.saturating_add(1);
        self.exchanges <= EXCHANGES_A_MINUTE
    }
}

impl Connection {
    pub(crate) fn new(generation: u32, version: ProtocolVersion, now: Time) -> Self {
        Self {
            generation,
            version,
            phase: Phase::Authenticating,
            session: NO_SESSION,
            principal: Principal::ANONYMOUS,
            is_apart: false,
            is_moved: false,
            is_mcp_component: false,
            door: 0,
            source: None,
            permits: None,
            outbox: Outbox::default(),
            acks: PendingAcks::default(),
            aliases_in: None,
            aliases_out: None,
            max_packet: u32::MAX,
            wants_problems: true,
            keep_alive_ms: 0,
            last_packet: now,
            keep_alive_at: now,
            suback: Ticket::default(),
            suback_audited: Ticket::default(),
            receive_maximum: u16::MAX,
            topic_alias_maximum: 0,
            is_dirty: false,
            catches_up: false,
            has_more: false,
            opens_at: None,
            proof_ends: Time::NEVER,
            publishes: 0,
            second: 0,
            auth: None,
        }
    }

    /// From now on it acts as this one.
    pub(crate) fn act_as(&mut self, principal: Principal) {
        let is_named = principal.mcp().is_some_and(|it| it.server_name().is_some());
        self.is_apart = principal.is_apart();
        self.is_moved = self.is_apart || is_named;
        self.principal = principal;
    }

    /// The index of the session that it serves.
    pub(crate) fn session(&self) -> Option<u32> {
        (self.session != NO_SESSION).then_some(self.session)
    }

    /// When silence becomes a keep alive timeout.
    pub(crate) fn deadline(&self) -> Time {
        self.last_packet.after_millis(u64::from(self.keep_alive_ms))
    }
}

/// Bounds on properties that the settings ask for.
pub(crate) fn property_limits(limits: &agentmq_session::Limits) -> PropertyLimits {
    PropertyLimits {
        max_user_properties: limits.user_properties,
        max_user_property_bytes: limits.user_property_bytes,
    }
}

/// Signatures are dear: a client has a new token every few minutes at most.
const EXCHANGES_A_MINUTE: u8 = 10;
/// No session is attached.
pub(crate) const NO_SESSION: u32 = u32::MAX;
