//! A stdio MCP server on the bus: started, watched, and started again.

use std::sync::Arc;
use std::time::Duration;

use agentmq_client::Options;
use agentmq_sdk::mcp::{self, Instance, Server, ServerConfig};
use rmcp::model::ServerNotification;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Error;
use crate::child::{Child, Program};
use crate::forward::{Audience, Forward, Shared};

/// What to expose, and how.
#[derive(Debug, Clone)]
pub struct Expose {
    /// The command that starts the server.
    pub program: Program,
    /// Its server-name on the bus; else what it calls itself.
    pub name: Option<String>,
    /// A line about it for people; else its title, if it has one.
    pub description: Option<String>,
    /// The broker.
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
    /// The program has ended, or cannot be started again; it is off the bus until it runs again.
    Offline {
        /// What is not there any more.
        instance: Instance,
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
    mut report: impl FnMut(Happening),
) -> Result<(), Error> {
    let (notices, told) = mpsc::channel(NOTICES);
    tokio::pin!(stop);
    let shared = Arc::new(Shared::default());
    let child = tokio::select! {
        child = Child::start(&config.program, notices.clone(), shared.wanted()) => Arc::new(child?),
        () = &mut stop => return Ok(()),
    };
    shared.set_child(Some(child.clone())).await;
    let named = server_config(&config, &child);
    let connected = Box::pin(Server::connect(config.options.clone(), named)).await;
    let (server, acceptor) = match connected {
        Ok(connected) => connected,
        Err(error) => {
            child.end().await;
            return Err(error.into());
        }
    };
    let sessions = shared.clone();
    let accepting = acceptor.run(move |caller| Forward::new(&sessions, caller));
    let mut accepting = tokio::spawn(accepting);
    tokio::spawn(pass_on(told, server.clone(), shared.clone()));
    let supervised = supervise(&config, &server, &shared, child, &notices, &mut report);
    let ended = tokio::select! {
        () = supervised => Ok(()),
        () = &mut stop => Ok(()),
        ended = &mut accepting => Err(ended.unwrap_or(mcp::Error::Closed)),
    };
    // In this order: nobody begins what nobody will end.
    if ended.is_ok() {
        server.offline().await;
    }
    let child = shared.child();
    shared.set_child(None).await;
    if let Some(child) = child {
        child.end().await;
    }
    if ended.is_ok() {
        server.close().await;
    }
    Ok(ended?)
}

/// Puts the server on the bus while the program runs, for ever.
async fn supervise(
    config: &Expose,
    server: &Server,
    shared: &Arc<Shared>,
    mut child: Arc<Child>,
    notices: &mpsc::Sender<ServerNotification>,
    report: &mut impl FnMut(Happening),
) {
    let mut pause = FIRST_PAUSE;
    loop {
        server.online().await;
        report(Happening::Online { instance: server.instance().clone() });
        let started = Instant::now();
        child.gone.cancelled().await;
        // Calls under way have their error by now; the others must not begin one.
        shared.set_child(None).await;
        server.offline().await;
        let mut why = format!("{} ended: {}", config.program.name(), child.end().await);
        if started.elapsed() >= STEADY {
            pause = FIRST_PAUSE;
        }
        child = loop {
            let instance = server.instance().clone();
            report(Happening::Offline { instance, why, retry_in: pause });
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match Child::start(&config.program, notices.clone(), shared.wanted()).await {
                Ok(child) => break Arc::new(child),
                Err(error) => why = error.to_string(),
            }
        };
        shared.set_child(Some(child.clone())).await;
    }
}

/// Tells clients what the program tells by itself.
async fn pass_on(
    mut told: mpsc::Receiver<ServerNotification>,
    server: Server,
    shared: Arc<Shared>,
) {
    while let Some(notification) = told.recv().await {
        match Audience::of(notification) {
            Audience::Everybody(notification) => {
                shared.listeners.tell(&notification).await;
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

fn server_config(config: &Expose, child: &Child) -> ServerConfig {
    let about = &child.info().server_info;
    let name = config.name.clone().unwrap_or_else(|| as_server_name(&about.name));
    let description = config
        .description
        .clone()
        .or_else(|| about.title.clone())
        .or_else(|| about.description.clone())
        .unwrap_or_else(|| about.name.clone());
    ServerConfig { name, description, versions: child.versions(), ..ServerConfig::default() }
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

/// Before the first new start; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A program that ran this long has not failed at its start.
const STEADY: Duration = Duration::from_secs(60);

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
