//! A stdio MCP server as a child process.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use agentmq_sdk::mcp::{Call, InOrder, call};
use rmcp::RoleClient;
use rmcp::model::{
    ClientResult, ErrorData, Implementation, InitializeRequestParams, InitializeResult,
    ProgressNotificationParam, ProtocolVersion, ServerNotification, ServerRequest, ServerResult,
    Tool,
};
use rmcp::service::{
    ClientLifecycleMode, NotificationContext, Peer, RequestContext, RunningService, Service,
    serve_client_with_lifecycle_and_ct,
};
use rmcp::transport::async_rw::AsyncRwTransport;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::client_side::{answer_server, our_info};
use crate::listening::{Wanted, listen};
use crate::listing;
use crate::stderr_log::log_lines;

/// A command: never given to a shell.
#[derive(Debug, Clone)]
pub struct Program {
    /// Name or path of the program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// The program's name without its path, for people.
    #[must_use]
    pub fn name(&self) -> String {
        let path = std::path::Path::new(&self.program);
        path.file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

    fn path(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }
}

/// A program that runs and has said what it offers.
#[derive(Debug)]
pub(crate) struct Child {
    peer: Peer<RoleClient>,
    info: InitializeResult,
    /// Cancelled when it talks no more.
    pub(crate) gone: CancellationToken,
    stop: CancellationToken,
    places: Semaphore,
    process: tokio::sync::Mutex<Process>,
}

/// The process and those that it has started: `npx` and its like leave the work to others.
#[derive(Debug)]
struct Process {
    child: tokio::process::Child,
    group: Option<Pid>,
}

impl Child {
    /// Starts a program and finds out what it offers: in the newest revision if it knows that, else
    /// in a session. What it tells by itself goes to `notices`, and what it tells of resources is
    /// about those that are wanted.
    pub(crate) async fn start(
        program: &Program,
        notices: mpsc::Sender<ServerNotification>,
        wanted: watch::Receiver<Wanted>,
    ) -> Result<Self, Error> {
        let newest = vec![ProtocolVersion::NO_INITIALIZE];
        let ask = ClientLifecycleMode::Auto { preferred_versions: newest, legacy_version: None };
        match Box::pin(Self::begin(program, notices.clone(), wanted.clone(), ask)).await {
            // Some end when the first thing that they are asked is none that they know.
            Err(Error::Ended { .. } | Error::NoMcp { .. }) => {
                let initialize = ClientLifecycleMode::Initialize;
                Box::pin(Self::begin(program, notices, wanted, initialize)).await
            }
            begun => begun,
        }
    }

    async fn begin(
        program: &Program,
        notices: mpsc::Sender<ServerNotification>,
        wanted: watch::Receiver<Wanted>,
        lifecycle: ClientLifecycleMode,
    ) -> Result<Self, Error> {
        let name = program.name();
        let mut process = Process::spawn(program)?;
        let pipes = (process.child.stdout.take(), process.child.stdin.take());
        let (Some(stdout), Some(stdin)) = pipes else {
            return Err(Error::NoMcp { program: name, why: "it has no pipes".into() });
        };
        if let Some(stderr) = process.child.stderr.take() {
            tokio::spawn(log_lines(name.clone(), stderr));
        }
        let transport = InOrder::new(AsyncRwTransport::<RoleClient, _, _>::new(stdout, stdin));
        let stop = CancellationToken::new();
        let ours = Notices(notices.clone());
        let begun = serve_client_with_lifecycle_and_ct(ours, transport, lifecycle, stop.clone());
        let running = match tokio::time::timeout(START_TIMEOUT, begun).await {
            Ok(Ok(running)) => running,
            Ok(Err(error)) => return Err(process.explain(name, error.to_string()).await),
            Err(_) => return Err(Error::Silent { program: name, after: START_TIMEOUT }),
        };
        let Some(info) = server_info(&running, &name) else {
            return Err(Error::NoMcp { program: name, why: "it does not say what it is".into() });
        };
        let (peer, gone) = (running.peer().clone(), CancellationToken::new());
        let ending = gone.clone();
        tokio::spawn(async move {
            let _ = running.waiting().await;
            ending.cancel();
        });
        if !info.protocol_version.has_initialize() {
            let (peer, gone) = (peer.clone(), gone.clone());
            let tell = move |notification| Notices(notices.clone()).put(notification);
            let listening = async move { listen(&peer, wanted, tell, || {}).await };
            tokio::spawn(async move { gone.run_until_cancelled(listening).await });
        }
        let places = Semaphore::new(REQUESTS);
        Ok(Self { peer, info, gone, stop, places, process: process.into() })
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
            return Err(agentmq_sdk::mcp::fault(agentmq_sdk::mcp::Fault::Busy, what));
        };
        call(&self.peer, request, progress, taken_back).await
    }

