//! kill -9: whatever was acknowledged is there when the broker is back.

use agentmq_testkit::codec::{
    Ack, AckKind, Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, Publish,
    QoS, ReasonCode, Will,
};
use agentmq_testkit::{Broker, RawClient};

/// Connects a client whose session lasts an hour; says whether there was one.
fn persistent(broker: &Broker, client_id: &str) -> (RawClient, bool) {
    let mut client = broker.dial();
    let properties = hour();
    let connack = client.connect_with(Connect {
        client_id,
        properties: properties.view(),
        version: ProtocolVersion::V5,
        ..Connect::default()
    });
    let Packet::ConnAck(packet) = connack.packet() else { panic!("no CONNACK") };
    let is_present = packet.session_present;
    assert_eq!(packet.reason, ReasonCode::Success);
    (client, is_present)
}

fn hour() -> PropertiesBuf {
    PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 3600))
}

#[test]
fn queued_messages_survive_in_order() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = crate::broker("");
        let (mut worker, was_there) = persistent(&broker, "worker");
        assert!(!was_there);
        assert!(!worker.subscribe("jobs/#", qos).is_error());
        worker.disconnect();
        let mut publisher = broker.client("publisher");
        for number in 0..500u32 {
            let topic = format!("jobs/{}", number % 7);
            assert!(!publisher.publish(&topic, &number.to_be_bytes(), qos).is_error());
        }
        let broker = broker.restart();
        let (mut worker, was_there) = persistent(&broker, "worker");
        assert!(was_there, "the session has survived");
        for number in 0..500u32 {
            let received = worker.receive_publish();
            let publish = received.publish();
            assert_eq!((publish.payload, publish.qos), (&number.to_be_bytes()[..], qos));
        }
        worker.ping();
    }
}

#[test]
fn a_subscription_survives_and_gets_what_comes_before_its_client_is_back() {
    let broker = crate::broker("");
    let (mut worker, _) = persistent(&broker, "worker");
    assert!(!worker.subscribe("jobs/+", QoS::AtLeastOnce).is_error());
    let broker = broker.restart();
    let mut publisher = broker.client("publisher");
    assert_eq!(publisher.publish("jobs/1", b"now", QoS::AtLeastOnce), ReasonCode::Success);
    let (mut worker, was_there) = persistent(&broker, "worker");
    assert!(was_there);
    assert_eq!(worker.receive_publish().publish().payload, b"now");
}

#[test]
fn a_retained_message_survives_and_so_does_its_removal() {
    let broker = crate::broker("");
    let mut publisher = broker.client("publisher");
    for (topic, payload) in
        [("state/a", &b"1"[..]), ("state/b", b"2"), ("state/a", b"3"), ("state/b", b"")]
    {
        retain(&mut publisher, topic, payload);
    }
    let broker = broker.restart();
    let mut reader = broker.client("reader");
    reader.subscribe("state/#", QoS::AtLeastOnce);
    let received = reader.receive_publish();
    let publish = received.publish();
    assert_eq!((publish.topic, publish.payload, publish.retain), ("state/a", &b"3"[..], true));
    retain(&mut broker.client("publisher"), "state/z", b"last");
    assert_eq!(reader.receive_publish().publish().topic, "state/z", "state/b is gone");
}

fn retain(publisher: &mut RawClient, topic: &str, payload: &[u8]) {
    publisher.send(&Packet::Publish(Publish {
        topic,
        payload,
        qos: QoS::AtLeastOnce,
        retain: true,
        packet_id: 9,
        ..Publish::default()
    }));
    publisher.wait_for(|packet| matches!(packet, Packet::Ack(_)));
}

#[test]
fn qos_2_from_a_client_is_delivered_once() {
    let broker = crate::broker("");
    let (mut worker, _) = persistent(&broker, "worker");
    worker.subscribe("jobs", QoS::ExactlyOnce);
    worker.disconnect();
    let (mut publisher, _) = persistent(&broker, "publisher");
    let publish = Packet::Publish(Publish {
        topic: "jobs",
        payload: b"once",
        qos: QoS::ExactlyOnce,
        packet_id: 5,
        ..Publish::default()
    });
    publisher.send(&publish);
    publisher.wait_for(|packet| matches!(packet, Packet::Ack(ack) if ack.kind == AckKind::PubRec));
    let broker = broker.restart();
    // The client has not seen the PUBREC, and sends again.
    let (mut publisher, was_there) = persistent(&broker, "publisher");
    assert!(was_there);
    publisher.send(&publish);
    publisher.wait_for(|packet| matches!(packet, Packet::Ack(ack) if ack.kind == AckKind::PubRec));
    publisher.send(&Packet::Ack(Ack::new(AckKind::PubRel, 5, ReasonCode::Success)));
    publisher.wait_for(|packet| matches!(packet, Packet::Ack(ack) if ack.kind == AckKind::PubComp));
    let (mut worker, _) = persistent(&broker, "worker");
    assert_eq!(worker.receive_publish().publish().payload, b"once");
    worker.ping(); // and nothing comes before its answer
}

