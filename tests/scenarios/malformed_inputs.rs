//! Inputs that break the protocol, by the classes of bugs that MQTT brokers have had.

use agentmq_testkit::codec::ReasonCode::{self, *};
use agentmq_testkit::codec::{ProtocolVersion, varint_len};
use agentmq_testkit::connect_packet;

/// One input and what the broker must make of it.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) name: &'static str,
    /// Whether a CONNECT in this version has succeeded before.
    pub(crate) connected: Option<ProtocolVersion>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) outcome: Outcome,
}

/// What the broker must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Closes with this code: DISCONNECT, or CONNACK before it.
    Reason(ReasonCode),
    /// Closes without a packet.
    Silence,
    /// Waits for bytes that never come, and is silent when we close.
    Patience,
    /// Whatever it likes, as long as it closes when we do.
    Anything,
}

/// All fixed inputs.
pub(crate) fn all() -> Vec<Input> {
    let mut inputs = Vec::new();
    for (name, bytes, reason) in after_connect() {
        let version = ProtocolVersion::V5;
        let outcome = Outcome::Reason(reason);
        inputs.push(Input { name, connected: Some(version), bytes, outcome });
    }
    for (name, bytes) in old_after_connect() {
        for version in [ProtocolVersion::V311, ProtocolVersion::V31] {
            let (connected, bytes) = (Some(version), bytes.clone());
            inputs.push(Input { name, connected, bytes, outcome: Outcome::Silence });
        }
    }
    for (name, bytes) in unfinished() {
        let connected = Some(ProtocolVersion::V5);
        inputs.push(Input { name, connected, bytes, outcome: Outcome::Patience });
    }
    let stopped = vec![0x10, 0x80, 0x80, 0x3F, 0, 4, b'M', b'Q'];
    let (name, outcome) = ("a CONNECT that stops", Outcome::Patience);
    inputs.push(Input { name, connected: None, bytes: stopped, outcome });
    for (name, bytes) in no_connect() {
        inputs.push(Input { name, connected: None, bytes, outcome: Outcome::Silence });
    }
    for (name, bytes, outcome) in bad_connect() {
        inputs.push(Input { name, connected: None, bytes, outcome });
    }
    inputs
}

/// A valid packet of many kinds with some bytes changed, cut or repeated, as `random` says.
pub(crate) fn mutated(random: &mut impl FnMut(usize) -> usize) -> Input {
    let kinds = valid();
    let mut bytes = kinds[random(kinds.len())].clone();
    for _ in 0..=random(4) {
        let at = random(bytes.len());
        match random(4) {
            0 => bytes[at] = random(256) as u8,
            1 => bytes[at] ^= 1 << random(8),
            2 => bytes.truncate(at.max(1)),
            _ => {
                let tail = bytes[at..].to_vec();
                bytes.extend(tail);
            }
        }
    }
    let versions =
        [None, Some(ProtocolVersion::V5), Some(ProtocolVersion::V311), Some(ProtocolVersion::V31)];
    let connected = versions[random(versions.len())];
    Input { name: "a changed packet", connected, bytes, outcome: Outcome::Anything }
}

type Named = (&'static str, Vec<u8>);

/// After a CONNECT of version 5.
fn after_connect() -> Vec<(&'static str, Vec<u8>, ReasonCode)> {
    let mut inputs = framing();
    inputs.extend(publish());
    inputs.extend(subscribe());
    inputs.extend(properties());
    inputs.extend(sequence());
    inputs
}

fn framing() -> Vec<(&'static str, Vec<u8>, ReasonCode)> {
    vec![
        ("type 0", vec![0x00, 0x00], MalformedPacket),
        ("flags of SUBSCRIBE", packet(0x80, b"\0\x01\0\0\x01a\0"), MalformedPacket),
        ("flags of UNSUBSCRIBE", packet(0xA0, b"\0\x01\0\0\x01a"), MalformedPacket),
        ("flags of PUBREL", packet(0x60, b"\0\x01"), MalformedPacket),
        ("flags of PUBACK", packet(0x41, b"\0\x01"), MalformedPacket),
        ("flags of PINGREQ", packet(0xC1, b""), MalformedPacket),
        ("flags of DISCONNECT", packet(0xE1, b""), MalformedPacket),
        ("flags of AUTH", packet(0xF1, b""), MalformedPacket),
        ("PINGREQ with a body", packet(0xC0, b"x"), MalformedPacket),
        ("length of five bytes", vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01], MalformedPacket),
        ("length not in its shortest form", vec![0xC0, 0x80, 0x00], MalformedPacket),
        ("256 MiB announced", vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F], PacketTooLarge),
        ("one byte too many announced", vec![0x30, 0x81, 0x80, 0x40], PacketTooLarge),
    ]
}

