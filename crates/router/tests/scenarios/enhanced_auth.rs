//! Enhanced authentication (§4.12).

use agentmq_codec::{PropertyId as P, ReasonCode as R};

use crate::harness::{Broker, Client, Got, Riddle};

fn challenged(broker: &Broker, data: &str) -> Client {
    let client = broker.client("a").method("riddle", data).attempt();
    assert_eq!(client.next(), Some(Got::Auth(0x18, b"question 1".to_vec())));
    assert!(client.packets().is_empty(), "[MQTT-3.2.0-1]");
    client
}

fn connack(client: &Client) -> (u8, Option<Vec<u8>>) {
    match client.next() {
        Some(Got::ConnAck { code, properties, .. }) => {
            (code, properties.view().binary(P::AuthenticationData).map(Into::into))
        }
        other => panic!("CONNACK expected, got {other:?}"),
    }
}

#[test]
fn right_at_once() {
    let broker = Broker::guarded(Riddle);
    let client = broker.client("a").method("riddle", "password").attempt();
    let Some(Got::ConnAck { code: 0, properties, .. }) = client.next() else { panic!("CONNACK") };
    // [MQTT-4.12.0-5]
    assert_eq!(properties.view().text(P::AuthenticationMethod), Some("riddle"));
    assert_eq!(properties.view().binary(P::AuthenticationData), Some(&b"welcome"[..]));
}

#[test]
fn one_question() {
    // [MQTT-4.12.0-2, -3]
    let broker = Broker::guarded(Riddle);
    let client = challenged(&broker, "");
    client.auth(R::ContinueAuthentication, "riddle", "1");
    assert_eq!(connack(&client), (0, Some(b"welcome".to_vec())));
    client.subscribe("t", 1);
    client.publish("t", "x", 1);
    assert_eq!(client.payloads(), ["x"]);
}

#[test]
fn two_questions() {
    let broker = Broker::guarded(Riddle);
    let client = challenged(&broker, "hard");
    client.auth(R::ContinueAuthentication, "riddle", "1");
    assert_eq!(client.next(), Some(Got::Auth(0x18, b"question 2".to_vec())));
    client.auth(R::ContinueAuthentication, "riddle", "2");
    assert_eq!(connack(&client).0, 0);
}

#[test]
fn a_wrong_answer_gets_a_connack() {
    // [MQTT-4.12.0-4]
    let broker = Broker::guarded(Riddle);
    let client = challenged(&broker, "");
    client.auth(R::ContinueAuthentication, "riddle", "2");
    assert_eq!(connack(&client).0, 0x87);
    assert!(client.is_closed());
    assert_eq!(broker.counters().sessions_now, 0);
}

#[test]
fn an_unknown_method_gets_0x8c() {
    // [MQTT-4.12.0-1]
    let broker = Broker::guarded(Riddle);
    assert_eq!(broker.client("a").method("magic", "").refused(), 0x8C);
    assert_eq!(Broker::new().client("a").method("magic", "").refused(), 0x8C);
}

#[test]
fn steps_out_of_turn_before_connack_get_a_connack() {
    // [MQTT-3.1.2-30], [MQTT-4.12.0-6]
    let broker = Broker::guarded(Riddle);
    let client = challenged(&broker, "");
    client.auth(R::ContinueAuthentication, "magic", "1");
    assert_eq!(connack(&client).0, 0x82);
    assert!(client.is_closed());
    let client = challenged(&broker, "");
    client.auth(R::ReAuthenticate, "riddle", "1");
    assert_eq!(connack(&client).0, 0x82);
    let client = challenged(&broker, "");
    client.publishing("t", "x").send();
    assert_eq!(connack(&client).0, 0x82);
    assert!(client.is_closed() && client.packets().is_empty());
}

#[test]
fn a_client_that_gives_up_leaves_nothing() {
    let broker = Broker::guarded(Riddle);
    let client = challenged(&broker, "");
    client.disconnect();
    assert!(client.is_closed() && client.packets().is_empty());
    challenged(&broker, "").vanish();
    assert_eq!((broker.counters().sessions_now, broker.counters().connections_now), (0, 0));
}

#[test]
fn the_session_is_opened_when_the_exchange_succeeds() {
    // [MQTT-3.1.4-2, -3]: a stranger who knows the identifier throws nobody out
    let broker = Broker::guarded(Riddle);
    let first = broker.client("a").method("riddle", "password").connect();
    let client = challenged(&broker, "");
    assert!(!first.is_closed());
    client.auth(R::ContinueAuthentication, "riddle", "1");
    assert_eq!(first.closed_with(), 0x8E);
}

#[test]
fn authenticating_again() {
    // §4.12.1
    let broker = Broker::guarded(Riddle);
    for data in ["password", "", "hard"] {
        let client = broker.client("a").method("riddle", "password").connect();
        client.subscribe("t", 1);
        client.auth(R::ReAuthenticate, "riddle", data);
        let questions = match data {
            "hard" => 2,
            "" => 1,
            _ => 0,
        };
        for number in 1..=questions {
            let question = format!("question {number}").into_bytes();
            assert_eq!(client.next(), Some(Got::Auth(0x18, question)));
            client.publish("t", "meanwhile", 1);
            assert_eq!(client.payloads(), ["meanwhile"], "the connection goes on");
            client.auth(R::ContinueAuthentication, "riddle", &number.to_string());
        }
        assert_eq!(client.packets(), [Got::Auth(0, b"welcome".to_vec())]);
        assert!(!client.is_closed());
    }
}

#[test]
fn authenticating_again_in_vain_ends_the_connection() {
    // [MQTT-4.12.1-2]
    let broker = Broker::guarded(Riddle);
    let client = broker.client("a").method("riddle", "password").connect();
    client.auth(R::ReAuthenticate, "riddle", "");
    client.auth(R::ContinueAuthentication, "riddle", "wrong");
    assert_eq!(client.closed_with(), 0x87);
}

#[test]
fn another_method_or_none_before_is_a_protocol_error() {
    // [MQTT-4.12.1-1], [MQTT-4.12.0-7]
    let broker = Broker::guarded(Riddle);
    let client = broker.client("a").method("riddle", "password").connect();
    client.auth(R::ReAuthenticate, "magic", "");
    assert_eq!(client.closed_with(), 0x82);
    let client = broker.connect("a");
    client.auth(R::ReAuthenticate, "riddle", "password");
    assert_eq!(client.closed_with(), 0x82);
    let client = broker.client("a").method("riddle", "password").connect();
    client.auth(R::ContinueAuthentication, "riddle", "1");
    assert_eq!(client.closed_with(), 0x82, "nobody asked");
}

#[test]
fn a_client_that_cannot_take_a_challenge_is_refused() {
    // [MQTT-3.1.2-24]
    let broker = Broker::guarded(Riddle);
    let refused = broker.client("a").method("riddle", "").maximum_packet_size(20).refused();
    assert_eq!(refused, 0x95);
}

#[test]
fn limits_count_whoever_came_during_the_exchange() {
    let broker = Broker::guarded(Riddle);
    broker.reconfigure(|settings| settings.limits.sessions = 1);
    let client = challenged(&broker, "");
    let _other = broker.connect("b");
    client.auth(R::ContinueAuthentication, "riddle", "1");
    assert_eq!(connack(&client).0, 0x97);
    assert_eq!(broker.counters().sessions_now, 1);
}
