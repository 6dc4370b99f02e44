//! What an earlier run of the broker has left of a session.

use std::sync::Arc;

use agentmq_codec::SubscriptionOptions;

use crate::{Author, Away, Delivery, Message, Session, SessionKey};

/// A session that survived.
#[derive(Debug)]
pub struct RestoredSession {
    /// Its terms; nothing is in line or in flight yet.
    pub session: Session,
    /// It has lost its connection with the broker: its deadlines count from this start, and from no
    /// later one.
    pub was_connected: bool,
    /// Its client has a younger one: it is over but for what others are to get of it.
    pub is_replaced: bool,
    /// Its subscriptions.
    pub subscriptions: Vec<RestoredSubscription>,
    /// What it must acknowledge, in order.
    pub in_flight: Vec<RestoredEntry>,
    /// What waits in its line, in order.
    pub waiting: Vec<RestoredWaiting>,
    /// Exchanges in which PUBREL is due, in the order of their PUBRECs.
    pub releasing: Vec<u16>,
}

/// A retained message that survived.
#[derive(Debug, Clone)]
pub struct RestoredRetained {
    /// The message.
    pub message: Message,
    /// Who has published it; `None`: nobody who could be asked about, or nobody has noted it.
    pub author: Option<Arc<Author>>,
}

/// A will that was on its way when the broker ended, and is to be sent again.
#[derive(Debug)]
pub struct RestoredWill {
    /// Its name.
    pub key: SessionKey,
    /// Whose will it is, for No Local.
    pub client_id: Box<str>,
    /// What is sent.
    pub message: Message,
    /// Whose it is, where there is anything to ask about him.
    pub author: Option<Arc<Author>>,
}

/// A subscription that survived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredSubscription {
    /// With its share prefix.
    pub filter: Box<str>,
    /// As granted.
    pub options: SubscriptionOptions,
    /// Subscription Identifier, 0 for none.
    pub id: u32,
}

/// A delivery in flight that survived.
#[derive(Debug, Clone)]
pub struct RestoredEntry {
    /// Its packet identifier.
    pub packet_id: u16,
    /// The delivery, but for its group.
    pub delivery: Delivery,
    /// The shared subscription it came through.
    pub group: Option<Box<str>>,
}

/// A delivery that waits in line, and that the log has.
#[derive(Debug, Clone)]
pub struct RestoredWaiting {
    /// Its place there, but for its group.
    pub away: Away,
    /// The shared subscription it came through.
    pub group: Option<Box<str>>,
}
