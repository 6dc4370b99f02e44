//! What the router records, and what it waits for.

use agentmq_codec::{Ack, AckKind, Connect, Packet, ProtocolVersion, Publish, QoS, ReasonCode};
use agentmq_log::{Fault, SimulatedDisk};
use agentmq_router::Settings;

use crate::broker::{Broker, EXPIRY, kinds, payloads};

fn broker() -> Broker {
    let settings = Settings { retained_gap_ms: 0, ..Settings::default() };
    Broker::start(SimulatedDisk::default(), settings)
}

fn answer(kind: AckKind, id: u16) -> Packet<'static> {
    Packet::Ack(Ack::new(kind, id, ReasonCode::Success))
}

#[test]
fn a_retained_message_of_qos_2_comes_once_and_its_exchange_ends() {
    let mut broker = broker();
    broker.connect(0, "publisher", false);
    broker.publish(0, "state", "value", QoS::ExactlyOnce, true);
    broker.connect(1, "subscriber", false);
    broker.commit();
    broker.got(1);
    broker.subscribe(1, "state", QoS::ExactlyOnce);
    broker.commit();
    broker.commit();
    let got = broker.got(1);
    assert_eq!(payloads(&got), ["value"]);
    // The identifier is safe before the client knows it.
    let mut broker = broker.restart();
    broker.connect(1, "subscriber", false);
    broker.commit();
    let got = broker.got(1);
    assert_eq!(payloads(&got), ["value"], "sent again, with its identifier");
    let publish = got.iter().find(|(first, _)| first >> 4 == 3).expect("a PUBLISH");
    assert_ne!(publish.0 & 8, 0, "as a repetition");
    broker.send(1, &answer(AckKind::PubRec, 1));
    broker.commit();
    let got = broker.got(1);
    assert_eq!(got, [(0x62, vec![0, 1])], "PUBREL with success");
    broker.send(1, &answer(AckKind::PubComp, 1));
    assert_eq!(broker.router.session("subscriber").expect("there").window.open_count(), 0);
}

#[test]
fn what_makes_room_in_a_line_does_not_come_back() {
    let mut settings = Settings { queue_qos0: true, ..Settings::default() };
    settings.limits.queue_messages = 1;
    settings.limits.durable_queue_bytes = 400;
    let mut broker = Broker::start(SimulatedDisk::default(), settings);
    broker.connect(0, "subscriber", false);
    broker.subscribe(0, "t", QoS::AtLeastOnce);
    broker.close(0);
    broker.connect(1, "publisher", false);
    for payload in ["1", "2", "3", "4"] {
        broker.publish(1, "t", payload, QoS::AtLeastOnce, false);
    }
    broker.publish(1, "t", "passing", QoS::AtMostOnce, false);
    broker.commit();
    let mut broker = broker.restart();
    broker.connect(0, "subscriber", false);
    broker.commit();
    let got = payloads(&broker.got(0));
    assert_eq!(got.last().map(String::as_str), Some("4"), "QoS 0 pushes out nothing that lasts");
    assert!(got.len() < 4, "the oldest made room, and their client was not to get them: {got:?}");
}

#[test]
fn a_client_of_3_1_1_gets_no_acknowledgement_for_what_cannot_be_kept() {
    let mut broker = broker();
    broker.connect(0, "subscriber", false);
    broker.subscribe(0, "t", QoS::AtLeastOnce);
    broker.commit();
    let version = ProtocolVersion::V311;
    let connect = Connect { version, client_id: "old", clean_start: true, ..Connect::default() };
    broker.send_as(version, 1, &Packet::Connect(Box::new(connect)));
    broker.commit();
    assert_eq!(kinds(&broker.got(1)), [2]);
    // The next commit meets a full disk.
    broker.disk.plan(0, Fault::Write(std::io::ErrorKind::StorageFull));
    broker.publish(0, "t", "x", QoS::AtLeastOnce, false);
    broker.commit();
    let publish = Publish {
        qos: QoS::AtLeastOnce,
        topic: "t",
        packet_id: 5,
        payload: b"lost",
        ..Publish::default()
    };
    broker.send_as(version, 1, &Packet::Publish(publish));
    assert_eq!(kinds(&broker.got(1)), [0; 0], "PUBACK says success before version 5");
    assert!(broker.router.client_id(agentmq_router::ConnectionId(1)).is_none(), "it is closed");
}

