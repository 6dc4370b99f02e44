//! One client's protocol state: what MQTT remembers of a client across its connections, and the
//! bytes and bounds of one connection.
//!
//! The router owns a [`Session`] per client and tells it what happened; time is an argument, and
//! output goes into an [`Outbox`]. Knows nothing of other clients, subscriptions or sockets.
#![forbid(unsafe_code)]

mod audit;
mod author;
mod away;
mod change;
mod in_flight;
mod kept;
mod kept_deliveries;
mod lazy_queue;
mod limits;
mod message;
mod open_requests;
mod outbox;
mod queue;
#[cfg(test)]
mod queue_away_test;
mod restored;
mod retained_cursor;
mod session;
mod shelf;
mod slots;
mod ticket;
mod time;
mod topic_alias;
mod unreleased;
mod will;

pub use audit::{Attempt, AuditCondition, AuditEvent, AuditStatistics, AuditTrail, Deed, NoAudit};
pub use author::{Author, Authors};
pub use away::{Away, QueueMemory, Recall, Recalled};
pub use change::{Arrival, Change, Recipient, RecordedMessage, SessionKey, WillUnderWay};
pub use in_flight::{AckOutcome, Window};
pub use kept_deliveries::Keep;
pub use lazy_queue::LazyQueue;
pub use limits::{LimitInfo, Limits, UnknownLimit};
pub use message::{Delivery, Message, MessageParts, SubscriptionIds};
pub use open_requests::OpenRequests;
pub use outbox::{Outbox, OutboxPool, REFERENCE_FROM};
pub use queue::{Overflow, Queue, QueueBound};
pub use restored::{
    RestoredEntry, RestoredRetained, RestoredSession, RestoredSubscription, RestoredWaiting,
    RestoredWill,
};
pub use retained_cursor::RetainedCursor;
pub use session::{Durable, Session};
pub use slots::{Slab, Slots};
pub use ticket::{
    CommitEngine, Condition, EncodedAck, Gates, MemoryEngine, PendingAck, PendingAcks,
    StoreStatistics, Ticket,
};
pub use time::Time;
pub use topic_alias::{InboundAliases, OutboundAlias, OutboundAliases};
pub use unreleased::Unreleased;
pub use will::Will;