#[test]
fn qos_2_to_a_client_keeps_its_identifiers() {
    let broker = crate::broker("");
    let (mut worker, _) = persistent(&broker, "worker");
    worker.subscribe("jobs", QoS::ExactlyOnce);
    let mut publisher = broker.client("publisher");
    for payload in [b"one", b"two"] {
        publisher.publish("jobs", payload, QoS::ExactlyOnce);
    }
    let first = worker.receive_publish().publish().packet_id;
    let second = worker.receive_publish().publish().packet_id;
    // The first is acknowledged as far as PUBREL, the second not at all.
    worker.send(&Packet::Ack(Ack::new(AckKind::PubRec, first, ReasonCode::Success)));
    worker.wait_for(|packet| matches!(packet, Packet::Ack(ack) if ack.kind == AckKind::PubRel));
    let broker = broker.restart();
    let (mut worker, was_there) = persistent(&broker, "worker");
    assert!(was_there);
    let again = worker.receive();
    let publish = again.publish();
    assert_eq!((publish.packet_id, publish.payload, publish.dup), (second, &b"two"[..], true));
    let release = worker.receive();
    let Packet::Ack(ack) = release.packet() else { panic!("no PUBREL") };
    assert_eq!((ack.kind, ack.packet_id), (AckKind::PubRel, first));
}

/// The session survives until its client is back; from then on it ends with its connection.
#[test]
fn a_client_that_comes_back_for_the_last_time_gets_everything() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = crate::broker("");
        let (mut worker, _) = persistent(&broker, "worker");
        worker.subscribe("jobs", qos);
        worker.disconnect();
        broker.client("publisher").publish("jobs", b"queued", qos);
        let broker = broker.restart();
        let mut worker = broker.dial();
        let connack = worker.connect_with(Connect { client_id: "worker", ..Connect::default() });
        assert!(matches!(connack.packet(), Packet::ConnAck(packet) if packet.session_present));
        assert_eq!(worker.receive_publish().publish().payload, b"queued");
        broker.client("publisher").publish("jobs", b"live", qos);
        assert_eq!(worker.receive_publish().publish().payload, b"live");
        worker.disconnect();
        assert_eq!(worker.receive_or_end(), None);
        let (_, was_there) = persistent(&broker, "worker");
        assert!(!was_there);
    }
}

#[test]
fn a_will_is_sent_after_the_restart_and_once() {
    let broker = crate::broker("");
    let mut agent = broker.dial();
    let (properties, delay) =
        (hour(), PropertiesBuf::new().with(Property::U32(PropertyId::WillDelayInterval, 1)));
    agent.connect_with(Connect {
        client_id: "agent",
        version: ProtocolVersion::V5,
        properties: properties.view(),
        will: Some(Will {
            topic: "gone",
            payload: b"agent",
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: delay.view(),
        }),
        ..Connect::default()
    });
    let (mut watcher, _) = persistent(&broker, "watcher");
    watcher.subscribe("gone", QoS::AtLeastOnce);
    let broker = broker.restart();
    let (mut watcher, _) = persistent(&broker, "watcher");
    let received = watcher.receive_publish();
    assert_eq!(received.publish().payload, b"agent");
    let packet_id = received.publish().packet_id;
    watcher.send(&Packet::Ack(Ack::new(AckKind::PubAck, packet_id, ReasonCode::Success)));
    // QoS 1 goes out before it is safe; the SUBACK says that everything before it is.
    watcher.subscribe("mark", QoS::AtLeastOnce);
    let broker = broker.restart();
    let (mut watcher, _) = persistent(&broker, "watcher");
    broker.client("publisher").publish("mark", b"", QoS::AtLeastOnce);
    let next = watcher.receive_publish();
    let publish = next.publish();
    // The acknowledgement may have been lost with the crash; the will is not sent anew.
    assert!(publish.topic == "mark" || publish.dup, "{publish:?}");
}

#[test]
fn a_data_directory_has_one_user() {
    let broker = crate::broker("");
    let data = broker.folder().join("agentmq-data");
    let output = std::process::Command::new(crate::BINARY)
        .args(["serve", "--listen", "mqtt://127.0.0.1:0", "--data"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("in use by another process"), "{said}");
}

#[test]
fn a_flipped_bit_is_told_and_everything_else_is_served() {
    let broker = crate::broker("");
    let (mut worker, _) = persistent(&broker, "worker");
    worker.subscribe("jobs", QoS::AtLeastOnce);
    worker.disconnect();
    let mut publisher = broker.client("publisher");
    for number in 0..100u32 {
        publisher.publish("jobs", &[number as u8; 1000], QoS::AtLeastOnce);
    }
    let folder = broker.kill();
    let log = folder.path().join("agentmq-data/log/0000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(500).position(|window| window == [50; 500]).unwrap();
    bytes[at + 100] ^= 4;
    std::fs::write(&log, bytes).unwrap();
    let broker = Broker::start_in(crate::BINARY, crate::TCP, folder);
    broker.wait_for_log("acknowledged records are lost", 0);
    let (mut worker, was_there) = persistent(&broker, "worker");
    assert!(was_there);
    for number in (0..100u32).filter(|number| *number != 50) {
        assert_eq!(worker.receive_publish().publish().payload, [number as u8; 1000]);
    }
    let kept = broker.folder().join("agentmq-data/log/0000000000.log.bad");
    assert!(kept.exists(), "the damaged file is kept");
}
