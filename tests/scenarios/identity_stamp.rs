//! Receivers learn from the broker, and from nobody else, who has published a message: live,
//! retained, queued, and in a will.

use agentmq_testkit::codec::{
    Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, Publish, QoS,
    ReasonCode, Will,
};
use agentmq_testkit::{Broker, RawClient, Received};

use crate::program::printed;

const SETTINGS: &str = "[access]\ntokens.keys = [\"keys.json\"]\nidentity.topics = [\"said/#\"]\n";

fn broker() -> Broker {
    let folder = tempfile::tempdir().unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    Broker::start_in(crate::BINARY, &format!("{}{SETTINGS}", crate::TCP), folder)
}

fn client(broker: &Broker, agent: &str, will: Option<Will<'_>>) -> RawClient {
    enter(broker, broker.dial(), agent, will)
}

fn enter(broker: &Broker, mut client: RawClient, agent: &str, will: Option<Will<'_>>) -> RawClient {
    let arguments = ["token", "create", "--agent", agent, "--org", "acme", "--user", "ann"];
    let token = printed(broker.folder(), &arguments);
    let lasting = PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 60));
    let connack = client.connect_with(Connect {
        client_id: agent,
        version: ProtocolVersion::V5,
        password: Some(token.as_bytes()),
        properties: lasting.view(),
        will,
        ..Connect::default()
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    client
}

fn spoofed() -> PropertiesBuf {
    PropertiesBuf::new()
        .with(Property::Pair("agentmq-agent-id", "root"))
        .with(Property::Pair("mine", "1"))
        .with(Property::Pair("AGENTMQ-ROLE", "admin"))
}

fn publish(client: &mut RawClient, topic: &str, retain: bool) {
    let (properties, qos) = (spoofed(), QoS::AtLeastOnce);
    let publish = Publish { topic, payload: b"x", qos, packet_id: 9, retain, ..Publish::default() };
    client.send(&Packet::Publish(Publish { properties: properties.view(), ..publish }));
    client.wait_for(|packet| matches!(packet, Packet::Ack(ack) if ack.packet_id == 9));
}

fn says(received: &Received) -> Vec<String> {
    let properties = received.publish().properties;
    properties.user_properties().map(|(name, value)| format!("{name}={value}")).collect()
}

const VERIFIED: [&str; 4] =
    ["mine=1", "agentmq-agent-id=scout", "agentmq-user-id=ann", "agentmq-org-id=acme"];

#[test]
fn every_way_of_delivery_says_who_it_was() {
    let broker = broker();
    let properties = spoofed();
    let will = Will {
        topic: "said/will",
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: properties.view(),
    };
    let mut scout = client(&broker, "scout", Some(will));
    let mut watcher = client(&broker, "watcher", None);
    watcher.subscribe("said/#", QoS::AtLeastOnce);
    publish(&mut scout, "said/live", false);
    assert_eq!(says(&watcher.receive_publish()), VERIFIED, "live");
    publish(&mut scout, "said/retained", true);
    assert_eq!(says(&watcher.receive_publish()), VERIFIED);
    let mut late = client(&broker, "late", None);
    late.subscribe("said/retained", QoS::AtMostOnce);
    assert_eq!(says(&late.receive_publish()), VERIFIED, "retained");
    watcher.disconnect();
    publish(&mut scout, "said/queued", false);
    let mut watcher = client(&broker, "watcher", None);
    // What was not acknowledged may come once more.
    let mut queued = watcher.receive_publish();
    while queued.publish().topic != "said/queued" {
        queued = watcher.receive_publish();
    }
    assert_eq!(says(&queued), VERIFIED, "queued");
    drop(scout);
    assert_eq!(says(&watcher.receive_publish()), VERIFIED, "a will");
}

#[test]
fn a_listener_may_hide_whose_messages_they_are() {
    let folder = tempfile::tempdir().unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let door = "[[listeners]]\nurl = \"mqtt://127.0.0.1:0\"\n";
    let settings = format!("{door}{door}hide_publishers = true\n{SETTINGS}");
    let broker = Broker::start_in(crate::BINARY, &settings, folder);
    let ports = broker.urls().iter().map(|url| url.rsplit(':').next().unwrap().parse().unwrap());
    let doors: Vec<RawClient> = ports.map(RawClient::tcp).collect();
    let mut watcher = client(&broker, "watcher", None);
    watcher.subscribe("said/#", QoS::AtLeastOnce);
    let properties = spoofed();
    for (door, expected) in doors.into_iter().zip([&VERIFIED[..], &VERIFIED[..1]]) {
        let will = Will {
            topic: "said/will",
            payload: b"gone",
            qos: QoS::AtMostOnce,
            retain: false,
            properties: properties.view(),
        };
        let mut scout = enter(&broker, door, "scout", Some(will));
        publish(&mut scout, "said/live", false);
        assert_eq!(says(&watcher.receive_publish()), expected);
        drop(scout);
        assert_eq!(says(&watcher.receive_publish()), expected, "a will");
    }
}

#[test]
fn other_topics_are_left_alone() {
    let broker = broker();
    let mut scout = client(&broker, "scout", None);
    scout.subscribe("free/#", QoS::AtLeastOnce);
    publish(&mut scout, "free/live", false);
    let said = says(&scout.receive_publish());
    assert_eq!(said, ["agentmq-agent-id=root", "mine=1", "AGENTMQ-ROLE=admin"]);
}
