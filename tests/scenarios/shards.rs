//! Clients of one broker on several shards, spread by force: nobody can tell where anybody is.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;

use agentmq_testkit::codec::{
    Ack, AckKind, Connect, Packet, PropertiesBuf, Property, PropertyId, QoS, ReasonCode, Will,
};
use agentmq_testkit::{Broker, RawClient, reset};
use rustix::process::Signal;

#[test]
fn messages_of_every_qos_keep_their_order() {
    let broker = start("");
    let mut clients = crowd(&broker, "client", CLIENTS);
    for client in &mut clients {
        assert!(!client.subscribe("all/+", QoS::ExactlyOnce).is_error());
    }
    for (sender, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        .into_iter()
        .cycle()
        .enumerate()
        .take(2 * CLIENTS)
    {
        let topic = format!("all/{sender}");
        for number in 0..20 {
            let reason = clients[sender % CLIENTS].publish(&topic, &[number], qos);
            assert_eq!(reason, ReasonCode::Success);
        }
        for client in &mut clients {
            for number in 0..20 {
                let received = receive(client);
                let publish = received.publish();
                assert_eq!((publish.payload, publish.qos), (&[number][..], qos));
            }
        }
    }
    for client in &mut clients {
        client.ping();
        expect_nothing_more(client);
    }
}

#[test]
fn retained_messages_are_the_same_for_all() {
    let broker = start("");
    let mut publishers = crowd(&broker, "publisher", SHARDS);
    for round in 0..20_u8 {
        let publisher = &mut publishers[usize::from(round) % SHARDS];
        for topic in ["state/kept", "state/cleared"] {
            retain(publisher, topic, &[round]);
        }
        retain(publisher, "state/cleared", b"");
        for mut reader in crowd(&broker, "reader", SHARDS) {
            assert!(!reader.subscribe("state/#", QoS::AtMostOnce).is_error());
            let received = receive(&mut reader);
            assert!(received.publish().retain);
            assert_eq!(received.publish().payload, [round]);
            expect_nothing_more(&mut reader);
        }
    }
}

/// Members come and go without acknowledging anything; whoever stays has seen every message.
#[test]
fn what_a_vanished_member_held_goes_to_the_others() {
    let broker = start("");
    for round in 0..4 {
        let filter = format!("$share/group-{round}/job/{round}");
        let mut members = crowd(&broker, &format!("member-{round}"), CLIENTS);
        for member in &mut members {
            assert!(!member.subscribe(&filter, QoS::AtLeastOnce).is_error());
        }
        let mut publisher = broker.client("publisher");
        for number in 0..JOBS {
            let topic = format!("job/{round}");
            let reason = publisher.publish(&topic, &[number], QoS::AtLeastOnce);
            assert_eq!(reason, ReasonCode::Success);
        }
        let mut stays = members.swap_remove(round % CLIENTS);
        drop(members);
        let mut missing: BTreeSet<u8> = (0..JOBS).collect();
        while !missing.is_empty() {
            let received = receive(&mut stays);
            missing.remove(&received.publish().payload[0]);
        }
    }
}

#[test]
fn of_many_clients_with_one_identifier_one_stays() {
    // The first to come decides where it is fought out.
    for (home, expiry) in [(0, 0), (1, 0), (2, 0), (0, 600), (1, 600), (2, 600)] {
        let broker = start("");
        let port = broker.port("mqtt");
        let _others = crowd(&broker, "other", home);
        let sides = [0; 3].map(|_| {
            let once = move || connect(port, "contested", true, expiry, None).0;
            thread::spawn(move || (0..100).map(|_| once()).collect::<Vec<_>>())
        });
        let all: Vec<RawClient> = sides.into_iter().flat_map(|side| side.join().unwrap()).collect();
        let mut alive = 0;
        for mut client in all {
            let _ = client.try_send_bytes(&[0xC0, 0]);
            match client.receive_or_end().as_ref().map(|answer| answer.packet()) {
                Some(Packet::PingResp) => alive += 1,
                Some(Packet::Disconnect(packet)) => {
                    assert_eq!(packet.reason, ReasonCode::SessionTakenOver);
                }
                other => panic!("neither alive nor taken over: {other:?}"),
            }
        }
        assert_eq!(alive, 1, "connected clients of one identifier, first on shard {home}");
    }
}

/// An identifier has a home while it has a session: with each end and beginning, maybe another.
#[test]
fn an_identifier_that_comes_and_goes_leaves_no_session() {
    let broker = start("[sys]\ninterval_secs = 1\n");
    let port = broker.port("mqtt");
    let sides = [0; 3].map(|_| {
        thread::spawn(move || {
            for round in 0..150 {
                let (mut client, _) = connect(port, "restless", round % 2 == 0, 0, None);
                // It may have been taken over by now.
                let _ = client.try_send_bytes(&[0xE0, 0]);
            }
        })
    });
    sides.into_iter().for_each(|side| side.join().unwrap());
    broker.wait_for_statistic("clients/total", |count| count == 1); // who asks
    let (mut last, present) = connect(port, "restless", false, 0, None);
    assert!(!present);
    last.ping();
}

/// Each connection of a session is placed by its turn, and belongs where the session is.
#[test]
fn sessions_go_on_where_they_are() {
    let broker = start("");
    let port = broker.port("mqtt");
    let mut publisher = broker.client("publisher");
    for number in 0..CLIENTS {
        let client_id = format!("lasting-{number}");
        let (mut client, present) = connect(port, &client_id, true, 600, None);
        assert!(!present);
        assert!(!client.subscribe(&client_id, QoS::ExactlyOnce).is_error());
        let mut open = None;
        for round in 0..6_u8 {
            let reason = publisher.publish(&client_id, &[round], QoS::ExactlyOnce);
            assert_eq!(reason, ReasonCode::Success);
            let received = client.receive();
            let publish = received.publish();
            let expected = open.unwrap_or((round, publish.packet_id));
            assert_eq!((publish.payload[0], publish.packet_id), expected, "the oldest first");
            assert_eq!(publish.dup, open.is_some());
            // Every other time it goes without an answer, by a takeover or by leaving first.
            if round % 2 == 1 {
                finish_qos2(&mut client, publish.packet_id);
                let received = client.receive();
                assert_eq!(received.publish().payload, [round]);
                finish_qos2(&mut client, received.publish().packet_id);
                client.ping(); // the PUBCOMP has come, so that nothing of it is sent again
            }
            open = (round % 2 == 0).then_some((round, publish.packet_id));
            if round % 3 == 0 {
                client.finish();
                while client.receive_or_end().is_some() {}
            }
            let (next, present) = connect(port, &client_id, false, 600, None);
            assert!(present, "{client_id} in round {round}");
            client = next;
        }
    }
}

#[test]
fn wills_reach_every_shard_once() {
    let broker = start("");
    let mut heirs = crowd(&broker, "heir", SHARDS);
    for heir in &mut heirs {
        assert!(!heir.subscribe("will/+", QoS::AtLeastOnce).is_error());
    }
    let topics: Vec<String> = (0..30).map(|number| format!("will/{number}")).collect();
    let streams: Vec<TcpStream> = topics
        .iter()
        .map(|topic| {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port("mqtt"))).unwrap();
            let client = RawClient::over(stream.try_clone().unwrap());
            connect_over(client, topic, true, 0, Some(topic));
            stream
        })
        .collect();
    streams.into_iter().for_each(reset);
    for heir in &mut heirs {
        let mut missing: BTreeSet<&str> = topics.iter().map(String::as_str).collect();
        while !missing.is_empty() {
            let received = receive(heir);
            let topic = received.publish().topic;
            assert!(missing.remove(topic), "{topic} came twice");
        }
        expect_nothing_more(heir);
    }
    for mut late in crowd(&broker, "late", SHARDS) {
        assert!(!late.subscribe("will/+", QoS::AtMostOnce).is_error());
        for _ in &topics {
            assert!(receive(&mut late).publish().retain);
        }
    }
}

