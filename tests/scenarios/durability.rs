//! What users see of durability: which promise is made, how it is with the disk, and what a broker
//! does whose disk has too little room.

use std::path::Path;
use std::process::Command;

use agentmq_testkit::codec::{
    Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, Publish, QoS, ReasonCode,
};
use agentmq_testkit::{Broker, RawClient};

/// Connects a client of version 5; returns what its CONNACK says of durability.
fn connect(broker: &Broker, client_id: &str, expiry: u32) -> (RawClient, Option<String>) {
    let mut client = broker.dial();
    let expiry = Property::U32(PropertyId::SessionExpiryInterval, expiry);
    let properties = PropertiesBuf::new().with(expiry);
    let connack = client.connect_with(Connect {
        client_id,
        properties: properties.view(),
        version: ProtocolVersion::V5,
        ..Connect::default()
    });
    let Packet::ConnAck(packet) = connack.packet() else { panic!("no CONNACK") };
    let mut told = packet.properties.user_properties();
    let durability = told.find(|(name, _)| *name == "durability").map(|(_, value)| value.into());
    (client, durability)
}

/// Publishes with QoS 1; returns the reason, as code and as text.
fn publish(client: &mut RawClient, topic: &str) -> (ReasonCode, String) {
    let (qos, packet_id) = (QoS::AtLeastOnce, 7);
    client.send(&Packet::Publish(Publish { topic, qos, packet_id, ..Publish::default() }));
    let answer = client.wait_for(|packet| matches!(packet, Packet::Ack(_)));
    let Packet::Ack(ack) = answer.packet() else { panic!("no PUBACK") };
    let why = ack.properties.text(PropertyId::ReasonString).unwrap_or_default();
    (ack.reason, why.to_owned())
}

/// Waits until a statistic has this value.
fn wait_for(watcher: &mut RawClient, name: &str, value: &str) {
    let topic = format!("$SYS/broker/{name}");
    assert!(!watcher.subscribe(&topic, QoS::AtMostOnce).is_error());
    while watcher.receive_publish().publish().payload != value.as_bytes() {}
}

#[test]
fn everybody_is_told_what_an_acknowledgement_promises() {
    for durability in ["fsync", "os", "memory"] {
        let settings = format!("durability = \"{durability}\"\n");
        let config = format!("{settings}{}[sys]\ninterval_secs = 1\n", crate::TCP);
        let broker = Broker::start(crate::BINARY, &config);
        let (mut watcher, told) = connect(&broker, "watcher", 0);
        assert_eq!(told.as_deref(), Some(durability));
        wait_for(&mut watcher, "durability", durability);
        let line = match durability {
            "fsync" => "acknowledged when the disk has it",
            "os" => "acknowledged when the operating system has it",
            _ => "last until the broker stops",
        };
        broker.wait_for_log(line, 0);
    }
}

#[test]
fn the_store_is_seen_at_work() {
    let broker = crate::broker("[sys]\ninterval_secs = 1\n");
    let (mut worker, _) = connect(&broker, "worker", 3600);
    worker.subscribe("jobs", QoS::AtLeastOnce);
    for _ in 0..10 {
        publish(&mut worker, "jobs");
    }
    broker.wait_for_statistic("store/commits", |it| it >= 10);
    broker.wait_for_statistic("store/records", |it| it >= 10 + 2);
    broker.wait_for_statistic("store/bytes", |it| it > 1024);
    broker.wait_for_statistic("store/segments", |it| it == 1);
    broker.wait_for_statistic("store/damage", |it| it == 0);
    broker.wait_for_statistic("store/free", |it| it > 0);
}

#[test]
fn a_disk_with_little_room_refuses_what_must_survive_and_nothing_else() {
    little_room("");
}

#[test]
fn so_it_does_for_what_another_shard_must_keep() {
    little_room("[threads]\nshards = 2\nplacement = \"spread\"\n");
}

