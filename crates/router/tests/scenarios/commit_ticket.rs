//! Acknowledgements that wait for what they promise.

use crate::harness::{Broker, DelayedEngine, Got};

#[test]
fn nothing_is_acknowledged_before_its_commit() {
    let engine = DelayedEngine::default();
    let broker = Broker::delayed(&engine);
    let client = broker.client("c").by_hand().connect();
    client.publishing("t", "1").qos(1).id(1).send();
    client.publishing("t", "2").qos(2).id(2).send();
    client.publishing("t", "3").qos(1).id(3).send();
    assert!(client.packets().is_empty());
    engine.complete(1);
    broker.committed();
    assert_eq!(client.packets(), [Got::PubAck(1, 0x10)]);
    engine.complete(2);
    broker.committed();
    assert_eq!(client.packets(), [Got::PubRec(2, 0x10), Got::PubAck(3, 0x10)]);
    broker.committed();
    assert!(client.packets().is_empty());
}

#[test]
fn each_connection_gets_its_own() {
    let engine = DelayedEngine::default();
    let broker = Broker::delayed(&engine);
    let clients: Vec<_> = (0..4).map(|at| broker.connect(&format!("c{at}"))).collect();
    for client in &clients {
        client.publishing("t", "x").qos(1).send();
        client.publishing("t", "y").qos(1).send();
    }
    clients[1].vanish();
    engine.complete(5);
    broker.committed();
    let counts: Vec<_> = clients.iter().map(|it| it.packets().len()).collect();
    assert_eq!(counts, [2, 0, 1, 0]);
    let newcomer = broker.connect("new"); // takes the number of the one that vanished
    engine.complete_all();
    broker.committed();
    assert!(newcomer.packets().is_empty());
    assert_eq!((clients[2].packets().len(), clients[3].packets().len()), (1, 2));
}

#[test]
fn pings_do_not_wait() {
    let engine = DelayedEngine::default();
    let broker = Broker::delayed(&engine);
    let client = broker.connect("c");
    client.publishing("t", "x").qos(1).send();
    client.ping();
    assert_eq!(client.packets(), [Got::PingResp]);
}

#[test]
fn a_lost_acknowledgement_leads_to_a_repetition_that_is_recognized() {
    let engine = DelayedEngine::default();
    let broker = Broker::delayed(&engine);
    let receiver = broker.connect("r");
    receiver.send_subscribe(&[("t", agentmq_codec::SubscriptionOptions::default())], None);
    let sender = broker.returning("s").by_hand().connect();
    sender.publishing("t", "x").qos(2).id(7).send();
    sender.vanish();
    let sender = broker.returning("s").by_hand().connect();
    sender.publishing("t", "x").qos(2).id(7).dup().send();
    sender.pubrel(7);
    engine.complete_all();
    broker.committed();
    assert_eq!(sender.packets(), [Got::PubRec(7, 0), Got::PubComp(7, 0)]);
    assert_eq!(receiver.payloads(), ["x"]);
}

#[test]
fn the_exchange_with_a_receiver_goes_on_through_commits() {
    let engine = DelayedEngine::default();
    let broker = Broker::delayed(&engine);
    let receiver = broker.client("r").by_hand().connect();
    let options = agentmq_codec::SubscriptionOptions::at(agentmq_codec::QoS::ExactlyOnce);
    receiver.send_subscribe(&[("t", options)], None);
    let sender = broker.connect("s");
    sender.publishing("t", "x").qos(2).send();
    let id = receiver.message().id;
    receiver.pubrec(id);
    assert!(receiver.packets().is_empty(), "PUBREL too is a promise");
    engine.complete_all();
    broker.committed();
    assert_eq!(receiver.packets(), [Got::SubAck(1, vec![2]), Got::PubRel(id, 0)]);
    receiver.pubcomp(id);
    assert_eq!(broker.memory_of("r"), Some((0, 0, 0)));
}
