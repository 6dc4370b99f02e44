//! rmqtt-codec as the second opinion.

use agentmq_codec::ProtocolVersion;
use bytes::BytesMut;
use rmqtt_codec::v5::UserProperties;
use rmqtt_codec::{types, v3, v5};
use tokio_util::codec::Decoder;

use crate::facts::Facts;

/// What rmqtt-codec makes of one frame, or why it refuses it.
pub(crate) fn decode(frame: &[u8], version: ProtocolVersion) -> Result<Facts, String> {
    let mut bytes = BytesMut::from(frame);
    if version.is_v5() {
        match v5::Codec::default().decode(&mut bytes) {
            Ok(Some((packet, _))) => Ok(of_v5(packet)),
            Ok(None) => Err("incomplete".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    } else {
        match v3::Codec::default().decode(&mut bytes) {
            Ok(Some((packet, _))) => Ok(of_v3(packet)),
            Ok(None) => Err("incomplete".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn of_v5(packet: v5::Packet) -> Facts {
    use v5::Packet as P;
    match packet {
        P::Connect(packet) => of_connect_v5(&packet),
        P::ConnectAck(packet) => of_connack_v5(&packet),
        P::Publish(packet) => of_publish(&packet),
        P::PublishAck(packet) => of_ack("PUBACK", &packet),
        P::PublishReceived(packet) => of_ack("PUBREC", &packet),
        P::PublishRelease(packet) => of_ack2("PUBREL", &packet),
        P::PublishComplete(packet) => of_ack2("PUBCOMP", &packet),
        P::Subscribe(packet) => Facts::of("SUBSCRIBE")
            .with("id", packet.packet_id)
            .with(
                "filters",
                packet
                    .topic_filters
                    .iter()
                    .map(|(filter, o)| {
                        let handling = u8::from(o.retain_handling);
                        (
                            filter.to_string(),
                            o.qos.value(),
                            o.no_local,
                            o.retain_as_published,
                            handling,
                        )
                    })
                    .collect::<Vec<_>>(),
            )
            .property(0x0B, packet.id.map(|id| vec![id.get()]))
            .users(users(&packet.user_properties)),
        P::SubscribeAck(packet) => Facts::of("SUBACK")
            .with("id", packet.packet_id)
            .with("codes", packet.status.iter().map(|&code| u8::from(code)).collect::<Vec<_>>())
            .property(0x1F, packet.reason_string.as_deref())
            .users(users(&packet.properties)),
        P::Unsubscribe(packet) => Facts::of("UNSUBSCRIBE")
            .with("id", packet.packet_id)
            .with("filters", packet.topic_filters.iter().map(|f| f.to_string()).collect::<Vec<_>>())
            .users(users(&packet.user_properties)),
        P::UnsubscribeAck(packet) => Facts::of("UNSUBACK")
            .with("id", packet.packet_id)
            .with("codes", packet.status.iter().map(|&code| u8::from(code)).collect::<Vec<_>>())
            .property(0x1F, packet.reason_string.as_deref())
            .users(users(&packet.properties)),
        P::PingRequest => Facts::of("PINGREQ"),
        P::PingResponse => Facts::of("PINGRESP"),
        P::Disconnect(packet) => Facts::of("DISCONNECT")
            .with("code", u8::from(packet.reason_code))
            .property(0x11, packet.session_expiry_interval_secs)
            .property(0x1C, packet.server_reference.as_deref())
            .property(0x1F, packet.reason_string.as_deref())
            .users(users(&packet.user_properties)),
        P::Auth(packet) => Facts::of("AUTH")
            .with("code", u8::from(packet.reason_code))
            .property(0x15, packet.auth_method.as_deref())
            .property(0x16, packet.auth_data.as_deref())
            .property(0x1F, packet.reason_string.as_deref())
            .users(users(&packet.user_properties)),
    }
}

fn of_connect_v5(packet: &v5::Connect) -> Facts {
    let facts = Facts::of("CONNECT")
        .with("clean", packet.clean_start)
        .with("keep alive", packet.keep_alive)
        .with("client id", &*packet.client_id)
        .with("name", packet.username.as_deref())
        .with("password", packet.password.as_deref())
        .property(0x11, Some(packet.session_expiry_interval_secs))
        .property(0x15, packet.auth_method.as_deref())
        .property(0x16, packet.auth_data.as_deref())
        .flag(0x17, Some(packet.request_problem_info))
        .flag(0x19, Some(packet.request_response_info))
        .property(0x21, packet.receive_max)
        .property(0x22, Some(packet.topic_alias_max))
        .property(0x27, packet.max_packet_size)
        .users(users(&packet.user_properties));
    let Some(will) = &packet.last_will else { return facts };
    facts.will(
        Facts::of("will")
            .with("qos", will.qos.value())
            .with("retain", will.retain)
            .with("topic", &*will.topic)
            .with("payload", &*will.message)
            .property(0x18, will.will_delay_interval_sec)
            .property(0x09, will.correlation_data.as_deref())
            .property(0x02, will.message_expiry_interval)
            .property(0x03, will.content_type.as_deref())
            .property(0x08, will.response_topic.as_deref())
            .flag(0x01, will.is_utf8_payload)
            .users(users(&will.user_properties)),
    )
}

fn of_connack_v5(packet: &v5::ConnectAck) -> Facts {
    let max_qos = packet.max_qos.value();
    Facts::of("CONNACK")
        .with("present", packet.session_present)
        .with("code", u8::from(packet.reason_code))
        .property(0x11, packet.session_expiry_interval_secs)
        .property(0x12, packet.assigned_client_id.as_deref())
        .property(0x13, packet.server_keepalive_sec)
        .property(0x15, packet.auth_method.as_deref())
        .property(0x16, packet.auth_data.as_deref())
        .property(0x1A, packet.response_info.as_deref())
        .property(0x1C, packet.server_reference.as_deref())
        .property(0x1F, packet.reason_string.as_deref())
        .property(0x21, Some(packet.receive_max))
        .property(0x22, Some(packet.topic_alias_max))
        .property(0x24, (max_qos < 2).then_some(max_qos))
        .flag(0x25, Some(packet.retain_available))
        .property(0x27, packet.max_packet_size)
        .flag(0x28, Some(packet.wildcard_subscription_available))
        .flag(0x29, Some(packet.subscription_identifiers_available))
        .flag(0x2A, Some(packet.shared_subscription_available))
        .users(users(&packet.user_properties))
}

fn of_publish(packet: &types::Publish) -> Facts {
    let facts = Facts::of("PUBLISH")
        .with("dup", packet.dup)
        .with("qos", packet.qos.value())
        .with("retain", packet.retain)
        .with("topic", &*packet.topic)
        .with("id", packet.packet_id.map_or(0, |id| id.get()))
        .with("payload", &*packet.payload);
    let Some(properties) = &packet.properties else { return facts };
    let identifiers = &properties.subscription_ids;
    facts
        .flag(0x01, Some(properties.is_utf8_payload))
        .property(0x02, properties.message_expiry_interval)
        .property(0x03, properties.content_type.as_deref())
        .property(0x08, properties.response_topic.as_deref())
        .property(0x09, properties.correlation_data.as_deref())
        .property(0x0B, (!identifiers.is_empty()).then_some(identifiers))
        .property(0x23, properties.topic_alias)
        .users(users(&properties.user_properties))
}

fn of_ack(kind: &str, packet: &v5::PublishAck) -> Facts {
    Facts::of(kind)
        .with("id", packet.packet_id)
        .with("code", u8::from(packet.reason_code))
        .property(0x1F, packet.reason_string.as_deref())
        .users(users(&packet.properties))
}

fn of_ack2(kind: &str, packet: &v5::PublishAck2) -> Facts {
    Facts::of(kind)
        .with("id", packet.packet_id)
        .with("code", u8::from(packet.reason_code))
        .property(0x1F, packet.reason_string.as_deref())
        .users(users(&packet.properties))
}

fn of_v3(packet: v3::Packet) -> Facts {
    use v3::Packet as P;
    let ack = |kind, id| Facts::of(kind).with("id", id).with("code", 0);
    match packet {
        P::Connect(packet) => {
            let facts = Facts::of("CONNECT")
                .with("clean", packet.clean_session)
                .with("keep alive", packet.keep_alive)
                .with("client id", &*packet.client_id)
                .with("name", packet.username.as_deref())
                .with("password", packet.password.as_deref());
            let Some(will) = &packet.last_will else { return facts };
            facts.will(
                Facts::of("will")
                    .with("qos", will.qos.value())
                    .with("retain", will.retain)
                    .with("topic", &*will.topic)
                    .with("payload", &*will.message),
            )
        }
        P::ConnectAck(packet) => Facts::of("CONNACK")
            .with("present", packet.session_present)
            .with("code", u8::from(packet.return_code)),
        P::Publish(packet) => of_publish(&packet),
        P::PublishAck { packet_id } => ack("PUBACK", packet_id),
        P::PublishReceived { packet_id } => ack("PUBREC", packet_id),
        P::PublishRelease { packet_id } => ack("PUBREL", packet_id),
        P::PublishComplete { packet_id } => ack("PUBCOMP", packet_id),
        P::Subscribe { packet_id, topic_filters } => {
            let filters: Vec<_> = topic_filters
                .iter()
                .map(|(filter, qos)| (filter.to_string(), qos.value(), false, false, 0))
                .collect();
            Facts::of("SUBSCRIBE").with("id", packet_id).with("filters", filters)
        }
        P::SubscribeAck { packet_id, status } => {
            let codes: Vec<u8> = status
                .iter()
                .map(|status| match status {
                    v3::SubscribeReturnCode::Success(qos) => qos.value(),
                    v3::SubscribeReturnCode::Failure => 0x80,
                })
                .collect();
            Facts::of("SUBACK").with("id", packet_id).with("codes", codes)
        }
        P::Unsubscribe { packet_id, topic_filters } => Facts::of("UNSUBSCRIBE")
            .with("id", packet_id)
            .with("filters", topic_filters.iter().map(|f| f.to_string()).collect::<Vec<_>>()),
        P::UnsubscribeAck { packet_id } => {
            Facts::of("UNSUBACK").with("id", packet_id).with("codes", Vec::<u8>::new())
        }
        P::PingRequest => Facts::of("PINGREQ"),
        P::PingResponse => Facts::of("PINGRESP"),
        P::Disconnect => Facts::of("DISCONNECT").with("code", 0),
    }
}

fn users(pairs: &UserProperties) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (&**name, &**value)).collect()
}
