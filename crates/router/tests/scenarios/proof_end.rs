//! A proof of who a client is that is good for a time only, and what it gives: nobody else gets its
//! session.

use agentmq_codec::ReasonCode as R;

use crate::harness::{Broker, Tickets};

const METHOD: &str = "ticket";

#[test]
fn at_its_end_the_client_goes_with_its_will_and_its_session_stays() {
    let broker = Broker::guarded(Tickets);
    let watcher = broker.connect("watcher");
    watcher.subscribe("$SYS/clients/+/expiring", 0);
    watcher.subscribe("will", 0);
    let client =
        broker.client("a").method(METHOD, "scout 60").expiry(1000).will("will", "gone").connect();
    broker.wait(29);
    assert!(watcher.messages().is_empty());
    broker.wait(1);
    let warning = watcher.message();
    assert_eq!(
        (warning.topic.as_str(), warning.payload.as_str()),
        ("$SYS/clients/a/expiring", "30")
    );
    broker.wait(29);
    assert!(!client.is_closed());
    broker.wait(1);
    assert_eq!(client.closed_with(), R::NotAuthorized as u8);
    assert!(client.reason().starts_with("the token has expired"));
    assert_eq!(watcher.payloads(), ["gone"]);
    assert_eq!(broker.counters().proofs_ended, 1);
    let (_, present) = broker.returning("a").method(METHOD, "scout 60").connect_present();
    assert!(present);
}

#[test]
fn a_new_proof_keeps_the_connection() {
    let broker = Broker::guarded(Tickets);
    let client = broker.client("a").method(METHOD, "scout 60").connect();
    broker.wait(50);
    client.auth(R::ReAuthenticate, METHOD, "scout 100");
    broker.wait(99);
    assert!(!client.is_closed());
    broker.wait(1);
    assert_eq!(client.closed_with(), R::NotAuthorized as u8);
    let short = broker.client("a").method(METHOD, "scout 60").connect();
    short.auth(R::ReAuthenticate, METHOD, "scout 10");
    broker.wait(10);
    assert_eq!(short.closed_with(), R::NotAuthorized as u8, "also one that ends earlier");
}

#[test]
fn nothing_is_left_of_a_client_that_has_gone() {
    let broker = Broker::guarded(Tickets);
    let before = broker.deadlines();
    for secs in ["1", "40", "100000"] {
        let client = broker.client("a").method(METHOD, &format!("scout {secs}")).connect();
        client.auth(R::ReAuthenticate, METHOD, "scout 50");
        client.disconnect();
    }
    assert_eq!(broker.deadlines(), before);
}

#[test]
fn somebody_else_cannot_go_on_as_the_client() {
    let broker = Broker::guarded(Tickets);
    let client = broker.client("a").method(METHOD, "scout 60").connect();
    client.auth(R::ReAuthenticate, METHOD, "ranger 60");
    assert_eq!(client.closed_with(), R::ProtocolError as u8);
}

#[test]
fn who_authenticates_all_the_time_is_disconnected() {
    let broker = Broker::guarded(Tickets);
    let client = broker.client("a").method(METHOD, "scout 600").connect();
    for _ in 0..10 {
        client.auth(R::ReAuthenticate, METHOD, "scout 600");
    }
    broker.wait(60);
    assert!(!client.is_closed());
    for _ in 0..11 {
        client.auth(R::ReAuthenticate, METHOD, "scout 600");
    }
    assert_eq!(client.closed_with(), R::QuotaExceeded as u8);
}

/// Who has proved its name keeps its client identifier while it is here, and its session when it
/// is not.
#[test]
fn the_session_of_one_is_not_given_to_another() {
    let broker = Broker::guarded(Tickets);
    let client = broker.client("a").method(METHOD, "scout 600").expiry(1000).connect();
    client.subscribe("t", 1);
    for round in 0..2 {
        let other = broker.client("a").method(METHOD, "ranger 600").refused();
        assert_eq!(other, R::NotAuthorized as u8);
        assert_eq!(broker.client("a").refused(), R::NotAuthorized as u8, "nor to nobody");
        assert_eq!(client.is_closed(), round == 1);
        broker.connect("publisher").publish("t", "x", 1);
        client.vanish();
    }
    let client = broker.returning("a").method(METHOD, "scout 600").connect();
    assert_eq!(client.payloads().last().map(String::as_str), Some("x"));
}

#[test]
fn before_version_5_the_connection_is_closed() {
    let broker = Broker::guarded(Tickets);
    let client = broker.client("a").v311().username("scout 5").connect();
    broker.wait(4);
    assert!(!client.is_closed());
    broker.wait(1);
    assert!(client.is_closed());
    assert_eq!(client.packets(), []);
}
