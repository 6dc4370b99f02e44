//! What must survive a crash, as the router tells it to the engine that keeps promises.

use std::sync::Arc;

use agentmq_codec::{Properties, QoS, SubscriptionOptions};

use crate::{Author, Session, SubscriptionIds, Time};

/// Names a persistent session for as long as it lives, across restarts. 0 names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionKey(pub u64);

impl SessionKey {
    /// Of a session that ends with its connection.
    pub const NONE: Self = Self(0);

    /// Whether it names a session.
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// A client's QoS 2 PUBLISH until its PUBREL: its session and its packet identifier. A will on its
/// way has a key of its own and the identifier 0.
pub type Arrival = (SessionKey, u16);

/// One change of what must survive. Those of one call to
/// [`CommitEngine::record`](crate::CommitEngine::record) survive together or not at all.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// A persistent session begins, or its client has connected again or lost its connection: the
    /// terms of its CONNECT, when it ends and when its will is due.
    Session(&'a Session),
    /// A session is over, with all that it had.
    Ended(SessionKey),
    /// A subscription, new or with other options.
    Subscribed {
        /// Whose.
        session: SessionKey,
        /// With its share prefix.
        filter: &'a str,
        /// What the client asked for.
        options: SubscriptionOptions,
        /// Subscription Identifier, 0 for none.
        id: u32,
    },
    /// A subscription is gone.
    Unsubscribed {
        /// Whose.
        session: SessionKey,
        /// With its share prefix.
        filter: &'a str,
    },
    /// A message, with all who must still get it. Other changes that directly follow it survive
    /// together with it.
    Message(&'a RecordedMessage<'a>),
    /// A will is on its way to other shards, and from now on not its session's: sent again after a
    /// crash, unless [`Change::Arrived`] has come with its key and the identifier 0.
    WillUnderWay(&'a WillUnderWay<'a>),
    /// A message that waited in line got a packet identifier.
    Sent {
        /// Whose.
        session: SessionKey,
        /// Its place in the session's line.
        ordinal: u64,
        /// Its packet identifier.
        packet_id: u16,
    },
    /// A message that waited in line, or for its acknowledgement, is not for this session any
    /// more: it expired, made room, or goes to another member of its group.
    Dropped {
        /// Whose.
        session: SessionKey,
        /// Its place in the session's line.
        ordinal: u64,
    },
    /// The client has it (PUBREC): PUBREL is due.
    Received {
        /// Whose.
        session: SessionKey,
        /// Of the PUBLISH.
        packet_id: u16,
    },
    /// An exchange with the client is over.
    Completed {
        /// Whose.
        session: SessionKey,
        /// Of the PUBLISH.
        packet_id: u16,
    },
    /// A client's QoS 2 PUBLISH was received: a repetition must not be delivered again. Or a will
    /// is wherever it was to go. What was recorded as depending on it counts from now on.
    Arrived {
        /// Whose.
        session: SessionKey,
        /// Of the PUBLISH.
        packet_id: u16,
    },
    /// Its PUBREL has come.
    Released {
        /// Whose.
        session: SessionKey,
        /// Of the PUBLISH.
        packet_id: u16,
    },
}

/// A message as it is recorded: its body once, however many must get it.
#[derive(Debug, Clone, Copy)]
pub struct RecordedMessage<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// What is forwarded unaltered.
    pub properties: Properties<'a>,
    /// QoS as published.
    pub qos: QoS,
    /// RETAIN as published.
    pub retain: bool,
    /// When it expires.
    pub expires_at: Option<Time>,
    /// Sessions that must get it.
    pub recipients: &'a [Recipient],
    /// It is its topic's retained message now; one without payload clears the topic.
    pub is_retained: bool,
    /// Who has published it, where it is retained, or a will that will be.
    pub author: Option<&'a Author>,
    /// The QoS 2 PUBLISH that brought it: see [`Change::Arrived`].
    pub arrived: Option<Arrival>,
    /// The QoS 2 PUBLISH that brought it, which has not arrived before other shards have recorded
    /// their part. Until [`Change::Arrived`] the recipients do not count.
    pub depends_on: Option<Arrival>,
    /// Whose will it is, which is sent with it: a session, or a will that was under way.
    pub will_of: SessionKey,
}

/// A will on its way to other shards, as it is recorded.
#[derive(Debug, Clone, Copy)]
pub struct WillUnderWay<'a> {
    /// Its own name.
    pub key: SessionKey,
    /// Who has it no more: a session, or a will that was under way before a crash.
    pub will_of: SessionKey,
    /// Client identifier.
    pub client_id: &'a str,
    /// What is to be sent again.
    pub message: &'a RecordedMessage<'a>,
}

/// A session that must get a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Whose.
    pub session: SessionKey,
    /// Its place in the session's line: later messages have higher ones.
    pub ordinal: u64,
    /// Its packet identifier; 0 while it waits.
    pub packet_id: u16,
    /// QoS of the delivery.
    pub qos: QoS,
    /// RETAIN as the client sees it.
    pub retain: bool,
    /// Identifiers of the subscriptions that match.
    pub ids: SubscriptionIds,
    /// The shared subscription that it came through, with its prefix.
    pub group: Option<Arc<str>>,
}