fn publish() -> Vec<(&'static str, Vec<u8>, ReasonCode)> {
    let topic = |bytes: &[u8]| packet(0x30, &[&text(bytes)[..], b"\0x"].concat());
    let slashes = vec![b'/'; 65_400];
    vec![
        ("PUBLISH with QoS 3", packet(0x36, b"\0\x01a\0\x01\0"), MalformedPacket),
        ("PUBLISH with DUP and QoS 0", packet(0x38, b"\0\x01a\0"), MalformedPacket),
        ("PUBLISH without a body", packet(0x30, b""), MalformedPacket),
        ("PUBLISH shorter than its topic", packet(0x30, b"\0\x09a"), MalformedPacket),
        ("PUBLISH that ends before its id", packet(0x32, b"\0\x01a"), MalformedPacket),
        ("PUBLISH that ends in its id", packet(0x32, b"\0\x01a\0"), MalformedPacket),
        ("PUBLISH with id 0", packet(0x32, b"\0\x01a\0\0\0"), ProtocolError),
        ("PUBLISH without properties", packet(0x30, b"\0\x01a"), MalformedPacket),
        ("PUBLISH without a topic", topic(b""), ProtocolError),
        ("topic with #", topic(b"a/#"), TopicNameInvalid),
        ("topic with +", topic(b"+"), TopicNameInvalid),
        ("topic with U+0000", topic(b"a\0b"), MalformedPacket),
        ("topic with a surrogate", topic(b"a\xED\xA0\x80"), MalformedPacket),
        ("topic in overlong UTF-8", topic(b"\xC0\xAF"), MalformedPacket),
        ("topic that is no UTF-8", topic(b"\xFF\xFE"), MalformedPacket),
        ("topic of 65,400 slashes", topic(&slashes), TopicNameInvalid),
        ("topic of 65,535 bytes", topic(&[b'a'; 65_535]), TopicNameInvalid),
    ]
}

fn subscribe() -> Vec<(&'static str, Vec<u8>, ReasonCode)> {
    let options = |byte: u8| packet(0x82, &[&b"\0\x01\0\0\x01a"[..], &[byte]].concat());
    let shared = b"$share/g/a";
    let no_local = [&b"\0\x01\0"[..], &text(shared), &[4]].concat();
    vec![
        ("SUBSCRIBE without a filter", packet(0x82, b"\0\x01\0"), ProtocolError),
        ("SUBSCRIBE without an id", packet(0x82, b""), MalformedPacket),
        ("SUBSCRIBE with id 0", packet(0x82, b"\0\0\0\0\x01a\0"), ProtocolError),
        (
            "SUBSCRIBE that ends before its options",
            packet(0x82, b"\0\x01\0\0\x01a"),
            MalformedPacket,
        ),
        ("SUBSCRIBE shorter than its filter", packet(0x82, b"\0\x01\0\0\x09a\0"), MalformedPacket),
        ("SUBSCRIBE with QoS 3", options(3), ProtocolError),
        ("SUBSCRIBE with reserved options", options(0x40), MalformedPacket),
        ("SUBSCRIBE with Retain Handling 3", options(0x30), ProtocolError),
        ("No Local on a shared filter", packet(0x82, &no_local), ProtocolError),
        ("filter that is no UTF-8", packet(0x82, b"\0\x01\0\0\x01\xFF\0"), MalformedPacket),
        ("Subscription Identifier 0", packet(0x82, b"\0\x01\x02\x0B\0\0\x01a\0"), ProtocolError),
        (
            "two Subscription Identifiers",
            packet(0x82, b"\0\x01\x04\x0B\x01\x0B\x02\0\x01a\0"),
            ProtocolError,
        ),
        ("UNSUBSCRIBE without a filter", packet(0xA2, b"\0\x01\0"), ProtocolError),
        ("UNSUBSCRIBE shorter than its filter", packet(0xA2, b"\0\x01\0\0\x09a"), MalformedPacket),
    ]
}

