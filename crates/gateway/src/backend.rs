//! A server that knows no MQTT, and our one session with it.

mod offer;

use std::time::Duration;

use agentmq_sdk::mcp::{Call, Fault, InOrder, PING_TIMEOUT, call, fault, fault_of};
use rmcp::RoleClient;
use rmcp::model::{
    ErrorData, Implementation, InitializeResult, PingRequest, ProgressNotificationParam,
    ProtocolVersion, ServerCapabilities, ServerNotification, ServerResult, Tool,
};
use rmcp::service::{
    ClientLifecycleMode, Peer, RunningService, Service, serve_client_with_lifecycle_and_ct,
};
use rmcp::transport::Transport;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::client_side::OurSide;
use crate::http_server::{HttpServer, Reached};
use crate::listening::{Wanted, listen};
use crate::listing::{self, plain_call};
use crate::program::{Process, Program};

/// Which server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Exposed {
    /// One that speaks on its standard input and output, and that we start.
    Program(Program),
    /// One that is reached by HTTP.
    Http(HttpServer),
}

impl Exposed {
    /// What it is called, for people.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Program(program) => program.name(),
            Self::Http(server) => server.url().to_owned(),
        }
    }
}

/// A server that has said what it offers.
#[derive(Debug)]
pub(crate) struct Backend {
    peer: Peer<RoleClient>,
    info: InitializeResult,
    /// Cancelled when it talks no more.
    pub(crate) gone: CancellationToken,
    stop: CancellationToken,
    places: Semaphore,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    Process(Box<tokio::sync::Mutex<Process>>),
    Http(Reached),
}

impl Backend {
    /// Starts or reaches a server, and finds out what it offers: in the newest revision if it knows
    /// that, else in a session. What it tells by itself goes to `notices`, and what it tells of
    /// resources is about those that are wanted.
    pub(crate) async fn start(
        server: &Exposed,
        notices: mpsc::Sender<ServerNotification>,
        wanted: watch::Receiver<Wanted>,
    ) -> Result<Self, Error> {
        let newest = vec![ProtocolVersion::NO_INITIALIZE];
        let ask = ClientLifecycleMode::Auto { preferred_versions: newest, legacy_version: None };
        let first = match Box::pin(Self::begin(server, notices.clone(), wanted.clone(), ask)).await
        {
            // Some end when the first thing that they are asked is none that they know.
            Err(Error::Ended { .. } | Error::NoMcp { .. }) => None,
            Err(refused @ Error::NotReached { .. }) => Some(refused),
            begun => return begun,
        };
        let initialize = ClientLifecycleMode::Initialize;
        let second = Box::pin(Self::begin(server, notices, wanted, initialize)).await;
        second.map_err(|error| first.unwrap_or(error))
    }

    async fn begin(
        server: &Exposed,
        notices: mpsc::Sender<ServerNotification>,
        wanted: watch::Receiver<Wanted>,
        lifecycle: ClientLifecycleMode,
    ) -> Result<Self, Error> {
        let stop = CancellationToken::new();
        let ours = ours(notices);
        let (running, origin) = match server {
            Exposed::Program(program) => {
                let (mut process, transport) = Process::spawn(program)?;
                match begin(transport, ours.clone(), lifecycle, &stop).await {
                    Ok(running) => (running, Origin::Process(Box::new(process.into()))),
                    Err(NotBegun::Silent) => return Err(silent(server)),
                    Err(NotBegun::Failed(why)) => {
                        return Err(process.explain(server.name(), why).await);
                    }
                }
            }
            Exposed::Http(http) => {
                let (transport, reached) = http.transport();
                match begin(transport, ours.clone(), lifecycle, &stop).await {
                    Ok(running) => (running, Origin::Http(reached)),
                    Err(NotBegun::Silent) => return Err(silent(server)),
                    Err(NotBegun::Failed(why)) => {
                        return Err(match reached.why_not() {
                            Some(why) => Error::NotReached { url: server.name(), why },
                            None => Error::NoMcp { server: server.name(), why },
                        });
                    }
                }
            }
        };
        let Some(info) = server_info(&running, server) else {
            let why = "it does not say what it is".into();
            return Err(Error::NoMcp { server: server.name(), why });
        };
        Ok(Self::over(running, info, (ours, wanted), stop, origin))
    }