    /// Ends it: closes its input, and is less polite each time that it does not end.
    pub(crate) async fn end(&self) -> String {
        self.stop.cancel();
        let mut process = self.process.lock().await;
        for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
            if let (Some(group), Some(signal)) = (process.group, signal) {
                let _ = kill_process_group(group, signal);
            }
            match tokio::time::timeout(PATIENCE, process.child.wait()).await {
                Ok(Ok(status)) => {
                    process.end_group();
                    return status.to_string();
                }
                Ok(Err(error)) => return error.to_string(),
                Err(_) => {}
            }
        }
        "it does not end".into()
    }
}

impl Process {
    fn spawn(program: &Program) -> Result<Self, Error> {
        let mut command = Command::new(&program.program);
        command.args(&program.arguments);
        // What lets us in to the broker is none of its business.
        command.env_remove("AGENTMQ_PASSWORD");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C is ours to pass on, and its children end with it.
        command.process_group(0).kill_on_drop(true);
        let child =
            command.spawn().map_err(|source| Error::Start { program: program.path(), source })?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child, group })
    }

    /// Why no session began: a program that has ended is the better reason.
    async fn explain(&mut self, program: String, why: String) -> Error {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) => Error::Ended { program, how: status.to_string() },
            _ => Error::NoMcp { program, why },
        }
    }
}

impl Process {
    /// Ends what the program has left behind.
    fn end_group(&mut self) {
        if let Some(group) = self.group.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_group();
    }
}

fn server_info<S>(running: &RunningService<RoleClient, S>, name: &str) -> Option<InitializeResult>
where
    S: Service<RoleClient>,
{
    let info = running.peer_info()?;
    let mut result = InitializeResult::new(info.capabilities.clone());
    result.protocol_version = info.protocol_version.clone();
    // The newest revision lets a server leave it out.
    let told = info.server_info.clone();
    result.server_info = told.unwrap_or_else(|| Implementation::new(name, ""));
    result.instructions.clone_from(&info.instructions);
    result.meta.clone_from(&info.meta);
    Some(result)
}

/// Our side of the session with the program.
#[derive(Debug)]
struct Notices(mpsc::Sender<ServerNotification>);

impl Notices {
    fn put(&self, notification: ServerNotification) {
        if self.0.try_send(notification).is_err() {
            tracing::warn!("notification of the server dropped: too many wait");
        }
    }
}

impl Service<RoleClient> for Notices {
    async fn handle_request(
        &self,
        request: ServerRequest,
        _: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        answer_server(&request)
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        _: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        self.put(notification);
        Ok(())
    }

    fn get_info(&self) -> InitializeRequestParams {
        our_info()
    }
}

/// How long a program may take to answer `initialize`: some fetch themselves first.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a program has to end after each hint.
const PATIENCE: Duration = Duration::from_secs(2);

/// Requests that a program works on at once. Further ones get an error.
const REQUESTS: usize = 1024;