fn properties() -> Vec<(&'static str, Vec<u8>, ReasonCode)> {
    let with = |properties: &[u8]| {
        let mut body = b"\0\x01a".to_vec();
        put_varint(&mut body, properties.len());
        body.extend(properties);
        packet(0x30, &body)
    };
    let user = b"\x26\0\x01k\0\x01v";
    let unset_alias = packet(0x30, b"\0\0\x03\x23\0\x01");
    vec![
        ("properties longer than the packet", packet(0x30, b"\0\x01a\x7F"), MalformedPacket),
        (
            "length of properties in five bytes",
            packet(0x30, b"\0\x01a\x80\x80\x80\x80\x01"),
            MalformedPacket,
        ),
        ("unknown property", with(b"\x7E\0"), MalformedPacket),
        ("property of another packet", with(b"\x11\0\0\0\x01"), MalformedPacket),
        ("property twice", with(b"\x01\0\x01\0"), ProtocolError),
        ("property that ends early", with(b"\x02\0\0"), MalformedPacket),
        ("Payload Format Indicator 2", with(b"\x01\x02"), ProtocolError),
        ("Response Topic with a wildcard", with(b"\x08\0\x01#"), ProtocolError),
        ("Content Type that is no UTF-8", with(b"\x03\0\x01\xFF"), MalformedPacket),
        ("Topic Alias 0", with(b"\x23\0\0"), TopicAliasInvalid),
        ("Topic Alias above the maximum", with(b"\x23\xFF\xFF"), TopicAliasInvalid),
        ("Topic Alias never set", unset_alias, ProtocolError),
        ("Subscription Identifier from a client", with(b"\x0B\x01"), ProtocolError),
        ("thousands of User Properties", with(&user.repeat(5_000)), QuotaExceeded),
        ("User Property that ends early", with(b"\x26\0\x01k\0\x09v"), MalformedPacket),
    ]
}

fn sequence() -> Vec<(&'static str, Vec<u8>, ReasonCode)> {
    let connect = connect_packet(ProtocolVersion::V5, "again");
    let twelve: Vec<u8> = (1..=12).flat_map(|id| packet(0x34, &[0, 1, b'a', 0, id, 0])).collect();
    vec![
        ("a second CONNECT", connect, ProtocolError),
        ("CONNACK from a client", packet(0x20, b"\0\0\0"), ProtocolError),
        ("SUBACK from a client", packet(0x90, b"\0\x01\0\0"), ProtocolError),
        ("UNSUBACK from a client", packet(0xB0, b"\0\x01\0\0"), ProtocolError),
        ("PINGRESP from a client", packet(0xD0, b""), ProtocolError),
        ("more QoS 2 than Receive Maximum", twelve, ReceiveMaximumExceeded),
        ("AUTH without a method", packet(0xF0, b"\x19\0"), ProtocolError),
        ("AUTH out of turn", packet(0xF0, b"\x18\x04\x15\0\x01m"), ProtocolError),
        ("PUBACK with an unknown code", packet(0x40, b"\0\x01\x7F"), ProtocolError),
        ("PUBACK too short", packet(0x40, b"\0"), MalformedPacket),
        ("PUBREL with id 0", packet(0x62, b"\0\0"), ProtocolError),
        ("PUBACK with bytes behind", packet(0x40, b"\0\x01\0\0x"), MalformedPacket),
        ("DISCONNECT with an unknown code", packet(0xE0, b"\x7F"), ProtocolError),
        ("DISCONNECT that raises the expiry", packet(0xE0, b"\0\x05\x11\0\0\0\x09"), ProtocolError),
        ("DISCONNECT with bytes behind", packet(0xE0, b"\0\0x"), MalformedPacket),
    ]
}

