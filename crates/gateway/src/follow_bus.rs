//! A catalogue that is as the bus is, whether the broker can be reached or not.

use std::sync::Arc;
use std::time::Duration;

use agentmq_sdk::mcp::{Bus, BusConfig};
use tokio::sync::watch;

use crate::agent_tools::follow_agents;
use crate::binding::is_refused;
use crate::bridge::Bridge;
use crate::catalogue::Catalogue;
use crate::follow::follow_all;

/// Keeps a catalogue as the bus is, until `work` is done; then says good-bye. The broker is tried
/// again for ever.
pub(crate) async fn follow_bus(
    config: &Bridge,
    catalogue: &Arc<Catalogue>,
    work: impl Future<Output = ()>,
) {
    let (current, bus) = watch::channel(None);
    tokio::select! {
        () = work => {}
        () = stay_connected(config, catalogue, &current) => {}
        () = follow_agents(&config.options, &config.namespace, &config.filters, catalogue) => {}
    }
    let bus: Option<Bus> = bus.borrow().clone();
    if let Some(bus) = bus {
        bus.close().await;
    }
}

/// Connects, follows the servers, and begins anew when the client has given up.
async fn stay_connected(
    config: &Bridge,
    catalogue: &Arc<Catalogue>,
    current: &watch::Sender<Option<Bus>>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let filters = BusConfig { filters: config.filters.clone() };
        match Bus::connect(config.options.clone(), filters).await {
            Ok(bus) => {
                pause = FIRST_PAUSE;
                catalogue.set_agents_alone(false);
                tracing::info!(client_id = bus.client_id(), "connected to the bus");
                current.send_replace(Some(bus.clone()));
                follow_all(&bus, catalogue).await;
                current.send_replace(None);
                let error = bus.client().ending();
                tracing::warn!(%error, "the connection to the bus has ended");
            }
            Err(error) if is_refused(&error) => {
                catalogue.set_agents_alone(true);
                catalogue.set_ready();
                pause = LONGEST_PAUSE;
                tracing::warn!(%error, fix = error.fix(), "no servers of MCP: not allowed");
            }
            Err(error) => {
                catalogue.set_tried();
                tracing::warn!(%error, fix = error.fix(), "no connection to the bus");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Before the broker is tried again; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

const LONGEST_PAUSE: Duration = Duration::from_secs(10);
