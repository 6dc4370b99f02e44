//! What the broker does for MCP over MQTT: who speaks is who it says, requests that reach nobody
//! are answered, and who is gone is not shown as there.

use agentmq_codec::{PropertiesBuf, Property, PropertyId, ReasonCode};

use crate::harness::{Broker, Client, Got, Message};

const PRESENCE: &str = "$mcp-server/presence/s1/demo/calc";
const CONTROL: &str = "$mcp-server/s1/demo/calc";
const RPC: &str = "$mcp-rpc/c1/s1/demo/calc";
const ONLINE: &str = r#"{"jsonrpc":"2.0","method":"notifications/server/online"}"#;
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#;

fn broker() -> Broker {
    Broker::with(|settings| settings.agents.mcp = true)
}

fn pairs(message: &Message) -> Vec<(String, String)> {
    let pairs = message.properties.view();
    let pairs = pairs.user_properties();
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn sender(message: &Message) -> String {
    let pairs = pairs(message).into_iter();
    let senders: Vec<_> = pairs.filter(|(name, _)| name == "MCP-MQTT-CLIENT-ID").collect();
    let [(_, sender)] = senders.as_slice() else { panic!("one sender, not {senders:?}") };
    sender.clone()
}

fn says(client_id: &str) -> Property<'_> {
    Property::Pair("MCP-MQTT-CLIENT-ID", client_id)
}

/// Somebody who follows who is there.
fn watcher(broker: &Broker) -> Client {
    let watcher = broker.connect("watcher");
    watcher.subscribe("$mcp-server/presence/+/#", 1);
    watcher
}

#[test]
fn the_sender_is_the_one_that_the_broker_knows() {
    let broker = broker();
    let server = broker.connect("s1");
    server.subscribe(CONTROL, 0);
    let client = broker.connect("c1");
    for said in ["c1", "another"] {
        client.publishing(CONTROL, INITIALIZE).with(says(said)).send();
        assert_eq!(sender(&server.message()), "c1");
    }
    client.publishing(CONTROL, INITIALIZE).send();
    assert_eq!(sender(&server.message()), "c1", "it says nothing");
    broker.client("c2").will(CONTROL, "gone").will_with(says("c1")).connect().vanish();
    assert_eq!(sender(&server.message()), "c2");
    server.subscribe("elsewhere", 0);
    client.publishing("elsewhere", "x").with(says("another")).send();
    assert_eq!(sender(&server.message()), "another", "it is nobody's business there");
}

