//! The tools of MQTT.Agent, for a bridge: connected, and followed as their cards change.

use std::sync::Arc;
use std::time::Duration;

use agentmq_client::{Event, Options};
use agentmq_sdk::tools::{Error, ToolClient};

use crate::agent_tools::{connect, online};
use crate::backoff::Backoff;
use crate::binding::is_refusal;
use crate::catalogue::Catalogue;

/// Keeps the catalogue as the cards are, for ever. Where the broker does not allow it there is
/// nothing to follow, and MCP's servers go on without.
pub(crate) async fn follow_agents(
    options: &Options,
    namespace: &str,
    filters: &[String],
    catalogue: &Arc<Catalogue>,
) {
    let mut backoff = Backoff::new(LONGEST_PAUSE);
    loop {
        let followed = match connect(options, namespace).await {
            Ok(client) => {
                backoff.succeeded();
                let followed = follow(&client, filters, catalogue).await;
                catalogue.set_agent_client(None);
                client.close().await;
                followed
            }
            Err(error) => Err(error),
        };
        catalogue.set_agents_ready();
        if let Err(Error::Mqtt(cause)) = &followed
            && is_refusal(cause)
        {
            tracing::info!(error = %cause, "no tools of MQTT.Agent: the broker does not allow it");
            return std::future::pending().await;
        }
        if let Err(error) = followed {
            tracing::debug!(%error, "no connection for tools of MQTT.Agent");
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// Returns when the connection has ended for good.
async fn follow(
    client: &ToolClient,
    filters: &[String],
    catalogue: &Arc<Catalogue>,
) -> Result<(), Error> {
    let mut events = client.client().events();
    let mut changes = client.watch().await?;
    client.tools().await?;
    catalogue.set_agent_client(Some(client.clone()));
    loop {
        let cards = client.cards();
        catalogue.registrar.set_cards(&cards, filters);
        catalogue.set_agent_tools(online(&cards, filters));
        catalogue.set_agents_ready();
        tokio::select! {
            more = changes.next() => if !more { return Ok(()) },
            Some(event) = events.next() => match event {
                Event::Disconnected { .. } => catalogue.set_agent_client(None),
                Event::Connected | Event::Resumed => {
                    catalogue.set_agent_client(Some(client.clone()));
                }
                _ => {}
            },
        }
    }
}

/// Before the broker is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
