//! Organisations that are kept apart, in the running broker: over a restart, and on two shards.

use agentmq_testkit::codec::{
    Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, Publish, QoS, ReasonCode,
};
use agentmq_testkit::{Broker, RawClient};

use crate::program::{printed, printed_with_input};

const SETTINGS: &str = "[access]\ntokens.keys = [\"keys.json\"]\nisolate_organizations = true\n\
                        [threads]\nshards = 2\nplacement = \"spread\"\n\
                        [sys]\ninterval_secs = 1\n";

fn broker() -> Broker {
    let folder = tempfile::tempdir().unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    Broker::start_in(crate::BINARY, &format!("{}{SETTINGS}", crate::TCP), folder)
}

/// A client of an organisation, or of none, with a session that lasts.
fn connect(broker: &Broker, client_id: &str, org: Option<&str>) -> RawClient {
    let arguments = ["token", "create", "--agent", client_id];
    let of = org.map(|org| ["--org", org]);
    let token =
        printed(broker.folder(), &[&arguments[..], of.as_ref().map_or(&[], |it| it)].concat());
    let mut client = broker.dial();
    let hour = PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 3600));
    let connack = client.connect_with(Connect {
        client_id,
        version: ProtocolVersion::V5,
        password: Some(token.as_bytes()),
        properties: hour.view(),
        ..Connect::default()
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    client
}

fn retain(client: &mut RawClient, topic: &str, payload: &[u8]) {
    let publish = Publish {
        topic,
        payload,
        qos: QoS::AtLeastOnce,
        packet_id: 9,
        retain: true,
        ..Publish::default()
    };
    client.send(&Packet::Publish(publish));
    client.wait_for(|packet| matches!(packet, Packet::Ack(_)));
}

/// What a client gets first: topic and payload.
fn first(client: &mut RawClient) -> (String, Vec<u8>) {
    let received = client.receive_publish();
    let publish = received.publish();
    (publish.topic.to_owned(), publish.payload.to_vec())
}

fn nothing_else(client: &mut RawClient) {
    client.send(&Packet::PingReq);
    let next = client.receive();
    assert!(matches!(next.packet(), Packet::PingResp), "{next:?}");
}

#[test]
fn a_namesake_of_another_organisation_takes_nothing_over_on_any_shard() {
    let broker = broker();
    let orgs = [Some("acme"), Some("other"), None];
    let ids: Vec<_> = (0..8).map(|number| format!("scout{number}")).collect();
    let mut clients = Vec::new();
    for org in orgs {
        clients.extend(ids.iter().map(|id| connect(&broker, id, org)));
    }
    for client in &mut clients {
        client.ping();
    }
    for org in orgs {
        for id in &ids {
            let mut again = connect(&broker, id, org);
            again.ping();
            let mut old = clients.remove(0);
            let end = old.receive();
            let Packet::Disconnect(end) = end.packet() else { panic!("{end:?}") };
            assert_eq!(end.reason, ReasonCode::SessionTakenOver);
            clients.push(again);
        }
    }
}

#[test]
fn who_was_among_all_before_a_restart_is_gone() {
    let broker = broker();
    for org in [Some("acme"), Some("other"), None] {
        let mut client = connect(&broker, "scout", org);
        client.subscribe("t", QoS::AtLeastOnce);
        client.disconnect();
    }
    let folder = broker.kill();
    let config = format!("{}{}", crate::TCP, SETTINGS.replace("= true", "= false"));
    let broker = Broker::start_in(crate::BINARY, &config, folder);
    let mut watcher = connect(&broker, "watcher", None);
    watcher.subscribe("$SYS/broker/clients/total", QoS::AtMostOnce);
    while first(&mut watcher).1 != b"2" {} // itself, and who is of none
}

/// Somebody took a wrong file for a while.
#[test]
fn who_is_not_known_at_one_start_finds_his_session_at_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let add = |file: &str, name: &str, more: &[&str]| {
        let arguments = [&["user", "add", name, "--users", file], more].concat();
        printed_with_input(folder.path(), &arguments, "pencil");
    };
    add("right.toml", "ann", &["--org", "acme"]);
    add("right.toml", "bob", &[]);
    add("wrong.toml", "eve", &[]);
    let config = |users: &str| {
        let access = format!("[access]\nusers = \"{users}\"\nisolate_organizations = true\n");
        format!("{}{access}", crate::TCP)
    };
    let login = |broker: &Broker, name: &str| {
        let mut client = broker.dial();
        let lasting =
            PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 3600));
        let connack = client.connect_with(Connect {
            client_id: name,
            version: ProtocolVersion::V5,
            username: Some(name),
            password: Some(b"pencil"),
            properties: lasting.view(),
            ..Connect::default()
        });
        let Packet::ConnAck(connack) = connack.packet() else { panic!("{connack:?}") };
        assert_eq!(connack.reason, ReasonCode::Success);
        (connack.session_present, client)
    };
    let broker = Broker::start_in(crate::BINARY, &config("right.toml"), folder);
    for name in ["ann", "bob"] {
        login(&broker, name).1.subscribe("t", QoS::AtLeastOnce);
    }
    let broker = Broker::start_in(crate::BINARY, &config("wrong.toml"), broker.kill());
    login(&broker, "eve").1.ping();
    let broker = Broker::start_in(crate::BINARY, &config("right.toml"), broker.kill());
    for name in ["ann", "bob"] {
        assert!(login(&broker, name).0, "the session of {name} is gone");
    }
}

#[test]
fn they_stay_apart_on_every_shard_and_after_kill_nine() {
    let broker = broker();
    let orgs = [Some("acme"), Some("other"), None];
    let names = ["a", "b", "c"];
    for org in orgs {
        for number in 0..4 {
            let mut client = connect(&broker, &format!("scout{number}"), org);
            assert!(!client.subscribe("tasks/+", QoS::AtLeastOnce).is_error());
            client.disconnect();
        }
    }
    for (name, org) in names.iter().zip(orgs) {
        let mut publisher = connect(&broker, "publisher", org);
        assert!(!publisher.publish("tasks/1", name.as_bytes(), QoS::AtLeastOnce).is_error());
        retain(&mut publisher, "tasks/kept", name.as_bytes());
    }
    let broker = broker.restart();
    for (name, org) in names.iter().zip(orgs) {
        for number in 0..4 {
            let mut client = connect(&broker, &format!("scout{number}"), org);
            for topic in ["tasks/1", "tasks/kept"] {
                assert_eq!(first(&mut client), (topic.to_owned(), name.as_bytes().to_vec()));
            }
            nothing_else(&mut client);
        }
        let mut late = connect(&broker, "late", org);
        assert!(!late.subscribe("#", QoS::AtMostOnce).is_error());
        assert_eq!(first(&mut late), ("tasks/kept".to_owned(), name.as_bytes().to_vec()));
        nothing_else(&mut late);
    }
}
