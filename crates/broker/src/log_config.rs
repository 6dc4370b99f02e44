//! Log level and log format.

use crate::value::choices;

/// `[log]`: what the broker writes about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// The least severe line that is written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// Severity of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed that the broker cannot mend.
    Error,
    /// Something an operator should look at.
    Warn,
    /// The life of broker and listeners.
    #[default]
    Info,
    /// The life of each connection.
    Debug,
    /// Each packet.
    Trace,
}

choices!(LogLevel {
    "error" => Error,
    "warn" => Warn,
    "info" => Info,
    "debug" => Debug,
    "trace" => Trace,
});

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

choices!(LogFormat { "text" => Text, "json" => Json });
