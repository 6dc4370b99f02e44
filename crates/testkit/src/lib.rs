//! What the whole-process scenarios in `tests/scenarios` are written with: a [`Broker`] is the real
//! binary in a temporary folder, a [`RawClient`] speaks MQTT packet by packet over any transport.
//!
//! [`instructions`] is what the benches of single crates share.
//!
//! Everything here waits for events and panics when one does not come within [`PATIENCE`], with
//! what the broker has written to its log. Only tests use it; it knows the command line and the
//! codec, nothing of the broker's inside.
#![forbid(unsafe_code)]

mod broker;
mod free_port;
mod instructions;
mod open_files;
mod process_gauges;
mod raw_client;
mod received;
mod transport;
mod websocket;

pub use agentmq_codec as codec;
pub use broker::{Broker, PATIENCE};
pub use free_port::free_port;
pub use instructions::{Case, instructions};
pub use open_files::raise_open_files;
pub use process_gauges::ProcessGauges;
pub use raw_client::{RawClient, connect_packet};
pub use received::Received;
pub use rustix::process::Signal;
pub use transport::{Transport, connect_from, connect_with_small_buffer, reset};
pub use websocket::WebSocket;
