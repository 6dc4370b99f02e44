//! A server of devices on the bus.

use std::sync::Arc;

use agentmq_client::Options;
use agentmq_sdk::mcp::{self, Server, ServerConfig};

use super::call::Running;
use super::file::Devices;
use super::handler::DeviceServer;
use super::topics::Topics;
use crate::expose::Happening;
use crate::{BusError, Error};

/// Which devices to expose, and how.
#[derive(Debug)]
pub struct ExposeDevices {
    /// The tools.
    pub devices: Devices,
    /// The server-name; else the file's, else `devices`.
    pub name: Option<String>,
    /// A line about it for people; else the file's.
    pub description: Option<String>,
    /// The broker. The devices have a connection of their own there; its client id is that of these
    /// options with `-devices`, or the broker's choice.
    pub options: Options,
}

/// Puts the tools on the bus, and keeps them there until `stop` is ready.
pub async fn expose_devices(
    config: ExposeDevices,
    stop: impl Future<Output = ()>,
    mut report: impl FnMut(Happening),
) -> Result<(), Error> {
    let ExposeDevices { devices, name, description, options } = config;
    let mut to_devices = options.clone();
    if !to_devices.client_id.is_empty() {
        to_devices.client_id.push_str("-devices");
    }
    let (topics, messages) = Topics::connect(to_devices).await.map_err(BusError::from)?;
    let running = Arc::new(Running::new(devices.tools, topics.clone()));
    let named = ServerConfig {
        name: name.or(devices.name).unwrap_or_else(|| DEFAULT_NAME.into()),
        description: description.or(devices.description).unwrap_or_default(),
        ..ServerConfig::default()
    };
    let (server, acceptor) = Box::pin(Server::connect(options, named)).await?;
    let service = DeviceServer(running);
    let mut accepting = tokio::spawn(acceptor.run(move |_| service.clone()));
    server.online().await;
    report(Happening::Online { instance: server.instance().clone() });
    let listening = topics.clone();
    let ended = tokio::select! {
        () = stop => Ok(()),
        ended = &mut accepting => Err(ended.unwrap_or(mcp::Error::Closed)),
        error = listening.run(messages) => Err(error.into()),
    };
    if ended.is_ok() {
        server.close().await;
    }
    topics.client.disconnect().await;
    Ok(ended?)
}

/// The name of a server that has none.
const DEFAULT_NAME: &str = "devices";
