//! A stdio MCP server that offers a host everything that is on the bus.

use std::sync::Arc;

use rmcp::service::serve_server;
use rmcp::transport::stdio_pipes;

use crate::Error;
use crate::catalogue::Catalogue;
use crate::follow_bus::follow_bus;
use crate::host::Host;
use crate::servers::Servers;

/// Offers servers to the host on standard input and output until it closes them, or `stop` is
/// ready. The host gets its answers whether the broker can be reached or not; the broker is tried
/// again for ever.
pub async fn bridge(servers: Servers, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let catalogue = Arc::new(Catalogue::with_registrar());
    let host = Host::new(catalogue.clone());
    let serving = async {
        match serve_server(host, stdio_pipes()).await {
            Ok(running) => drop(running.waiting().await),
            Err(error) => tracing::debug!(%error, "the host did not initialize"),
        }
    };
    let work = async {
        tokio::select! {
            () = serving => {}
            () = stop => {}
        }
    };
    follow_bus(&servers, &catalogue, work).await;
    Ok(())
}
