//! kill -9 and agents: who was there and cannot come back to anything is not shown as there.

use agentmq_testkit::codec::{
    Ack, AckKind, Connect, Packet, PropertiesBuf, Property, PropertyId, Publish, QoS, ReasonCode,
    Will,
};
use agentmq_testkit::{Broker, RawClient};

const ONLINE: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/server/online"}"#;

/// A client whose session lasts so many seconds; 0: as long as its connection.
fn client(broker: &Broker, client_id: &str, secs: u32) -> RawClient {
    let expiry = PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, secs));
    let connect = Connect { client_id, properties: expiry.view(), ..Connect::default() };
    let mut client = broker.dial();
    assert_eq!(client.connect_with(connect).reason(), ReasonCode::Success);
    client
}

fn retain(client: &mut RawClient, topic: &str, payload: &[u8]) {
    let (qos, retain, packet_id) = (QoS::AtLeastOnce, true, 9);
    let publish = Publish { topic, payload, qos, retain, packet_id, ..Publish::default() };
    client.send(&Packet::Publish(publish));
    client.wait_for(|packet| matches!(packet, Packet::Ack(it) if it.packet_id == 9));
}

/// The next message, as the server that it is about and whether it is there.
fn presence(client: &mut RawClient) -> (String, bool) {
    let received = client.wait_for(|packet| matches!(packet, Packet::Publish(_)));
    let publish = received.publish();
    if publish.qos > QoS::AtMostOnce {
        let ack = Ack::new(AckKind::PubAck, publish.packet_id, ReasonCode::Success);
        client.send(&Packet::Ack(ack));
    }
    (publish.topic.to_owned(), !publish.payload.is_empty())
}

/// The next that is gone: what was not acknowledged for good comes again.
fn gone(client: &mut RawClient) -> (String, bool) {
    loop {
        let (topic, is_there) = presence(client);
        if !is_there {
            return (topic, is_there);
        }
    }
}

fn of(server: &str, is_there: bool) -> (String, bool) {
    (format!("$mcp-server/presence/{server}/demo/calc"), is_there)
}

#[test]
fn a_server_that_has_no_session_any_more_is_not_shown() {
    let broker = crate::broker("");
    let mut watcher = client(&broker, "watcher", 3600);
    watcher.subscribe("$mcp-server/presence/+/#", QoS::AtLeastOnce);
    let mut servers = Vec::new();
    for (server, secs) in [("brief", 1), ("gone", 0), ("lasting", 3600)] {
        let mut client = client(&broker, server, secs);
        retain(&mut client, &of(server, true).0, ONLINE);
        assert_eq!(presence(&mut watcher), of(server, true));
        servers.push(client);
    }
    let broker = broker.restart();
    let mut watcher = client(&broker, "watcher", 3600);
    let mut told = [gone(&mut watcher), gone(&mut watcher)];
    told.sort();
    assert_eq!(told, [of("brief", false), of("gone", false)], "one at once, one in a second");
    let mut late = broker.client("late");
    late.subscribe("$mcp-server/presence/+/#", QoS::AtMostOnce);
    assert_eq!(presence(&mut late), of("lasting", true));
    // It comes back to its session and leaves: nobody had forgotten that it was shown.
    let mut lasting = client(&broker, "lasting", 0);
    lasting.disconnect();
    assert_eq!(gone(&mut watcher), of("lasting", false));
    assert_eq!(presence(&mut late), of("lasting", false));
    late.ping();
}

/// MQTT.Agent: the session that a server was lent survives, and so does its will.
#[test]
fn a_card_is_offline_when_its_server_does_not_come_back() {
    const CARD: &str = "a2a/v1/mcp/servers/files/card";
    let card = |status: &str| {
        format!(r#"{{"server_id":"files","status":"{status}","tools":["read"]}}"#).into_bytes()
    };
    let config = "[[listeners]]\nurl = \"mqtt://127.0.0.1:0\"\nagents = true\n\
                  [agents]\nreturn_secs = 1\n";
    let broker = Broker::start(crate::BINARY, config);
    let (mut server, none, offline) = (broker.dial(), PropertiesBuf::new(), card("offline"));
    let (qos, retain_will) = (QoS::AtLeastOnce, true);
    let will =
        Will { topic: CARD, payload: &offline, qos, retain: retain_will, properties: none.view() };
    let connect = Connect { client_id: "files-1", will: Some(will), ..Connect::default() };
    assert_eq!(server.connect_with(connect).reason(), ReasonCode::Success);
    retain(&mut server, CARD, &card("online"));
    let broker = broker.restart();
    let mut watcher = broker.client("watcher");
    watcher.subscribe(CARD, QoS::AtMostOnce);
    let mut seen = Vec::new();
    while seen.last() != Some(&offline) {
        seen.push(watcher.receive_publish().publish().payload.to_vec());
    }
    assert!(seen.len() <= 2, "online while it may come back, then offline: {seen:?}");
}