/// The session of `worker` is on the first shard after a restart; one of the publishers is on each.
fn little_room(threads: &str) {
    let broker = crate::broker("");
    let (mut worker, _) = connect(&broker, "worker", 3600);
    worker.subscribe("jobs", QoS::AtLeastOnce);
    let folder = broker.kill();
    let more_than_any_disk_has = "[disk]\nrefuse_below = 9_000_000_000_000_000_000\n";
    let statistics = "[sys]\ninterval_secs = 1\n";
    let config = format!("{}{threads}{more_than_any_disk_has}{statistics}", crate::TCP);
    let broker = Broker::start_in(crate::BINARY, &config, folder);
    broker.wait_for_log("the disk has too little room left", 0);

    let (mut worker, _) = connect(&broker, "worker", 3600);
    let mut publishers = [0, 1].map(|number| broker.client(&format!("publisher-{number}")));
    for publisher in &mut publishers {
        let (reason, why) = publish(publisher, "jobs");
        assert_eq!(reason, ReasonCode::QuotaExceeded);
        assert!(why.contains("needs the disk"), "{why}");
        publisher.publish("jobs", b"not kept", QoS::AtMostOnce);
        assert_eq!(worker.receive_publish().publish().payload, b"not kept", "QoS 0 goes on");
    }
    assert_eq!(worker.subscribe("more", QoS::AtLeastOnce), ReasonCode::QuotaExceeded);

    let (topic, qos, packet_id) = ("state", QoS::AtLeastOnce, 8);
    let retained = Publish { topic, qos, packet_id, retain: true, ..Publish::default() };
    for publisher in &mut publishers {
        publisher.send(&Packet::Publish(retained));
        let answer = publisher.wait_for(|packet| matches!(packet, Packet::Ack(_)));
        let Packet::Ack(ack) = answer.packet() else { panic!("no PUBACK") };
        assert_eq!(ack.reason, ReasonCode::QuotaExceeded, "nor is a retained message kept");
    }

    let mut clean = broker.client("clean");
    assert!(!clean.subscribe("live", QoS::AtLeastOnce).is_error());
    for publisher in &mut publishers {
        assert_eq!(publish(publisher, "live").0, ReasonCode::Success);
        assert_eq!(clean.receive_publish().publish().topic, "live", "a clean session goes on");
    }
    wait_for(&mut clean, "store/condition", "full");

    let broker = Broker::start_in(crate::BINARY, crate::TCP, broker.kill());
    let (reason, _) = publish(&mut broker.client("publisher"), "jobs");
    assert_eq!(reason, ReasonCode::Success);
    let (mut worker, _) = connect(&broker, "worker", 3600);
    assert_eq!(worker.receive_publish().publish().topic, "jobs");
}

/// What a CONNACK says of messages that its session has lost.
fn dropped(broker: &Broker, client_id: &str) -> (RawClient, Option<String>) {
    let mut client = broker.dial();
    let expiry = Property::U32(PropertyId::SessionExpiryInterval, 3600);
    let properties = PropertiesBuf::new().with(expiry);
    let connect = Connect { client_id, properties: properties.view(), ..Connect::default() };
    let connack = client.connect_with(connect);
    let Packet::ConnAck(packet) = connack.packet() else { panic!("no CONNACK") };
    let mut told = packet.properties.user_properties();
    let count = told.find(|(name, _)| *name == "dropped-messages").map(|(_, value)| value.into());
    (client, count)
}

#[test]
fn what_was_acknowledged_waits_in_longer_queues_than_what_was_not() {
    let broker = crate::broker("[limits]\nqueue_messages = 3\nqueue_bytes = 1_000\n");
    let (mut worker, _) = connect(&broker, "worker", 3600);
    worker.subscribe("jobs", QoS::AtLeastOnce);
    worker.disconnect();
    let mut publisher = broker.client("publisher");
    for number in 0..100u32 {
        publisher.publish("jobs", &number.to_be_bytes(), QoS::AtLeastOnce);
    }
    let (mut worker, told) = dropped(&broker, "worker");
    assert_eq!(told, None);
    for number in 0..100u32 {
        assert_eq!(worker.receive_publish().publish().payload, number.to_be_bytes());
    }
}

