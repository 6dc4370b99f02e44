//! The worked examples of the standards, and packets spelled out byte by byte.

use ProtocolVersion::{V5, V31, V311};
use agentmq_codec::{
    Ack, AckKind, Auth, ConnAck, Connect, Disconnect, FilterAck, FilterAckKind as K, Packet,
    Properties, PropertiesBuf, Property, PropertyId as P, PropertyLimits, ProtocolVersion, Publish,
    PublishHead, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions,
    Unsubscribe, Will, check_text, frame, varint_len,
};

fn decode(bytes: &[u8], version: ProtocolVersion) -> Packet<'_> {
    let cut = frame::cut(bytes, usize::MAX).expect("a valid frame").expect("a whole frame");
    assert_eq!(cut.total, bytes.len());
    Packet::decode(cut.first, &bytes[cut.body_at..], version, &PropertyLimits::UNLIMITED)
        .unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

fn encode(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(version, &mut out);
    out
}

/// Table 1-1 of MQTT 5 (§1.5.5), table 2.4 of 3.1.1: the borders of one to four bytes.
#[test]
fn sizes_of_the_variable_byte_integer() {
    for (value, bytes) in [
        (0usize, &[0x00][..]),
        (127, &[0x7F]),
        (128, &[0x80, 0x01]),
        (16_383, &[0xFF, 0x7F]),
        (16_384, &[0x80, 0x80, 0x01]),
        (2_097_151, &[0xFF, 0xFF, 0x7F]),
        (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
        (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
    ] {
        assert_eq!(varint_len(value), bytes.len());
        let header = [&[0x30][..], bytes].concat();
        if value > 0 {
            assert_eq!(frame::cut(&header, usize::MAX), Ok(None), "waits for {value} bytes");
        }
        // An announced packet that fits exactly, and one byte less than it needs.
        let total = header.len() + value;
        assert!(frame::cut(&header, total).is_ok());
        assert!(frame::cut(&header, total - 1).is_err());
        // The same integer written as a Subscription Identifier.
        if let (1.., Ok(value)) = (value, u32::try_from(value)) {
            let head = PublishHead {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: false,
                topic: "t",
                packet_id: 0,
                topic_alias: None,
                message_expiry: None,
                subscription_identifiers: &[value],
                properties: Properties::EMPTY,
                payload_len: 0,
            };
            let mut out = Vec::new();
            head.encode(V5, &mut out);
            assert!(out.ends_with(bytes), "{out:02x?}");
            let Packet::Publish(publish) = decode(&out, V5) else { panic!("no PUBLISH") };
            assert!(publish.properties.subscription_identifiers().eq([value]));
        }
    }
}

/// Figure 1-1 (§1.5.4): the string "A𪛔", whose second character is U+2A6D4.
#[test]
fn the_example_string() {
    assert_eq!(check_text(&[0x41, 0xF0, 0xAA, 0x9B, 0x94]), Ok("A\u{2A6D4}"));
    // [MQTT-1.5.4-3]: a byte order mark is a character of the string.
    assert_eq!(check_text(&[0xEF, 0xBB, 0xBF]), Ok("\u{FEFF}"));
    // Control characters and non-characters should not be sent (§1.5.4), but are no error.
    assert!(check_text("\u{1}\u{7F}\u{85}\u{FFFF}".as_bytes()).is_ok());
}

/// Figure 3-6 of MQTT 5 (§3.1.2.12): user name, password, a will of QoS 1, Clean Start, keep
/// alive 10, Session Expiry Interval 10.
#[test]
fn connect_of_version_5() {
    let bytes = b"\x10\x25\0\x04MQTT\x05\xCE\0\x0A\x05\x11\0\0\0\x0A\
        \0\x02id\0\0\x01w\0\x03bye\0\x02me\0\x02\xFF\0";
    let Packet::Connect(connect) = decode(bytes, V311) else { panic!("no CONNECT") };
    let properties = PropertiesBuf::new().with(Property::U32(P::SessionExpiryInterval, 10));
    let expected = Connect {
        version: V5,
        clean_start: true,
        keep_alive: 10,
        client_id: "id",
        will: Some(Will {
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "w",
            payload: b"bye",
            properties: Properties::EMPTY,
        }),
        username: Some("me"),
        password: Some(&[0xFF, 0]),
        properties: properties.view(),
    };
    assert_eq!(*connect, expected);
    assert_eq!(encode(&Packet::Connect(connect), V5), bytes);
}

#[test]
fn connects_of_the_older_versions() {
    // §3.1.2 of 3.1.1, figure 3.6: the flags 0xCE again.
    let bytes = b"\x10\x1A\0\x04MQTT\x04\xCE\0\x0A\0\0\0\x01w\0\0\0\x02me\0\x03\0\x01\x02";
    let Packet::Connect(connect) = decode(bytes, V5) else { panic!("no CONNECT") };
    assert_eq!((connect.version, connect.client_id), (V311, ""));
    assert_eq!(connect.password, Some(&[0u8, 1, 2][..]));
    assert_eq!(encode(&Packet::Connect(connect), V311), bytes);

    // 3.1: `MQIsdp`; the strings of two flags may be missing at the end (§3.1 there), and bits
    // that are not used mean nothing.
    let full = b"\x10\x15\0\x06MQIsdp\x03\xC2\0\x3C\0\x01c\0\x01u\0\x01p";
    let Packet::Connect(connect) = decode(full, V5) else { panic!("no CONNECT") };
    assert_eq!((connect.version, connect.username), (V31, Some("u")));
    assert_eq!(connect.password, Some(&b"p"[..]));
    assert_eq!(encode(&Packet::Connect(connect), V31), full);
    let no_password = b"\x10\x12\0\x06MQIsdp\x03\xFB\0\x3C\0\x01c\0\x01u";
    let Packet::Connect(connect) = decode(no_password, V5) else { panic!("no CONNECT") };
    assert_eq!((connect.username, connect.password, connect.will), (Some("u"), None, None));
    let no_name = b"\x10\x0F\0\x06MQIsdp\x03\xC2\0\x3C\0\x01c";
    let Packet::Connect(connect) = decode(no_name, V5) else { panic!("no CONNECT") };
    assert_eq!((connect.username, connect.password), (None, None));
}

/// Version 5 allows a password without a user name (§3.1.2.9).
#[test]
fn password_alone() {
    let bytes = b"\x10\x10\0\x04MQTT\x05\x40\0\0\0\0\0\0\x01p";
    let Packet::Connect(connect) = decode(bytes, V5) else { panic!("no CONNECT") };
    assert_eq!((connect.username, connect.password), (None, Some(&b"p"[..])));
}

/// Figure 3-9 of MQTT 5, 3.11 of 3.1.1: topic `a/b`, packet id 10.
#[test]
fn publishes() {
    let old = b"\x32\x07\0\x03a/b\0\x0A";
    let publish =
        Publish { qos: QoS::AtLeastOnce, topic: "a/b", packet_id: 10, ..Publish::default() };
    assert_eq!(decode(old, V311), Packet::Publish(publish));
    assert_eq!(encode(&Packet::Publish(publish), V31), old);
    assert_eq!(decode(b"\x32\x08\0\x03a/b\0\x0A\0", V5), Packet::Publish(publish));
    assert_eq!(encode(&Packet::Publish(publish), V5), b"\x32\x08\0\x03a/b\0\x0A\0");

    // All flags, an alias in place of the topic, and a payload that looks like anything.
    let bytes = b"\x3D\x0A\0\0\0\x01\x03\x23\0\x07\0\xFF";
    let Packet::Publish(publish) = decode(bytes, V5) else { panic!("no PUBLISH") };
    assert!(publish.dup && publish.retain && publish.qos == QoS::ExactlyOnce);
    assert_eq!((publish.topic, publish.packet_id), ("", 1));
    assert_eq!(publish.properties.u16(P::TopicAlias), Some(7));
    assert_eq!(publish.payload, [0, 0xFF]);
    assert_eq!(encode(&Packet::Publish(publish), V5), bytes);
}

/// §3.4.2.1: a reason 0 and empty properties may be left out, one after the other; the shortest
/// form is what we write.
#[test]
fn the_three_lengths_of_an_acknowledgement() {
    for kind in [AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp] {
        let first = kind as u8;
        let plain = Packet::Ack(Ack::new(kind, 0x1234, ReasonCode::Success));
        for body in [&[0x12, 0x34][..], &[0x12, 0x34, 0], &[0x12, 0x34, 0, 0]] {
            let bytes = [&[first, body.len() as u8], body].concat();
            assert_eq!(decode(&bytes, V5), plain);
        }
        for version in [V5, V311, V31] {
            assert_eq!(encode(&plain, version), [first, 2, 0x12, 0x34]);
        }
    }
    let refused = Packet::Ack(Ack::new(AckKind::PubRec, 1, ReasonCode::QuotaExceeded));
    assert_eq!(encode(&refused, V5), [0x50, 3, 0, 1, 0x97]);
    assert_eq!(decode(&[0x50, 4, 0, 1, 0x97, 0], V5), refused);
    // Before version 5 there is no way to say no.
    assert_eq!(encode(&refused, V311), [0x50, 2, 0, 1]);
}

/// Figure 3-22 of MQTT 5, 3.23 of 3.1.1: `a/b` with QoS 1 and `c/d` with QoS 2.
#[test]
fn subscribes() {
    let filters = [
        SubscribeFilter { filter: "a/b", options: SubscriptionOptions::at(QoS::AtLeastOnce) },
        SubscribeFilter { filter: "c/d", options: SubscriptionOptions::at(QoS::ExactlyOnce) },
    ];
    for (version, bytes) in [
        (V311, &b"\x82\x0E\0\x0A\0\x03a/b\x01\0\x03c/d\x02"[..]),
        (V5, b"\x82\x0F\0\x0A\0\0\x03a/b\x01\0\x03c/d\x02"),
    ] {
        let Packet::Subscribe(subscribe) = decode(bytes, version) else { panic!("SUBSCRIBE") };
        assert_eq!(subscribe.packet_id, 10);
        assert!(subscribe.filters().eq(filters));
        let mut out = Vec::new();
        let none = PropertiesBuf::new();
        Subscribe::encode_parts(10, none.view(), filters, version, &mut out);
        assert_eq!(out, bytes);
    }
    // Every option at once (§3.8.3.1).
    let bytes = b"\x82\x07\0\x01\0\0\x01a\x2E";
    let Packet::Subscribe(subscribe) = decode(bytes, V5) else { panic!("SUBSCRIBE") };
    let options = subscribe.filters().next().expect("one filter").options;
    assert_eq!(
        options,
        SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        }
    );
    assert_eq!(encode(&Packet::Subscribe(subscribe), V5), bytes);
}

/// Version 3.1 sends PUBREL, SUBSCRIBE and UNSUBSCRIBE again with DUP (§2.1 there), and its
/// unused bits may be anything.
#[test]
fn flags_of_version_3_1() {
    for bytes in [&b"\x8A\x06\0\x01\0\x01a\x01"[..], b"\x83\x06\0\x01\0\x01a\xF9"] {
        let packet = decode(bytes, V31);
        assert_eq!(encode(&packet, V31), b"\x82\x06\0\x01\0\x01a\x01");
    }
    assert_eq!(encode(&decode(b"\xAA\x05\0\x01\0\x01a", V31), V31), b"\xA2\x05\0\x01\0\x01a");
    assert_eq!(encode(&decode(b"\x6A\x02\0\x01", V31), V31), b"\x62\x02\0\x01");
    assert_eq!(decode(b"\xCF\0", V31), Packet::PingReq);
    assert_eq!(encode(&decode(b"\x20\x02\xFF\x05", V31), V31), b"\x20\x02\0\x05");
}

#[test]
fn unsubscribes() {
    for (version, bytes) in [
        (V311, &b"\xA2\x0C\0\x0A\0\x03a/b\0\x03c/d"[..]),
        (V5, b"\xA2\x0D\0\x0A\0\0\x03a/b\0\x03c/d"),
    ] {
        let Packet::Unsubscribe(packet) = decode(bytes, version) else { panic!("UNSUBSCRIBE") };
        assert!(packet.filters().eq(["a/b", "c/d"]));
        let mut out = Vec::new();
        Unsubscribe::encode_parts(10, packet.properties, ["a/b", "c/d"], version, &mut out);
        assert_eq!(out, bytes);
    }
}

#[test]
fn answers_to_subscribe_and_unsubscribe() {
    use ReasonCode as R;
    let none = PropertiesBuf::new();
    let reasons = [R::GrantedQoS2, R::Success, R::NotAuthorized];
    for (version, bytes) in
        [(V5, &[0x90, 6, 0, 1, 0, 2, 0, 0x87][..]), (V311, &[0x90, 5, 0, 1, 2, 0, 0x80])]
    {
        let mut out = Vec::new();
        FilterAck::encode_parts(K::SubAck, 1, none.view(), reasons, version, &mut out);
        assert_eq!(out, bytes);
        let Packet::SubAck(packet) = decode(&out, version) else { panic!("no SUBACK") };
        assert_eq!(packet.reasons().count(), 3, "one per filter [MQTT-3.9.3-1]");
    }
    let mut out = Vec::new();
    let reasons = [R::NoSubscriptionExisted];
    FilterAck::encode_parts(K::UnsubAck, 1, none.view(), reasons, V5, &mut out);
    assert_eq!(out, [0xB0, 4, 0, 1, 0, 0x11]);
    let Packet::UnsubAck(packet) = decode(&out, V5) else { panic!("no UNSUBACK") };
    assert!(packet.reasons().eq([R::NoSubscriptionExisted]));
    out.clear();
    FilterAck::encode_parts(K::UnsubAck, 1, none.view(), reasons, V311, &mut out);
    assert_eq!(out, [0xB0, 2, 0, 1], "3.1.1 §3.11 has no payload");
}

#[test]
fn connacks() {
    let none = PropertiesBuf::new();
    let connack = |session_present, reason| {
        Packet::ConnAck(ConnAck { session_present, reason, properties: none.view() })
    };
    assert_eq!(decode(&[0x20, 3, 1, 0, 0], V5), connack(true, ReasonCode::Success));
    assert_eq!(encode(&connack(true, ReasonCode::Success), V311), [0x20, 2, 1, 0]);
    assert_eq!(encode(&connack(true, ReasonCode::Success), V31), [0x20, 2, 0, 0]);
    // [MQTT-3.2.2-6]
    assert_eq!(encode(&connack(true, ReasonCode::Banned), V5), [0x20, 3, 0, 0x8A, 0]);
    // A server of an older version refuses version 5 in its own form.
    let unsupported = connack(false, ReasonCode::UnsupportedProtocolVersion);
    assert_eq!(decode(&[0x20, 2, 0, 1], V5), unsupported);
    assert_eq!(decode(&[0x20, 2, 0, 0x84], V5), unsupported);
}

/// §3.14.2.1: a DISCONNECT without reason is a normal disconnection.
#[test]
fn disconnects() {
    let normal = Packet::Disconnect(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION));
    for bytes in [&[0xE0, 0][..], &[0xE0, 1, 0], &[0xE0, 2, 0, 0]] {
        assert_eq!(decode(bytes, V5), normal);
    }
    for version in [V5, V311, V31] {
        assert_eq!(encode(&normal, version), [0xE0, 0]);
    }
    let taken = Packet::Disconnect(Disconnect::new(ReasonCode::SessionTakenOver));
    assert_eq!(encode(&taken, V5), [0xE0, 1, 0x8E]);
    assert_eq!(encode(&taken, V311), [0xE0, 0]);
}

