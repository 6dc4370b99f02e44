//! The audit log: who came, what was refused, and who changed what others may do. Each row is a
//! line of JSON in a chain of hashes, and safe on the disk before what it tells is answered.
//!
//! Shards put rows down through [`ShardTrail`]; the broker, the token service and commands through
//! [`Trail`] and [`Appender`]. [`verify`] says where the chain is broken, [`Rows`] reads it.
#![forbid(unsafe_code)]

mod appender;
mod chain;
mod folder;
mod inbox;
mod reading;
mod refusal_budget;
mod row;
mod shard_trail;
mod trail;
mod verify;
mod wall_time;
mod writer;

pub use appender::{Appender, Bounds};
pub use chain::{Hash, Head, NoHead};
pub use reading::{RowOfFile, Rows};
pub use row::{Row, digest};
pub use shard_trail::ShardTrail;
pub use trail::{Settings, Trail, TrailError};
pub use verify::{Broken, Verified, verify};
pub use wall_time::stamp;
pub use writer::{Waker, Writer};
