//! The instructions of what a router does with one message or request.
//! `agentmq_testkit::instructions` says how they are counted.

mod broker;

use agentmq_agents::Namespaces;
use agentmq_codec::QoS::{self, AtLeastOnce, AtMostOnce, ExactlyOnce};
use agentmq_codec::{PropertiesBuf, Property, PropertyId, Publish};
use agentmq_identity::{Effect, Pattern, Policy, Rule};
use agentmq_quota::{Bounds, Plan, Quantity};
use agentmq_testkit::{Case, instructions};
use broker::{Broker, CONNECT_5, CONNECT_311, publish_5};

fn main() {
    instructions(&[
        Case::new("qos0", |n| round_trips(AtMostOnce, n)),
        Case::new("qos1", |n| round_trips(AtLeastOnce, n)),
        Case::new("qos2", |n| round_trips(ExactlyOnce, n)),
        Case::new("qos0-aliases", aliases),
        Case::new("qos0-5-rules", |n| under_rules(2, n)),
        Case::new("qos0-1000-rules", |n| under_rules(997, n)),
        Case::new("qos0-plan", with_a_plan),
        Case::new("route-hit", |n| route(1, n)),
        Case::new("route-miss", |n| route(200, n)),
        Case::new("fan-out-10-64B", |n| fan_out(10, 64, n)),
        Case::repeated("fan-out-1000-64B", 20, |n| fan_out(1_000, 64, n)),
        Case::new("fan-out-1-16KiB", |n| fan_out(1, 16 << 10, n)),
        Case::new("fan-out-10-16KiB", |n| fan_out(10, 16 << 10, n)),
        Case::repeated("fan-out-1000-16KiB", 20, |n| fan_out(1_000, 16 << 10, n)),
        Case::repeated("fan-out-1000-qos1", 20, fan_out_qos1),
        Case::new("retained-store", retained_store),
        Case::repeated("retained-1000-to-hash", 20, retained_to_hash),
        Case::new("shared-choice-10", shared_choice),
        Case::new("shared-qos1-100-under-way", shared_under_way),
        Case::new("tool-call", tool_call),
        Case::new("subscribe-unsubscribe", subscribe_unsubscribe),
        Case::new("connect-disconnect", connect_disconnect),
    ]);
}

/// A publisher and a subscriber, and all packets of the exchanges between them and the router.
fn round_trips(qos: QoS, count: usize) {
    let mut broker = Broker::new();
    broker.connect(0, CONNECT_311);
    broker.connect(1, CONNECT_311);
    broker.subscribe(1, "sensors/#", qos);
    let publish = broker::publish(TOPIC, &[b'x'; 64], qos, false);
    for id in 1..=count {
        // The router numbers its publications one after the other.
        let [high, low] = (((id - 1) % 65_535 + 1) as u16).to_be_bytes();
        broker.send(0, &publish);
        if qos == ExactlyOnce {
            broker.send(0, &[0x62, 2, 0, 7]);
            broker.send(1, &[0x50, 2, high, low]);
            broker.send(1, &[0x70, 2, high, low]);
        } else if qos == AtLeastOnce {
            broker.send(1, &[0x40, 2, high, low]);
        }
    }
}

/// QoS 0 under rules: of the client's own topics, of what is denied, and others.
fn under_rules(others: usize, count: usize) {
    let rule = |effect, topic: &str| {
        let topics = vec![Pattern::parse(topic).expect("a pattern")];
        Rule { effect, topics, ..Rule::default() }
    };
    let mut rules = vec![
        rule(Effect::Deny, "secret/#"),
        rule(Effect::Allow, "agents/{client_id}/#"),
        rule(Effect::Allow, "sensors/#"),
    ];
    rules.extend((0..others).map(|n| rule(Effect::Allow, &format!("buildings/{n}/+"))));
    let mut broker = Broker::under(Policy::new(rules, Effect::Deny));
    broker.connect(0, CONNECT_311);
    broker.connect(1, CONNECT_311);
    broker.subscribe(1, "sensors/#", AtMostOnce);
    let publish = broker::publish(TOPIC, &[b'x'; 64], AtMostOnce, false);
    for _ in 0..count {
        let before = broker.written;
        broker.send(0, &publish);
        assert!(broker.written > before, "it is allowed");
    }
}

