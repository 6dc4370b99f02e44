//! The broker's HTTP side: the token service of MQTT.Agent, the public keys, and whether all is
//! well; and what it asks others for. Runs on a thread and a runtime of its own, so that nothing
//! here holds up a message.
//!
//! `broker` starts an [`Admin`] with [`Services`], which a reload replaces. What is decided is
//! decided in `identity`; this crate speaks HTTP.
#![forbid(unsafe_code)]

mod answer;
mod doorkeeper;
mod fault_log;
mod fetch;
mod health;
mod hook_client;
mod impatient;
mod mount;
mod peer;
mod places;
mod rate;
mod server;
mod services;
mod stay;
mod tls;
mod token_routes;

pub use doorkeeper::Doorkeeper;
pub use fetch::{Fetched, Fetcher};
pub use hook_client::{HookClient, HookOptions};
pub use mount::{Mount, Visitor};
pub use server::{Admin, AdminError, AdminOptions};
pub use services::Services;
pub use tls::TlsIdentity;
