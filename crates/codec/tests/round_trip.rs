//! What is written is read again, and what is read is written again to the same bytes.

mod packet_writer;

use agentmq_codec::{
    Packet, Properties, PropertiesBuf, Property, PropertyId as P, PropertyLimits, ProtocolVersion,
    Publish, PublishHead, QoS, frame, varint_len,
};
use packet_writer::{Entropy, VERSIONS, any_packet};
use proptest::prelude::*;

/// Cuts and decodes exactly one packet.
fn read(bytes: &[u8], version: ProtocolVersion) -> Packet<'_> {
    let cut = frame::cut(bytes, usize::MAX).expect("a valid frame").expect("a whole frame");
    assert_eq!(cut.total, bytes.len());
    Packet::decode(cut.first, &bytes[cut.body_at..], version, &PropertyLimits::UNLIMITED)
        .unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

#[test]
fn every_kind_survives_in_every_version() {
    for version in VERSIONS {
        for kind in (1..=15).filter(|&kind| kind != 15 || version.is_v5()) {
            let bytes = packet_writer::packet(kind, version, &mut Entropy::new(&[]));
            let mut again = Vec::new();
            read(&bytes, version).encode(version, &mut again);
            assert_eq!(again, bytes, "kind {kind}, version {version}");
        }
    }
}

fn a_version() -> impl Strategy<Value = ProtocolVersion> {
    prop_oneof![
        Just(ProtocolVersion::V31),
        Just(ProtocolVersion::V311),
        Just(ProtocolVersion::V5),
        Just(ProtocolVersion::V5)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn canonical_packets_come_back_byte_for_byte(
        version in a_version(),
        entropy in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = any_packet(version, &mut Entropy::new(&entropy));
        let packet = read(&bytes, version);
        let mut again = b"before".to_vec();
        packet.encode(version, &mut again);
        prop_assert_eq!(&again[6..], &bytes[..]);
        prop_assert_eq!(read(&again[6..], version), packet);
    }

    #[test]
    fn a_stream_is_cut_where_packets_end(
        version in a_version(),
        entropy in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut entropy = Entropy::new(&entropy);
        let packets: Vec<_> = (0..4).map(|_| any_packet(version, &mut entropy)).collect();
        let stream = packets.concat();
        let mut at = 0;
        for packet in &packets {
            let cut = frame::cut(&stream[at..], usize::MAX).unwrap().unwrap();
            prop_assert_eq!(cut.total, packet.len());
            prop_assert_eq!(frame::cut(&packet[..packet.len() - 1], usize::MAX), Ok(None));
            prop_assert_eq!(frame::cut(packet, packet.len()), Ok(Some(cut)));
            prop_assert!(frame::cut(packet, packet.len() - 1).is_err());
            at += cut.total;
        }
        prop_assert_eq!(at, stream.len());
    }

    #[test]
    fn a_head_tells_its_length_and_where_its_id_is(
        (version, qos, topic) in (a_version(), 0u8..3, "[a-zé/]{0,20}"),
        alias in proptest::option::of(1u16..),
        message_expiry in proptest::option::of(any::<u32>()),
        identifiers in proptest::collection::vec(1u32..=268_435_455, 0..4),
        payload_len in prop_oneof![
            50 => 0usize..300,
            9 => 16_000..17_000usize,
            1 => 2_097_100..2_097_200usize,
        ],
        content_type in proptest::option::of("[a-z]{0,200}"),
    ) {
        let properties: PropertiesBuf =
            content_type.iter().map(|text| Property::Text(P::ContentType, text)).collect();
        let head = PublishHead {
            dup: qos > 0,
            qos: QoS::from_bits(qos).unwrap(),
            retain: true,
            topic: if alias.is_none() && topic.is_empty() { "t" } else { &topic },
            packet_id: 0x1234,
            topic_alias: alias,
            message_expiry,
            subscription_identifiers: &identifiers,
            properties: properties.view(),
            payload_len,
        };
        let head = if version.is_v5() || !head.topic.is_empty() {
            head
        } else {
            PublishHead { topic: "t", ..head }
        };
        let mut bytes = b"earlier".to_vec();
        let id_at = head.encode(version, &mut bytes);
        bytes.resize(bytes.len() + payload_len, 7);
        prop_assert_eq!(head.packet_len(version), bytes.len() - 7);
        if qos > 0 {
            bytes[id_at..id_at + 2].copy_from_slice(&[0xAB, 0xCD]);
        } else {
            prop_assert_eq!(id_at, 0);
        }
        let Packet::Publish(publish) = read(&bytes[7..], version) else { panic!("no PUBLISH") };
        check_head(&head, &publish, version)?;
    }
}

fn check_head(
    head: &PublishHead<'_>,
    publish: &Publish<'_>,
    version: ProtocolVersion,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(publish.packet_id, if head.qos == QoS::AtMostOnce { 0 } else { 0xABCD });
    prop_assert_eq!((publish.dup, publish.qos, publish.retain), (head.dup, head.qos, head.retain));
    prop_assert_eq!(publish.topic, head.topic);
    prop_assert_eq!(publish.payload, vec![7; head.payload_len]);
    if !version.is_v5() {
        prop_assert_eq!(publish.properties, Properties::EMPTY);
        return Ok(());
    }
    prop_assert_eq!(publish.properties.u16(P::TopicAlias), head.topic_alias);
    prop_assert_eq!(publish.properties.integer(P::MessageExpiryInterval), head.message_expiry);
    let identifiers: Vec<_> = publish.properties.subscription_identifiers().collect();
    prop_assert_eq!(identifiers, head.subscription_identifiers);
    prop_assert_eq!(publish.properties.text(P::ContentType), head.properties.text(P::ContentType));
    let forwarded = publish.properties.forwarded();
    prop_assert_eq!(forwarded.view(), head.properties);
    Ok(())
}

#[test]
fn lengths_at_the_borders_of_the_variable_byte_integer() {
    for (payload_len, extra) in [(124, 1), (125, 2), (16_380, 2), (16_381, 3), (2_097_149, 4)] {
        let publish = Publish { topic: "t", payload: &vec![0; payload_len], ..Publish::default() };
        let mut bytes = Vec::new();
        publish.encode(ProtocolVersion::V311, &mut bytes);
        assert_eq!(bytes.len(), 1 + extra + 3 + payload_len);
        assert_eq!(varint_len(3 + payload_len), extra);
        assert_eq!(read(&bytes, ProtocolVersion::V311), Packet::Publish(publish));
    }
}