/// A shard that sleeps until its first client hears of a reload before it.
#[test]
fn a_reload_before_the_first_client_puts_no_shard_to_sleep() {
    let broker = start("");
    for _ in 0..3 {
        let seen = broker.log().len();
        broker.signal(Signal::HUP);
        broker.wait_for_log("reload done", seen);
        for mut client in crowd(&broker, "client", CLIENTS) {
            client.ping();
        }
    }
}

#[test]
fn statistics_count_all_shards() {
    let broker = start("[sys]\ninterval_secs = 1\n");
    let mut clients = crowd(&broker, "client", CLIENTS);
    for client in &mut clients {
        assert!(!client.subscribe("a/b", QoS::AtMostOnce).is_error());
        assert!(!client.subscribe("$share/group/a/b", QoS::AtMostOnce).is_error());
    }
    let port = broker.port("mqtt");
    let absent: Vec<_> =
        (0..CLIENTS).map(|n| connect(port, &format!("absent-{n}"), true, 600, None)).collect();
    drop(absent);
    let all = CLIENTS as u64;
    // Whoever asks counts too.
    broker.wait_for_statistic("clients/connected", |count| count == all + 1);
    broker.wait_for_statistic("clients/total", |count| count == 2 * all + 1);
    broker.wait_for_statistic("clients/disconnected", |count| count == all);
    broker.wait_for_statistic("subscriptions/count", |count| count == all + 1);
    broker.wait_for_statistic("shared_subscriptions/count", |count| count == all);
    drop(clients);
    broker.wait_for_statistic("clients/connected", |count| count == 1);
    broker.wait_for_statistic("subscriptions/count", |count| count == 1);
    broker.wait_for_statistic("shared_subscriptions/count", |count| count == 0);
}