#[test]
fn a_request_that_nobody_takes_is_answered() {
    let broker = broker();
    let (client, other) = (broker.connect("c1"), broker.connect("other"));
    for asker in [&client, &other] {
        asker.subscribe(RPC, 1);
        asker.packets();
    }
    for level in 0..=2 {
        client.publish(CONTROL, INITIALIZE, level);
        let answer = client.message();
        assert_eq!(answer.topic, RPC);
        assert!(answer.payload.contains("\"code\":-32000"), "{}", answer.payload);
        assert!(answer.payload.contains("\"id\":0"), "{}", answer.payload);
    }
    client.unsubscribe(RPC);
    other.unsubscribe(RPC);
    client.subscribe("$mcp-rpc/c1/s2/demo/calc", 1);
    client.publish("$mcp-server/s2/demo/calc", r#"{"method":"notifications/x"}"#, 1);
    client.publish("$mcp-server/s2/demo/calc", "no JSON", 1);
    assert!(client.messages().is_empty(), "nobody waits");
    assert!(other.messages().is_empty(), "the answers were another's");
    let server = broker.connect("s2");
    server.subscribe("$mcp-server/s2/demo/calc", 0);
    client.publish("$mcp-server/s2/demo/calc", INITIALIZE, 1);
    assert!(client.messages().is_empty() && server.messages().len() == 1);
}

#[test]
fn a_server_that_is_gone_is_not_shown() {
    let broker = broker();
    let watcher = watcher(&broker);
    // A will that is not retained, on a name that the server does not have any more, or none.
    let wills = [Some(PRESENCE), Some("$mcp-server/presence/s1/demo/old"), None];
    for will in wills {
        let server = broker.client("s1");
        let server = match will {
            Some(topic) => server.will(topic, "").connect(),
            None => server.connect(),
        };
        server.publishing(PRESENCE, ONLINE).retain().send();
        assert_eq!(watcher.payloads(), [ONLINE]);
        server.vanish();
        let gone: Vec<_> =
            watcher.messages().into_iter().filter(|it| it.topic == PRESENCE).collect();
        let cleared = gone.last().expect("it is told");
        assert_eq!((cleared.payload.as_str(), cleared.retain), ("", false));
        assert_eq!(sender(cleared), "s1");
        let late = broker.connect("late");
        late.subscribe(PRESENCE, 0);
        assert!(late.messages().is_empty(), "{will:?}");
    }
}

#[test]
fn a_server_that_leaves_or_is_replaced_is_not_shown() {
    let broker = broker();
    let watcher = watcher(&broker);
    let server = broker.connect("s1");
    for name in ["demo/calc", "demo/other"] {
        server.publishing(&format!("$mcp-server/presence/s1/{name}"), ONLINE).retain().send();
    }
    watcher.payloads();
    server.disconnect();
    assert_eq!(watcher.payloads(), ["", ""]);
    broker.connect("s1").publishing(PRESENCE, ONLINE).retain().send();
    assert_eq!(watcher.payloads(), [ONLINE]);
    broker.connect("s1");
    assert_eq!(watcher.payloads(), [""], "another process, which has not said that it serves");
}

#[test]
fn a_server_is_gone_under_every_name_that_it_could_have() {
    let broker = broker();
    let server = broker.connect("s1");
    let says = |number: usize, payload: &str| {
        let topic = format!("$mcp-server/presence/s1/demo/{number}");
        server.retain(&topic, payload);
        let Some(Got::PubAck(_, code)) = server.next() else { panic!("no PUBACK") };
        code
    };
    let (unheard, refused) = (0x10, 0x97);
    for number in 0..64 {
        assert_eq!(says(number, ONLINE), unheard);
    }
    assert_eq!(says(64, ONLINE), refused);
    assert!(server.reason().contains("64 names"));
    assert_eq!(says(1, ONLINE), unheard, "it has that name");
    assert_eq!(says(1, ""), unheard);
    assert_eq!(says(64, ONLINE), unheard, "there is room again");
    let other = broker.connect("s2");
    other.publishing("$mcp-server/presence/s2/demo/1", ONLINE).retain().send();
    server.vanish();
    let late = broker.connect("late");
    late.subscribe("$mcp-server/presence/#", 0);
    let shown: Vec<_> = late.messages().into_iter().map(|it| it.topic).collect();
    assert_eq!(shown, ["$mcp-server/presence/s2/demo/1"]);
}

#[test]
fn a_will_leaves_no_server_behind() {
    let broker = broker();
    let willed = |payload| broker.client("s1").will(PRESENCE, payload).will_retain();
    assert_eq!(willed(ONLINE).refused(), ReasonCode::NotAuthorized as u8);
    willed("").connect();
    broker.client("s1").will(PRESENCE, ONLINE).connect();
}

#[test]
fn a_server_that_may_come_back_is_waited_for() {
    let broker = broker();
    let watcher = watcher(&broker);
    let server = broker.returning("s1").will(PRESENCE, "").will_retain().will_delay(5).connect();
    server.publishing(PRESENCE, ONLINE).retain().send();
    watcher.payloads();
    server.vanish();
    broker.wait(4);
    assert!(watcher.messages().is_empty());
    broker.wait(1);
    assert_eq!(watcher.payloads(), [""], "its will; there is no more to say");
}

/// Whoever of them has a session is waited for; here `s1` has one.
#[test]
fn who_has_no_session_after_a_crash_is_not_shown() {
    let broker = broker();
    let server = broker.returning("s1").connect();
    let others = [
        ("$mcp-server/presence/s1/demo/calc", ONLINE),
        ("$mcp-server/s2/demo/calc", "retained by mistake"),
        ("$mcp-client/presence/s2", "no server's"),
    ];
    let mut all = others.to_vec();
    all.push(("$mcp-server/presence/s2/demo/calc", ONLINE));
    all.push(("$mcp-server/presence/s2/demo/other", ONLINE));
    all.push(("$org$/acme/$mcp-server/presence/s1/demo/calc", ONLINE));
    broker.restore_retained(&all);
    assert_eq!(broker.counters().retained_now, 3, "those of organisations are cleared, too");
    let late = broker.connect("late");
    for filter in ["$mcp-server/#", "$mcp-client/#"] {
        late.subscribe(filter, 0);
    }
    let mut left: Vec<_> = late.messages().into_iter().map(|it| (it.topic, it.payload)).collect();
    left.sort();
    let mut expected = others.map(|(topic, payload)| (topic.to_owned(), payload.to_owned()));
    expected.sort();
    assert_eq!(left, expected);
    server.disconnect_as(ReasonCode::NORMAL_DISCONNECTION, &ending());
    assert_eq!(late.payloads(), [""], "it was shown, and leaves");
}

/// The session ends with the connection.
fn ending() -> PropertiesBuf {
    PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 0))
}

#[test]
fn nobody_is_put_out_by_another() {
    let broker = broker();
    broker.connect("s1").publishing(PRESENCE, ONLINE).retain().send();
    let liar = broker.connect("liar");
    liar.publishing(PRESENCE, ONLINE).retain().send();
    let watcher = watcher(&broker);
    assert_eq!(watcher.payloads(), [ONLINE]);
    liar.vanish();
    assert!(watcher.messages().is_empty());
}

#[test]
fn a_component_s_identifier_is_a_level_of_its_topics() {
    let broker = broker();
    let component = |client_id, kind| {
        let kind = Property::Pair("MCP-COMPONENT-TYPE", kind);
        let client = broker.client(client_id).with(kind).attempt();
        client.next().map(|got| format!("{got:?}")).unwrap_or_default()
    };
    for kind in ["mcp-server", "mcp-client"] {
        assert!(component("a/b", kind).contains("code: 133"), "{}", component("a/b", kind));
        assert!(component("presence", kind).contains("code: 133"));
        assert!(component("a", kind).contains("code: 0"));
        assert!(component("", kind).contains("code: 0"), "it is given one");
    }
    assert!(component("a/b", "a2a").contains("code: 0"));
    let reason = broker.client("a+").with(Property::Pair("MCP-COMPONENT-TYPE", "mcp-client"));
    assert_eq!(reason.refused(), 0x85);
}
