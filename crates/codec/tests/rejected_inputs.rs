//! What must be refused, and with which reason code: one row per rule of the standard.

mod packet_writer;

use ProtocolVersion::{V5, V31, V311};
use agentmq_codec::{
    Connect, DecodeError, Packet, PropertyLimits, ProtocolVersion, ReasonCode as R, frame,
};
use packet_writer::{counted, framed, varint};

/// The rule, its clause, the version, first byte, body, and the answer.
type Row = (&'static str, ProtocolVersion, u8, Vec<u8>, R);

const MALFORMED: R = R::MalformedPacket;
const PROTOCOL: R = R::ProtocolError;

fn decode(first: u8, body: &[u8], version: ProtocolVersion) -> Result<Packet<'_>, DecodeError> {
    Packet::decode(first, body, version, &PropertyLimits::UNLIMITED)
}

fn assert_all_refused(rows: Vec<Row>) {
    for (rule, version, first, body, reason) in rows {
        let bytes = framed(first, &body);
        match decode(first, &body, version) {
            Ok(packet) => panic!("{rule} ({version}): accepted {bytes:02x?} as {packet:?}"),
            Err(error) => assert_eq!(error.reason, reason, "{rule} ({version}): {error}"),
        }
    }
}

/// A version 5 PUBLISH of QoS 0 to `t` with these properties.
fn publish_with(properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1, b't'];
    varint(properties.len(), &mut body);
    body.extend_from_slice(properties);
    body
}

/// A version 3.1.1 PUBLISH of QoS 0 to this topic.
fn publish_to(topic: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    counted(topic, &mut body);
    body
}

/// CONNECT with these flags, and `rest` behind the keep alive.
fn connect(version: ProtocolVersion, flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    counted(version.name().as_bytes(), &mut body);
    body.extend_from_slice(&[version.level(), flags, 0, 60]);
    body.extend_from_slice(rest);
    body
}

#[test]
fn fixed_headers() {
    let mut rows: Vec<Row> = Vec::new();
    for version in [V5, V311] {
        rows.push(("type 0 is reserved, §2.1.2", version, 0x00, vec![], MALFORMED));
        for kind in (1..=15u8).filter(|&kind| kind != 3) {
            let right = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
            for flags in (0..16).filter(|&flags| flags != right) {
                let first = kind << 4 | flags;
                rows.push(("reserved flags [MQTT-2.1.3-1]", version, first, vec![0, 1], MALFORMED));
            }
        }
    }
    rows.push(("AUTH came with version 5", V311, 0xF0, vec![], MALFORMED));
    rows.push(("PINGREQ has no body, §3.12", V5, 0xC0, vec![0], MALFORMED));
    rows.push(("PINGRESP has no body, §3.13", V311, 0xD0, vec![0], MALFORMED));
    rows.push(("version 3.1 sends PUBREL with QoS 1", V31, 0x60, vec![0, 1], MALFORMED));
    assert_all_refused(rows);
}

#[test]
fn remaining_lengths() {
    for (rule, bytes, reason) in [
        ("not in its shortest form [MQTT-1.5.5-1]", &[0xC0, 0x80, 0x00][..], MALFORMED),
        ("not in its shortest form, four bytes", &[0x30, 0x83, 0x80, 0x80, 0x00], MALFORMED),
        ("five bytes, §1.5.5", &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], MALFORMED),
        (
            "larger than the maximum, §3.1.2.11.4",
            &[0x10, 0xFF, 0xFF, 0xFF, 0x7F],
            R::PacketTooLarge,
        ),
    ] {
        let error = frame::cut(bytes, 1_000_000).expect_err(rule);
        assert_eq!(error.reason, reason, "{rule}");
    }
}

