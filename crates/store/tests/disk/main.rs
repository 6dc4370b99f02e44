//! The store and its disk: too little room, looking at what is there, and copies of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

mod backup;
mod inspection;
mod read_back;
mod room;
mod shard;
