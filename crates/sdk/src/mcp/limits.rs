//! Every bound of this module, with what happens beyond it.

use std::time::Duration;

/// Bytes of one JSON-RPC message. The broker is told (Maximum Packet Size) and keeps larger ones;
/// a larger answer of ours becomes an error.
pub const MESSAGE_BYTES: usize = 16 << 20;

/// Bytes of an online message. A larger one counts as not sent.
pub const ONLINE_BYTES: usize = 64 << 10;

/// Server instances that a client remembers. Further ones are dropped and counted.
pub const INSTANCES: usize = 10_000;

/// Bytes that all of them take, about ([`crate::weight`]). What would exceed it is dropped and
/// counted.
pub const DIRECTORY_BYTES: usize = 32 << 20;

/// Sessions of one server. Further clients get an error.
pub const SESSIONS: usize = 1000;

/// Requests of one peer that are being worked on. Further ones get an error.
pub const OPEN_REQUESTS: usize = 256;

/// Messages that wait for one session. Beyond it requests get an error, the rest is dropped and
/// counted.
pub const WAITING_MESSAGES: usize = 256;

/// Bytes of the messages that wait for one session, with the same policy. A single message of any
/// allowed size is always taken.
pub const WAITING_BYTES: usize = 32 << 20;

/// Messages that wait to be published on one connection. Beyond it senders wait.
pub const OUTBOX: usize = 1024;

/// Progress notifications that wait for whoever made the call. Further ones are dropped: the next
/// one says more.
pub const WAITING_PROGRESS: usize = 64;

/// How long `initialize` may take.
pub const INITIALIZE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a request may take, unless [`request_timeout`] knows it better.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a request that works may take; every progress notification starts the time anew.
pub const WORK_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the answer to `ping` may take.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client waits, at most, for the retained presence of all servers.
pub const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may be away: the broker keeps its messages so long, and does not tell servers
/// that it is gone. Enough for a network that changes and a few attempts to come back; whoever does
/// not come back has servers work in vain no longer than that.
pub const AWAY: Duration = Duration::from_secs(15);

/// How long a client that is back waits for the mark behind the retained presence. Without it the
/// servers that went meanwhile are not known.
pub const MARK_PATIENCE: Duration = Duration::from_secs(30);

/// How long the retained presence may take to come in behind what was to mark its end, before a
/// server that has none counts as gone: some brokers send retained messages in their own time.
pub const PRESENCE_PATIENCE: Duration = Duration::from_secs(2);

/// Requests that a side of a session remembers, to know one that comes twice.
pub const RECENT_REQUESTS: usize = 256;

/// Bytes of what tells them apart. Longer Correlation Data, or a longer identifier, tells nothing.
pub const CORRELATION_BYTES: usize = 64;

/// How long a server keeps what it knows of a client without a handshake that asks nothing.
pub const IDLE: Duration = Duration::from_secs(30);

/// After what time a server says that it has a request that any instance might have taken.
pub const TAKEN_AFTER: Duration = Duration::from_millis(50);

/// How long a client waits for that word, or an answer, before it takes the request to be lost with
/// an instance that has gone, or the broker to be one that does not deliver such requests.
pub const TAKEN_PATIENCE: Duration = Duration::from_secs(2);

/// Requests that were taken back before it was known who has them, of one client. Beyond it the
/// oldest are forgotten: who has them works in vain.
pub const TAKEN_BACK: usize = 256;

/// The default time limit of a method, as the binding has it.
#[must_use]
pub fn request_timeout(method: &str) -> Duration {
    match method {
        "ping" => PING_TIMEOUT,
        "tools/call" | "completion/complete" | "sampling/createMessage" => WORK_TIMEOUT,
        _ => REQUEST_TIMEOUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// M-C5.
    #[test]
    fn each_method_has_its_time() {
        let seconds = |method| request_timeout(method).as_secs();
        assert_eq!((INITIALIZE_TIMEOUT.as_secs(), seconds("ping")), (30, 10));
        for method in ["tools/list", "resources/read", "prompts/get", "logging/setLevel"] {
            assert_eq!(seconds(method), 30, "{method}");
        }
        for method in ["tools/call", "completion/complete", "sampling/createMessage"] {
            assert_eq!(seconds(method), 60, "{method}");
        }
    }
}
