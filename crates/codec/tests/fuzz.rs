//! Fuzz targets. As plain tests they run some ten thousand random inputs each; the environment
//! raises that (`BOLERO_RANDOM_ITERATIONS`, `BOLERO_RANDOM_TEST_TIME_MS`), and
//! `BOLERO_RANDOM_SEED` repeats a failure. `docs/decisions/0003-fuzz-proof.md` lists the planted
//! bugs that each target has found.

mod packet_writer;

use std::ops::RangeInclusive;
use std::panic::RefUnwindSafe;

use agentmq_codec::{
    Connect, DecodeError, Packet, Properties, PropertiesBuf, PropertyId as P, PropertyLimits,
    ProtocolVersion, ReasonCode, check_text, check_topic_name, frame,
};
use packet_writer::{Entropy, any_packet, mutate};

const ITERATIONS: usize = 40_000;
/// In bytes; left to itself the generator makes 32 on average, which is less than a packet takes.
const LENGTH: RangeInclusive<usize> = 0..=300;

fn fuzz(check: impl Fn(&[u8]) + RefUnwindSafe) {
    let inputs = bolero::produce::<Vec<u8>>().with().len(LENGTH);
    let target = bolero::check!().with_generator(inputs).with_iterations(ITERATIONS);
    target.for_each(|input: &Vec<u8>| check(input));
}

#[test]
fn fuzz_frame() {
    fuzz(|input: &[u8]| {
        check_cut(input);
        // Most random lengths are larger than the input: also one that fits.
        let mut entropy = Entropy::hostile(input);
        let mut bytes = any_packet(ProtocolVersion::V5, &mut entropy);
        let at = usize::from(entropy.u8() & 7).min(bytes.len() - 1);
        bytes[at] ^= entropy.u8();
        bytes.extend_from_slice(entropy.rest());
        check_cut(&bytes);
    });
}

#[test]
fn fuzz_packet_v5() {
    fuzz(|input: &[u8]| check_packets(input, ProtocolVersion::V5));
}

#[test]
fn fuzz_packet_v311() {
    fuzz(|input: &[u8]| check_packets(input, ProtocolVersion::V311));
}

#[test]
fn fuzz_packet_v31() {
    fuzz(|input: &[u8]| check_packets(input, ProtocolVersion::V31));
}

#[test]
fn fuzz_connect() {
    fuzz(|input: &[u8]| {
        check_connect(input);
        let mut entropy = Entropy::hostile(input);
        let version = entropy.pick(&packet_writer::VERSIONS);
        let packet = packet_writer::packet(1, version, &mut entropy);
        let packet = mutate(&packet, &mut entropy);
        let cut = frame::cut(&packet, usize::MAX).expect("valid").expect("whole");
        check_connect(&packet[cut.body_at..]);
    });
}

/// The input as a packet, and a valid packet that the input breaks.
fn check_packets(input: &[u8], version: ProtocolVersion) {
    if let Some((&first, body)) = input.split_first() {
        check_packet(first, body, version);
    }
    let mut entropy = Entropy::hostile(input);
    let packet = any_packet(version, &mut entropy);
    let packet = mutate(&packet, &mut entropy);
    let cut = frame::cut(&packet, usize::MAX).expect("valid").expect("whole");
    check_packet(cut.first, &packet[cut.body_at..], version);
}

/// However the bytes arrive, the answer is the same as soon as there is one.
fn check_cut(bytes: &[u8]) {
    for max_size in [64, usize::MAX] {
        let whole = frame::cut(bytes, max_size);
        for len in 0..bytes.len().min(64) {
            let partial = frame::cut(&bytes[..len], max_size);
            assert!(partial == Ok(None) || partial == whole, "{len} of {bytes:02x?}");
        }
        let Ok(Some(cut)) = whole else { continue };
        assert_eq!(cut.first, bytes[0]);
        assert!((2..=5).contains(&cut.body_at) && cut.body_at <= cut.total);
        assert!(cut.total <= max_size && cut.total <= bytes.len());
        let mut header = vec![cut.first];
        packet_writer::varint(cut.total - cut.body_at, &mut header);
        assert_eq!(bytes[..cut.body_at], header, "the one form of the length [MQTT-1.5.5-1]");
    }
}

fn check_connect(body: &[u8]) {
    match Connect::decode(body, &PropertyLimits::UNLIMITED) {
        Ok(connect) => check_packet(0x10, body, connect.version),
        Err(refused) => {
            check_error(&refused.error);
            // Whoever got past the version is answered in it.
            let named = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5]
                .into_iter()
                .find(|version| {
                    let mut start = Vec::new();
                    packet_writer::counted(version.name().as_bytes(), &mut start);
                    start.push(version.level());
                    body.starts_with(&start)
                });
            if named.is_some() {
                assert_eq!(refused.answer_in, named);
            }
        }
    }
}

fn check_error(error: &DecodeError) {
    use ReasonCode as R;
    assert!(matches!(
        error.reason,
        R::MalformedPacket
            | R::ProtocolError
            | R::UnsupportedProtocolVersion
            | R::TopicNameInvalid
            | R::TopicAliasInvalid
    ));
}

