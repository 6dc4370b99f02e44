//! Several processes of one program, each an instance of its own on the bus.

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::expose::{Expose, expose};
use crate::happening::Happening;
use crate::{BusError, Error};

/// Exposes so many processes of a program until `stop` is ready. Each has a client id of its own,
/// is watched and started again by itself, and all have the server-name. What cannot work for one
/// of them, as in [`expose`], ends all.
pub async fn expose_replicas(
    config: Expose,
    replicas: usize,
    stop: impl Future<Output = ()>,
    mut report: impl FnMut(Happening),
) -> Result<(), Error> {
    let ending = CancellationToken::new();
    let (tell, mut told) = mpsc::channel(HAPPENINGS);
    let mut running = JoinSet::new();
    for number in 1..=replicas.max(1) {
        let mut config = config.clone();
        if replicas > 1 && !config.options.client_id.is_empty() {
            config.options.client_id = format!("{}:{number}", config.options.client_id);
        }
        let (ended, tell) = (ending.clone().cancelled_owned(), tell.clone());
        let report = move |happening| {
            // Each waits before it tries again, so that this is never full for long.
            if tell.try_send(happening).is_err() {
                tracing::warn!("too much happens to be told");
            }
        };
        running.spawn(async move { Box::pin(expose(config, ended, report)).await });
    }
    drop(tell);
    tokio::pin!(stop);
    let mut result = Ok(());
    loop {
        tokio::select! {
            biased;
            Some(happening) = told.recv() => report(happening),
            () = &mut stop, if !ending.is_cancelled() => ending.cancel(),
            ended = running.join_next() => match ended {
                None => return result,
                Some(ended) => {
                    let ended = ended.unwrap_or(Err(Error::Bus(BusError::Closed)));
                    result = result.and(ended);
                    if result.is_err() {
                        ending.cancel();
                    }
                }
            },
        }
    }
}

/// What has happened and is not told yet.
const HAPPENINGS: usize = 256;