fn start(settings: &str) -> Broker {
    let threads = format!("[threads]\nshards = {SHARDS}\nplacement = \"spread\"\n");
    crate::broker(&format!("[session]\nretained_gap_ms = 0\n{threads}{settings}"))
}

/// Clients that come one after the other, so that every shard gets its share.
fn crowd(broker: &Broker, name: &str, count: usize) -> Vec<RawClient> {
    (0..count).map(|number| broker.client(&format!("{name}-{number}"))).collect()
}

/// Connects; also answers whether a session was there.
fn connect(
    port: u16,
    client_id: &str,
    clean_start: bool,
    expiry: u32,
    will: Option<&str>,
) -> (RawClient, bool) {
    connect_over(RawClient::tcp(port), client_id, clean_start, expiry, will)
}

fn connect_over(
    mut client: RawClient,
    client_id: &str,
    clean_start: bool,
    expiry: u32,
    will: Option<&str>,
) -> (RawClient, bool) {
    let expiry = Property::U32(PropertyId::SessionExpiryInterval, expiry);
    let properties = PropertiesBuf::new().with(expiry);
    let will = will.map(|topic| Will {
        qos: QoS::AtLeastOnce,
        retain: true,
        topic,
        payload: b"gone",
        properties: Default::default(),
    });
    let connack = client.connect_with(Connect {
        client_id,
        clean_start,
        will,
        properties: properties.view(),
        ..Connect::default()
    });
    let Packet::ConnAck(packet) = connack.packet() else { panic!("{connack:?}") };
    assert_eq!(packet.reason, ReasonCode::Success);
    let present = packet.session_present;
    (client, present)
}

/// The next PUBLISH, acknowledged whatever its QoS.
fn receive(client: &mut RawClient) -> agentmq_testkit::Received {
    let received = client.receive_publish();
    if received.publish().qos == QoS::ExactlyOnce {
        finish_qos2(client, received.publish().packet_id);
    }
    received
}

fn finish_qos2(client: &mut RawClient, packet_id: u16) {
    client.send(&Packet::Ack(Ack::new(AckKind::PubRec, packet_id, ReasonCode::Success)));
    client.wait_for(|it| matches!(it, Packet::Ack(ack) if ack.kind == AckKind::PubRel));
    client.send(&Packet::Ack(Ack::new(AckKind::PubComp, packet_id, ReasonCode::Success)));
}

fn retain(client: &mut RawClient, topic: &str, payload: &[u8]) {
    use agentmq_testkit::codec::Publish;
    let publish = Publish {
        topic,
        payload,
        retain: true,
        qos: QoS::AtLeastOnce,
        packet_id: 9,
        ..Publish::default()
    };
    client.send(&Packet::Publish(publish));
    let answer = client.wait_for(|it| matches!(it, Packet::Ack(ack) if ack.packet_id == 9));
    assert!(!answer.reason().is_error());
}

fn expect_nothing_more(client: &mut RawClient) {
    client.send(&Packet::PingReq);
    let next = client.receive();
    assert!(matches!(next.packet(), Packet::PingResp), "{next:?}");
}

const SHARDS: usize = 3;
/// Two on each shard.
const CLIENTS: usize = 2 * SHARDS;
const JOBS: u8 = 60;