/// QoS 0 of a client whose organisation has a plan, with a bound for each client too.
fn with_a_plan(count: usize) {
    let client = Bounds::default().with(Quantity::MessagesPerSecond, Bounds::LARGEST);
    let organization = client
        .clone()
        .with(Quantity::MessagesPerDay, Bounds::LARGEST)
        .with(Quantity::BytesPerDay, Bounds::LARGEST);
    let plan = Plan { name: "plan".into(), organization, client };
    let mut broker = Broker::counting(plan);
    broker.connect(0, CONNECT_311);
    broker.connect(1, CONNECT_311);
    broker.subscribe(1, "sensors/#", AtMostOnce);
    let publish = broker::publish(TOPIC, &[b'x'; 64], AtMostOnce, false);
    for _ in 0..count {
        let before = broker.written;
        broker.send(0, &publish);
        assert!(broker.written > before, "it is within its bounds");
    }
}

/// A subscriber of version 5 that takes aliases.
fn aliases(count: usize) {
    let mut broker = Broker::new();
    broker.connect(0, CONNECT_311);
    broker.connect(1, b"\0\x04MQTT\x05\x02\0\0\x03\x22\0\x0A\0");
    broker.send(1, b"\x82\x0F\0\x01\0\0\x09sensors/#\0");
    let publish = broker::publish(TOPIC, &[b'x'; 64], AtMostOnce, false);
    for _ in 0..count {
        broker.send(0, &publish);
    }
}

/// Messages that nobody receives, among a thousand filters. The next topic finds a cache that has
/// room for one. Many topics, since the keys of the router's tables are random.
fn route(topics: usize, count: usize) {
    let mut broker = Broker::with(|settings| settings.limits.route_cache = 1);
    broker.connect(0, CONNECT_311);
    broker.connect(1, CONNECT_311);
    for room in 0..1_000 {
        broker.subscribe(1, &format!("sensors/room-{room}/temper"), AtMostOnce);
    }
    let packets: Vec<_> = (0..topics)
        .map(|room| format!("sensors/room-{room}/nothing"))
        .map(|topic| broker::publish(&topic, &[b'x'; 64], AtMostOnce, false))
        .collect();
    for at in 0..count {
        broker.send(0, &packets[at % packets.len()]);
    }
}

fn fan_out(receivers: u32, payload: usize, count: usize) {
    let mut broker = with_subscribers(receivers, AtMostOnce);
    let publish = broker::publish(TOPIC, &vec![b'x'; payload], AtMostOnce, false);
    for _ in 0..count {
        broker.send(0, &publish);
    }
}

/// With the acknowledgements of all receivers.
fn fan_out_qos1(count: usize) {
    let mut broker = with_subscribers(1_000, AtLeastOnce);
    let publish = broker::publish(TOPIC, &[b'x'; 64], AtLeastOnce, false);
    for id in 1..=count {
        let [high, low] = (id as u16).to_be_bytes();
        broker.send(0, &publish);
        for receiver in 1..=1_000 {
            broker.send(receiver, &[0x40, 2, high, low]);
        }
    }
}

fn with_subscribers(receivers: u32, qos: QoS) -> Broker {
    let mut broker = Broker::new();
    broker.connect(0, CONNECT_311);
    for receiver in 1..=receivers {
        broker.connect(receiver, CONNECT_311);
        broker.subscribe(receiver, "sensors/#", qos);
    }
    broker
}

fn retained_store(count: usize) {
    let mut broker = Broker::new();
    broker.connect(0, CONNECT_311);
    let publish = broker::publish(TOPIC, &[b'x'; 64], AtMostOnce, true);
    for _ in 0..count {
        broker.send(0, &publish);
    }
}

/// Subscribes to `#`, gets a thousand retained messages, and unsubscribes.
fn retained_to_hash(count: usize) {
    let mut broker = Broker::with(|settings| settings.retained_gap_ms = 0);
    broker.connect(0, CONNECT_311);
    broker.connect(1, CONNECT_311);
    for room in 0..1_000 {
        let topic = format!("sensors/room-{room}/temper");
        broker.send(0, &broker::publish(&topic, &[b'x'; 64], AtMostOnce, true));
    }
    for _ in 0..count {
        let before = broker.written;
        broker.subscribe(1, "#", AtMostOnce);
        assert!(broker.written - before > 64_000, "the retained messages come");
        broker.send(1, b"\xA2\x05\0\x01\0\x01#");
    }
}

/// One of ten members, in turn.
fn shared_choice(count: usize) {
    let mut broker = Broker::new();
    broker.connect(0, CONNECT_311);
    for member in 1..=10 {
        broker.connect(member, CONNECT_311);
        broker.subscribe(member, "$share/group/sensors/#", AtMostOnce);
    }
    let publish = broker::publish(TOPIC, &[b'x'; 64], AtMostOnce, false);
    for _ in 0..count {
        broker.send(0, &publish);
    }
}

