//! One core of the broker: an event loop that owns its connections, reads their packets into the
//! router, and writes what the router has left for them once at the end of every turn.
//!
//! `broker` starts a [`Shard`] on a thread of its own and talks to it through its
//! [`ShardHandle`]. A shard knows sockets, time and the router; it never looks into a topic.
#![forbid(unsafe_code)]

mod accept;
mod clock;
mod command;
mod conn;
mod deadlines;
mod drain;
mod event_loop;
mod flushing;
mod reading;
mod report;

pub use accept::Door;
pub use clock::Clock;
pub use command::{Command, ShardHandle};
pub use event_loop::{Shard, ShardError, ShardOptions};
pub use report::ReportBoard;
