//! Listeners and links: bytes in, bytes out, for an edge-triggered event loop on `mio`.
//!
//! A [`Link`] hides how the bytes travel: plain TCP, a Unix socket, TLS, WebSocket, both of these,
//! and an optional PROXY protocol header in front. `shard` owns the event loop, accepts from
//! [`Listener`]s and drives the links; `broker` builds [`ListenerOptions`]. Nothing here waits,
//! spawns or looks at the clock: how long a peer may take is the caller's matter.
//!
//! This crate must not know MQTT: no packet, topic or session ever appears here. It is one of the
//! few crates that may use `rustls`, whose types stay private.
#![deny(unsafe_code)]

mod endpoint;
mod error;
mod layered;
mod link;
mod listener;
mod peer;
mod proxy_header;
mod socket;
mod source_network;
mod tls_server;
mod tls_stream;
mod unix_credentials;
mod unix_socket;
mod unsent;
mod websocket;
mod wire;
mod ws_frame;
mod ws_upgrade;

pub use endpoint::Endpoint;
pub use error::NetError;
pub use link::{Link, Read};
pub use listener::{Listener, ListenerOptions, ProxyPolicy, should_pause_accepting};
pub use peer::{LinkKind, PeerInfo, TlsPeer, UnixCredentials};
pub use proxy_header::{ProxyHeader, ProxyHeaderError};
pub use source_network::SourceNetwork;
pub use tls_server::{ClientCertificates, TlsFiles, TlsServer};
pub use websocket::WebSocketOptions;
pub use ws_frame::{CloseCode, Decoded, FrameDecoder, FrameError, Opcode, encode_frame_header};
pub use ws_upgrade::{AllowedOrigins, Upgrade, UpgradeError, UpgradeRules, upgrade};
