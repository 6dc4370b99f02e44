//! The end of a server that is stopped.

use agentmq_agents::Status;
use agentmq_client::{PropertiesBuf, Property, PropertyId, ReasonCode};

use super::limits::FAREWELL;
use super::server::Work;

impl Work {
    /// Gives up its calls, finishes those that it has got, goes offline and disconnects.
    pub(crate) async fn leave(&mut self) {
        if tokio::time::timeout(FAREWELL, self.finish()).await.is_err() {
            tracing::warn!(calls = self.calls.len(), "calls under way are left unanswered");
        }
        self.leaving = true;
        // Those that are left would otherwise see their connection go.
        self.calls.shutdown().await;
        let _ = tokio::time::timeout(FAREWELL, self.go_offline()).await;
        // The session ends, too: nobody is to wait for it.
        let properties =
            PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 0));
        self.client.disconnect_with(ReasonCode::NORMAL_DISCONNECTION, properties).await;
    }

    async fn finish(&mut self) {
        let (client, filters) = (self.client.clone(), self.config.filters());
        let give_up = async move {
            for filter in filters {
                let _ = client.unsubscribe(filter).await;
            }
        };
        tokio::pin!(give_up);
        let mut given_up = false;
        loop {
            tokio::select! {
                // What has come before the broker took the filters away is ours to do.
                biased;
                Some(message) = self.messages.next() => self.handle(message).await,
                () = &mut give_up, if !given_up => given_up = true,
                ended = self.calls.join_next(), if given_up => if ended.is_none() { return },
            }
        }
    }

    async fn go_offline(&mut self) {
        for card in self.config.cards(Status::Offline) {
            let Ok(ack) = self.client.publish(card).await else { return };
            let acknowledged = tokio::select! {
                // Its own cards come back, and must not stand in the way of the answer.
                acknowledged = ack => acknowledged,
                () = async { while self.messages.next().await.is_some() {} } => return,
            };
            if acknowledged.is_err() {
                return;
            }
        }
    }
}
