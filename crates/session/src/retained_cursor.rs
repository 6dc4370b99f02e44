//! Where a subscriber stands in the retained messages that its subscription asks for.

use agentmq_codec::QoS;

use crate::{SubscriptionIds, Ticket, Time};

/// A place in line that expands into retained messages, a portion at a time, when its turn comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedCursor {
    /// The topic filter, without a share prefix.
    pub filter: Box<str>,
    /// The topic sent last; `None` at the start.
    pub after: Option<Box<str>>,
    /// Messages stored later than this are delivered live and must not be sent twice.
    pub up_to: u64,
    /// Not before this point: some clients lose a message that comes right behind its SUBACK.
    pub due: Time,
    /// Not before the acknowledgement of its subscription, which waits for this position in the
    /// order of announced interest.
    pub interest: Ticket,
    /// Granted QoS.
    pub qos: QoS,
    /// Subscription Identifier.
    pub ids: SubscriptionIds,
}