#[test]
fn beyond_its_bound_the_oldest_go_for_good_and_their_client_is_told() {
    // A message of 840 bytes takes a thousand and a few.
    let broker = crate::broker("[limits]\ndurable_queue_bytes = 10_500\n");
    let (mut worker, _) = connect(&broker, "worker", 3600);
    worker.subscribe("jobs", QoS::AtLeastOnce);
    worker.disconnect();
    let mut publisher = broker.client("publisher");
    for number in 0..30 {
        publisher.publish("jobs", &[number; 840], QoS::AtLeastOnce);
    }
    let (mut worker, told) = dropped(&broker, "worker");
    assert_eq!(told.as_deref(), Some("20"));
    drop(worker.receive_publish());
    let broker = broker.restart();
    let (mut worker, _) = dropped(&broker, "worker");
    for number in 20..30 {
        assert_eq!(worker.receive_publish().publish().payload, [number; 840]);
    }
    worker.ping(); // and nothing comes before its answer
}

/// Runs `agentmq store …`: its exit code, what it printed, and what it said of failures.
fn store(arguments: &[&str], folders: &[&Path]) -> (Option<i32>, String, String) {
    let mut command = Command::new(crate::BINARY);
    let output = command.arg("store").args(arguments).args(folders).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_data_directory_can_be_copied_in_use_and_looked_at_out_of_use() {
    let broker = crate::broker("");
    let (mut worker, _) = connect(&broker, "worker", 3600);
    worker.subscribe("jobs", QoS::AtLeastOnce);
    worker.disconnect();
    let mut publisher = broker.client("publisher");
    for number in 0..20 {
        publisher.publish("jobs", &[number; 600], QoS::AtLeastOnce);
    }
    let data = broker.folder().join("agentmq-data");
    let copy = broker.folder().join("copy");
    let (code, _, why) = store(&["check"], &[&data]);
    assert!(code == Some(4) && why.contains("in use by another process"), "{code:?} {why}");
    let (code, said, why) = store(&["backup"], &[&data, &copy]);
    assert_eq!(code, Some(0), "{why}");
    let counts = "1 sessions, 1 subscriptions, 20 deliveries of 20 messages, 0 retained";
    assert!(said.contains(counts), "{said}");
    let (code, _, why) = store(&["backup"], &[&data, &copy]);
    assert!(code == Some(1) && why.contains("exists already, and a copy"), "{code:?} {why}");
    let (code, said, _) = store(&["stats"], &[&copy]);
    assert!(code == Some(0) && said.contains("0000000000.log"), "{said}");

    let folder = broker.kill();
    let (code, said, _) = store(&["check", "--json"], &[&folder.path().join("agentmq-data")]);
    assert!(code == Some(0) && said.contains("\"whole\":true"), "{said}");
    // The copy takes the place of the original.
    let (data, copy) = (folder.path().join("agentmq-data"), folder.path().join("copy"));
    let (code, _, why) = store(&["restore"], &[&copy, &data]);
    assert!(code == Some(1) && why.contains("exists already, and a copy"), "{code:?} {why}");
    std::fs::remove_dir_all(&data).unwrap();
    let (code, said, why) = store(&["restore"], &[&copy, &data]);
    assert!(code == Some(0) && said.contains(counts), "{code:?} {said} {why}");
    let broker = Broker::start_in(crate::BINARY, crate::TCP, folder);
    let (mut worker, _) = connect(&broker, "worker", 3600);
    for number in 0..20 {
        assert_eq!(worker.receive_publish().publish().payload, [number; 600]);
    }
}

#[test]
fn damage_is_told_by_an_exit_code() {
    let broker = crate::broker("");
    let (mut worker, _) = connect(&broker, "worker", 3600);
    worker.subscribe("jobs", QoS::AtLeastOnce);
    worker.disconnect();
    for number in 0..3 {
        broker.client("publisher").publish("jobs", &[number; 600], QoS::AtLeastOnce);
    }
    let folder = broker.kill();
    let data = folder.path().join("agentmq-data");
    let log = data.join("log/0000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(500).position(|window| window == [1; 500]).unwrap();
    bytes[at] ^= 8;
    std::fs::write(&log, bytes).unwrap();
    let (code, _, _) = store(&["restore"], &[&data, &folder.path().join("restored")]);
    assert_eq!(code, Some(1), "a damaged copy is not put in place");
    assert!(!folder.path().join("restored").exists());
    let (code, said, why) = store(&["check"], &[&data]);
    assert_eq!(code, Some(1), "{said}");
    let damage = "1 records are lost: a checksum does not agree";
    assert!(said.contains("2 deliveries") && said.contains(damage), "{said}");
    assert!(why.contains("cannot be read") && why.contains("fix: "), "{why}");
}
