//! The subscriptions of sessions, in order.

use std::collections::HashMap;
use std::sync::Arc;

use agentmq_client::{Client, PropertiesBuf, QoS, SubscriptionOptions};
use tokio::sync::Mutex;

use super::Error;

/// Counts who needs a topic. Two sessions of one client overlap when it initializes again: the end
/// of the first must not take the topics of the second away. One change at a time, so that what is
/// counted and what the broker has agree.
#[derive(Debug, Clone)]
pub(crate) struct Subscriptions {
    client: Client,
    /// Bounded by the sessions: two topics each at most.
    users: Arc<Mutex<HashMap<String, usize>>>,
}

impl Subscriptions {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, users: Arc::default() }
    }

    /// Subscribes; done when the broker has granted all.
    pub(crate) async fn add(&self, topics: &[(String, SubscriptionOptions)]) -> Result<(), Error> {
        let mut users = self.users.lock().await;
        let reasons =
            self.client.subscribe_all(topics.iter().cloned(), PropertiesBuf::new()).await?;
        let refused = topics.iter().zip(&reasons).find(|(_, reason)| reason.is_error());
        if let Some(((filter, _), reason)) = refused {
            return Err(Error::Subscription { filter: filter.clone(), reason: *reason });
        }
        for (topic, _) in topics {
            *users.entry(topic.clone()).or_default() += 1;
        }
        Ok(())
    }

    /// Gives topics up that [`Self::add`] has granted.
    pub(crate) async fn remove(&self, topics: &[(String, SubscriptionOptions)]) {
        let mut users = self.users.lock().await;
        for (topic, _) in topics {
            let Some(count) = users.get_mut(topic) else { continue };
            *count -= 1;
            if *count == 0 {
                users.remove(topic);
                if let Err(error) = self.client.unsubscribe(topic.clone()).await {
                    tracing::debug!(topic, %error, "could not unsubscribe");
                }
            }
        }
    }
}

/// A topic where others write.
pub(crate) fn theirs(topic: String) -> (String, SubscriptionOptions) {
    (topic, SubscriptionOptions::at(QoS::AtLeastOnce))
}

/// A topic where we write, too, and do not want to read ourselves.
pub(crate) fn shared_with_us(topic: String) -> (String, SubscriptionOptions) {
    let options = SubscriptionOptions::at(QoS::AtLeastOnce);
    (topic, SubscriptionOptions { no_local: true, ..options })
}
