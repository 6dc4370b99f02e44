//! Overlapping subscriptions of one session become one delivery: the highest QoS, all
//! identifiers, what No Local leaves (MQTT 5 §3.3.4).

use std::sync::Arc;

use agentmq_codec::QoS;
use agentmq_session::SubscriptionIds;

use crate::subscribers::Subscriber;

/// One session's share of a route.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) session: u32,
    pub(crate) grant: Grant,
    /// What the session gets of its own publications: differs where a subscription says No Local.
    pub(crate) own: Own,
}

/// How a message is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
    pub(crate) ids: SubscriptionIds,
}

/// A session's own publications.
#[derive(Debug, Clone)]
pub(crate) enum Own {
    /// Like everybody else's.
    Same,
    /// Every subscription says No Local [MQTT-3.8.3-3].
    Nothing,
    /// Some subscriptions say No Local; the others grant this.
    Other(Box<Grant>),
}

impl Receiver {
    pub(crate) fn merge(subscriptions: &[Subscriber]) -> Self {
        let no_local = subscriptions.iter().filter(|it| it.options.no_local).count();
        let own = if no_local == 0 {
            Own::Same
        } else if no_local == subscriptions.len() {
            Own::Nothing
        } else {
            Own::Other(Box::new(Grant::of(subscriptions.iter().filter(|it| !it.options.no_local))))
        };
        let session = subscriptions.first().map_or(u32::MAX, |it| it.session);
        Self { session, grant: Grant::of(subscriptions.iter()), own }
    }
}

impl Grant {
    pub(crate) fn of<'a>(subscriptions: impl Iterator<Item = &'a Subscriber>) -> Self {
        let (mut qos, mut retain_as_published, mut ids) = (QoS::AtMostOnce, false, Vec::new());
        for subscription in subscriptions {
            qos = qos.max(subscription.options.qos);
            retain_as_published |= subscription.options.retain_as_published;
            if subscription.id != 0 {
                ids.push(subscription.id);
            }
        }
        let ids = if ids.is_empty() { None } else { Some(Arc::from(ids)) };
        Self { qos, retain_as_published, ids }
    }
}

#[cfg(test)]
mod tests {
    use agentmq_codec::SubscriptionOptions;

    use super::*;
    use crate::route::{Route, Traits};
    use crate::subscriptions::Subscriptions;

    fn subscriber(session: u32, qos: QoS, no_local: bool, id: u32) -> Subscriber {
        let options = SubscriptionOptions { no_local, ..SubscriptionOptions::at(qos) };
        Subscriber { session, options, id, is_kept: false }
    }

    #[test]
    fn overlapping_subscriptions_become_one_receiver() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.insert("a/#", subscriber(1, QoS::AtMostOnce, false, 3));
        subscriptions.insert("a/+", subscriber(1, QoS::ExactlyOnce, true, 4));
        subscriptions.insert("a/b", subscriber(2, QoS::AtLeastOnce, true, 0));
        let route = Route::resolve(&subscriptions, "a/b", Traits::default());
        assert_eq!(route.receivers.len(), 2);
        let first = &route.receivers[0];
        assert_eq!((first.session, first.grant.qos), (1, QoS::ExactlyOnce));
        let mut ids = first.grant.ids.as_deref().unwrap_or_default().to_vec();
        ids.sort_unstable();
        assert_eq!(ids, [3, 4]);
        assert!(matches!(&first.own, Own::Other(grant) if grant.qos == QoS::AtMostOnce));
        assert!(matches!(route.receivers[1].own, Own::Nothing));
    }
}