#[test]
fn variable_byte_integers_in_properties() {
    assert_all_refused(vec![
        ("overlong Property Length [MQTT-1.5.5-1]", V5, 0x30, b"\0\x01t\x80\x00".into(), MALFORMED),
        ("overlong property id", V5, 0x30, publish_with(&[0x81, 0x00, 1]), MALFORMED),
        ("overlong Subscription Identifier", V5, 0x30, publish_with(&[0x0B, 0x81, 0]), MALFORMED),
        (
            "Subscription Identifier of five bytes",
            V5,
            0x30,
            publish_with(&[0x0B, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
            MALFORMED,
        ),
        ("Property Length beyond the packet", V5, 0x30, b"\0\x01t\x02\x01".into(), MALFORMED),
        ("no Property Length", V5, 0x30, b"\0\x01t".into(), MALFORMED),
        ("a property cut short by its length", V5, 0x30, b"\0\x01t\x01\x01\x00".into(), MALFORMED),
    ]);
}

#[test]
fn strings() {
    let bad: [(&str, &[u8]); 8] = [
        ("a lone continuation byte [MQTT-1.5.4-1]", b"a\x80"),
        ("a truncated sequence", b"a\xC3"),
        ("an overlong slash", b"\xC0\xAF"),
        ("U+0000 in the long form of Java", b"\xC0\x80"),
        ("surrogate U+D800 [MQTT-1.5.4-1]", b"\xED\xA0\x80"),
        ("surrogate U+DFFF [MQTT-1.5.4-1]", b"\xED\xBF\xBF"),
        ("above U+10FFFF", b"\xF4\x90\x80\x80"),
        ("U+0000 [MQTT-1.5.4-2]", b"a\0b"),
    ];
    for (rule, string) in bad {
        let mut pair = vec![0x26, 0, 0];
        counted(string, &mut pair);
        let mut content_type = vec![0x03];
        counted(string, &mut content_type);
        let mut filter = vec![0, 1];
        counted(string, &mut filter);
        let unsubscribe = filter.clone();
        filter.push(0);
        let mut client_id = Vec::new();
        counted(string, &mut client_id);
        assert_all_refused(vec![
            (rule, V311, 0x30, publish_to(string), MALFORMED),
            (rule, V31, 0x30, publish_to(string), MALFORMED),
            (rule, V5, 0x30, [&publish_to(string)[..], &[0]].concat(), MALFORMED),
            (rule, V5, 0x30, publish_with(&pair), MALFORMED),
            (rule, V5, 0x30, publish_with(&content_type), MALFORMED),
            (rule, V311, 0x82, filter, MALFORMED),
            (rule, V311, 0xA2, unsubscribe, MALFORMED),
            (rule, V311, 0x10, connect(V311, 0x02, &client_id), MALFORMED),
        ]);
    }
}

#[test]
fn publish() {
    let alias = |value: u8| publish_with(&[0x23, 0, value]);
    let response = |topic: &[u8]| {
        let mut property = vec![0x08];
        counted(topic, &mut property);
        publish_with(&property)
    };
    assert_all_refused(vec![
        ("QoS 3 [MQTT-3.3.1-4]", V5, 0x36, b"\0\x01t\0\x01\0".into(), MALFORMED),
        ("QoS 3", V311, 0x36, b"\0\x01t\0\x01".into(), MALFORMED),
        ("DUP with QoS 0 [MQTT-3.3.1-2]", V5, 0x38, b"\0\x01t\0".into(), MALFORMED),
        ("DUP with QoS 0", V311, 0x38, b"\0\x01t".into(), MALFORMED),
        ("empty body", V5, 0x30, vec![], MALFORMED),
        ("topic beyond the packet", V311, 0x30, b"\0\x05t".into(), MALFORMED),
        ("ends before its id", V311, 0x32, b"\0\x01t".into(), MALFORMED),
        ("ends within its id", V311, 0x34, b"\0\x01t\0".into(), MALFORMED),
        ("packet id 0 [MQTT-2.2.1-3]", V5, 0x32, b"\0\x01t\0\0\0".into(), PROTOCOL),
        ("packet id 0", V311, 0x34, b"\0\x01t\0\0".into(), PROTOCOL),
        ("+ in a topic [MQTT-3.3.2-2]", V311, 0x30, publish_to(b"a/+/b"), R::TopicNameInvalid),
        ("# in a topic [MQTT-3.3.2-2]", V311, 0x30, publish_to(b"a/#"), R::TopicNameInvalid),
        ("# in a topic [MQTT-3.3.2-2]", V5, 0x30, b"\0\x01#\0".into(), R::TopicNameInvalid),
        ("empty topic [MQTT-4.7.3-1]", V311, 0x30, publish_to(b""), R::TopicNameInvalid),
        ("empty topic, no alias, §3.3.2.1", V5, 0x30, b"\0\0\0".into(), PROTOCOL),
        ("Topic Alias 0 [MQTT-3.3.2-8]", V5, 0x30, alias(0), R::TopicAliasInvalid),
        ("wildcard in Response Topic [MQTT-3.3.2-14]", V5, 0x30, response(b"r/+"), PROTOCOL),
        ("empty Response Topic [MQTT-4.7.3-1]", V5, 0x30, response(b""), PROTOCOL),
        ("Payload Format 2, §3.3.2.3.2", V5, 0x30, publish_with(&[0x01, 2]), PROTOCOL),
        ("Subscription Identifier 0, §3.3.2.3.8", V5, 0x30, publish_with(&[0x0B, 0]), PROTOCOL),
        ("unknown property, §2.2.2.2", V5, 0x30, publish_with(&[0x04, 0]), MALFORMED),
        ("unknown property of two bytes", V5, 0x30, publish_with(&[0x80, 0x01, 0]), MALFORMED),
        ("half a User Property", V5, 0x30, publish_with(&[0x26, 0, 1, b'a']), MALFORMED),
    ]);
}

#[test]
fn connects() {
    let will = |flags: u8, topic: &[u8]| {
        let mut rest = vec![0, 0];
        counted(topic, &mut rest);
        counted(b"gone", &mut rest);
        connect(V311, flags, &rest)
    };
    let with = |properties: &[u8]| {
        let rest = [&[properties.len() as u8][..], properties, &[0, 0]].concat();
        connect(V5, 0x02, &rest)
    };
    assert_all_refused(vec![
        ("reserved flag [MQTT-3.1.2-3]", V311, 0x10, connect(V311, 0x03, &[0, 0]), MALFORMED),
        ("reserved flag [MQTT-3.1.2-3]", V5, 0x10, connect(V5, 0x03, &[0, 0, 0]), MALFORMED),
        (
            "Will QoS without will [MQTT-3.1.2-11]",
            V5,
            0x10,
            connect(V5, 0x0A, &[0, 0, 0]),
            MALFORMED,
        ),
        (
            "Will Retain without will [MQTT-3.1.2-13]",
            V5,
            0x10,
            connect(V5, 0x22, &[0, 0, 0]),
            MALFORMED,
        ),
        ("Will QoS without will, 3.1.1", V311, 0x10, connect(V311, 0x12, &[0, 0]), MALFORMED),
        ("Will QoS 3 [MQTT-3.1.2-12]", V311, 0x10, will(0x1E, b"w"), MALFORMED),
        ("empty Will Topic [MQTT-4.7.3-1]", V311, 0x10, will(0x06, b""), R::TopicNameInvalid),
        ("wildcard in Will Topic", V311, 0x10, will(0x06, b"w/#"), R::TopicNameInvalid),
        (
            "password without name, 3.1.1 [MQTT-3.1.2-22]",
            V311,
            0x10,
            connect(V311, 0x42, b"\0\0\0\x01p"),
            MALFORMED,
        ),
        ("no will behind its flag", V311, 0x10, connect(V311, 0x06, &[0, 0]), MALFORMED),
        ("no name behind its flag, 3.1.1", V311, 0x10, connect(V311, 0x82, &[0, 0]), MALFORMED),
        ("no password behind its flag, 5", V5, 0x10, connect(V5, 0x42, &[0, 0, 0]), MALFORMED),
        ("half a name, 3.1", V31, 0x10, connect(V31, 0x82, b"\0\x01c\0\x04us"), MALFORMED),
        ("bytes behind the payload", V311, 0x10, connect(V311, 0x02, b"\0\0x"), MALFORMED),
        ("bytes behind the payload", V31, 0x10, connect(V31, 0x02, b"\0\x01cx"), MALFORMED),
        ("Receive Maximum 0, §3.1.2.11.3", V5, 0x10, with(&[0x21, 0, 0]), PROTOCOL),
        ("Maximum Packet Size 0, §3.1.2.11.4", V5, 0x10, with(&[0x27, 0, 0, 0, 0]), PROTOCOL),
        ("Request Problem Information 2, §3.1.2.11.7", V5, 0x10, with(&[0x17, 2]), PROTOCOL),
        ("Request Response Information 2, §3.1.2.11.6", V5, 0x10, with(&[0x19, 2]), PROTOCOL),
        ("data without a method, §3.1.2.11.10", V5, 0x10, with(&[0x16, 0, 1, 7]), PROTOCOL),
        ("will property outside the will", V5, 0x10, with(&[0x18, 0, 0, 0, 1]), MALFORMED),
        (
            "connect property in the will",
            V5,
            0x10,
            connect(V5, 0x06, b"\0\0\x01c\x03\x21\0\x01\0\x01w\0\0"),
            MALFORMED,
        ),
    ]);
}

#[test]
fn versions_and_the_answer_that_their_sender_understands() {
    for (name, level, answer_in) in [
        (&b"MQTT"[..], 6, Some(V5)),
        (b"MQTT", 3, Some(V311)),
        (b"MQTT", 0, Some(V311)),
        (b"MQTT", 0x84, Some(V311)), // how Mosquitto's bridges mark 3.1.1
        (b"MQIsdp", 4, Some(V311)),
        (b"MQIsdp", 5, Some(V311)),
        (b"mqtt", 4, None),
        (b"MQTTT", 5, None),
        (b"", 4, None),
        (b"HTTP", 5, None),
    ] {
        let mut body = Vec::new();
        counted(name, &mut body);
        body.extend_from_slice(&[level, 2, 0, 0, 0, 0]);
        let refused = Connect::decode(&body, &PropertyLimits::UNLIMITED).expect_err("refused");
        assert_eq!(refused.error.reason, R::UnsupportedProtocolVersion, "{name:?} {level}");
        assert_eq!(refused.answer_in, answer_in, "{name:?} {level}");
    }
    // What is wrong behind the version is answered in that version.
    let body = connect(V31, 0x1E, b"\0\x01c\0\x01w\0\0");
    let refused = Connect::decode(&body, &PropertyLimits::UNLIMITED).expect_err("Will QoS 3");
    assert_eq!(refused.answer_in, Some(V31));
    for cut_at in 0..7 {
        let refused = Connect::decode(&body[..cut_at], &PropertyLimits::UNLIMITED);
        assert_eq!(refused.expect_err("cut short").answer_in, None);
    }
}

#[test]
fn subscribes() {
    assert_all_refused(vec![
        ("no filter [MQTT-3.8.3-2]", V5, 0x82, vec![0, 1, 0], PROTOCOL),
        ("no filter", V311, 0x82, vec![0, 1], PROTOCOL),
        ("packet id 0 [MQTT-2.2.1-3]", V311, 0x82, b"\0\0\0\x01a\0".into(), PROTOCOL),
        ("ends before the options", V311, 0x82, b"\0\x01\0\x01a".into(), MALFORMED),
        ("ends within the filter", V5, 0x82, b"\0\x01\0\0\x05a".into(), MALFORMED),
        ("QoS 3, 3.1.1 [MQTT-3-8.3-4]", V311, 0x82, b"\0\x01\0\x01a\x03".into(), MALFORMED),
        ("QoS 3, 3.1", V31, 0x82, b"\0\x01\0\x01a\x03".into(), MALFORMED),
        ("QoS 3, §3.8.3.1", V5, 0x82, b"\0\x01\0\0\x01a\x03".into(), PROTOCOL),
        ("Retain Handling 3, §3.8.3.1", V5, 0x82, b"\0\x01\0\0\x01a\x30".into(), PROTOCOL),
        ("reserved bits [MQTT-3.8.3-5]", V5, 0x82, b"\0\x01\0\0\x01a\x40".into(), MALFORMED),
        ("reserved bits [MQTT-3.8.3-5]", V5, 0x82, b"\0\x01\0\0\x01a\x80".into(), MALFORMED),
        ("reserved bits, 3.1.1", V311, 0x82, b"\0\x01\0\x01a\x04".into(), MALFORMED),
        ("identifier 0, §3.8.2.1.2", V5, 0x82, b"\0\x01\x02\x0B\0\0\x01a\0".into(), PROTOCOL),
        ("identifier twice", V5, 0x82, b"\0\x01\x04\x0B\x01\x0B\x01\0\x01a\0".into(), PROTOCOL),
        ("UNSUBSCRIBE without filter [MQTT-3.10.3-2]", V5, 0xA2, vec![0, 1, 0], PROTOCOL),
        ("UNSUBSCRIBE without filter", V311, 0xA2, vec![0, 1], PROTOCOL),
        ("UNSUBSCRIBE ends within a filter", V311, 0xA2, b"\0\x01\0\x02a".into(), MALFORMED),
        ("UNSUBSCRIBE without id", V311, 0xA2, vec![0], MALFORMED),
    ]);
}

#[test]
fn acknowledgements() {
    let mut rows: Vec<Row> = Vec::new();
    for first in [0x40, 0x50, 0x62, 0x70] {
        rows.push(("no id", V5, first, vec![], MALFORMED));
        rows.push(("half an id", V311, first, vec![0], MALFORMED));
        rows.push(("packet id 0 [MQTT-2.2.1-3]", V5, first, vec![0, 0], PROTOCOL));
        rows.push(("a reason before version 5", V311, first, vec![0, 1, 0], MALFORMED));
        rows.push(("properties behind the end", V5, first, vec![0, 1, 0, 0, 0], MALFORMED));
        rows.push(("foreign property", V5, first, vec![0, 1, 0, 2, 1, 0], MALFORMED));
        let allowed: &[u8] =
            if first < 0x60 { packet_writer::PUBACK_CODES } else { packet_writer::PUBREL_CODES };
        for code in (0..=255).filter(|code| !allowed.contains(code)) {
            rows.push(("reason code, §3.4.2.1 to §3.7.2.1", V5, first, vec![0, 1, code], PROTOCOL));
        }
    }
    assert_all_refused(rows);
}

#[test]
fn reason_codes_of_other_packets() {
    let mut rows: Vec<Row> = Vec::new();
    let foreign = |allowed: &'static [u8]| (0..=255).filter(|code| !allowed.contains(code));
    for code in foreign(packet_writer::CONNACK_CODES) {
        rows.push(("[MQTT-3.2.2-8]", V5, 0x20, vec![0, code, 0], PROTOCOL));
    }
    for code in foreign(packet_writer::SUBACK_CODES) {
        rows.push(("[MQTT-3.9.3-2]", V5, 0x90, vec![0, 1, 0, code], PROTOCOL));
    }
    for code in foreign(&[0, 1, 2, 0x80]) {
        rows.push(("3.1.1 [MQTT-3.9.3-2]", V311, 0x90, vec![0, 1, code], PROTOCOL));
    }
    for code in foreign(packet_writer::UNSUBACK_CODES) {
        rows.push(("[MQTT-3.11.3-2]", V5, 0xB0, vec![0, 1, 0, code], PROTOCOL));
    }
    for code in foreign(packet_writer::DISCONNECT_CODES) {
        rows.push(("[MQTT-3.14.2-1]", V5, 0xE0, vec![code], PROTOCOL));
    }
    for code in foreign(&[0, 0x18, 0x19]) {
        rows.push(("[MQTT-3.15.2-1]", V5, 0xF0, vec![code, 4, 0x15, 0, 1, b'm'], PROTOCOL));
    }
    for code in 6..=255 {
        rows.push(("3.1.1 §3.2.2.3", V311, 0x20, vec![0, code], PROTOCOL));
    }
    assert_all_refused(rows);
}

#[test]
fn answers_of_a_server() {
    assert_all_refused(vec![
        ("CONNACK flags [MQTT-3.2.2-1]", V5, 0x20, vec![2, 0, 0], MALFORMED),
        ("CONNACK without properties", V5, 0x20, vec![0, 0], MALFORMED),
        ("Session Present in a refusal [MQTT-3.2.2-6]", V5, 0x20, vec![1, 0x87, 0], PROTOCOL),
        ("Session Present in a refusal [MQTT-3.2.2-4]", V311, 0x20, vec![1, 5], PROTOCOL),
        ("CONNACK too long", V311, 0x20, vec![0, 0, 0], MALFORMED),
        ("CONNACK too short", V311, 0x20, vec![0], MALFORMED),
        ("Maximum QoS 2, §3.2.2.3.4", V5, 0x20, vec![0, 0, 2, 0x24, 2], PROTOCOL),
        ("Retain Available 2, §3.2.2.3.5", V5, 0x20, vec![0, 0, 2, 0x25, 2], PROTOCOL),
        ("SUBACK without codes", V5, 0x90, vec![0, 1, 0], PROTOCOL),
        ("SUBACK without codes", V311, 0x90, vec![0, 1], PROTOCOL),
        ("UNSUBACK without codes, §3.11.3", V5, 0xB0, vec![0, 1, 0], PROTOCOL),
        ("UNSUBACK with codes, 3.1.1", V311, 0xB0, vec![0, 1, 0], MALFORMED),
        ("packet id 0", V5, 0x90, vec![0, 0, 0, 0], PROTOCOL),
        ("DISCONNECT with a body, 3.1.1 §3.14", V311, 0xE0, vec![0], MALFORMED),
        ("bytes behind DISCONNECT", V5, 0xE0, vec![0, 0, 0], MALFORMED),
        ("DISCONNECT property", V5, 0xE0, vec![0, 2, 0x17, 1], MALFORMED),
        ("AUTH without a method, §3.15.2.2.2", V5, 0xF0, vec![], PROTOCOL),
        ("AUTH without properties", V5, 0xF0, vec![0x18], MALFORMED),
        ("bytes behind AUTH", V5, 0xF0, vec![0x18, 4, 0x15, 0, 1, b'm', 0], MALFORMED),
    ]);
}

/// A first byte, what stands before and behind the properties, and what they may be.
type Around<'a> = (u8, &'a [u8], &'a [u8], &'a [u8]);

/// §2.2.2.2: every property in every packet that may not carry it is malformed, and every one
/// that may carry it, but not twice, is a protocol error.
#[test]
fn properties_by_packet() {
    use packet_writer::{ACK, AUTH, CONNACK, CONNECT, DISCONNECT, PUBLISH, SUBSCRIBE, WILL};
    let connect_auth = [CONNECT, &[0x16]].concat();
    let auth = [AUTH, &[0x15]].concat();
    let packets: [Around<'_>; 13] = [
        (0x10, b"\0\x04MQTT\x05\x02\0\0", b"\0\0", &connect_auth),
        (0x10, b"\0\x04MQTT\x05\x06\0\0\0\0\0", b"\0\x01w\0\0", WILL),
        (0x20, &[0, 0], &[], CONNACK),
        (0x30, b"\0\x01t", b"", PUBLISH),
        (0x40, &[0, 1, 0], &[], ACK),
        (0x50, &[0, 1, 0], &[], ACK),
        (0x62, &[0, 1, 0], &[], ACK),
        (0x70, &[0, 1, 0], &[], ACK),
        (0x82, &[0, 1], b"\0\x01a\0", SUBSCRIBE),
        (0x90, &[0, 1], &[0], ACK),
        (0xA2, &[0, 1], b"\0\x01a", &[]),
        (0xE0, &[0], &[], DISCONNECT),
        (0xF0, &[0], &[], &auth),
    ];
    for (first, before, behind, allowed) in packets {
        for (id, property) in one_of_each() {
            let refusal = |list: &[u8]| {
                let mut body = before.to_vec();
                varint(list.len(), &mut body);
                body.extend_from_slice(list);
                body.extend_from_slice(behind);
                decode(first, &body, V5).err().map(|error| (error.reason, error.what))
            };
            let context = format!("property {id:#04x} in {first:#04x}");
            let twice = [&property[..], &property].concat();
            if id != 0x26 && !allowed.contains(&id) {
                // Also with a value that is wrong by itself.
                let zeros = [&[id][..], &vec![0; property.len() - 1]].concat();
                for list in [property, zeros] {
                    assert_eq!(refusal(&list).expect(&context).0, MALFORMED, "{context}");
                }
            } else if id == 0x26 || id == 0x0B && first == 0x30 {
                let missing = refusal(&twice).map(|(_, what)| what);
                assert!(missing.is_none_or(|what| what.starts_with("AUTH without")), "{context}");
            } else {
                let refused = refusal(&twice);
                assert_eq!(refused, Some((PROTOCOL, "property stands twice")), "{context}");
            }
        }
    }
}

/// Every property of §2.2.2.2 with a valid value.
fn one_of_each() -> Vec<(u8, Vec<u8>)> {
    let byte = [0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A].map(|id| (id, vec![id, 1]));
    let two = [0x13, 0x21, 0x22, 0x23].map(|id| (id, vec![id, 0, 1]));
    let four = [0x02, 0x11, 0x18, 0x27].map(|id| (id, vec![id, 0, 0, 0, 1]));
    let strings =
        [0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F].map(|id| (id, vec![id, 0, 1, b'x']));
    let mut all: Vec<_> = byte.into_iter().chain(two).chain(four).chain(strings).collect();
    all.push((0x0B, vec![0x0B, 1]));
    all.push((0x26, vec![0x26, 0, 1, b'n', 0, 0]));
    assert_eq!(all.len(), 27);
    all
}

#[test]
fn user_properties_over_the_limit() {
    let limits = PropertyLimits { max_user_properties: 3, max_user_property_bytes: 10 };
    let publish = |count: usize, len: usize| {
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(0x26);
            counted(&vec![b'n'; len], &mut list);
            counted(b"", &mut list);
        }
        let body = publish_with(&list);
        Packet::decode(0x30, &body, V5, &limits).map(|_| ()).map_err(|error| error.reason)
    };
    assert_eq!(publish(3, 3), Ok(()));
    assert_eq!(publish(1, 10), Ok(()));
    assert_eq!(publish(4, 0), Err(R::QuotaExceeded));
    assert_eq!(publish(1, 11), Err(R::QuotaExceeded));
    assert_eq!(publish(3, 4), Err(R::QuotaExceeded));
    assert_eq!(publish(100_000, 0), Err(R::QuotaExceeded));
}

