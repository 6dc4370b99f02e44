//! `[session]`: pauses before queued and retained messages, and the policy of a full queue.

use crate::value::choices;

/// `[session]`: what a client finds when it comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Milliseconds after CONNACK in which a resumed session gets nothing from its queue.
    pub hold_on_resume_ms: u32,
    /// Milliseconds between SUBACK and the first retained message.
    pub retained_gap_ms: u32,
    /// Whether QoS 0 messages wait for absent clients too.
    pub queue_qos0_messages: bool,
    /// What gives way when a session's queue is full.
    pub queue_policy: QueuePolicy,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            hold_on_resume_ms: 0,
            retained_gap_ms: 10,
            queue_qos0_messages: false,
            queue_policy: QueuePolicy::DropOldest,
        }
    }
}

/// What gives way when a session's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueuePolicy {
    /// The oldest messages, which are counted.
    DropOldest,
}

choices!(QueuePolicy { "drop_oldest" => DropOldest });
