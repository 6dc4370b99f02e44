//! What happens to the servers and tools of the bus, as it happens.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;

use crate::catalogue::Catalogue;
use crate::follow_bus::follow_bus;
use crate::registrar::RegistryChange;
use crate::servers::Servers;

/// Tells what happens until `stop` is ready, beginning with what is there. The broker is tried
/// again for ever; while it cannot be reached nothing happens.
pub async fn watch(
    servers: Servers,
    stop: impl Future<Output = ()>,
    mut told: impl FnMut(RegistryChange),
) {
    let catalogue = Arc::new(Catalogue::with_registrar());
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
    let work = async {
        tokio::select! {
            () = telling => {}
            () = stop => {}
        }
    };
    follow_bus(&servers, &catalogue, work).await;
}
