//! What one shard promises waits for what other shards must keep.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod neighbors;

use agentmq_codec::{AckKind, Connect, ProtocolVersion, Publish, QoS, ReasonCode, Will};
use agentmq_router::Settings;
use agentmq_session::Condition;
use neighbors::{Neighbors, Received};

const PUBLISHER: (u8, u32) = (0, 0);
const WORKER: (u8, u32) = (1, 0);

/// A client on each of two shards, the second of which has a session that lasts if `lasts`.
fn two(lasts: bool, qos: u8) -> Neighbors {
    let mut all = Neighbors::durable(2, Settings::default());
    all.connect(PUBLISHER, "publisher", true);
    all.connect(WORKER, "worker", lasts);
    all.subscribe(WORKER, 1, "jobs", qos);
    everything(&mut all);
    all
}

/// All mail arrives, and everything is committed, until nothing moves.
fn everything(all: &mut Neighbors) {
    for _ in 0..10 {
        all.settle();
        (0..all.routers.len() as u8).for_each(|number| all.commit(number));
    }
}

#[test]
fn puback_leaves_when_the_other_shard_has_committed() {
    let mut all = two(true, 1);
    all.publish_as(PUBLISHER, 5, "jobs", QoS::AtLeastOnce);
    all.commit(0);
    all.settle();
    assert_eq!(all.payloads(WORKER), ["5"], "QoS 1 goes out before it is safe");
    assert_eq!(all.acks(PUBLISHER, AckKind::PubAck), [0_u16; 0]);
    all.commit(1);
    assert_eq!(all.acks(PUBLISHER, AckKind::PubAck), [0_u16; 0], "the other shard has not said so");
    all.settle();
    assert_eq!(all.acks(PUBLISHER, AckKind::PubAck), [5]);
}

#[test]
fn a_shard_that_keeps_nothing_of_it_does_not_delay() {
    let mut all = two(false, 1);
    all.connect((1, 1), "other", true); // recorded, and not committed
    all.publish_as(PUBLISHER, 5, "jobs", QoS::AtLeastOnce);
    assert_eq!(all.acks(PUBLISHER, AckKind::PubAck), [5], "nobody is asked");
    all.publish_as(PUBLISHER, 6, "jobs", QoS::ExactlyOnce);
    all.commit(0);
    assert_eq!(all.acks(PUBLISHER, AckKind::PubRec), [0_u16; 0], "an exchange waits for all");
    everything(&mut all);
    assert_eq!(all.acks(PUBLISHER, AckKind::PubRec), [6]);
    assert_eq!(all.payloads(WORKER), ["5", "6"]);
}

#[test]
fn what_another_shard_cannot_keep_is_refused_and_nothing_else() {
    let mut all = Neighbors::durable(3, Settings::default());
    all.connect(WORKER, "worker", false);
    all.subscribe(WORKER, 1, "jobs", 1);
    let (lasting, member) = ((1, 1), (2, 0));
    all.connect(lasting, "lasting", true);
    all.connect(member, "member", true);
    let mut bytes = Vec::new();
    let version = ProtocolVersion::V5;
    Connect { version, client_id: "publisher", ..Connect::default() }.encode(&mut bytes);
    all.clients.insert(PUBLISHER, Vec::new());
    all.send(PUBLISHER, &bytes);
    everything(&mut all);
    // Whether a message to `jobs` is taken while there is no room.
    let mut packet_id = 0;
    let mut is_taken = |all: &mut Neighbors| {
        packet_id += 1;
        all.ledgers.iter().for_each(|ledger| ledger.set_condition(Condition::Full));
        let mut bytes = Vec::new();
        let (qos, topic) = (QoS::AtLeastOnce, "jobs");
        Publish { qos, topic, packet_id, ..Publish::default() }.encode(version, &mut bytes);
        all.send(PUBLISHER, &bytes);
        let answer = all.clients[&PUBLISHER].last().cloned();
        all.ledgers.iter().for_each(|ledger| ledger.set_condition(Condition::Good));
        let refused = Received::Refused(packet_id, ReasonCode::QuotaExceeded);
        let taken = Received::Ack(AckKind::PubAck, packet_id);
        assert!(answer == Some(taken.clone()) || answer == Some(refused), "{answer:?}");
        answer == Some(taken)
    };
    assert!(is_taken(&mut all), "the receiver's session ends with a crash");
    all.subscribe(lasting, 1, "jobs", 1);
    everything(&mut all);
    assert!(!is_taken(&mut all));
    all.unsubscribe(lasting, 2, "jobs");
    everything(&mut all);
    assert!(is_taken(&mut all));
    // The home of a group tells of members elsewhere.
    all.subscribe(WORKER, 2, "$share/g/jobs", 1);
    everything(&mut all);
    assert!(is_taken(&mut all));
    all.subscribe(member, 1, "$share/g/jobs", 1);
    everything(&mut all);
    assert!(!is_taken(&mut all));
    all.unsubscribe(member, 2, "$share/g/jobs");
    everything(&mut all);
    assert!(is_taken(&mut all));
    // Here is the home, and a member elsewhere is to keep it.
    all.unsubscribe(WORKER, 3, "$share/g/jobs");
    all.connect((0, 1), "local", false);
    all.subscribe((0, 1), 1, "$share/h/jobs", 1);
    everything(&mut all);
    all.subscribe(member, 3, "$share/h/jobs", 1);
    everything(&mut all);
    assert!(!is_taken(&mut all));
}

