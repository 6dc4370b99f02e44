//! Which bound would be exceeded, in words for who is refused.

use std::fmt;
use std::sync::Arc;

use crate::plan::Quantity;
use crate::utc::utc;

/// A bound of a plan that would be exceeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// What is bounded.
    pub quantity: Quantity,
    /// How much there may be.
    pub bound: u64,
    /// Whose bound it is; `None`: the client's own.
    pub organization: Option<Arc<str>>,
    /// The plan.
    pub plan: Arc<str>,
    /// When there is room again, in seconds since 1970; `None`: when some is made.
    pub again: Option<u64>,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quantity, bound, organization, plan, again } = self;
        match organization {
            Some(name) => write!(f, "organisation {name:.64} ")?,
            None => f.write_str("this client ")?,
        }
        match quantity {
            Quantity::MessagesPerDay => write!(f, "has published its {bound} messages of today"),
            Quantity::BytesPerDay => write!(f, "has published its {bound} bytes of today"),
            Quantity::MessagesPerSecond => {
                write!(f, "publishes more than {bound} messages a second")
            }
            Quantity::BytesPerSecond => write!(f, "publishes more than {bound} bytes a second"),
            Quantity::Connections => write!(f, "has its {bound} connections already"),
            Quantity::Sessions => write!(f, "has its {bound} sessions already"),
            Quantity::Subscriptions => write!(f, "has its {bound} subscriptions already"),
            Quantity::RetainedMessages => write!(f, "has its {bound} retained messages already"),
            Quantity::RetainedBytes => {
                write!(f, "has its {bound} bytes of retained messages already")
            }
            Quantity::QueueBytes => write!(f, "has its {bound} bytes of waiting messages already"),
        }?;
        write!(f, " (plan {plan}): ")?;
        match (again, quantity) {
            (Some(again), _) => write!(f, "again from {}", utc(*again)),
            (None, Quantity::Connections) => f.write_str("close one"),
            (None, Quantity::Sessions) => {
                f.write_str("end one, or come back with the client identifier of one")
            }
            (None, Quantity::Subscriptions) => {
                f.write_str("unsubscribe from some, or use a wildcard")
            }
            (None, _) => f.write_str("clear some"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_and_fix_are_told() {
        let mut exceeded = Exceeded {
            quantity: Quantity::MessagesPerDay,
            bound: 5_000,
            organization: Some("acme".into()),
            plan: "free".into(),
            again: Some(1_795_824_000),
        };
        assert_eq!(
            exceeded.to_string(),
            "organisation acme has published its 5000 messages of today (plan free): again from \
             2026-11-28T00:00:00Z"
        );
        (exceeded.quantity, exceeded.again) = (Quantity::Subscriptions, None);
        exceeded.organization = None;
        assert_eq!(
            exceeded.to_string(),
            "this client has its 5000 subscriptions already (plan free): unsubscribe from some, or \
             use a wildcard"
        );
    }
}
