//! The signals that end a command that would go on for ever.

use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// Waits for SIGINT (Ctrl-C), SIGTERM (a service manager) or SIGHUP (the terminal is gone). Who
/// waits for it says DISCONNECT afterwards, so that the broker does not take it for dead and
/// publish its will.
pub(crate) async fn interrupted() -> Result<(), Failure> {
    let watch =
        |kind| signal(kind).map_err(|error| Failure::new(format!("cannot watch signals: {error}")));
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let mut hangup = watch(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
