//! Whose the retained messages are, where a plan bounds how many there may be.
//!
//! Every shard keeps every retained message, but what a plan allows is one number: so it is one
//! table for all shards, in the order of the stamps. It is locked for a retained publication only,
//! and not even for that while no client with a plan has retained anything.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use agentmq_quota::{Exceeded, Holder, RetainedCharge};

use crate::mail::Stamp;

/// The topics whose retained message counts for somebody.
#[derive(Debug, Default)]
pub(crate) struct RetainedOwners {
    /// How many there are.
    count: AtomicUsize,
    by_topic: Mutex<HashMap<Box<str>, Owned>>,
}

#[derive(Debug)]
struct Owned {
    stamp: Stamp,
    /// Counts until it is dropped.
    _charge: RetainedCharge,
}

impl RetainedOwners {
    /// Whether none counts for anybody. One that another shard puts in at this moment may be
    /// missed: it counts until its topic changes again.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// A topic has another retained message, of so many bytes and from this client; one from a
    /// client without a plan counts for nobody. An error: there may not be one, and the topic has
    /// none any more.
    pub(crate) fn change(
        &self,
        topic: &str,
        stamp: Stamp,
        bytes: usize,
        holder: Option<&Holder>,
    ) -> Result<(), Exceeded> {
        let mut by_topic = self.by_topic.lock().unwrap_or_else(PoisonError::into_inner);
        if by_topic.get(topic).is_some_and(|owned| owned.stamp > stamp) {
            return Ok(()); // another shard has a newer one
        }
        by_topic.remove(topic);
        let charge = holder.map(|holder| RetainedCharge::take(holder, bytes)).transpose();
        if let Ok(Some(_charge)) = charge {
            by_topic.insert(topic.into(), Owned { stamp, _charge });
            self.count.store(by_topic.len(), Ordering::Release);
            return Ok(());
        }
        self.count.store(by_topic.len(), Ordering::Release);
        charge.map(|_| ())
    }

    /// A topic's message of this stamp is gone.
    pub(crate) fn forget(&self, topic: &str, stamp: Stamp) {
        if self.is_empty() {
            return;
        }
        let mut by_topic = self.by_topic.lock().unwrap_or_else(PoisonError::into_inner);
        if by_topic.get(topic).is_some_and(|owned| owned.stamp <= stamp) {
            by_topic.remove(topic);
            self.count.store(by_topic.len(), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use agentmq_quota::{Accounts, Bounds, Plan, Plans, Quantity};

    use super::*;
    use crate::places::Place;

    fn holder(messages: u64) -> Holder {
        let organization = Bounds::default().with(Quantity::RetainedMessages, messages);
        let plan = Plan { name: "p".into(), organization, client: Bounds::default() };
        let accounts = Accounts::default();
        accounts.replace(Plans { default: Some(Arc::new(plan)), ..Plans::default() });
        Holder::new(accounts.of("acme").expect("has room").expect("has a plan"), "a")
    }

    fn stamp(order: u64) -> Stamp {
        Stamp { order, origin: Place(0) }
    }

    fn held(holder: &Holder) -> u64 {
        holder.account().held(Quantity::RetainedMessages)
    }

    #[test]
    fn a_topic_counts_once_and_for_who_came_last() {
        let (owners, first, second) = (RetainedOwners::default(), holder(1), holder(1));
        assert!(owners.change("a", stamp(1), 5, Some(&first)).is_ok());
        assert!(owners.change("a", stamp(2), 6, Some(&first)).is_ok(), "in place of the first");
        assert!(owners.change("b", stamp(3), 6, Some(&first)).is_err());
        assert!(owners.change("a", stamp(4), 6, Some(&second)).is_ok());
        assert_eq!((held(&first), held(&second)), (0, 1));
        assert!(owners.change("a", stamp(5), 6, None).is_ok());
        assert_eq!((held(&second), owners.count.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn one_that_may_not_be_takes_away_the_one_before() {
        let (owners, holder) = (RetainedOwners::default(), holder(0));
        assert!(owners.change("a", stamp(1), 5, Some(&holder)).is_err());
        assert_eq!(held(&holder), 0);
    }

    #[test]
    fn the_newest_counts_in_whatever_order_shards_say_so() {
        let (owners, first, second) = (RetainedOwners::default(), holder(1), holder(1));
        assert!(owners.change("a", stamp(2), 5, Some(&second)).is_ok());
        assert!(owners.change("a", stamp(1), 5, Some(&first)).is_ok());
        owners.forget("a", stamp(1));
        assert_eq!((held(&first), held(&second)), (0, 1));
        owners.forget("a", stamp(2));
        assert_eq!(held(&second), 0);
    }
}