/// Whatever is accepted obeys the rules for its strings and properties, and is written again as
/// the same packet.
fn check_packet(first: u8, body: &[u8], version: ProtocolVersion) {
    let packet = match Packet::decode(first, body, version, &PropertyLimits::UNLIMITED) {
        Ok(packet) => packet,
        Err(error) => return check_error(&error),
    };
    let version = match &packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    check_contents(&packet, version);
    let mut written = Vec::new();
    packet.encode(version, &mut written);
    let cut = frame::cut(&written, usize::MAX).expect("valid").expect("whole");
    assert_eq!(cut.total, written.len());
    let again =
        Packet::decode(cut.first, &written[cut.body_at..], version, &PropertyLimits::UNLIMITED);
    match (&again, &packet) {
        // What version 3.1 does not use is not written again.
        (Ok(Packet::Subscribe(again)), Packet::Subscribe(packet)) => {
            assert_eq!(again.packet_id, packet.packet_id);
            assert!(again.filters().eq(packet.filters()));
        }
        _ => assert_eq!(again.as_ref(), Ok(&packet)),
    }
    if has_one_form(&packet, version) {
        assert_eq!((cut.first, &written[cut.body_at..]), (first, body), "{packet:?}");
    }
}

/// All but the packets whose reason may be left out, a refusal in the older form, and version
/// 3.1 with its unused bits.
fn has_one_form(packet: &Packet<'_>, version: ProtocolVersion) -> bool {
    match packet {
        _ if version == ProtocolVersion::V31 => matches!(packet, Packet::Publish(_)),
        Packet::Ack(_) | Packet::Disconnect(_) => !version.is_v5(),
        Packet::ConnAck(connack) => !(version.is_v5() && connack.reason.is_error()),
        _ => true,
    }
}

fn check_contents(packet: &Packet<'_>, version: ProtocolVersion) {
    let table = |allowed: &[u8]| allowed.to_vec();
    let (properties, allowed) = match packet {
        Packet::Connect(connect) => {
            if let Some(will) = &connect.will {
                check_name(will.topic);
                check_properties(will.properties, packet_writer::WILL);
            }
            assert_eq!(check_text(connect.client_id.as_bytes()), Ok(connect.client_id));
            (connect.properties, [packet_writer::CONNECT, &[0x16]].concat())
        }
        Packet::ConnAck(packet) => (packet.properties, table(packet_writer::CONNACK)),
        Packet::Publish(publish) => {
            if !publish.properties.has(P::TopicAlias) || !publish.topic.is_empty() {
                check_name(publish.topic);
            }
            assert_eq!(publish.packet_id == 0, publish.qos as u8 == 0);
            (publish.properties, table(packet_writer::PUBLISH))
        }
        Packet::Ack(packet) => {
            assert_ne!(packet.packet_id, 0);
            (packet.properties, table(packet_writer::ACK))
        }
        Packet::Subscribe(packet) => {
            assert!(packet.packet_id != 0 && packet.filters().count() > 0);
            for filter in packet.filters() {
                assert_eq!(check_text(filter.filter.as_bytes()), Ok(filter.filter));
                assert!(version.is_v5() || !filter.options.no_local);
            }
            (packet.properties, table(packet_writer::SUBSCRIBE))
        }
        Packet::SubAck(packet) => {
            assert!(packet.packet_id != 0 && packet.reasons().count() > 0);
            (packet.properties, table(packet_writer::ACK))
        }
        Packet::Unsubscribe(packet) => {
            assert!(packet.packet_id != 0 && packet.filters().count() > 0);
            (packet.properties, vec![])
        }
        Packet::UnsubAck(packet) => {
            assert_eq!(packet.reasons().count() > 0, version.is_v5());
            (packet.properties, table(packet_writer::ACK))
        }
        Packet::Disconnect(packet) => (packet.properties, table(packet_writer::DISCONNECT)),
        Packet::Auth(packet) => (packet.properties, [packet_writer::AUTH, &[0x15]].concat()),
        Packet::PingReq | Packet::PingResp => (Properties::EMPTY, vec![]),
    };
    assert!(version.is_v5() || properties.is_empty());
    check_properties(properties, &allowed);
}

fn check_name(topic: &str) {
    assert_eq!(check_topic_name(topic.as_bytes()), Ok(topic));
    assert!(!topic.is_empty() && !topic.contains(['\0', '+', '#']), "{topic:?}");
}

/// The table of §2.2.2.2, kept apart from the codec's, and each value's own rule.
fn check_properties(properties: Properties<'_>, allowed: &[u8]) {
    let mut seen = Vec::new();
    for property in properties.iter() {
        let id = property.id();
        assert!(properties.has(id));
        assert!(id == P::UserProperty || allowed.contains(&(id as u8)), "{id:?}");
        let may_repeat = id == P::UserProperty
            || id == P::SubscriptionIdentifier && allowed == packet_writer::PUBLISH;
        assert!(may_repeat || !seen.contains(&id), "{id:?} twice");
        seen.push(id);
    }
    let written: PropertiesBuf = properties.iter().collect();
    assert_eq!(written.view(), properties, "written again as the same bytes");
    for id in [P::ReceiveMaximum, P::MaximumPacketSize, P::TopicAlias, P::SubscriptionIdentifier] {
        assert_ne!(properties.integer(id), Some(0), "{id:?}");
    }
    if let Some(topic) = properties.text(P::ResponseTopic) {
        check_name(topic);
    }
    for (name, value) in properties.user_properties() {
        assert!(!name.contains('\0') && !value.contains('\0'));
    }
    assert_eq!(
        properties.user_properties().count(),
        seen.iter().filter(|&&id| id == P::UserProperty).count()
    );
    assert!(!properties.forwarded().view().has_per_hop());
}
