//! A second connection of a client identifier (§3.1.4).

use crate::harness::{Broker, Got, Riddle};

#[test]
fn the_old_connection_gets_0x8e_and_the_new_one_the_state() {
    // [MQTT-3.1.4-3]
    let broker = Broker::new();
    let old = broker.returning("a").connect();
    old.subscribe("t", 1);
    let (new, present) = broker.returning("a").connect_present();
    assert!(present);
    assert_eq!(old.closed_with(), 0x8E);
    broker.connect("b").publish("t", "x", 1);
    assert_eq!(new.payloads(), ["x"]);
    assert_eq!(broker.counters().connections_now, 2);
}

#[test]
fn a_3_1_1_client_is_closed_without_a_word() {
    let broker = Broker::new();
    let old = broker.client("a").v311().connect();
    broker.connect("a");
    assert!(old.is_closed());
    assert!(old.packets().is_empty());
}

#[test]
fn a_clean_start_takes_nothing_over() {
    // [MQTT-3.1.2-4]
    let broker = Broker::new();
    let old = broker.returning("a").connect();
    old.subscribe("t", 1);
    let (new, present) = broker.client("a").connect_present();
    assert!(!present);
    assert_eq!(old.closed_with(), 0x8E);
    broker.connect("b").publish("t", "x", 1);
    assert!(new.messages().is_empty());
    assert_eq!(broker.counters().subscriptions_now, 0);
}

#[test]
fn a_session_that_ends_with_its_connection_is_not_taken_over() {
    // [MQTT-3.1.2-5], §3.1.2.11.2: expiry 0
    let broker = Broker::new();
    let old = broker.connect("a");
    old.subscribe("t", 1);
    let (_new, present) = broker.client("a").resuming().connect_present();
    assert!(!present);
    assert_eq!(broker.counters().subscriptions_now, 0);
}

#[test]
fn the_will_of_the_old_connection_is_sent() {
    // [MQTT-3.1.4-3, 3.1.3-9]
    let broker = Broker::new();
    let watcher = broker.connect("watcher");
    watcher.subscribe("will", 1);
    let _old = broker.returning("a").will("will", "gone").connect();
    let _new = broker.returning("a").connect();
    assert_eq!(watcher.payloads(), ["gone"]);
}

#[test]
fn a_delayed_will_is_not_sent_when_the_session_goes_on() {
    // [MQTT-3.1.3-9]
    let broker = Broker::new();
    let watcher = broker.connect("watcher");
    watcher.subscribe("will", 1);
    let _old = broker.returning("a").will("will", "gone").will_delay(5).connect();
    let _new = broker.returning("a").connect();
    broker.wait(10);
    assert!(watcher.messages().is_empty());
}

#[test]
fn a_delayed_will_is_sent_when_the_session_ends() {
    let broker = Broker::new();
    let watcher = broker.connect("watcher");
    watcher.subscribe("will", 1);
    let _old = broker.returning("a").will("will", "gone").will_delay(5).connect();
    let _new = broker.returning("a").clean().connect();
    assert_eq!(watcher.payloads(), ["gone"]);
}

#[test]
fn the_new_will_replaces_the_old_one() {
    let broker = Broker::new();
    let watcher = broker.connect("watcher");
    watcher.subscribe("will", 1);
    let _old = broker.returning("a").will("will", "old").will_delay(5).connect();
    let new = broker.returning("a").will("will", "new").connect();
    new.vanish();
    broker.wait(10);
    assert_eq!(watcher.payloads(), ["new"]);
}

#[test]
fn what_the_old_connection_had_not_acknowledged_is_sent_again() {
    // [MQTT-4.4.0-1]
    let broker = Broker::new();
    let old = broker.returning("a").by_hand().connect();
    old.subscribe("t", 1);
    broker.connect("b").publish("t", "x", 1);
    let first = old.message();
    let new = broker.returning("a").connect();
    let again = new.message();
    assert_eq!((again.id, again.dup), (first.id, true));
}

#[test]
fn nothing_that_the_old_connection_still_sends_counts() {
    let broker = Broker::new();
    let watcher = broker.connect("watcher");
    watcher.subscribe("t", 0);
    let old = broker.returning("a").connect();
    old.stall(); // its 0x8E has not left, so the socket is still open
    let _new = broker.returning("a").connect();
    old.publishing("t", "from the past").send();
    assert!(watcher.messages().is_empty());
    old.vanish();
    assert_eq!(broker.counters().connections_now, 2, "only the old one went");
}

#[test]
fn a_session_does_not_go_to_another_user() {
    let broker = Broker::guarded(Riddle);
    let alice = broker.returning("a").username("alice").connect();
    alice.subscribe("secret", 1);
    alice.disconnect();
    broker.connect("b").publish("secret", "x", 1);
    let (mallory, present) = broker.returning("a").username("mallory").connect_present();
    assert!(!present);
    assert!(mallory.messages().is_empty());
}

#[test]
fn many_times_over_leaves_one_session_and_no_deadlines() {
    let broker = Broker::new();
    let quiet = broker.deadlines();
    for round in 0..50 {
        let client = broker.returning("a").keep_alive(3600).connect();
        if round % 2 == 0 {
            client.vanish();
        }
    }
    broker.client("a").connect().disconnect();
    let counters = broker.counters();
    assert_eq!((counters.sessions_now, counters.connections_now), (0, 0));
    assert_eq!(broker.deadlines(), quiet);
}

#[test]
fn the_takeover_of_a_connection_that_waits_for_acknowledgements_sends_none_behind_0x8e() {
    // [MQTT-3.14.4-1]
    let engine = crate::harness::DelayedEngine::default();
    let broker = Broker::delayed(&engine);
    let old = broker.returning("a").connect();
    old.publishing("t", "x").qos(1).send();
    old.stall();
    let _new = broker.returning("a").connect();
    engine.complete_all();
    broker.committed();
    old.unstall();
    assert_eq!(old.packets().last(), Some(&Got::Disconnect(0x8E)));
}
