//! What can go wrong, with the cause and the way out.

use std::io;
use std::time::Duration;

use agentmq_sdk::{mcp, tools};

use crate::devices::WrongFile;

/// Every failure of this crate. `Display` names the cause, [`Error::fix`] what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bus.
    #[error(transparent)]
    Bus(#[from] mcp::Error),
    /// The bus, in MQTT.Agent's binding.
    #[error(transparent)]
    Tools(#[from] tools::Error),
    /// The program cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The program ended before it had said what it offers.
    #[error("{program} ended ({how}) before it answered initialize")]
    Ended {
        /// The program.
        program: String,
        /// Its exit status.
        how: String,
    },
    /// A file cannot be read.
    #[error("cannot read {file}: {source}")]
    File {
        /// The file.
        file: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of devices is wrong.
    #[error("{0}")]
    Devices(WrongFile),
    /// The server cannot be reached, or does not let us in.
    #[error("{url} cannot be used: {why}")]
    NotReached {
        /// Its address.
        url: String,
        /// The cause.
        why: String,
    },
    /// The server said something else than MCP, or nothing.
    #[error("{server} does not speak MCP: {why}")]
    NoMcp {
        /// Its program, or its address.
        server: String,
        /// What it did.
        why: String,
    },
    /// The server did not answer in time.
    #[error("{server} did not answer initialize within {after:?}")]
    Silent {
        /// Its program, or its address.
        server: String,
        /// How long it had.
        after: Duration,
    },
}

impl From<mcp::WrongName> for Error {
    fn from(wrong: mcp::WrongName) -> Self {
        Self::Bus(wrong.into())
    }
}

impl Error {
    /// One sentence on what to do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Bus(error) => error.fix(),
            Self::Tools(error) => error.fix(),
            Self::Start { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "install it, or give its path",
                io::ErrorKind::PermissionDenied => "make the file executable",
                _ => "see the system's answer",
            },
            Self::Ended { .. } => "run the command by itself: what it prints there is above",
            Self::File { .. } => "check the path, and that the file is text",
            Self::Devices(_) => "correct the file; docs/devices.md describes it",
            Self::NotReached { .. } => "check the address, the token, and that the server runs",
            Self::NoMcp { .. } | Self::Silent { .. } => {
                "give the command that starts the server on standard input and output, or the \
                 whole address of its endpoint"
            }
        }
    }
}
