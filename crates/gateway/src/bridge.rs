//! A stdio MCP server that offers a host everything that is on the bus.

use std::sync::Arc;
use std::time::Duration;

use agentmq_client::Options;
use agentmq_sdk::mcp::{Bus, BusConfig};
use rmcp::service::serve_server;
use rmcp::transport::stdio_pipes;

use crate::Error;
use crate::agent_follow::follow_agents;
use crate::binding::is_refused;
use crate::catalogue::Catalogue;
use crate::follow::follow_all;
use crate::host::Host;

/// What to offer a host.
#[derive(Debug, Clone)]
pub struct Bridge {
    /// Filters over server-names.
    pub filters: Vec<String>,
    /// Where the topics of MQTT.Agent are.
    pub namespace: String,
    /// The broker.
    pub options: Options,
}

/// Serves the host on standard input and output until it closes them, or `stop` is ready. The host
/// gets its answers whether the broker can be reached or not; the broker is tried again for ever.
pub async fn bridge(config: Bridge, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let catalogue = Arc::new(Catalogue::new());
    let host = Host::new(catalogue.clone());
    let serving = async {
        match serve_server(host, stdio_pipes()).await {
            Ok(running) => drop(running.waiting().await),
            Err(error) => tracing::debug!(%error, "the host did not initialize"),
        }
    };
    let (current, bus) = tokio::sync::watch::channel(None);
    tokio::select! {
        () = serving => {}
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

/// Connects, follows the servers, and begins anew when the client has given up.
pub(crate) async fn stay_connected(
    config: &Bridge,
    catalogue: &Arc<Catalogue>,
    current: &tokio::sync::watch::Sender<Option<Bus>>,
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