#[test]
fn a_shard_that_becomes_active_is_told_who_must_keep_something() {
    let mut all = Neighbors::durable_of_which_one_is_active(2, Settings::default());
    all.connect((0, 0), "lasting", true);
    all.subscribe((0, 0), 1, "jobs", 1);
    everything(&mut all);
    all.activate(1);
    all.settle();
    let publisher = (1, 0);
    all.connect(publisher, "publisher", false);
    all.publish_as(publisher, 5, "jobs", QoS::AtLeastOnce);
    all.settle();
    assert_eq!(all.acks(publisher, AckKind::PubAck), [0_u16; 0]);
    everything(&mut all);
    assert_eq!(all.acks(publisher, AckKind::PubAck), [5]);
}

#[test]
fn acknowledgements_keep_their_order() {
    let mut all = two(true, 1);
    all.connect((0, 1), "local", true);
    all.subscribe((0, 1), 1, "local", 1);
    everything(&mut all);
    all.publish_as(PUBLISHER, 1, "jobs", QoS::AtLeastOnce);
    all.publish_as(PUBLISHER, 2, "local", QoS::AtLeastOnce);
    all.publish_as(PUBLISHER, 3, "nobody", QoS::AtLeastOnce);
    all.commit(0);
    assert_eq!(all.acks(PUBLISHER, AckKind::PubAck), [0_u16; 0]);
    all.settle();
    all.commit(1);
    all.settle();
    assert_eq!(all.acks(PUBLISHER, AckKind::PubAck), [1, 2, 3]);
}

#[test]
fn a_turn_asks_once_and_is_answered_once() {
    let mut all = two(true, 1);
    all.publish_as(PUBLISHER, 1, "jobs", QoS::AtLeastOnce);
    let mail = all.mail[&(0, 1)].len();
    assert_eq!(mail, 2, "the message and the question");
    all.publish_as(PUBLISHER, 2, "jobs", QoS::AtLeastOnce);
    all.publish_as(PUBLISHER, 3, "jobs", QoS::AtMostOnce);
    assert_eq!(all.mail[&(0, 1)].len(), 5, "QoS 0 asks nothing");
    while all.deliver(0, 1) {}
    assert_eq!(all.mail[&(1, 0)].len(), 0);
    all.commit(1);
    assert_eq!(all.mail[&(1, 0)].len(), 1, "two answers in one");
    all.settle();
    assert_eq!(all.acks(PUBLISHER, AckKind::PubAck), [1, 2]);
}

#[test]
fn where_nothing_survives_nothing_is_asked() {
    let mut all = Neighbors::all_active(2, Settings::default());
    all.connect(PUBLISHER, "publisher", true);
    all.connect(WORKER, "worker", true);
    all.subscribe(WORKER, 1, "jobs", 2);
    all.settle();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        all.publish_as(PUBLISHER, 1, "jobs", qos);
        assert_eq!(all.mail[&(0, 1)].len(), 1);
        all.settle();
    }
    assert_eq!(all.acks(PUBLISHER, AckKind::PubRec), [1]);
}