/// After a CONNECT of version 3.1 or 3.1.1, which knows no DISCONNECT from the server.
fn old_after_connect() -> Vec<Named> {
    vec![
        ("3.x: type 0", vec![0x00, 0x00]),
        ("3.x: AUTH", packet(0xF0, b"")),
        ("3.x: QoS 3", packet(0x36, b"\0\x01a\0\x01")),
        ("3.x: topic with #", packet(0x30, b"\0\x01#x")),
        ("3.x: empty topic", packet(0x30, b"\0\0x")),
        ("3.x: topic that is no UTF-8", packet(0x30, b"\0\x01\xFF")),
        ("3.x: SUBSCRIBE without a filter", packet(0x82, b"\0\x01")),
        ("3.x: SUBSCRIBE with QoS 3", packet(0x82, b"\0\x01\0\x01a\x03")),
        ("3.x: second CONNECT", connect_packet(ProtocolVersion::V311, "again")),
        ("3.x: CONNACK from a client", packet(0x20, b"\0\0")),
        ("3.x: DISCONNECT with a body", packet(0xE0, b"\0")),
        ("3.x: PUBACK with a code", packet(0x40, b"\0\x01\0")),
    ]
}

/// Packets that never end: nothing may be allocated for what has not come.
fn unfinished() -> Vec<Named> {
    vec![
        ("one byte", vec![0x30]),
        ("a length that does not end", vec![0x30, 0x80]),
        ("a body that does not come", vec![0x30, 0x80, 0x80, 0x3F]),
        ("a body that stops", [&[0x30, 0x80, 0x80, 0x3F, 0, 1, b'a'][..], &[0; 20_000]].concat()),
    ]
}

/// Something else in the place of CONNECT.
fn no_connect() -> Vec<Named> {
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03";
    let mut inputs: Vec<Named> = vec![
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("TLS", [&tls[..], &[7; 300]].concat()),
        ("a PROXY header", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec()),
        ("zeros", vec![0; 1_000]),
        (
            "a huge packet that is no CONNECT",
            [&[0x30, 0xFF, 0xFF, 0xFF, 0x7F][..], &[0; 20_000]].concat(),
        ),
        ("a huge CONNECT", vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4]),
        ("a length of five bytes", vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
    ];
    for kind in 2..=15_u8 {
        inputs.push(("a packet before CONNECT", packet(kind << 4, b"\0\x01a")));
    }
    inputs
}

