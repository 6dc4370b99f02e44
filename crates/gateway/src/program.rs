//! A stdio MCP server as a child process.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

use crate::Error;
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

/// The process and those that it has started: `npx` and its like leave the work to others.
#[derive(Debug)]
pub(crate) struct Process {
    child: tokio::process::Child,
    group: Option<Pid>,
}

impl Process {
    /// Starts the program. What it prints on standard error goes to our log.
    pub(crate) fn spawn(
        program: &Program,
    ) -> Result<(Self, impl Transport<RoleClient> + 'static), Error> {
        let mut command = Command::new(&program.program);
        command.args(&program.arguments);
        // What lets us in elsewhere is none of its business.
        command.env_remove("AGENTMQ_PASSWORD").env_remove("AGENTMQ_HTTP_TOKEN");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C is ours to pass on, and its children end with it.
        command.process_group(0).kill_on_drop(true);
        let mut child =
            command.spawn().map_err(|source| Error::Start { program: program.path(), source })?;
        let pipes = (child.stdout.take(), child.stdin.take());
        let (Some(stdout), Some(stdin)) = pipes else {
            return Err(Error::NoMcp { server: program.name(), why: "it has no pipes".into() });
        };
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(log_lines(program.name(), stderr));
        }
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let transport = AsyncRwTransport::<RoleClient, _, _>::new(stdout, stdin);
        Ok((Self { child, group }, transport))
    }

    /// Why no session began: a program that has ended is the better reason.
    pub(crate) async fn explain(&mut self, program: String, why: String) -> Error {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) => Error::Ended { program, how: status.to_string() },
            _ => Error::NoMcp { server: program, why },
        }
    }

    /// Ends it, whose input is closed, and is less polite each time that it does not end.
    pub(crate) async fn end(&mut self) -> String {
        for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
            if let (Some(group), Some(signal)) = (self.group, signal) {
                let _ = kill_process_group(group, signal);
            }
            match tokio::time::timeout(PATIENCE, self.child.wait()).await {
                Ok(Ok(status)) => {
                    self.end_group();
                    return status.to_string();
                }
                Ok(Err(error)) => return error.to_string(),
                Err(_) => {}
            }
        }
        "it does not end".into()
    }

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

/// How long a program has to end after each hint.
const PATIENCE: Duration = Duration::from_secs(2);
