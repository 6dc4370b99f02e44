//! What other threads may ask of a shard.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use agentmq_net::Link;
use agentmq_router::Settings;
use mio::Waker;

use crate::workers::Verdict;

/// A request to a shard. None of them waits for an answer.
#[derive(Debug)]
pub enum Command {
    /// Takes over new settings.
    Reconfigure {
        /// Protocol settings and limits.
        settings: Arc<Settings>,
        /// Seconds between `$SYS` publications; 0 turns them off.
        sys_interval_secs: u32,
    },
    /// Takes over a connection as if it had been accepted: for shard 0, where the others are.
    Adopt {
        /// The connection.
        link: Link,
        /// The number of its door in the settings, which has no listener.
        door: u16,
    },
    /// What came out of a connection's work.
    Verdict(Verdict),
    /// Tells every client that the server shuts down (0x8B), writes what it can, and ends.
    Drain,
}

/// The door to a shard on another thread. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ShardHandle {
    pub(crate) commands: Sender<Command>,
    pub(crate) waker: Arc<Waker>,
}

impl ShardHandle {
    /// Puts a command in the shard's queue and wakes it. A shard that has ended ignores it.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok()
            && let Err(error) = self.waker.wake()
        {
            tracing::warn!(%error, "a shard could not be woken; it reads the command later");
        }
    }
}
