//! The instructions of reading and writing one packet. `agentmq_testkit::instructions` says how
//! they are counted.

use std::hint::black_box;

use ProtocolVersion::{V5, V311};
use agentmq_codec::{
    Ack, AckKind, ConnAck, Connect, Packet, PropertiesBuf, Property, PropertyId as P,
    PropertyLimits, ProtocolVersion, Publish, PublishHead, QoS, ReasonCode, Will, frame,
};
use agentmq_testkit::{Case, instructions};

const TOPIC: &str = "sensors/room-17/temper";
const PAYLOAD: &[u8] = &[b'x'; 64];

fn main() {
    instructions(&[
        Case::new("decode-publish-v311", |n| {
            decode(&publish(V311, QoS::AtMostOnce, false), V311, n);
        }),
        Case::new("decode-publish", |n| decode(&publish(V5, QoS::AtMostOnce, false), V5, n)),
        Case::new("decode-publish-qos1", |n| decode(&publish(V5, QoS::AtLeastOnce, false), V5, n)),
        Case::new("decode-publish-properties", |n| {
            decode(&publish(V5, QoS::AtMostOnce, true), V5, n);
        }),
        Case::new("decode-puback", |n| decode(&[0x40, 2, 0, 7], V5, n)),
        Case::new("decode-pubrec-reason", |n| decode(&[0x50, 3, 0, 7, 0x10], V5, n)),
        Case::new("decode-subscribe", |n| {
            decode(b"\x82\x10\0\x01\0\0\x0Asensors/+/\x01", V5, n);
        }),
        Case::new("decode-connect", |n| {
            decode(b"\x10\x1A\0\x04MQTT\x05\xC2\0\x3C\0\0\x04id-1\0\x02me\0\x03key", V5, n);
        }),
        Case::new("decode-connect-will", |n| decode(&connect_with_will(), V5, n)),
        Case::new("encode-publish", |n| encode_publish(false, n)),
        Case::new("encode-publish-properties", |n| encode_publish(true, n)),
        Case::new("encode-head", encode_head),
        Case::new("encode-puback", |n| {
            encode(&Packet::Ack(Ack::new(AckKind::PubAck, 7, ReasonCode::Success)), n);
        }),
        Case::new("encode-connack", |n| {
            let properties = properties_of_connack();
            let properties = properties.view();
            let reason = ReasonCode::Success;
            encode(&Packet::ConnAck(ConnAck { session_present: true, reason, properties }), n);
        }),
        Case::new("encode-connect", |n| {
            let bytes = connect_with_will();
            let packet = Packet::decode(0x10, &bytes[2..], V5, &PropertyLimits::UNLIMITED);
            encode(&packet.expect("a CONNECT"), n);
        }),
    ]);
}

fn connect_with_will() -> Vec<u8> {
    let properties = PropertiesBuf::new()
        .with(Property::U32(P::SessionExpiryInterval, 3600))
        .with(Property::U16(P::ReceiveMaximum, 100));
    let will_properties = PropertiesBuf::new().with(Property::U32(P::WillDelayInterval, 5));
    let will = Will {
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: TOPIC,
        payload: b"offline",
        properties: will_properties.view(),
    };
    let mut out = Vec::new();
    Connect {
        version: V5,
        keep_alive: 60,
        client_id: "client-1",
        will: Some(will),
        properties: properties.view(),
        ..Connect::default()
    }
    .encode(&mut out);
    out
}

fn properties_of_connack() -> PropertiesBuf {
    PropertiesBuf::new()
        .with(Property::U16(P::ReceiveMaximum, 1024))
        .with(Property::Byte(P::RetainAvailable, 1))
        .with(Property::U32(P::MaximumPacketSize, 1 << 20))
        .with(Property::U16(P::TopicAliasMaximum, 16))
        .with(Property::Text(P::AssignedClientIdentifier, "auto-0123456789abcdef"))
}

fn properties() -> PropertiesBuf {
    PropertiesBuf::new()
        .with(Property::Text(P::ResponseTopic, "replies/client-42"))
        .with(Property::Binary(P::CorrelationData, b"0123456789abcdef"))
        .with(Property::Pair("trace", "00-4bf92f3577b34da6"))
        .with(Property::Text(P::ContentType, "application/json"))
}

fn publish(version: ProtocolVersion, qos: QoS, with_properties: bool) -> Vec<u8> {
    let properties = if with_properties { properties() } else { PropertiesBuf::new() };
    let publish = Publish {
        qos,
        topic: TOPIC,
        packet_id: 1,
        properties: properties.view(),
        payload: PAYLOAD,
        ..Publish::default()
    };
    let mut out = Vec::new();
    publish.encode(version, &mut out);
    out
}

/// Cuts and decodes, as a connection does.
fn decode(bytes: &[u8], version: ProtocolVersion, repeat: usize) {
    for _ in 0..repeat {
        let bytes = black_box(bytes);
        let cut = frame::cut(bytes, 1 << 20).expect("valid").expect("whole");
        let body = &bytes[cut.body_at..cut.total];
        let packet = Packet::decode(cut.first, body, version, &PropertyLimits::UNLIMITED);
        assert!(black_box(&packet).is_ok());
    }
}

fn encode_publish(with_properties: bool, repeat: usize) {
    let bytes = publish(V5, QoS::AtMostOnce, with_properties);
    let cut = frame::cut(&bytes, 1 << 20).expect("valid").expect("whole");
    let packet = Packet::decode(cut.first, &bytes[cut.body_at..], V5, &PropertyLimits::UNLIMITED);
    let Ok(Packet::Publish(publish)) = packet else { return };
    let mut out = Vec::with_capacity(4096);
    for _ in 0..repeat {
        out.clear();
        black_box(&publish).encode(V5, &mut out);
        black_box(&out);
    }
}

/// One delivery of a QoS 1 message with an expiry and a subscription identifier.
fn encode_head(repeat: usize) {
    let properties = properties();
    let head = PublishHead {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: TOPIC,
        packet_id: 1,
        topic_alias: None,
        message_expiry: Some(60),
        subscription_identifiers: &[7],
        properties: properties.view(),
        payload_len: PAYLOAD.len(),
    };
    let mut out = Vec::with_capacity(4096);
    for _ in 0..repeat {
        out.clear();
        black_box(&head).encode(V5, &mut out);
        black_box(&out);
    }
}

fn encode(packet: &Packet<'_>, repeat: usize) {
    let mut out = Vec::with_capacity(4096);
    for _ in 0..repeat {
        out.clear();
        black_box(packet).encode(V5, &mut out);
        black_box(&out);
    }
}
