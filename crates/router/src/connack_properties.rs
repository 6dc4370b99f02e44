//! The properties of CONNACK: what the server grants and offers (MQTT 5 §3.2.2.3).

use agentmq_codec::{Connect, PropertiesBuf, Property, PropertyId as P, QoS, varint_len};

use crate::connection::ConnectionId;
use crate::router::Router;

/// What a CONNACK tells beside the settings.
#[derive(Debug)]
pub(crate) struct ConnAckTerms<'a> {
    /// Session Expiry Interval, where it differs from the one asked for.
    pub(crate) expiry: Option<u32>,
    /// Server Keep Alive, where it differs.
    pub(crate) keep_alive: Option<u16>,
    pub(crate) assigned: Option<&'a str>,
    pub(crate) auth_data: Option<&'a [u8]>,
}

impl Router {
    /// Everything that the client should know of the server.
    pub(crate) fn connack_properties(
        &self,
        connect: &Connect<'_>,
        terms: &ConnAckTerms<'_>,
    ) -> PropertiesBuf {
        let mut properties = PropertiesBuf::new();
        if !connect.version.is_v5() {
            return properties;
        }
        let (settings, limits) = (&self.settings, &self.settings.limits);
        if let Some(expiry) = terms.expiry {
            properties.push(Property::U32(P::SessionExpiryInterval, expiry));
        }
        properties.push(Property::U16(P::ReceiveMaximum, limits.receive_maximum));
        if settings.maximum_qos < QoS::ExactlyOnce {
            properties.push(Property::Byte(P::MaximumQoS, settings.maximum_qos as u8));
        }
        let available = [
            (P::RetainAvailable, settings.retain_available),
            (P::WildcardSubscriptionAvailable, settings.wildcard_subscriptions),
            (P::SubscriptionIdentifierAvailable, settings.subscription_identifiers),
            (P::SharedSubscriptionAvailable, settings.shared_subscriptions),
        ];
        for (id, is_available) in available {
            properties.push(Property::Byte(id, u8::from(is_available)));
        }
        properties.push(Property::U32(P::MaximumPacketSize, limits.packet_bytes));
        properties.push(Property::U16(P::TopicAliasMaximum, limits.topic_aliases_in));
        if let Some(client_id) = terms.assigned {
            properties.push(Property::Text(P::AssignedClientIdentifier, client_id));
        }
        if let Some(seconds) = terms.keep_alive {
            properties.push(Property::U16(P::ServerKeepAlive, seconds));
        }
        let asks = connect.properties.byte(P::RequestResponseInformation) == Some(1);
        if asks {
            let client_id = terms.assigned.unwrap_or(connect.client_id);
            if let Some(information) = settings.response_information(client_id) {
                properties.push(Property::Text(P::ResponseInformation, &information));
            }
        }
        if let Some(method) = connect.properties.text(P::AuthenticationMethod) {
            properties.push(Property::Text(P::AuthenticationMethod, method));
            if let Some(data) = terms.auth_data {
                properties.push(Property::Binary(P::AuthenticationData, data));
            }
        }
        properties
    }
}

impl Router {
    /// Tells a client what acknowledgements promise here, as the User Property `durability`. Where
    /// it does not fit [MQTT-3.2.2-20] it is left out.
    pub(crate) fn tell_durability(&mut self, id: ConnectionId, properties: &mut PropertiesBuf) {
        let durability = self.settings.durability;
        let Some(connection) = self.connection_mut(id) else { return };
        if !durability.is_empty() && connection.version.is_v5() {
            tell(properties, "durability", durability, connection.max_packet);
        }
    }

    /// Tells a returning client how many messages its queue has lost since it was last told, as
    /// the User Property `dropped-messages`. CONNACK may carry one whatever Request Problem
    /// Information says [MQTT-3.1.2-29]; where it does not fit [MQTT-3.2.2-20] the next one tells.
    pub(crate) fn tell_dropped(
        &mut self,
        index: u32,
        id: ConnectionId,
        properties: &mut PropertiesBuf,
    ) {
        let Some(connection) = self.connection_mut(id) else { return };
        let (is_v5, max_packet) = (connection.version.is_v5(), connection.max_packet);
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        if session.dropped == 0 || !is_v5 {
            return;
        }
        let count = session.dropped.to_string();
        if tell(properties, "dropped-messages", &count, max_packet) {
            session.dropped = 0;
        }
    }
}

/// Adds a User Property if the client's Maximum Packet Size has room for it.
pub(crate) fn tell(
    properties: &mut PropertiesBuf,
    name: &str,
    value: &str,
    max_packet: u32,
) -> bool {
    let pair = 1 + 2 + name.len() + 2 + value.len();
    let fits = len_with(properties.view().as_bytes().len() + pair) <= max_packet as usize;
    if fits {
        properties.push(Property::Pair(name, value));
    }
    fits
}

/// Bytes of a CONNACK with these properties, at most.
pub(crate) fn connack_len(properties: &PropertiesBuf) -> usize {
    len_with(properties.view().as_bytes().len())
}

/// Bytes of a CONNACK with so many bytes of properties.
fn len_with(len: usize) -> usize {
    let remaining = 2 + varint_len(len) + len;
    1 + varint_len(remaining) + remaining
}