/// The example of §4.12, step by step: SCRAM-SHA-1.
#[test]
fn auths() {
    let properties = PropertiesBuf::new()
        .with(Property::Text(P::AuthenticationMethod, "SCRAM-SHA-1"))
        .with(Property::Binary(P::AuthenticationData, b"client-final-data"));
    let auth = Auth { reason: ReasonCode::ContinueAuthentication, properties: properties.view() };
    let bytes = b"\xF0\x24\x18\x22\x15\0\x0BSCRAM-SHA-1\x16\0\x11client-final-data";
    assert_eq!(encode(&Packet::Auth(auth), V5), bytes);
    assert_eq!(decode(bytes, V5), Packet::Auth(auth));
}

/// §2.2.2.2: properties in any order; User Properties keep theirs [MQTT-3.3.2-18] and may repeat.
#[test]
fn properties_are_forwarded_in_order() {
    let mut body =
        b"\0\x01t\x1E\x26\0\x01b\0\x011\x23\0\x05\x26\0\x01a\0\x012\x02\0\0\0\x09".to_vec();
    body.extend_from_slice(b"\x26\0\x01b\0\x011\x01\x01hello");
    let list_len = body.len() - 4 - 5;
    body[3] = list_len as u8;
    let packet = Packet::decode(0x30, &body, V5, &PropertyLimits::UNLIMITED).expect("valid");
    let Packet::Publish(publish) = packet else { panic!("no PUBLISH") };
    let pairs: Vec<_> = publish.properties.user_properties().collect();
    assert_eq!(pairs, [("b", "1"), ("a", "2"), ("b", "1")]);
    assert!(publish.properties.has_per_hop());
    let forwarded = publish.properties.forwarded();
    assert!(!forwarded.view().has_per_hop());
    assert!(forwarded.view().user_properties().eq(pairs));
    assert_eq!(forwarded.view().byte(P::PayloadFormatIndicator), Some(1));
    assert_eq!(forwarded.view().integer(P::MessageExpiryInterval), None);
    assert_eq!(publish.payload, b"hello");
}
