//! The socket side of one connection.

use agentmq_net::Link;
use agentmq_session::Time;

use crate::isolation::guard_link;

/// One socket. Small, because idle ones are many: it holds bytes only of a packet that has not
/// arrived whole.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) link: Link,
    /// The beginning of a packet.
    pub(crate) partial: Vec<u8>,
    pub(crate) generation: u32,
    /// The listener that it came through.
    pub(crate) door: u16,
    /// The listener is shard 0's, and this is another shard.
    pub(crate) is_handed_over: bool,
    pub(crate) phase: Phase,
    /// The socket has taken nothing since then.
    pub(crate) blocked_since: Option<Time>,
    /// Its client has published as much as it may, or waits for a verdict: not read until then.
    pub(crate) paused_until: Option<Time>,
    /// Stands in the list of connections to read again in the next turn.
    pub(crate) reads_again: bool,
    /// Among those who catch up and are read behind others.
    pub(crate) is_behind: bool,
    /// Among the connections whose queues have more to send.
    pub(crate) is_unfinished: bool,
    /// Writing has failed: what is sent to it is dropped, what it sent is still read.
    pub(crate) write_failed: bool,
}

/// How far a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing or part of a CONNECT has arrived.
    Connecting,
    /// CONNECT has been handed to the router.
    Open,
    /// Everything is written and the sending side is shut. What still arrives is read and dropped,
    /// so that the peer gets our last packet instead of a reset.
    Lingering,
}

impl Conn {
    pub(crate) fn new(link: Link, generation: u32, door: u16) -> Self {
        Self {
            link,
            partial: Vec::new(),
            generation,
            door,
            is_handed_over: false,
            phase: Phase::Connecting,
            blocked_since: None,
            paused_until: None,
            reads_again: false,
            is_behind: false,
            is_unfinished: false,
            write_failed: false,
        }
    }

    /// Shuts the sending side. What is written before still arrives.
    pub(crate) fn shutdown(&mut self) {
        // One that panics is dropped by whoever closes it.
        let _ = guard_link(|| {
            self.link.shutdown();
            Ok(())
        });
    }
}