/// Every proper prefix of a body is refused, or is itself a shorter form that the standard allows.
#[test]
fn packets_that_end_early() {
    for version in packet_writer::VERSIONS {
        for kind in (1..=15u8).filter(|&kind| kind != 15 || version.is_v5()) {
            let seed: Vec<u8> =
                (0..80u8).map(|at| at.wrapping_mul(37).wrapping_add(kind)).collect();
            let packet =
                packet_writer::packet(kind, version, &mut packet_writer::Entropy::new(&seed));
            let cut = frame::cut(&packet, usize::MAX).unwrap().unwrap();
            let body = &packet[cut.body_at..];
            for end in 0..body.len() {
                match decode(cut.first, &body[..end], version) {
                    Err(error) => assert!(matches!(error.reason, MALFORMED | PROTOCOL), "{error}"),
                    Ok(_) => assert!(may_end_early(kind, version), "{kind} {version} {end}"),
                }
            }
        }
    }
}

/// A PUBLISH may lose payload; lists may lose elements; reasons and properties may be left out
/// where version 5 says so; a 3.1 CONNECT may lose its name and password.
fn may_end_early(kind: u8, version: ProtocolVersion) -> bool {
    match kind {
        3 | 8 | 9 | 10 => true,
        4..=7 | 11 | 14 | 2 => version.is_v5(),
        1 => version == V31,
        _ => false,
    }
}
