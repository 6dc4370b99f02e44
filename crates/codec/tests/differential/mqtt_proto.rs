//! mqtt-proto as the third opinion.

use agentmq_codec::ProtocolVersion;
use mqtt_proto::v5::UserProperty;
use mqtt_proto::{QosPid, v3, v5};

use crate::facts::Facts;

/// What mqtt-proto makes of one frame, or why it refuses it.
pub(crate) fn decode(frame: &[u8], version: ProtocolVersion) -> Result<Facts, String> {
    if version.is_v5() {
        match v5::Packet::decode(frame) {
            Ok(Some(packet)) => Ok(of_v5(packet)),
            Ok(None) => Err("incomplete".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    } else {
        match v3::Packet::decode(frame) {
            Ok(Some(packet)) => Ok(of_v3(packet)),
            Ok(None) => Err("incomplete".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The four acknowledgements have types of their own that look the same.
macro_rules! ack {
    ($kind:literal, $packet:expr) => {
        Facts::of($kind)
            .with("id", $packet.pid.value())
            .with("code", $packet.reason_code as u8)
            .property(0x1F, $packet.properties.reason_string.as_deref())
            .users(users(&$packet.properties.user_properties))
    };
}

fn of_v5(packet: v5::Packet) -> Facts {
    use v5::Packet as P;
    match packet {
        P::Connect(packet) => of_connect_v5(&packet),
        P::Connack(packet) => of_connack_v5(&packet),
        P::Publish(packet) => of_publish_v5(&packet),
        P::Puback(packet) => ack!("PUBACK", packet),
        P::Pubrec(packet) => ack!("PUBREC", packet),
        P::Pubrel(packet) => ack!("PUBREL", packet),
        P::Pubcomp(packet) => ack!("PUBCOMP", packet),
        P::Subscribe(packet) => Facts::of("SUBSCRIBE")
            .with("id", packet.pid.value())
            .with(
                "filters",
                packet
                    .topics
                    .iter()
                    .map(|(filter, o)| {
                        let handling = o.retain_handling as u8;
                        (
                            filter.to_string(),
                            o.max_qos as u8,
                            o.no_local,
                            o.retain_as_published,
                            handling,
                        )
                    })
                    .collect::<Vec<_>>(),
            )
            .property(0x0B, packet.properties.subscription_id.map(|id| vec![id.value()]))
            .users(users(&packet.properties.user_properties)),
        P::Suback(packet) => Facts::of("SUBACK")
            .with("id", packet.pid.value())
            .with("codes", packet.topics.iter().map(|&code| code as u8).collect::<Vec<_>>())
            .property(0x1F, packet.properties.reason_string.as_deref())
            .users(users(&packet.properties.user_properties)),
        P::Unsubscribe(packet) => Facts::of("UNSUBSCRIBE")
            .with("id", packet.pid.value())
            .with("filters", packet.topics.iter().map(|f| f.to_string()).collect::<Vec<_>>())
            .users(users(&packet.properties.user_properties)),
        P::Unsuback(packet) => Facts::of("UNSUBACK")
            .with("id", packet.pid.value())
            .with("codes", packet.topics.iter().map(|&code| code as u8).collect::<Vec<_>>())
            .property(0x1F, packet.properties.reason_string.as_deref())
            .users(users(&packet.properties.user_properties)),
        P::Pingreq => Facts::of("PINGREQ"),
        P::Pingresp => Facts::of("PINGRESP"),
        P::Disconnect(packet) => Facts::of("DISCONNECT")
            .with("code", packet.reason_code as u8)
            .property(0x11, packet.properties.session_expiry_interval)
            .property(0x1C, packet.properties.server_reference.as_deref())
            .property(0x1F, packet.properties.reason_string.as_deref())
            .users(users(&packet.properties.user_properties)),
        P::Auth(packet) => Facts::of("AUTH")
            .with("code", packet.reason_code as u8)
            .property(0x15, packet.properties.auth_method.as_deref())
            .property(0x16, packet.properties.auth_data.as_deref())
            .property(0x1F, packet.properties.reason_string.as_deref())
            .users(users(&packet.properties.user_properties)),
    }
}

fn of_connect_v5(packet: &v5::Connect) -> Facts {
    let properties = &packet.properties;
    let facts = Facts::of("CONNECT")
        .with("clean", packet.clean_start)
        .with("keep alive", packet.keep_alive)
        .with("client id", &*packet.client_id)
        .with("name", packet.username.as_deref())
        .with("password", packet.password.as_deref())
        .property(0x11, properties.session_expiry_interval)
        .property(0x15, properties.auth_method.as_deref())
        .property(0x16, properties.auth_data.as_deref())
        .flag(0x17, properties.request_problem_info)
        .flag(0x19, properties.request_response_info)
        .property(0x21, properties.receive_max)
        .property(0x22, properties.topic_alias_max)
        .property(0x27, properties.max_packet_size)
        .users(users(&properties.user_properties));
    let Some(will) = &packet.last_will else { return facts };
    let properties = &will.properties;
    facts.will(
        Facts::of("will")
            .with("qos", will.qos as u8)
            .with("retain", will.retain)
            .with("topic", &*will.topic_name)
            .with("payload", &*will.payload)
            .flag(0x01, properties.payload_is_utf8)
            .property(0x02, properties.message_expiry_interval)
            .property(0x03, properties.content_type.as_deref())
            .property(0x08, properties.response_topic.as_deref())
            .property(0x09, properties.correlation_data.as_deref())
            .property(0x18, properties.delay_interval)
            .users(users(&properties.user_properties)),
    )
}

fn of_connack_v5(packet: &v5::Connack) -> Facts {
    let properties = &packet.properties;
    Facts::of("CONNACK")
        .with("present", packet.session_present)
        .with("code", packet.reason_code as u8)
        .property(0x11, properties.session_expiry_interval)
        .property(0x12, properties.assigned_client_id.as_deref())
        .property(0x13, properties.server_keep_alive)
        .property(0x15, properties.auth_method.as_deref())
        .property(0x16, properties.auth_data.as_deref())
        .property(0x1A, properties.response_info.as_deref())
        .property(0x1C, properties.server_reference.as_deref())
        .property(0x1F, properties.reason_string.as_deref())
        .property(0x21, properties.receive_max)
        .property(0x22, properties.topic_alias_max)
        .property(0x24, properties.max_qos.map(|qos| qos as u8))
        .flag(0x25, properties.retain_available)
        .property(0x27, properties.max_packet_size)
        .flag(0x28, properties.wildcard_subscription_available)
        .flag(0x29, properties.subscription_id_available)
        .flag(0x2A, properties.shared_subscription_available)
        .users(users(&properties.user_properties))
}

fn of_publish_v5(packet: &v5::Publish) -> Facts {
    let properties = &packet.properties;
    of_publish(packet.dup, packet.retain, packet.qos_pid, &packet.topic_name, &packet.payload)
        .flag(0x01, properties.payload_is_utf8)
        .property(0x02, properties.message_expiry_interval)
        .property(0x03, properties.content_type.as_deref())
        .property(0x08, properties.response_topic.as_deref())
        .property(0x09, properties.correlation_data.as_deref())
        .property(0x0B, properties.subscription_id.map(|id| vec![id.value()]))
        .property(0x23, properties.topic_alias)
        .users(users(&properties.user_properties))
}

fn of_publish(dup: bool, retain: bool, qos_pid: QosPid, topic: &str, payload: &[u8]) -> Facts {
    Facts::of("PUBLISH")
        .with("dup", dup)
        .with("qos", qos_pid.qos() as u8)
        .with("retain", retain)
        .with("topic", topic)
        .with("id", qos_pid.pid().map_or(0, |id| id.value()))
        .with("payload", payload)
}

fn of_v3(packet: v3::Packet) -> Facts {
    use v3::Packet as P;
    let ack = |kind, id: mqtt_proto::Pid| Facts::of(kind).with("id", id.value()).with("code", 0);
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
                    .with("qos", will.qos as u8)
                    .with("retain", will.retain)
                    .with("topic", &*will.topic_name)
                    .with("payload", &*will.message),
            )
        }
        P::Connack(packet) => Facts::of("CONNACK")
            .with("present", packet.session_present)
            .with("code", packet.code as u8),
        P::Publish(packet) => of_publish(
            packet.dup,
            packet.retain,
            packet.qos_pid,
            &packet.topic_name,
            &packet.payload,
        ),
        P::Puback(id) => ack("PUBACK", id),
        P::Pubrec(id) => ack("PUBREC", id),
        P::Pubrel(id) => ack("PUBREL", id),
        P::Pubcomp(id) => ack("PUBCOMP", id),
        P::Subscribe(packet) => {
            let filters: Vec<_> = packet
                .topics
                .iter()
                .map(|(filter, qos)| (filter.to_string(), *qos as u8, false, false, 0))
                .collect();
            Facts::of("SUBSCRIBE").with("id", packet.pid.value()).with("filters", filters)
        }
        P::Suback(packet) => {
            let codes: Vec<u8> = packet
                .topics
                .iter()
                .map(|code| match code {
                    v3::SubscribeReturnCode::MaxLevel0 => 0,
                    v3::SubscribeReturnCode::MaxLevel1 => 1,
                    v3::SubscribeReturnCode::MaxLevel2 => 2,
                    v3::SubscribeReturnCode::Failure => 0x80,
                })
                .collect();
            Facts::of("SUBACK").with("id", packet.pid.value()).with("codes", codes)
        }
        P::Unsubscribe(packet) => Facts::of("UNSUBSCRIBE")
            .with("id", packet.pid.value())
            .with("filters", packet.topics.iter().map(|f| f.to_string()).collect::<Vec<_>>()),
        P::Unsuback(id) => {
            Facts::of("UNSUBACK").with("id", id.value()).with("codes", Vec::<u8>::new())
        }
        P::Pingreq => Facts::of("PINGREQ"),
        P::Pingresp => Facts::of("PINGRESP"),
        P::Disconnect => Facts::of("DISCONNECT").with("code", 0),
    }
}

fn users(pairs: &[UserProperty]) -> Vec<(&str, &str)> {
    pairs.iter().map(|pair| (&*pair.name, &*pair.value)).collect()
}
