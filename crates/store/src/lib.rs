//! What survives a crash: sessions with all that waits in them, and retained messages.
//!
//! Each shard has a [`DiskEngine`], to which its router tells every change; one [`Writer`] makes
//! what has arrived from all of them durable in one commit after the other. The state that results
//! is the index of the log, and what a start after a crash begins with.
#![forbid(unsafe_code)]

mod backup;
mod bodies;
#[cfg(test)]
mod cleaning_test;
mod encoding;
mod engine;
mod inbox;
mod inspect;
#[cfg(test)]
mod model_test;
mod open;
mod record;
mod restore;
mod state;
mod store;
mod watermarks;
mod writer;

pub use agentmq_log::{Damage, Origin};
pub use backup::{Backup, backup};
pub use engine::DiskEngine;
pub use inbox::Shared;
pub use inspect::{InspectedSegment, Inspection, inspect};
pub use open::{OpenError, OpenedStore, Settings, open};
pub use restore::{Clocks, Restored};
pub use watermarks::Watermarks;
pub use writer::{Committer, Waker, Writer};