    fn over(
        running: RunningService<RoleClient, OurSide>,
        info: InitializeResult,
        (ours, wanted): (OurSide, watch::Receiver<Wanted>),
        stop: CancellationToken,
        origin: Origin,
    ) -> Self {
        let (peer, gone) = (running.peer().clone(), CancellationToken::new());
        let ending = gone.clone();
        let lost = match &origin {
            Origin::Process(_) => CancellationToken::new(), // its pipes close
            Origin::Http(reached) => {
                tokio::spawn(look_after(peer.clone(), reached.clone(), gone.clone()));
                reached.lost.clone()
            }
        };
        let hang_up = stop.clone();
        tokio::spawn(async move {
            let waiting = running.waiting();
            tokio::pin!(waiting);
            tokio::select! {
                _ = &mut waiting => {}
                () = lost.cancelled() => {
                    hang_up.cancel();
                    ending.cancel();
                    let _ = waiting.await;
                }
            }
            ending.cancel();
        });
        if !info.protocol_version.has_initialize() {
            let (peer, gone) = (peer.clone(), gone.clone());
            let capabilities = info.capabilities.clone();
            let listening = async move {
                let tell = |notification| ours.hear(notification);
                let again = || lists_changed(&capabilities).into_iter().for_each(tell);
                listen(&peer, wanted, tell, again).await;
            };
            tokio::spawn(async move { gone.run_until_cancelled(listening).await });
        }
        let places = Semaphore::new(REQUESTS);
        Self { peer, info, gone, stop, places, origin }
    }

    /// What it says of itself.
    pub(crate) fn info(&self) -> &InitializeResult {
        &self.info
    }

    /// Whether it speaks the revision without sessions.
    pub(crate) fn is_stateless(&self) -> bool {
        !self.info.protocol_version.has_initialize()
    }

    /// The revisions in which it can be asked: others than its own are put into its words.
    pub(crate) fn versions(&self) -> Vec<ProtocolVersion> {
        ProtocolVersion::known_up_to(&self.info.protocol_version).to_vec()
    }

    /// Its tools; none if it says that it has none.
    pub(crate) async fn tools(&self) -> Result<Vec<Tool>, ErrorData> {
        listing::tools(&self.peer, self.info.capabilities.tools.is_some()).await
    }

    /// Makes a request.
    pub(crate) async fn request<P, F>(
        &self,
        request: Call,
        progress: Option<P>,
        taken_back: impl Future<Output = ()>,
    ) -> Result<ServerResult, ErrorData>
    where
        P: FnMut(ProgressNotificationParam) -> F,
        F: Future<Output = ()>,
    {
        let Ok(_place) = self.places.try_acquire() else {
            let what = format!("the server works on {REQUESTS} requests already");
            return Err(fault(Fault::Busy, what));
        };
        call(&self.peer, request, progress, taken_back).await.map_err(not_there)
    }

    /// Ends it, and says how it has ended.
    pub(crate) async fn end(&self) -> String {
        self.stop.cancel();
        match &self.origin {
            Origin::Process(process) => format!("it ended: {}", process.lock().await.end().await),
            Origin::Http(reached) => {
                // The server is told, if it can be.
                let _ = tokio::time::timeout(FAREWELL, self.gone.cancelled()).await;
                let why = reached.why_not();
                why.unwrap_or_else(|| "it has ended the session".into())
            }
        }
    }
}

