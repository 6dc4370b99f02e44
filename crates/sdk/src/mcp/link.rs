//! The connection to the broker that the sessions of a component share.

use std::sync::Arc;

use agentmq_agents::mcp::check_client_id;
use agentmq_client::{
    Client, Messages, Options, PropertiesBuf, Property, PropertyId, ProtocolVersion, ReasonCode,
};
use rmcp::model::{ErrorData, JsonRpcError, RequestId};

use super::identifier::fresh;
use super::outbox::Outbox;
use super::subscriptions::Subscriptions;
use super::wire::{Component, Stamp};
use super::{Dropped, Error, MESSAGE_BYTES};

/// One connection.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) outbox: Outbox,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) dropped: Dropped,
}

impl Link {
    /// Connects. The options' client id, session and properties become what the binding wants.
    pub(crate) async fn connect(
        options: Options,
        component: Component,
    ) -> Result<(Self, Messages), Error> {
        let client_id: Arc<str> = options.client_id.as_str().into();
        let (client, messages) = Box::pin(Client::connect(options)).await?;
        let stamp = Stamp { component, client_id };
        let link = Self {
            outbox: Outbox::start(client.clone(), stamp),
            subscriptions: Subscriptions::new(client.clone()),
            dropped: Dropped::default(),
            client,
        };
        Ok((link, messages))
    }

    /// Disconnects for good: the broker is to keep nothing for us.
    pub(crate) async fn end(&self) {
        let at_once = Property::U32(PropertyId::SessionExpiryInterval, 0);
        let properties = PropertiesBuf::new().with(at_once);
        self.client.disconnect_with(ReasonCode::NORMAL_DISCONNECTION, properties).await;
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.outbox.stamp.client_id
    }

    /// Answers a request that no session could take.
    pub(crate) fn answer_error(&self, topic: &str, id: RequestId, error: ErrorData) {
        let Ok(payload) = serde_json::to_vec(&JsonRpcError::new(Some(id), error)) else { return };
        drop(self.outbox.send(topic, payload));
    }

    /// Bytes of a payload that the broker takes.
    pub(crate) fn max_payload(&self, topic: &str) -> usize {
        let packet = self.client.server().maximum_packet_size as usize;
        packet.saturating_sub(OVERHEAD + topic.len()).min(MESSAGE_BYTES)
    }
}

/// Makes options fit for the binding: MQTT 5, a client id that can stand in topics, a session that
/// begins with us and outlives a connection by so many seconds.
pub(crate) fn prepare(
    options: &mut Options,
    component: Component,
    session_expiry: u32,
) -> Result<(), Error> {
    if !options.version.is_v5() {
        options.version = ProtocolVersion::V5;
    }
    if options.client_id.is_empty() {
        options.client_id = fresh();
    }
    check_client_id(&options.client_id)?;
    options.clean_start = true;
    options.session_expiry = session_expiry;
    options.max_packet_size = (MESSAGE_BYTES + LARGEST_HEAD) as u32;
    for property in component.connect_properties().view().iter() {
        options.properties.push(property);
    }
    Ok(())
}

/// Bytes of a PUBLISH beside topic and payload: fixed header, lengths, our two properties with a
/// client id of the largest size.
const OVERHEAD: usize = 1024 + 256;

/// The same with a topic.
const LARGEST_HEAD: usize = 8 << 10;
