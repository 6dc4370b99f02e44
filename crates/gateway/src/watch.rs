//! What happens to the servers and tools of the bus, as it happens.

use std::sync::Arc;

use agentmq_sdk::mcp::Bus;
use tokio::sync::broadcast::error::RecvError;

use crate::Error;
use crate::agent_follow::follow_agents;
use crate::bridge::{Bridge, stay_connected};
use crate::catalogue::Catalogue;
use crate::registrar::RegistryChange;

/// Tells what happens until `stop` is ready, beginning with what is there. The broker is tried
/// again for ever; while it cannot be reached nothing happens.
pub async fn watch(
    config: Bridge,
    stop: impl Future<Output = ()>,
    mut told: impl FnMut(RegistryChange),
) -> Result<(), Error> {
    let catalogue = Arc::new(Catalogue::new());
    let mut changes = catalogue.registrar.changes();
    let telling = async {
        loop {
            match changes.recv().await {
                Ok(change) => told(change),
                Err(RecvError::Lagged(count)) => tracing::warn!(count, "changes are not told"),
                Err(RecvError::Closed) => return,
            }
        }
    };
    let (current, bus) = tokio::sync::watch::channel(None);
    tokio::select! {
        () = telling => {}
        () = stop => {}
        () = stay_connected(&config, &catalogue, &current) => {}
        () = follow_agents(&config.options, &config.namespace, &config.filters, &catalogue) => {}
    }
    let bus: Option<Bus> = bus.borrow().clone();
    if let Some(bus) = bus {
        bus.close().await;
    }
    Ok(())
}
