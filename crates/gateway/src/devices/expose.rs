//! A server of devices on the bus.

use std::sync::Arc;

use agentmq_client::{Error as MqttError, Options};
use agentmq_sdk::mcp::ServerConfig;
use agentmq_sdk::tools::Context;
use rmcp::model::{CallToolRequestParams, CallToolResult, ErrorData, Tool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::call::Running;
use super::file::Devices;
use super::handler::DeviceServer;
use super::topics::Topics;
use crate::agent_side::{Offer, Soon, offer_to_agents};
use crate::binding::Binding;
use crate::expose::{FAREWELL, Happening, agent_side, by_several, connect};
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
    /// By which bindings.
    pub binding: Binding,
    /// Where the topics of MQTT.Agent are.
    pub namespace: String,
    /// The broker. The devices have a connection of their own there; its client id is that of these
    /// options with `:devices`, or the broker's choice. So has MQTT.Agent's binding, with `:tools`.
    pub options: Options,
}

impl Offer for Running {
    fn tools(&self) -> Soon<'_, Vec<Tool>> {
        let tools = self.tools.iter().map(|tool| tool.tool.clone()).collect();
        Box::pin(std::future::ready(Ok(tools)))
    }

    fn call(
        self: Arc<Self>,
        params: CallToolRequestParams,
        _: Context,
        taken_back: CancellationToken,
    ) -> Soon<'static, CallToolResult> {
        Box::pin(async move {
            let arguments = params.arguments.unwrap_or_default();
            tokio::select! {
                result = self.as_ref().call(&params.name, arguments) => result,
                () = taken_back.cancelled() => {
                    Err(ErrorData::internal_error("the request was taken back", None))
                }
            }
        })
    }
}

/// Puts the tools on the bus, and keeps them there until `stop` is ready.
pub async fn expose_devices(
    config: ExposeDevices,
    stop: impl Future<Output = ()>,
    report: impl FnMut(Happening),
) -> Result<(), Error> {
    let report = by_several(report);
    let report = &report;
    let ExposeDevices { devices, name, description, binding, namespace, options } = config;
    let mut to_devices = options.clone();
    if !to_devices.client_id.is_empty() {
        to_devices.client_id.push_str(":devices");
    }
    let (topics, messages) = Topics::connect(to_devices).await.map_err(BusError::from)?;
    let hearing = topics.clone();
    let mut listening = tokio::spawn(async move { hearing.run(messages).await });
    let running = Arc::new(Running::new(devices.tools, topics.clone()));
    let named = ServerConfig {
        name: name.or(devices.name).unwrap_or_else(|| DEFAULT_NAME.into()),
        description: description.or(devices.description).unwrap_or_default(),
        ..ServerConfig::default()
    };
    let own_name = named.name.clone();
    let (mcp, refused) = Box::pin(connect(binding, &options, named, report)).await?;
    let (server, acceptor) = mcp.unzip();
    let agent = agent_side(&options, &namespace, server.as_ref(), &own_name);
    let service = DeviceServer(running.clone());
    let accepted = async {
        match acceptor {
            Some(acceptor) => acceptor.run(move |_| service.clone()).await,
            None => std::future::pending().await,
        }
    };
    let announced = async {
        if let Some(server) = &server {
            server.online().await;
            report(Happening::Online { instance: server.instance().clone() });
        }
        std::future::pending::<()>().await;
    };
    let ending = CancellationToken::new();
    let (_offer, offering) = watch::channel(Some(running as Arc<dyn Offer>));
    let offered = offer_to_agents(binding, agent, offering, refused, ending.clone(), report);
    let mut offered = Box::pin(offered);
    tokio::pin!(accepted);
    let ended: Result<(), Error> = tokio::select! {
        () = stop => Ok(()),
        () = announced => Ok(()),
        ended = &mut accepted => Err(ended.into()),
        ended = &mut offered => ended,
        error = &mut listening => Err(BusError::from(error.unwrap_or(MqttError::Closed)).into()),
    };
    ending.cancel();
    if ended.is_ok() {
        if binding.has_agent() {
            let _ = tokio::time::timeout(FAREWELL, offered).await;
        }
        if let Some(server) = &server {
            tokio::join!(server.close(), accepted);
        }
    }
    topics.client.disconnect().await;
    ended
}

/// The name of a server that has none.
const DEFAULT_NAME: &str = "devices";