/// To the one member of a group, who acknowledges when a hundred more are under way.
fn shared_under_way(count: usize) {
    const UNDER_WAY: usize = 100;
    let mut broker = Broker::new();
    broker.connect(0, CONNECT_311);
    broker.connect(1, CONNECT_311);
    broker.subscribe(1, "$share/group/sensors/#", AtLeastOnce);
    let publish = broker::publish(TOPIC, &[b'x'; 64], AtLeastOnce, false);
    for id in 1..=count + UNDER_WAY {
        if id <= count {
            broker.send(0, &publish);
        }
        if let Some(acknowledged) = id.checked_sub(UNDER_WAY) {
            let [high, low] = (acknowledged as u16).to_be_bytes();
            broker.send(1, &[0x40, 2, high, low]);
        }
    }
}

/// A call of MQTT.Agent and its answer, with QoS 1 as its clients do it. The tool has a card, by
/// whose schema the arguments are checked.
fn tool_call(count: usize) {
    let mut broker = Broker::with(|settings| {
        settings.agents.namespaces = Namespaces::new(&["a2a/v1"]).expect("is a topic");
        settings.agents.check_arguments = true;
    });
    for client in 0..2 {
        broker.connect(client, CONNECT_5);
    }
    let card = br#"{"name":"echo","input_schema":{"type":"object"}}"#;
    let retain = true;
    broker
        .send(1, &publish_5(&Publish { topic: CARD, payload: card, retain, ..Publish::default() }));
    broker.subscribe_5(1, &format!("$share/mcp-tool-echo/{CALL}"), AtLeastOnce);
    broker.subscribe_5(0, RESPONSES, AtLeastOnce);
    let correlation =
        Property::Binary(PropertyId::CorrelationData, b"b8c88a094f8ceeee2b672667adf12399");
    let asks = PropertiesBuf::new()
        .with(Property::Text(PropertyId::ResponseTopic, RESPONSES))
        .with(correlation);
    let says = PropertiesBuf::new().with(correlation);
    let packet = |topic, payload: &str, properties: &PropertiesBuf| {
        let (payload, properties) = (payload.as_bytes(), properties.view());
        let (qos, packet_id) = (AtLeastOnce, 7);
        publish_5(&Publish { topic, payload, qos, packet_id, properties, ..Publish::default() })
    };
    let (call, answer) = (packet(CALL, ASKED, &asks), packet(RESPONSES, ANSWERED, &says));
    for id in 1..=count {
        let [high, low] = (((id - 1) % 65_535 + 1) as u16).to_be_bytes();
        broker.send(0, &call);
        broker.send(1, &[0x40, 2, high, low]);
        broker.send(1, &answer);
        broker.send(0, &[0x40, 2, high, low]);
    }
    assert!(broker.written > count * (ASKED.len() + ANSWERED.len()), "calls are answered");
}

/// Among a thousand filters of another client.
fn subscribe_unsubscribe(count: usize) {
    let mut broker = Broker::new();
    broker.connect(0, CONNECT_311);
    broker.connect(1, CONNECT_311);
    for room in 0..1_000 {
        broker.subscribe(1, &format!("sensors/room-{room}/temper"), AtMostOnce);
    }
    for _ in 0..count {
        broker.subscribe(0, "sensors/+/x", AtLeastOnce);
        broker.send(0, b"\xA2\x0F\0\x01\0\x0Bsensors/+/x");
    }
}

/// A client that comes and goes, with a session that ends.
fn connect_disconnect(count: usize) {
    let mut broker = Broker::new();
    for _ in 0..count {
        broker.connect(0, CONNECT_311);
        broker.send(0, &[0xE0, 0]);
    }
}

const TOPIC: &str = "sensors/room-17/temper";
const CARD: &str = "a2a/v1/mcp/tools/echo/card";
const CALL: &str = "a2a/v1/mcp/tools/echo/call";
const RESPONSES: &str = "a2a/v1/mcp/clients/bench-agent/responses";
const ASKED: &str = r#"{"call_id":"b8c88a094f8ceeee2b672667adf12399","arguments":{
"message":"0123456789012345678901234567890123456789012345678901234567890123"},
"client":"bench-agent","timestamp":"2026-11-27T16:00:00.000Z"}"#;
const ANSWERED: &str = r#"{"call_id":"b8c88a094f8ceeee2b672667adf12399","status":"ok","result":{
"message":"0123456789012345678901234567890123456789012345678901234567890123"},"elapsed_ms":0}"#;