#[test]
fn qos_2_arrives_everywhere_or_nowhere() {
    let mut all = two(true, 2);
    all.connect((0, 1), "local", true);
    all.subscribe((0, 1), 1, "jobs", 2);
    everything(&mut all);
    all.publish_as(PUBLISHER, 5, "jobs", QoS::ExactlyOnce);
    all.commit(0);
    all.settle();
    for ledger in &all.ledgers {
        let record = ledger.newest("Message");
        assert!(record.ends_with("arrived false depends true"), "{record}");
        assert_eq!(ledger.count("Arrived"), 0);
    }
    all.commit(1);
    assert_eq!(all.ledgers[0].count("Arrived"), 0, "shard 1 has not said so");
    all.settle();
    assert_eq!(all.ledgers[0].count("Arrived"), 1);
    assert_eq!(all.acks(PUBLISHER, AckKind::PubRec), [0_u16; 0]);
    assert!(all.payloads(WORKER).is_empty() && all.payloads((0, 1)).is_empty());
    all.commit(0);
    assert_eq!(all.acks(PUBLISHER, AckKind::PubRec), [5]);
    assert_eq!(all.payloads((0, 1)), ["5"]);
    all.settle();
    assert_eq!(all.payloads(WORKER), ["5"]);
}

#[test]
fn one_that_goes_nowhere_else_does_not_arrive_before_an_earlier_one() {
    let mut all = two(true, 2);
    all.connect((0, 1), "local", true);
    all.subscribe((0, 1), 1, "local", 2);
    everything(&mut all);
    all.publish_as(PUBLISHER, 1, "jobs", QoS::ExactlyOnce);
    all.publish_as(PUBLISHER, 2, "local", QoS::ExactlyOnce);
    let record = all.ledgers[0].newest("Message 2");
    assert!(record.ends_with("arrived false depends true"), "{record}");
    all.commit(0);
    all.settle();
    assert!(all.payloads((0, 1)).is_empty());
    everything(&mut all);
    assert_eq!(all.acks(PUBLISHER, AckKind::PubRec), [1, 2]);
    assert_eq!(all.payloads((0, 1)), ["2"]);
    // Now nothing is on its way, and it is one record again.
    all.publish_as(PUBLISHER, 3, "local", QoS::ExactlyOnce);
    let record = all.ledgers[0].newest("Message 3");
    assert!(record.ends_with("arrived true depends false"), "{record}");
}

#[test]
fn a_repetition_before_the_exchange_has_arrived_is_not_routed_again() {
    let mut all = two(true, 2);
    all.publish_as(PUBLISHER, 5, "jobs", QoS::ExactlyOnce);
    all.settle();
    all.close(PUBLISHER);
    let again = (0, 7);
    all.connect(again, "publisher", true);
    all.publish_as(again, 5, "jobs", QoS::ExactlyOnce);
    // Nor is a release that no PUBREC has asked for.
    all.acknowledge(again, AckKind::PubRel, 5);
    all.publish_as(again, 5, "jobs", QoS::ExactlyOnce);
    all.commit(0);
    all.settle();
    assert_eq!(all.acks(again, AckKind::PubRec), [0_u16; 0]);
    everything(&mut all);
    assert_eq!(all.acks(again, AckKind::PubRec), [5, 5]);
    assert_eq!(all.payloads(WORKER), ["5"]);
    assert_eq!(all.ledgers[1].count("Message"), 1);
}

#[test]
fn what_waits_in_line_does_not_leave_before_it_has_arrived() {
    let mut all = two(true, 2);
    all.close(WORKER);
    everything(&mut all);
    all.publish_as(PUBLISHER, 5, "jobs", QoS::ExactlyOnce);
    all.settle();
    all.connect((1, 7), "worker", true);
    all.commit(1);
    all.commit(1);
    assert!(all.payloads((1, 7)).is_empty());
    everything(&mut all);
    assert_eq!(all.payloads((1, 7)), ["5"]);
}

#[test]
fn an_answer_waits_for_the_member_that_a_home_has_chosen_elsewhere() {
    let mut all = Neighbors::durable(3, Settings::default());
    all.connect(PUBLISHER, "publisher", true);
    all.connect((1, 0), "first", false);
    all.subscribe((1, 0), 1, "$share/g/jobs", 1);
    all.settle();
    all.connect((2, 0), "second", true);
    all.subscribe((2, 0), 1, "$share/g/jobs", 1);
    everything(&mut all);
    all.close((1, 0)); // home and place stay
    everything(&mut all);
    all.publish_as(PUBLISHER, 5, "jobs", QoS::AtLeastOnce);
    all.settle();
    all.commit(0);
    all.commit(1);
    all.settle();
    assert_eq!(all.payloads((2, 0)), ["5"]);
    assert_eq!(all.acks(PUBLISHER, AckKind::PubAck), [0_u16; 0]);
    all.commit(2);
    all.settle();
    assert_eq!(all.acks(PUBLISHER, AckKind::PubAck), [5]);
    let record = all.ledgers[2].newest("Message");
    assert!(record.contains("$share/g/jobs"), "its group survives: {record}");
}

