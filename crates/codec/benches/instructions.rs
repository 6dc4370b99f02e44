//! Repeats one operation on one packet a fixed number of times, so that
//! `valgrind --tool=callgrind` or `perf stat` can count its instructions, which do not depend on
//! what else the machine does:
//!
//! ```text
//! cargo bench -p agentmq-codec --bench instructions --no-run
//! valgrind --tool=callgrind target/release/deps/instructions-… decode-publish 10000
//! ```
//!
//! The number for one packet is the difference between a run of 2 N and a run of N, divided by N.
//! Without arguments it names the operations and runs each once.

use std::hint::black_box;

use ProtocolVersion::{V5, V311};
use agentmq_codec::{
    Ack, AckKind, Packet, PropertiesBuf, Property, PropertyId as P, PropertyLimits,
    ProtocolVersion, Publish, PublishHead, QoS, ReasonCode, frame,
};

const TOPIC: &str = "sensors/room-17/temper";
const PAYLOAD: &[u8] = &[b'x'; 64];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [operation, repeat] = arguments.as_slice() else {
        for (name, run) in OPERATIONS {
            run(1);
            report(name);
        }
        return;
    };
    let repeat: usize = repeat.parse().expect("a number of repetitions");
    let (_, run) =
        OPERATIONS.iter().find(|(name, _)| name == operation).expect("the name of an operation");
    run(repeat);
}

#[expect(clippy::print_stdout, reason = "a program that lists its operations")]
fn report(name: &str) {
    println!("{name}");
}

type Operation = (&'static str, fn(usize));

const OPERATIONS: &[Operation] = &[
    ("decode-publish-v311", |n| decode(&publish(V311, QoS::AtMostOnce, false), V311, n)),
    ("decode-publish", |n| decode(&publish(V5, QoS::AtMostOnce, false), V5, n)),
    ("decode-publish-qos1", |n| decode(&publish(V5, QoS::AtLeastOnce, false), V5, n)),
    ("decode-publish-properties", |n| decode(&publish(V5, QoS::AtMostOnce, true), V5, n)),
    ("decode-puback", |n| decode(&[0x40, 2, 0, 7], V5, n)),
    ("decode-subscribe", |n| decode(b"\x82\x10\0\x01\0\0\x0Asensors/+/\x01", V5, n)),
    ("decode-connect", |n| {
        decode(b"\x10\x1A\0\x04MQTT\x05\xC2\0\x3C\0\0\x04id-1\0\x02me\0\x03key", V5, n)
    }),
    ("encode-publish", |n| encode_publish(false, n)),
    ("encode-publish-properties", |n| encode_publish(true, n)),
    ("encode-head", encode_head),
    ("encode-puback", encode_puback),
];

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

fn encode_puback(repeat: usize) {
    let mut out = Vec::with_capacity(4096);
    for _ in 0..repeat {
        out.clear();
        black_box(Ack::new(AckKind::PubAck, 7, ReasonCode::Success)).encode(V5, &mut out);
        black_box(&out);
    }
}
