//! What is told to the audit log, and the ticket that its answer waits for.

use core::net::IpAddr;
use std::fmt;

use agentmq_codec::{ProtocolVersion, QoS, ReasonCode};
use agentmq_identity::Principal;

use crate::Ticket;

/// One thing that a client has done, or was refused.
#[derive(Debug, Clone, Copy)]
pub struct AuditEvent<'a> {
    /// Its client identifier; empty where it is not known.
    pub client_id: &'a str,
    /// Whom it acts as.
    pub principal: &'a Principal,
    /// The address that it comes from; `None` for a Unix socket.
    pub source: Option<IpAddr>,
    /// What it was.
    pub deed: Deed<'a>,
}

/// What a client has done, or was refused.
#[derive(Debug, Clone, Copy)]
pub enum Deed<'a> {
    /// It was let in.
    Connected {
        /// The version that it speaks.
        version: ProtocolVersion,
        /// It goes on with a session.
        session_present: bool,
    },
    /// It has proved again who it is.
    Authenticated,
    /// Its connection has ended.
    Disconnected {
        /// Code of the DISCONNECT, whoever has sent it.
        reason: ReasonCode,
        /// Why, in the words of the broker.
        why: &'a str,
    },
    /// A subscription was granted.
    Subscribed {
        /// Its filter, with `$share` if it has it.
        filter: &'a str,
        /// The QoS granted.
        qos: QoS,
    },
    /// A message was taken.
    Published {
        /// Its topic.
        topic: &'a str,
        /// Its QoS.
        qos: QoS,
        /// It was to be retained.
        retain: bool,
        /// Bytes of its payload.
        bytes: usize,
        /// It is a will.
        is_will: bool,
    },
    /// It was refused something.
    Refused {
        /// What.
        attempt: Attempt,
        /// Topic or filter; empty for a CONNECT.
        topic: &'a str,
        /// The code that it was told, or would have been.
        reason: ReasonCode,
        /// Why.
        why: &'a str,
    },
}

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// CONNECT, or AUTH before its CONNACK.
    Connect,
    /// To prove again who it is.
    Authenticate,
    /// PUBLISH.
    Publish,
    /// A filter of SUBSCRIBE.
    Subscribe,
}

impl Attempt {
    /// Its name in the audit log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Authenticate => "authenticate",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// A shard's end of the audit log.
pub trait AuditTrail: fmt::Debug {
    /// Whether it takes what must be in it. If not, such things are refused.
    fn condition(&self) -> AuditCondition {
        AuditCondition::Good
    }
    /// Puts down what has happened; returns the ticket with which it is safe.
    fn record(&mut self, event: &AuditEvent<'_>) -> Ticket {
        let _ = event;
        Ticket::default()
    }
    /// The turn is over: what was put down in it is to become safe.
    fn submit(&mut self) {}
    /// The newest ticket that is safe, and with it all before.
    fn completed(&self) -> Ticket {
        Ticket::default()
    }
    /// What is to be told of it; `None` where there is none.
    fn statistics(&self) -> Option<AuditStatistics> {
        None
    }
}

/// What the audit log takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditCondition {
    /// Everything.
    #[default]
    Good,
    /// It does not keep up: nothing about single messages and subscriptions, of which one client
    /// may bring any number.
    Behind,
    /// Nothing.
    Failed,
}

/// What is told of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditStatistics {
    /// It can be written.
    pub is_good: bool,
    /// Rows since it was begun.
    pub rows: u64,
    /// Bytes that it takes on the disk.
    pub bytes: u64,
    /// Rows that it has not taken since the start.
    pub left_out: u64,
    /// The last row that is safe, and its hash: `ROW:HASH`.
    pub head: String,
}

/// There is no audit log.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAudit;

impl AuditTrail for NoAudit {}
