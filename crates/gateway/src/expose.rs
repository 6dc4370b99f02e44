//! An MCP server on the bus: started or reached, watched, and started or reached again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentmq_client::Options;
use agentmq_sdk::mcp::{self, Acceptor, Instance, Server, ServerConfig};
use rmcp::model::ServerNotification;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::agent_side::{AgentSide, offer_to_agents};
use crate::backend::{Backend, Exposed};
use crate::backoff::Backoff;
use crate::binding::{Binding, is_refusal};
use crate::forward::{Audience, Forward, Shared};

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

/// What happens meanwhile.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Happening {
    /// Clients can begin sessions.
    Online {
        /// Under this name and identifier.
        instance: Instance,
    },
    /// Clients of MQTT.Agent can call its tools.
    Offered {
        /// The server's name there.
        server: String,
        /// Where its topics are.
        namespace: String,
        /// The client id of that connection.
        id: String,
        /// The tools' names there.
        tools: Vec<String>,
    },
    /// The broker does not allow one of both bindings; the other one goes on.
    Refused {
        /// Which.
        binding: Binding,
        /// What it said.
        why: String,
    },
    /// The program has ended, or cannot be started again; it is off the bus until it runs again.
    Offline {
        /// What is not there any more; `None` without MCP's binding.
        instance: Option<Instance>,
        /// What happened.
        why: String,
        /// When it is tried again.
        retry_in: Duration,
    },
}

/// Starts the program, puts it on the bus, and keeps it there until `stop` is ready. A program that
/// cannot be started the first time, and a broker that cannot be reached, are errors at once.
pub async fn expose(
    config: Expose,
    stop: impl Future<Output = ()>,
    report: impl FnMut(Happening) + Send,
) -> Result<(), Error> {
    let report = by_several(report);
    let report = &report;
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
    let own_name = named.name.clone();
    let mcp = match Box::pin(connect(config.binding, &config.options, named, report)).await {
        Ok(mcp) => mcp,
        Err(error) => {
            backend.end().await;
            return Err(error);
        }
    };
    let (mcp, refused) = mcp;
    let (server, mut accepting) = match mcp {
        Some((server, acceptor)) => {
            let sessions = shared.clone();
            let accepting = acceptor.run(move |caller| Forward::new(&sessions, caller));
            (Some(server), Some(tokio::spawn(accepting)))
        }
        None => (None, None),
    };
    tokio::spawn(pass_on(told, server.clone(), shared.clone()));
    let agent = agent_side(&config.options, &config.namespace, server.as_ref(), &own_name);
    let ending = CancellationToken::new();
    let offering = shared.offering();
    let offered = offer_to_agents(config.binding, agent, offering, refused, ending.clone(), report);
    let mut offered = Box::pin(offered);
    let supervised = supervise(&config, server.as_ref(), &shared, backend, &notices, report);
    let ended = tokio::select! {
        () = supervised => Ok(()),
        () = &mut stop => Ok(()),
        ended = ended(&mut accepting) => Err(ended.into()),
        ended = &mut offered => ended,
    };
    // In this order: nobody begins what nobody will end.
    ending.cancel();
    if let Some(server) = server.as_ref().filter(|_| ended.is_ok()) {
        server.offline().await;
    }
    let backend = shared.backend();
    shared.set_backend(None).await;
    if let Some(backend) = backend {
        backend.end().await;
    }
    if ended.is_ok() {
        if config.binding.has_agent() {
            let _ = tokio::time::timeout(FAREWELL, offered).await;
        }
        if let Some(server) = server {
            server.close().await;
        }
    }
    ended
}

/// A report to which several tell what happens.
pub(crate) fn by_several(report: impl FnMut(Happening)) -> impl Fn(Happening) {
    let report = Mutex::new(report);
    move |happening| {
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        report(happening);
    }
}

/// Where clients of MQTT.Agent find a server: under the name that the broker has given it, if any.
pub(crate) fn agent_side(
    options: &Options,
    namespace: &str,
    server: Option<&Server>,
    own_name: &str,
) -> AgentSide {
    let mut options = options.clone();
    if !options.client_id.is_empty() {
        options.client_id.push_str(":tools");
    }
    let served = server.is_some();
    let server = server.map_or(own_name, |server| server.instance().name()).to_owned();
    AgentSide { options, namespace: namespace.to_owned(), server, served }
}

/// Connects as a server of MCP, if that is wanted. Where the broker does not allow it and there is
/// another binding, that goes on without this one, and the second part says why.
pub(crate) async fn connect(
    binding: Binding,
    options: &Options,
    config: ServerConfig,
    report: impl Fn(Happening),
) -> Result<(Option<(Server, Acceptor)>, Option<Error>), Error> {
    if !binding.has_mcp() {
        return Ok((None, None));
    }
    match Server::connect(options.clone(), config).await {
        Ok(connected) => Ok((Some(connected), None)),
        Err(mcp::Error::Mqtt(cause)) if binding.has_agent() && is_refusal(&cause) => {
            report(Happening::Refused { binding: Binding::Mcp, why: cause.to_string() });
            Ok((None, Some(mcp::Error::Mqtt(cause).into())))
        }
        Err(error) => Err(error.into()),
    }
}

/// Why the server's work is over.
async fn ended(accepting: &mut Option<JoinHandle<mcp::Error>>) -> mcp::Error {
    match accepting {
        Some(accepting) => accepting.await.unwrap_or(mcp::Error::Closed),
        None => std::future::pending().await,
    }
}

/// Puts the server on the bus while the program runs, for ever.
async fn supervise(
    config: &Expose,
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
        let mut why = format!("{}: {}", config.server.name(), backend.end().await);
        backoff.went_well_for(started.elapsed());
        backend = loop {
            let instance = server.map(|server| server.instance().clone());
            let pause = backoff.pause();
            report(Happening::Offline { instance, why, retry_in: pause });
            tokio::time::sleep(pause).await;
            match Backend::start(&config.server, notices.clone(), shared.wanted()).await {
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

/// How long the end of MQTT.Agent's binding may take.
pub(crate) const FAREWELL: Duration = Duration::from_secs(6);

/// Letters of a name that a program gives itself.
const NAME_LETTERS: usize = 128;

#[cfg(test)]
mod tests {
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