#[test]
fn a_message_that_goes_to_another_shard_is_dropped_here_when_it_is_safe_there() {
    let mut all = Neighbors::durable(2, Settings::default());
    all.connect(PUBLISHER, "publisher", true);
    for at in [(1, 0), (1, 1)] {
        all.connect(at, &format!("member-{}", at.1), true);
        all.subscribe(at, 1, "$share/g/jobs", 1);
        all.settle();
    }
    all.connect((0, 1), "member-2", true);
    everything(&mut all);
    for (packet_id, topic) in [(1, "jobs"), (2, "jobs")] {
        all.publish_as(PUBLISHER, packet_id, topic, QoS::AtLeastOnce);
    }
    everything(&mut all);
    all.subscribe((0, 1), 1, "$share/g/jobs", 1);
    everything(&mut all);
    all.unsubscribe((1, 1), 2, "$share/g/jobs");
    everything(&mut all);
    assert_eq!(all.payloads((1, 0)).len(), 1);
    all.close((1, 0));
    all.settle();
    assert!(!all.payloads((0, 1)).is_empty(), "it has another member's message");
    all.commit(1);
    all.settle();
    assert_eq!(all.ledgers[1].count("Dropped"), 0);
    all.commit(0);
    all.settle();
    assert_eq!(all.ledgers[1].count("Dropped"), 1);
}

#[test]
fn a_message_that_comes_back_to_the_shard_that_gave_it_up_waits_for_nobody_for_ever() {
    let mut all = Neighbors::durable(2, Settings::default());
    all.connect(PUBLISHER, "publisher", true);
    for (at, lasts) in [((0, 1), false), ((1, 0), true), ((1, 1), true)] {
        all.connect(at, &format!("member-{}-{}", at.0, at.1), lasts);
        all.subscribe(at, 1, "$share/g/jobs", 1);
        everything(&mut all);
    }
    for packet_id in 1..=6 {
        all.publish_as(PUBLISHER, packet_id, "jobs", QoS::AtLeastOnce);
    }
    everything(&mut all);
    assert!(!all.payloads((1, 0)).is_empty());
    all.close((0, 1)); // the home stays
    everything(&mut all);
    all.close((1, 0)); // asked for what it holds, which goes home and from there to its neighbor
    everything(&mut all);
    assert!(all.ledgers[1].count("Dropped") > 0);
    all.publish_as(PUBLISHER, 7, "jobs", QoS::AtLeastOnce);
    everything(&mut all);
    assert_eq!(all.acks(PUBLISHER, AckKind::PubAck), [1, 2, 3, 4, 5, 6, 7]);
}

fn connect_with_will(all: &mut Neighbors, at: (u8, u32), clean_start: bool) {
    connect_with_will_at(all, at, clean_start, QoS::ExactlyOnce);
}

fn connect_with_will_at(all: &mut Neighbors, at: (u8, u32), clean_start: bool, qos: QoS) {
    let mut bytes = Vec::new();
    let none = agentmq_codec::PropertiesBuf::new();
    let properties = none.view();
    let will = Will { topic: "jobs", payload: b"gone", qos, retain: false, properties };
    let version = ProtocolVersion::V311;
    Connect { version, clean_start, client_id: "agent", will: Some(will), ..Connect::default() }
        .encode(&mut bytes);
    all.clients.insert(at, Vec::new());
    all.send(at, &bytes);
}

#[test]
fn a_will_is_under_way_until_it_is_safe_elsewhere() {
    let mut all = two(true, 2);
    all.connect((0, 2), "local", true);
    all.subscribe((0, 2), 1, "jobs", 2);
    connect_with_will(&mut all, (0, 1), false);
    everything(&mut all);
    all.close((0, 1));
    // It is taken from its session where it is put on its way, and in one record with what is
    // kept of it here.
    let newest: Vec<String> = all.ledgers[0].last(3);
    assert!(newest[0].starts_with("Message gone for 1"), "{newest:?}");
    assert!(newest[0].ends_with("arrived false depends true"), "{newest:?}");
    assert_eq!(newest[1], "WillUnderWay gone of agent");
    assert_eq!(newest[2], "Session agent without will");
    all.commit(0);
    all.settle();
    assert_eq!(all.ledgers[0].count("Arrived"), 0);
    // The client comes back: what it publishes from then on comes behind its will.
    let again = (0, 7);
    connect_with_will(&mut all, again, false);
    all.commit(0);
    assert_eq!(all.ledgers[0].newest("Session agent"), "Session agent with will");
    assert_eq!(all.clients[&again], []);
    all.commit(1);
    all.settle();
    assert_eq!(all.ledgers[0].count("Arrived"), 1);
    assert!(all.clients[&again].is_empty() && all.payloads(WORKER).is_empty());
    all.commit(0);
    assert_eq!(all.clients[&again], [Received::ConnAck { session_present: true }]);
    all.settle();
    assert_eq!(all.payloads(WORKER), ["gone"]);
}

