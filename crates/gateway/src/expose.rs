//! An MCP server on the bus: started or reached, watched, and started or reached again.

use std::sync::Arc;
use std::time::Duration;

use agentmq_client::Options;
use agentmq_sdk::mcp::{Server, ServerConfig};
use rmcp::model::ServerNotification;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Error;
use crate::backend::{Backend, Exposed};
use crate::backoff::Backoff;
use crate::binding::Binding;
use crate::forward::{Audience, Forward, Shared};
use crate::happening::{Happening, by_several};
use crate::on_bus::{Place, connect};

/// What to expose, and how.
#[derive(Debug, Clone)]
pub struct Expose {
    /// The server.
    pub server: Exposed,
    /// Its server-name on the bus; else what it calls itself.
    pub name: Option<String>,
    /// A line about it for people; else its title, if it has one.
    pub description: Option<String>,
    /// By which bindings.
    pub binding: Binding,
    /// Where the topics of MQTT.Agent are.
    pub namespace: String,
    /// The broker. MQTT.Agent's binding has a connection of its own; its client id is that of these
    /// options with `:tools`, or a new one.
    pub options: Options,
}

/// Starts the program, puts it on the bus, and keeps it there until `stop` is ready. A program that
/// cannot be started the first time, and a broker that cannot be reached, are errors at once.
pub async fn expose(
    config: Expose,
    stop: impl Future<Output = ()>,
    report: impl FnMut(Happening) + Send,
) -> Result<(), Error> {
    let report = by_several(report);
    let (notices, told) = mpsc::channel(NOTICES);
    tokio::pin!(stop);
    let shared = Arc::new(Shared::default());
    let started = Backend::start(&config.server, notices.clone(), shared.wanted());
    let backend = tokio::select! {
        started = started => Arc::new(started?),
        () = &mut stop => return Ok(()),
    };
    shared.set_backend(Some(backend.clone())).await;
    let named = server_config(&config, &backend);
    let Expose { server: exposed, binding, namespace, options, .. } = config;
    let place = Place { binding, options: &options, namespace: &namespace };
    let sessions = shared.clone();
    let serve = move |caller| Forward::new(&sessions, caller);
    let mut on_bus = match connect(place, named, serve, shared.offering(), &report).await {
        Ok(on_bus) => on_bus,
        Err(error) => {
            backend.end().await;
            return Err(error);
        }
    };
    let server = on_bus.server();
    tokio::spawn(pass_on(told, server.clone(), shared.clone()));
    let supervised = supervise(&exposed, server.as_ref(), &shared, backend, &notices, &report);
    let work = async {
        tokio::select! {
            () = supervised => Ok(()),
            () = &mut stop => Ok(()),
        }
    };
    let ended = on_bus.serve(work).await;
    if ended.is_ok() {
        on_bus.withdraw().await;
    }
    let backend = shared.backend();
    shared.set_backend(None).await;
    if let Some(backend) = backend {
        backend.end().await;
    }
    if ended.is_ok() {
        on_bus.close().await;
    }
    ended
}

/// Puts the server on the bus while the program runs, for ever.
async fn supervise(
    exposed: &Exposed,
    server: Option<&Server>,
    shared: &Arc<Shared>,
    mut backend: Arc<Backend>,
    notices: &mpsc::Sender<ServerNotification>,
    report: impl Fn(Happening),
) {
    let mut backoff = Backoff::new(LONGEST_PAUSE).steady_after(STEADY);
    loop {
        if let Some(server) = server {
            server.online_with(backend.versions()).await;
            report(Happening::Online { instance: server.instance().clone() });
        }
        let started = Instant::now();
        backend.gone.cancelled().await;
        // Calls under way have their error by now; the others must not begin one.
        shared.set_backend(None).await;
        if let Some(server) = server {
            server.offline().await;
        }
        let mut why = format!("{}: {}", exposed.name(), backend.end().await);
        backoff.went_well_for(started.elapsed());
        backend = loop {
            let instance = server.map(|server| server.instance().clone());
            let pause = backoff.pause();
            report(Happening::Offline { instance, why, retry_in: pause });
            tokio::time::sleep(pause).await;
            match Backend::start(exposed, notices.clone(), shared.wanted()).await {
                Ok(backend) => break Arc::new(backend),
                Err(error) => why = error.to_string(),
            }
        };
        shared.set_backend(Some(backend.clone())).await;
    }
}

/// Tells clients what the program tells by itself.
async fn pass_on(
    mut told: mpsc::Receiver<ServerNotification>,
    server: Option<Server>,
    shared: Arc<Shared>,
) {
    while let Some(notification) = told.recv().await {
        if matches!(notification, ServerNotification::ToolListChangedNotification(_)) {
            shared.tools_changed();
        }
        match Audience::of(notification) {
            Audience::Everybody(notification) => {
                shared.listeners.tell(&notification).await;
                let Some(server) = &server else { continue };
                if let Err(error) = server.notify(notification).await {
                    tracing::debug!(%error, "a change could not be told");
                }
            }
            Audience::Caller(notification) => {
                if let Some(peer) = shared.only_caller() {
                    let _ = peer.send_notification(notification).await;
                }
            }
            Audience::Nobody => {}
        }
    }
}

fn server_config(config: &Expose, backend: &Backend) -> ServerConfig {
    let about = &backend.info().server_info;
    let name = config.name.clone().unwrap_or_else(|| as_server_name(&about.name));
    let description = config
        .description
        .clone()
        .or_else(|| about.title.clone())
        .or_else(|| about.description.clone())
        .unwrap_or_else(|| about.name.clone());
    ServerConfig { name, description, versions: backend.versions(), ..ServerConfig::default() }
}

/// What a program calls itself, as far as it can stand in a topic.
fn as_server_name(text: &str) -> String {
    let fits = |c: char| if c.is_control() || matches!(c, '+' | '#') { '-' } else { c };
    let text: String = text.chars().take(NAME_LETTERS).map(fits).collect();
    let levels: Vec<&str> =
        text.split('/').map(str::trim).filter(|level| !level.is_empty()).collect();
    if levels.is_empty() { "mcp".into() } else { levels.join("/") }
}

/// Notifications of the program that wait. Further ones are dropped.
const NOTICES: usize = 256;

/// Before a program is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A program that ran this long has not failed at its start.
const STEADY: Duration = Duration::from_secs(60);

/// Letters of a name that a program gives itself.
const NAME_LETTERS: usize = 128;

#[cfg(test)]
mod tests {
    use agentmq_sdk::mcp;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_program_is_called_as_it_calls_itself() {
        for (given, name) in [
            ("files", "files"),
            ("acme/files", "acme/files"),
            ("/a//b/", "a/b"),
            ("a+b#", "a-b-"),
            ("my server", "my server"),
            ("", "mcp"),
            ("//", "mcp"),
            ("\u{1b}[2J", "-[2J"),
        ] {
            assert_eq!(as_server_name(given), name);
        }
    }

    proptest! {
        #[test]
        fn every_name_becomes_a_server_name(text in "\\PC{0,200}") {
            prop_assert!(mcp::check_server_name(&as_server_name(&text)).is_ok());
        }
    }
}