#[test]
fn a_qos_2_publication_that_cannot_be_remembered_is_refused() {
    let mut broker = broker();
    broker.connect(0, "publisher", false);
    broker.commit();
    broker.disk.plan(0, Fault::Write(std::io::ErrorKind::StorageFull));
    broker.connect(1, "other", false);
    broker.commit();
    broker.got(0);
    broker.publish(0, "nobody", "x", QoS::ExactlyOnce, false);
    let got = broker.got(0);
    assert_eq!(kinds(&got), [5]);
    assert_eq!(got[0].1[2], ReasonCode::QuotaExceeded as u8);
}

#[test]
fn a_clean_start_is_told_when_the_old_session_is_gone_for_good() {
    let mut broker = broker();
    broker.connect(0, "client", false);
    broker.subscribe(0, "t", QoS::ExactlyOnce);
    broker.commit();
    broker.close(0);
    broker.got(0);
    broker.connect(0, "client", true);
    assert_eq!(kinds(&broker.got(0)), [0; 0], "after a crash the old one would be back");
    broker.commit();
    assert_eq!(kinds(&broker.got(0)), [2]);
    let mut broker = broker.restart();
    broker.connect(0, "client", false);
    broker.commit();
    let got = broker.got(0);
    assert_eq!((kinds(&got), got[0].1[0]), (vec![2], 1));
    assert_eq!(broker.router.session("client").expect("there").subscriptions.len(), 0);
}

#[test]
fn a_session_expires_however_often_the_broker_starts() {
    let mut broker = broker();
    broker.connect(0, "client", false);
    broker.commit();
    // Its connection breaks with the broker: from here on it counts.
    let mut broker = broker.restart();
    broker.wait(0);
    broker.commit();
    let millis = u64::from(EXPIRY) * 1000;
    let mut broker = broker.restart_later(millis * 6 / 10);
    assert!(broker.router.session("client").is_some());
    broker.wait(millis * 5 / 10);
    assert!(broker.router.session("client").is_none(), "its time is over");
}

/// What an absent member of a group held goes to another one: in a crash one of them has it.
#[test]
fn a_message_that_changes_hands_is_never_in_two() {
    for seed in 0..300u64 {
        let mut broker = broker();
        let mut random = seed;
        broker.connect(0, "absent", false);
        broker.subscribe(0, "$share/group/t", QoS::ExactlyOnce);
        broker.close(0);
        broker.connect(1, "publisher", false);
        let payloads_sent: Vec<String> =
            (0..4).map(|number| format!("{number}{}", ".".repeat(700))).collect();
        for (id, payload) in (1..).zip(&payloads_sent) {
            let publish = Publish {
                qos: QoS::ExactlyOnce,
                topic: "t",
                packet_id: id,
                payload: payload.as_bytes(),
                ..Publish::default()
            };
            broker.send(1, &Packet::Publish(publish));
        }
        broker.connect(2, "present", false);
        broker.commit();
        broker.subscribe(2, "$share/group/t", QoS::ExactlyOnce);
        // The power fails within the commit.
        broker.disk.power_for(1);
        broker.commit();
        broker.disk.crash(&mut || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed * 2 + 1);
            random >> 33
        });
        let mut broker = broker.restart();
        broker.connect(0, "absent", false);
        broker.commit();
        broker.connect(2, "present", false);
        broker.commit();
        broker.commit();
        let mut got = payloads(&broker.got(0));
        got.extend(payloads(&broker.got(2)));
        got.sort();
        assert_eq!(got, payloads_sent, "seed {seed}");
    }
}
