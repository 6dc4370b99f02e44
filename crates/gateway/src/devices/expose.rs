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
use crate::agent_side::{Offer, Soon};
use crate::binding::Binding;
use crate::happening::{Happening, by_several};
use crate::on_bus::{Place, connect};
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
    let place = Place { binding, options: &options, namespace: &namespace };
    let service = DeviceServer(running.clone());
    let (_offer, offering) = watch::channel(Some(running as Arc<dyn Offer>));
    let mut on_bus = connect(place, named, move |_| service.clone(), offering, &report).await?;
    let server = on_bus.server();
    let work = async {
        if let Some(server) = &server {
            server.online().await;
            report(Happening::Online { instance: server.instance().clone() });
        }
        let error = (&mut listening).await.unwrap_or(MqttError::Closed);
        Err(BusError::from(error).into())
    };
    let work = async {
        tokio::select! {
            ended = work => ended,
            () = stop => Ok(()),
        }
    };
    let ended = on_bus.serve(work).await;
    if ended.is_ok() {
        on_bus.withdraw().await;
        on_bus.close().await;
    }
    topics.client.disconnect().await;
    ended
}

/// The name of a server that has none.
const DEFAULT_NAME: &str = "devices";
