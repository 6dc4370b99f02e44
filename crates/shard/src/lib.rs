//! One core of the broker: an event loop that owns its connections, reads their packets into the
//! router, and writes what the router has left for them once at the end of every turn.
//!
//! `broker` starts each [`Shard`] on a thread of its own and talks to it through its
//! [`ShardHandle`]. Shards share a [`Directory`] of what lives where, and write to each other
//! through [`Mailboxes`]. A shard knows sockets, time and the router; it never looks into a topic.
#![forbid(unsafe_code)]

mod accept;
mod catching_up;
mod clock;
mod closing;
mod command;
mod conn;
mod correspondence;
mod deadlines;
mod directory;
mod drain;
mod event_loop;
mod fair_queue;
mod flushing;
mod handoff;
mod isolation;
mod mailbox;
mod overdue;
mod placement;
mod reading;
mod refusal_lines;
mod report;
mod shard;
mod undecided;
mod verdicts;
mod workers;

pub use accept::Door;
pub use clock::Clock;
pub use command::{Command, ShardHandle};
pub use directory::Directory;
pub use mailbox::Mailboxes;
pub use placement::Placement;
pub use report::ReportBoard;
pub use shard::{Shard, ShardError, ShardOptions};
pub use workers::{Verdict, Workers};
