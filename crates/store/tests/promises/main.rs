//! What router, store and log promise together, one promise at a time.

mod broker;
mod data_directory;
mod either_engine;
mod on_disk;
mod recording;
