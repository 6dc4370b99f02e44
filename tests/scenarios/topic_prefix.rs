//! Topics that begin with `$`: the operator says which there are, and a reload changes it.

use agentmq_testkit::codec::{QoS, ReasonCode};

#[test]
fn unknown_prefixes_are_refused_until_the_operator_adds_them() {
    let broker = crate::broker("");
    let mut client = broker.client("client");
    assert_eq!(client.subscribe("$plant/#", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
    let mut publish = |topic| client.publish(topic, b"x", QoS::AtLeastOnce);
    assert_eq!(publish("$plant/a"), ReasonCode::TopicNameInvalid);
    assert_eq!(publish("$a2a/v1/event/o/u/a"), ReasonCode::NoMatchingSubscribers);
    broker.reload(&format!("{}[mqtt]\ndollar_prefixes = [\"$plant\"]\n", crate::TCP));
    broker.wait_for_log("reload done", 0);
    assert_eq!(publish("$a2a/v1/event/o/u/a"), ReasonCode::TopicNameInvalid);
    assert_eq!(publish("$plant/a"), ReasonCode::Success);
    assert_eq!(client.receive_publish().publish().topic, "$plant/a");
}
