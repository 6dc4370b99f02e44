//! A catalogue that is as the bus is, whether the broker can be reached or not.

use std::sync::Arc;
use std::time::Duration;

use agentmq_sdk::mcp::{Bus, BusConfig};
use tokio::sync::watch;

use crate::agent_tools::follow_agents;
use crate::backoff::Backoff;
use crate::binding::is_refused;
use crate::catalogue::Catalogue;
use crate::follow::follow_all;
use crate::servers::Servers;

/// Keeps a catalogue as the bus is, until `work` is done; then says good-bye. The broker is tried
/// again for ever.
pub(crate) async fn follow_bus(
    servers: &Servers,
    catalogue: &Arc<Catalogue>,
    work: impl Future<Output = ()>,
) {
    let (current, bus) = watch::channel(None);
    tokio::select! {
        () = work => {}
        () = stay_connected(servers, catalogue, &current) => {}
        () = follow_agents(&servers.options, &servers.namespace, &servers.filters, catalogue) => {}
    }
    let bus: Option<Bus> = bus.borrow().clone();
    if let Some(bus) = bus {
        bus.close().await;
    }
}

/// Connects, follows the servers, and begins anew when the client has given up.
async fn stay_connected(
    servers: &Servers,
    catalogue: &Arc<Catalogue>,
    current: &watch::Sender<Option<Bus>>,
) {
    let mut backoff = Backoff::new(LONGEST_PAUSE);
    loop {
        let filters = BusConfig { filters: servers.filters.clone(), ..BusConfig::default() };
        let pause = match Bus::connect(servers.options.clone(), filters).await {
            Ok(bus) => {
                backoff.succeeded();
                catalogue.set_agents_alone(false);
                tracing::info!(client_id = bus.client_id(), "connected to the bus");
                current.send_replace(Some(bus.clone()));
                follow_all(&bus, catalogue).await;
                current.send_replace(None);
                let error = bus.client().ending();
                tracing::warn!(%error, "the connection to the bus has ended");
                backoff.pause()
            }
            Err(error) if is_refused(&error) => {
                catalogue.set_agents_alone(true);
                catalogue.set_ready();
                tracing::warn!(%error, fix = error.fix(), "no servers of MCP: not allowed");
                LONGEST_PAUSE
            }
            Err(error) => {
                catalogue.set_tried();
                tracing::warn!(%error, fix = error.fix(), "no connection to the bus");
                backoff.pause()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Before the broker is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
