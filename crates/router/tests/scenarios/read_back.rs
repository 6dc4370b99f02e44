//! What waits on the disk alone, and is read back when its turn comes.

use agentmq_codec::{QoS, SubscriptionOptions};

use crate::harness::{Broker, Got, ShelfEngine};

#[test]
fn others_do_not_wait_with_who_waits_for_the_disk() {
    let engine = ShelfEngine::default();
    let broker = Broker::shelving(&engine);
    let absent = broker.returning("absent").connect();
    absent.send_subscribe(&[("t", SubscriptionOptions::at(QoS::AtLeastOnce))], None);
    absent.vanish();
    let sender = broker.connect("sender");
    for payload in ["1", "2", "3"] {
        sender.publishing("t", payload).qos(1).send();
        broker.committed();
    }
    engine.set_busy(true);
    let back = broker.returning("absent").connect();
    broker.wait_ms(10);
    assert!(back.payloads().is_empty());
    sender.packets();
    sender.ping();
    assert_eq!(sender.packets(), [Got::PingResp]);
    engine.set_busy(false);
    broker.wait_ms(1);
    assert_eq!(back.payloads(), ["1", "2", "3"]);
}