#[test]
fn a_will_of_qos_1_is_under_way_too() {
    let mut all = two(true, 1);
    connect_with_will_at(&mut all, (0, 1), false, QoS::AtLeastOnce);
    everything(&mut all);
    all.close((0, 1));
    all.settle();
    assert_eq!(all.payloads(WORKER), ["gone"], "it goes out before it is safe");
    assert_eq!(all.ledgers[0].count("WillUnderWay"), 1);
    assert_eq!(all.ledgers[0].count("Arrived"), 0);
    all.commit(1);
    all.settle();
    assert_eq!(all.ledgers[0].count("Arrived"), 1);
}

#[test]
fn a_will_that_goes_nowhere_else_is_one_record() {
    let mut all = Neighbors::durable(2, Settings::default());
    all.connect((0, 2), "local", true);
    all.subscribe((0, 2), 1, "jobs", 2);
    connect_with_will(&mut all, (0, 1), false);
    everything(&mut all);
    all.close((0, 1));
    assert!(all.ledgers[0].newest("Message gone").ends_with("depends false"));
    assert_eq!(all.ledgers[0].count("WillUnderWay") + all.ledgers[0].count("Arrived"), 0);
}

#[test]
fn who_begins_anew_hears_so_when_the_last_will_is_safe_elsewhere() {
    let mut all = two(true, 1);
    connect_with_will(&mut all, (0, 1), false);
    everything(&mut all);
    all.close((0, 1));
    let mut bytes = Vec::new();
    let version = ProtocolVersion::V311;
    Connect { version, clean_start: true, client_id: "agent", ..Connect::default() }
        .encode(&mut bytes);
    all.clients.insert((0, 7), Vec::new());
    all.send((0, 7), &bytes);
    all.commit(0);
    all.settle();
    assert_eq!(all.ledgers[0].count("Ended"), 0);
    all.commit(1);
    all.settle();
    assert_eq!(all.ledgers[0].count("Ended"), 1);
    assert_eq!(all.clients[&(0, 7)], []);
    all.commit(0);
    assert_eq!(all.clients[&(0, 7)], [Received::ConnAck { session_present: false }]);
}

#[test]
fn the_first_shard_records_what_is_retained() {
    let mut all = Neighbors::durable(3, Settings::default());
    let at = (2, 0);
    all.connect(at, "publisher", false);
    everything(&mut all);
    all.publish(at, "state", "one", QoS::AtLeastOnce, true);
    all.settle();
    assert_eq!(all.acks(at, AckKind::PubAck), [0_u16; 0]);
    let records: Vec<usize> = all.ledgers.iter().map(|it| it.count("Message")).collect();
    assert_eq!(records, [1, 0, 0]);
    assert!(all.ledgers[0].newest("Message one").contains("retained true"));
    all.commit(0);
    all.settle();
    assert_eq!(all.acks(at, AckKind::PubAck), [9]);
}

#[test]
fn the_first_shard_records_the_newest_retained_message_whatever_comes_last() {
    let mut all = Neighbors::durable(3, Settings::default());
    for place in [1, 2] {
        all.connect((place, 0), &format!("publisher-{place}"), false);
    }
    everything(&mut all);
    all.publish((1, 0), "state", "old", QoS::AtLeastOnce, true);
    all.publish((2, 0), "state", "new", QoS::AtLeastOnce, true);
    while all.deliver(2, 0) {}
    while all.deliver(1, 0) {}
    everything(&mut all);
    assert_eq!(all.ledgers[0].count("Message"), 1);
    assert!(all.ledgers[0].newest("Message").starts_with("Message new"));
    assert_eq!(all.acks((1, 0), AckKind::PubAck), [9]);
}
