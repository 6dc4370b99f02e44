//! What MCP over MQTT asks of a broker, from outside (docs/mcp-conformance.md): what libraries of
//! it rely on, whoever wrote them.

use agentmq_testkit::codec::{
    Connect, Packet, Properties, PropertiesBuf, Property, PropertyId, ProtocolVersion, Publish,
    QoS, ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions, Will,
};
use agentmq_testkit::{Broker, RawClient};

use crate::evidence;

const PRESENCE: &str = "$mcp-server/presence/s1/demo/calc";
const CONTROL: &str = "$mcp-server/s1/demo/calc";
const CAPABILITY: &str = "$mcp-server/capability/s1/demo/calc";
const RPC: &str = "$mcp-rpc/c1/s1/demo/calc";
const ONLINE: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/server/online"}"#;

/// As servers send them: some of their own beside the binding's, one name twice.
fn said() -> PropertiesBuf {
    let pairs = [
        ("z", "1"),
        ("MCP-COMPONENT-TYPE", "mcp-server"),
        ("a", "2"),
        ("MCP-MQTT-CLIENT-ID", "s1"),
        ("z", "3"),
        ("a", "2"),
    ];
    pairs.into_iter().map(|(name, value)| Property::Pair(name, value)).collect()
}

fn pairs(properties: &Properties<'_>) -> Vec<(String, String)> {
    let pairs = properties.user_properties();
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn server_with_will(broker: &Broker, topic: &str, retain: bool) -> RawClient {
    let properties = said();
    let view = properties.view();
    let will = Will { topic, payload: b"", qos: QoS::AtMostOnce, retain, properties: view };
    let connect = Connect {
        client_id: "s1",
        clean_start: true,
        will: Some(will),
        properties: view,
        ..Connect::default()
    };
    let mut server = broker.dial();
    assert_eq!(server.connect_with(connect).reason(), ReasonCode::Success);
    server
}

/// The online message: QoS 0, as most send it.
fn come_online(server: &mut RawClient) {
    let (properties, retain) = (said(), true);
    let online = Publish { topic: PRESENCE, payload: ONLINE, retain, ..Publish::default() };
    server.send(&Packet::Publish(Publish { properties: properties.view(), ..online }));
    server.ping();
}

fn follow(broker: &Broker, client_id: &str) -> RawClient {
    let mut client = broker.client(client_id);
    client.subscribe("$mcp-server/presence/+/demo/#", QoS::AtMostOnce);
    client
}

/// M-B1: a published SDK goes away from a broker that does not say both.
#[test]
fn connack_says_that_messages_are_retained_and_wildcards_match() {
    let broker = crate::broker("");
    let mut client = broker.dial();
    let connack = client.connect_with(Connect { client_id: "c1", ..Connect::default() });
    let Packet::ConnAck(packet) = connack.packet() else { panic!("{connack:?}") };
    for property in [PropertyId::RetainAvailable, PropertyId::WildcardSubscriptionAvailable] {
        assert_eq!(packet.properties.byte(property), Some(1), "{property:?}");
    }
}

/// M-B2.
#[test]
fn a_wildcard_at_the_front_finds_nothing_of_mcp() {
    let broker = crate::broker("");
    let mut server = server_with_will(&broker, PRESENCE, true);
    come_online(&mut server);
    let mut nosy = broker.client("nosy");
    for filter in ["#", "+/#", "+/presence/s1/demo/calc", "+/c1/s1/demo/calc"] {
        assert!(!nosy.subscribe(filter, QoS::AtMostOnce).is_error());
    }
    let mut client = broker.client("c1");
    for topic in [CONTROL, RPC, CAPABILITY, "$mcp-client/presence/c1"] {
        client.publish(topic, b"{}", QoS::AtLeastOnce);
    }
    client.publish("elsewhere", b"last", QoS::AtLeastOnce);
    assert_eq!(nosy.receive_publish().publish().topic, "elsewhere");
}

/// M-B3: both sides publish to the topic that they read.
#[test]
fn no_side_of_a_session_hears_itself() {
    let broker = crate::broker("");
    let mut sides = [broker.client("c1"), broker.client("s1")];
    for side in &mut sides {
        let at = SubscriptionOptions::at(QoS::AtMostOnce);
        let filters = [SubscribeFilter {
            filter: RPC,
            options: SubscriptionOptions { no_local: true, ..at },
        }];
        let mut bytes = Vec::new();
        let (none, version) = (Properties::EMPTY, ProtocolVersion::V5);
        Subscribe::encode_parts(7, none, filters, version, &mut bytes);
        side.send_bytes(&bytes);
        side.wait_for(|packet| matches!(packet, Packet::SubAck(_)));
    }
    let [client, server] = &mut sides;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        client.publish(RPC, b"asked", qos);
        assert_eq!(server.receive_publish().publish().payload, b"asked");
        server.publish(RPC, b"answered", qos);
        assert_eq!(client.receive_publish().publish().payload, b"answered");
    }
    client.ping();
}

/// M-B4, M-B5: with a will of QoS 0, as most have it.
#[test]
fn properties_keep_their_order_and_a_will_clears_what_is_retained() {
    let broker = crate::broker("");
    let mut watcher = follow(&broker, "watcher");
    let mut server = server_with_will(&broker, PRESENCE, true);
    come_online(&mut server);
    let properties = said();
    let expected = pairs(&properties.view());
    let mut late = follow(&broker, "late");
    for (client, retain) in [(&mut watcher, false), (&mut late, true)] {
        let received = client.receive_publish();
        let publish = received.publish();
        assert_eq!((publish.payload, publish.retain), (ONLINE, retain));
        assert_eq!(pairs(&publish.properties), expected);
    }
    drop(server);
    for client in [&mut watcher, &mut late] {
        let received = client.receive_publish();
        let publish = received.publish();
        assert_eq!((publish.topic, publish.payload, publish.retain), (PRESENCE, &b""[..], false));
        assert_eq!(pairs(&publish.properties), expected, "of the will, too");
        client.ping();
    }
    follow(&broker, "later").ping();
}

