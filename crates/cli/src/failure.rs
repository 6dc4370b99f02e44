//! Why a command failed: what is printed and which exit code it has.

use std::process::ExitCode;

use agentmq_client::{Error, ReasonCode};

use crate::output::harmless;

/// A failed command.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) fix: Option<String>,
}

/// Exit codes, stable and documented in `agentmq --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Anything not below.
    Failed = 1,
    /// As clap uses it.
    Usage = 2,
    /// No connection, or lost.
    Connection = 3,
    /// Not authorized, or refused for another reason.
    Refused = 4,
    /// Nothing came in time, or nobody is there to answer.
    TimedOut = 5,
    /// The reader of our output went away: nothing to report.
    Pipe = 141,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into(), fix: None }
    }

    pub(crate) fn usage(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), fix: Some(fix.into()) }
    }

    pub(crate) fn with(exit: Exit, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { exit, message: message.into(), fix: Some(fix.into()) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of_client(&error)
    }
}

impl Failure {
    fn of_client(error: &Error) -> Self {
        let exit = match error.cause() {
            Error::Url { .. } | Error::Invalid(_) | Error::File { .. } => Exit::Usage,
            Error::Connect { .. } | Error::Layer { .. } | Error::Lost(_) | Error::Closed => {
                Exit::Connection
            }
            Error::Refused { reason: ReasonCode::ServerUnavailable, .. } => Exit::Connection,
            Error::Refused { .. } | Error::Rejected { .. } | Error::ServerDisconnect { .. } => {
                Exit::Refused
            }
            Error::Unsupported(_) | Error::TooLarge { .. } => Exit::Refused,
            Error::Timeout { .. } | Error::NoResponder { .. } => Exit::TimedOut,
            _ => Exit::Failed,
        };
        Self { exit, message: error.to_string(), fix: Some(error.fix().to_owned()) }
    }
}

impl From<agentmq_gateway::Error> for Failure {
    fn from(error: agentmq_gateway::Error) -> Self {
        use agentmq_gateway::{BusError, Error, ToolsError};

        let exit = match &error {
            Error::Bus(BusError::Mqtt(cause)) | Error::Tools(ToolsError::Mqtt(cause)) => {
                return Self::of_client(cause);
            }
            Error::Bus(BusError::Name(_))
            | Error::Tools(ToolsError::Name { .. })
            | Error::File { .. }
            | Error::Devices(_) => Exit::Usage,
            Error::Bus(BusError::Subscription { .. }) => Exit::Refused,
            Error::Bus(BusError::Closed) => Exit::Connection,
            Error::Bus(
                BusError::Offline(_) | BusError::Timeout { .. } | BusError::NobodyReads { .. },
            )
            | Error::Silent { .. } => Exit::TimedOut,
            _ => Exit::Failed,
        };
        // What servers and programs say of themselves goes to a terminal.
        let allowed = if matches!(error, Error::Devices(_)) { "\n" } else { "" };
        let message = harmless(&error.to_string(), allowed);
        Self { exit, message, fix: Some(error.fix().to_owned()) }
    }
}

impl From<std::io::Error> for Failure {
    /// For writing results; other I/O says what it was about.
    fn from(error: std::io::Error) -> Self {
        let exit = match error.kind() {
            std::io::ErrorKind::BrokenPipe => Exit::Pipe,
            _ => Exit::Failed,
        };
        Self { exit, message: format!("cannot write the output: {error}"), fix: None }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
