//! The name of a server, which the broker may give it.

use agentmq_agents::mcp::{SERVER_NAME, check_server_name};
use agentmq_client::{Messages, Options, QoS, Will};

use super::link::Link;
use super::wire::{Component, Stamp};
use super::{Error, Instance, ServerConfig};

/// Connects with a will for the right presence topic. Only CONNACK tells the name that the broker
/// assigns; whoever gets one connects again, since the will of the first connection would clear
/// another topic.
pub(super) async fn connect_named(
    options: Options,
    config: &mut ServerConfig,
) -> Result<(Link, Messages), Error> {
    let mut last = false;
    loop {
        let mut named = options.clone();
        let instance = Instance::new(&named.client_id, &config.name)?;
        named.will = Some(Will {
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: stamp_of(&named),
            ..Will::new(instance.presence(), "")
        });
        let (link, messages) = Link::connect(named, Component::Server).await?;
        let assigned = link.client.server().user_property(SERVER_NAME).map(str::to_owned);
        match assigned.filter(|name| *name != config.name) {
            None => return Ok((link, messages)),
            Some(name) if last => {
                link.client.disconnect().await;
                return Err(Error::Renamed { from: config.name.clone(), to: name });
            }
            Some(name) => {
                link.client.disconnect().await;
                check_server_name(&name)?;
                tracing::info!(name, "the broker has assigned another name");
                config.name = name;
                last = true;
            }
        }
    }
}

fn stamp_of(options: &Options) -> agentmq_client::PropertiesBuf {
    let client_id = options.client_id.as_str().into();
    Stamp { component: Component::Server, client_id }.properties()
}