/// What cannot be reached on our way to it is the server, not the broker.
fn not_there(error: ErrorData) -> ErrorData {
    if fault_of(&error) != Some(Fault::Unreachable) {
        return error;
    }
    tracing::debug!(error = &*error.message, "the server did not take a request");
    fault(Fault::Gone, "the server cannot be reached now, or does not answer as MCP's do")
}

fn silent(server: &Exposed) -> Error {
    Error::Silent { server: server.name(), after: START_TIMEOUT }
}

/// Why there is no session.
enum NotBegun {
    Silent,
    Failed(String),
}

async fn begin<T: Transport<RoleClient> + 'static>(
    transport: T,
    ours: OurSide,
    lifecycle: ClientLifecycleMode,
    stop: &CancellationToken,
) -> Result<RunningService<RoleClient, OurSide>, NotBegun> {
    let transport = InOrder::new(transport);
    let begun = serve_client_with_lifecycle_and_ct(ours, transport, lifecycle, stop.clone());
    match tokio::time::timeout(START_TIMEOUT, begun).await {
        Ok(Ok(running)) => Ok(running),
        Ok(Err(error)) => Err(NotBegun::Failed(error.to_string())),
        Err(_) => Err(NotBegun::Silent),
    }
}

/// That the lists a server has may be others than before.
fn lists_changed(has: &ServerCapabilities) -> Vec<ServerNotification> {
    let mut all = Vec::new();
    if has.tools.is_some() {
        all.push(ServerNotification::ToolListChangedNotification(Default::default()));
    }
    if has.prompts.is_some() {
        all.push(ServerNotification::PromptListChangedNotification(Default::default()));
    }
    if has.resources.is_some() {
        all.push(ServerNotification::ResourceListChangedNotification(Default::default()));
    }
    all
}

/// Asks a server from time to time whether it is there: nothing else tells while nobody calls.
async fn look_after(peer: Peer<RoleClient>, reached: Reached, gone: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = gone.cancelled() => return,
        }
        let mut ping = Call::new(PingRequest::default().into());
        ping.timeout = PING_TIMEOUT;
        // An error that it says itself is an answer.
        if let Err(error) = plain_call(&peer, ping).await
            && fault_of(&error).is_some()
        {
            reached.lose(format!("it does not answer: {}", error.message));
        }
    }
}

fn server_info<S>(
    running: &RunningService<RoleClient, S>,
    server: &Exposed,
) -> Option<InitializeResult>
where
    S: Service<RoleClient>,
{
    let info = running.peer_info()?;
    let mut result = InitializeResult::new(info.capabilities.clone());
    result.protocol_version = info.protocol_version.clone();
    // The newest revision lets a server leave it out.
    let told = info.server_info.clone();
    result.server_info = told.unwrap_or_else(|| Implementation::new(server.name(), ""));
    result.instructions.clone_from(&info.instructions);
    result.meta.clone_from(&info.meta);
    Some(result)
}

/// Our side of the session with the server.
fn ours(notices: mpsc::Sender<ServerNotification>) -> OurSide {
    OurSide::new(move |notification| {
        if notices.try_send(notification).is_err() {
            tracing::warn!("notification of the server dropped: too many wait");
        }
    })
}

/// How long a server may take to answer `initialize`: some programs fetch themselves first.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How often a server that is reached by HTTP is asked whether it is there.
const LOOK: Duration = Duration::from_secs(30);

/// How long the end of a session may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Requests that a server works on at once. Further ones get an error.
const REQUESTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_be_reached_is_the_server() {
        for (came, told) in [
            (Fault::Unreachable, Fault::Gone),
            (Fault::Busy, Fault::Busy),
            (Fault::TooLarge, Fault::TooLarge),
        ] {
            let error = not_there(fault(came, "Client(some::Type)"));
            assert_eq!(fault_of(&error), Some(told));
            assert_eq!(error.message.contains("::"), came == told, "{error:?}");
        }
    }
}