/// M-B6: the Python server ends a session whose grant is not what it has asked for.
#[test]
fn what_is_granted_is_what_was_asked_for() {
    let broker = crate::broker("");
    let mut server = broker.client("s1");
    for (qos, granted) in [
        (QoS::AtMostOnce, ReasonCode::Success),
        (QoS::AtLeastOnce, ReasonCode::GrantedQoS1),
        (QoS::ExactlyOnce, ReasonCode::GrantedQoS2),
    ] {
        for filter in [
            CONTROL,
            RPC,
            "$mcp-rpc/+/s1/demo/calc",
            CAPABILITY,
            "$mcp-server/presence/+/#",
            "$mcp-client/presence/c1",
            "$mcp-client/capability/c1",
        ] {
            assert_eq!(server.subscribe(filter, qos), granted, "{filter}");
        }
    }
}

/// M-B7, M-B8: whatever becomes of the will.
#[test]
fn a_server_whose_will_clears_nothing_is_cleared() {
    for (topic, retain) in [(PRESENCE, false), ("$mcp-server/presence/s1/demo/old", true)] {
        let broker = crate::broker("");
        let mut server = server_with_will(&broker, topic, retain);
        come_online(&mut server);
        let mut watcher = follow(&broker, "watcher");
        assert_eq!(watcher.receive_publish().publish().payload, ONLINE);
        drop(server);
        loop {
            let received = watcher.receive_publish();
            let publish = received.publish();
            assert!(publish.payload.is_empty());
            if publish.topic == PRESENCE {
                break;
            }
        }
        follow(&broker, "late").ping();
    }
}

/// M-B13.
#[test]
fn nobody_speaks_for_another() {
    let broker = crate::broker("");
    let mut server = broker.client("s1");
    server.subscribe(CONTROL, QoS::AtMostOnce);
    let mut liar = broker.client("liar");
    let spoofed = PropertiesBuf::new()
        .with(Property::Pair("MCP-MQTT-CLIENT-ID", "c1"))
        .with(Property::Pair("MCP-COMPONENT-TYPE", "mcp-client"));
    let publish = Publish { topic: CONTROL, payload: b"{}", ..Publish::default() };
    liar.send(&Packet::Publish(Publish { properties: spoofed.view(), ..publish }));
    let received = server.receive_publish();
    let expected = [("MCP-COMPONENT-TYPE", "mcp-client"), ("MCP-MQTT-CLIENT-ID", "liar")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(pairs(&received.publish().properties), expected);
}

/// M-B7, M-B10: rules and the key count as soon as they are read.
#[test]
fn a_reload_gives_another_name_and_asks_for_components() {
    let folder = tempfile::tempdir().unwrap();
    let rules = |name: &str| {
        format!(
            "otherwise = \"allow\"\nmcp_otherwise = \"allow\"\n\
             [[mcp_servers]]\nclient_ids = [\"s1\"]\nserver_name = \"{name}\"\n"
        )
    };
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, rules("demo/calc")).unwrap();
    let config = format!("{}[access]\npolicy = \"policy.toml\"\n", crate::TCP);
    let broker = Broker::start_in(crate::BINARY, &config, folder);
    let mut watcher = follow(&broker, "watcher");
    let mut server = server_with_will(&broker, "$mcp-server/presence/s1/configured", true);
    come_online(&mut server);
    assert_eq!(watcher.receive_publish().publish().topic, PRESENCE);
    assert_eq!(server.subscribe("$mcp-server/s1/demo/other", QoS::AtMostOnce), REFUSED);
    std::fs::write(&policy, rules("demo/other")).unwrap();
    broker.reload(&format!("{config}[agents]\nmcp_component_type = true\n"));
    assert_eq!(server.reason_of_end(), Some(REFUSED));
    let received = watcher.receive_publish();
    let gone = received.publish();
    assert_eq!((gone.topic, gone.payload), (PRESENCE, &b""[..]));
    let mut server = server_with_will(&broker, PRESENCE, true);
    come_online(&mut server);
    let received = watcher.receive_publish();
    assert_eq!(received.publish().topic, "$mcp-server/presence/s1/demo/other");
    let silent = watcher.subscribe(CONTROL, QoS::AtMostOnce);
    assert_eq!(silent, REFUSED, "the watcher has not said what it is");
}

const REFUSED: ReasonCode = ReasonCode::NotAuthorized;

/// The table in docs/mcp-conformance.md: each row names a test that there is.
#[test]
fn the_table_of_conformance_names_tests_that_there_are() {
    let rows = evidence::rows("docs/mcp-conformance.md", &["M-"]);
    let of_broker = rows.iter().filter(|(id, _)| id.starts_with("M-B"));
    let ids: Vec<&str> = of_broker.map(|(id, _)| id.as_str()).collect();
    let expected: Vec<String> = (1..=13).map(|number| format!("M-B{number}")).collect();
    assert_eq!(ids, expected, "one row for each");
    for (id, row) in &rows {
        assert!(evidence::named_tests(row) > 0, "{id} names no test");
    }
}