/// CONNECT packets that are wrong.
fn bad_connect() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    use Outcome::{Reason, Silence};
    let connect = |level: u8, flags: u8, rest: &[u8]| {
        let head = [&b"\0\x04MQTT"[..], &[level, flags, 0, 60]].concat();
        packet(0x10, &[&head[..], rest].concat())
    };
    let malformed = Reason(MalformedPacket);
    let protocol = Reason(ProtocolError);
    let will = |properties: &[u8]| {
        let mut rest = b"\0\0\x01c".to_vec(); // properties, client identifier
        put_varint(&mut rest, properties.len());
        rest.extend(properties);
        rest.extend(b"\0\x01w\0\x01x");
        connect(5, 0x06, &rest)
    };
    vec![
        ("reserved Connect Flag", connect(5, 0x03, b"\0\0\x01c"), malformed),
        ("Will QoS without a will", connect(5, 0x0A, b"\0\0\x01c"), malformed),
        ("Will Retain without a will", connect(5, 0x22, b"\0\0\x01c"), malformed),
        ("Will QoS 3", connect(5, 0x1E, b"\0\0\x01c\0\0\x01w\0\0"), malformed),
        ("will that is missing", connect(5, 0x06, b"\0\0\x01c"), malformed),
        (
            "Will Topic with a wildcard",
            connect(5, 0x06, b"\0\0\x01c\0\0\x01#\0\0"),
            Reason(TopicNameInvalid),
        ),
        ("will with a property of another packet", will(b"\x11\0\0\0\x01"), malformed),
        ("will with an unknown property", will(b"\x7F\0"), malformed),
        ("will with a property twice", will(b"\x18\0\0\0\x01\x18\0\0\0\x01"), protocol),
        ("user name that is missing", connect(5, 0x82, b"\0\0\x01c"), malformed),
        ("password that ends early", connect(5, 0x42, b"\0\0\x01c\0\x09p"), malformed),
        ("client identifier that is no UTF-8", connect(5, 2, b"\0\0\x01\xFF"), malformed),
        ("client identifier with U+0000", connect(5, 2, b"\0\0\x01\0"), malformed),
        ("bytes behind the payload", connect(5, 2, b"\0\0\x01cx"), malformed),
        ("no payload", connect(5, 2, b""), malformed),
        ("properties longer than the packet", connect(5, 2, b"\x7F\0\x01c"), malformed),
        ("Receive Maximum 0", connect(5, 2, b"\x03\x21\0\0\0\x01c"), protocol),
        ("Maximum Packet Size 0", connect(5, 2, b"\x05\x27\0\0\0\0\0\x01c"), protocol),
        (
            "Authentication Data without a method",
            connect(5, 2, b"\x04\x16\0\x01d\0\x01c"),
            protocol,
        ),
        (
            "an unknown method",
            connect(5, 2, b"\x04\x15\0\x01m\0\x01c"),
            Reason(BadAuthenticationMethod),
        ),
        ("level 6", connect(6, 2, b"\0\0\x01c"), Reason(UnsupportedProtocolVersion)),
        ("flags of CONNECT", [&[0x11][..], &connect(5, 2, b"\0\0\x01c")[1..]].concat(), Silence),
        ("3.1.1: reserved Connect Flag", connect(4, 0x03, b"\0\x01c"), Silence),
        ("3.1.1: password without a user name", connect(4, 0x42, b"\0\x01c\0\x01p"), Silence),
        ("another protocol", packet(0x10, b"\0\x04AMQP\x05\x02\0\0\0\0\x01c"), Silence),
        ("no protocol", packet(0x10, b""), Silence),
    ]
}

/// One valid packet of each kind that a client may send.
fn valid() -> Vec<Vec<u8>> {
    vec![
        connect_packet(ProtocolVersion::V5, "changed"),
        connect_packet(ProtocolVersion::V311, "changed"),
        packet(0x30, b"\0\x03a/b\0payload"),
        packet(0x32, b"\0\x03a/b\0\x01\0payload"),
        packet(0x35, b"\0\x03a/b\0\x02\x07\x26\0\x01k\0\x01vpayload"),
        packet(0x40, b"\0\x01\x10\0"),
        packet(0x62, b"\0\x02"),
        packet(0x82, b"\0\x01\x02\x0B\x05\0\x03a/#\x01\0\x0A$share/g/a\x02"),
        packet(0xA2, b"\0\x01\0\0\x03a/#\0\x01b"),
        packet(0xC0, b""),
        packet(0xE0, b"\x04\x05\x11\0\0\0\0"),
        packet(0xF0, b"\x19\x04\x15\0\x01m"),
    ]
}

/// A packet with the length that its body has.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    put_varint(&mut bytes, body.len());
    bytes.extend(body);
    bytes
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn put_varint(bytes: &mut Vec<u8>, value: usize) {
    let length = varint_len(value);
    for index in 0..length {
        let more = if index + 1 < length { 0x80 } else { 0 };
        bytes.push((value >> (7 * index) & 0x7F) as u8 | more);
    }
}
