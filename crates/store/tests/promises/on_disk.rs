//! What waits on the disk alone does what it would do in memory.

use agentmq_codec::{Packet, PropertiesBuf, Property, PropertyId, Publish, QoS};
use agentmq_log::{Fault, SimulatedDisk};
use agentmq_router::Settings;

use crate::broker::{Broker, payloads, publish_of};

/// A broker that keeps none of what waits in memory, as far as the disk has it.
fn broker() -> Broker {
    let mut settings = Settings { retained_gap_ms: 0, ..Settings::default() };
    settings.limits.durable_queue_memory = 0;
    Broker::start(SimulatedDisk::default(), settings)
}

/// A client that subscribes and goes away.
fn absent(broker: &mut Broker, id: u32, client_id: &str, filter: &str, qos: QoS) {
    broker.connect(id, client_id, false);
    broker.subscribe(id, filter, qos);
    broker.commit();
    broker.close(id);
    broker.commit();
    broker.got(id);
}

fn numbers(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|number| number.to_string()).collect()
}

fn publish(broker: &mut Broker, from: u32, to: u32) {
    for number in numbers(from, to) {
        broker.publish(9, "t", &number, QoS::AtLeastOnce, false);
        broker.commit();
    }
}

fn away(broker: &Broker, client_id: &str) -> usize {
    broker.router.session(client_id).expect("a session").queue.away()
}

#[test]
fn it_comes_back_in_order_also_when_more_comes_meanwhile() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut broker = broker();
        absent(&mut broker, 0, "worker", "t", qos);
        broker.connect(9, "publisher", false);
        publish(&mut broker, 0, 20);
        assert_eq!(away(&broker, "worker"), 20);
        broker.connect(0, "worker", false);
        publish(&mut broker, 20, 30);
        assert_eq!(payloads(&broker.got(0)), numbers(0, 30));
        assert_eq!(away(&broker, "worker"), 0);
    }
}

#[test]
fn what_the_disk_has_not_taken_stays_in_memory() {
    let mut broker = broker();
    absent(&mut broker, 0, "worker", "t", QoS::AtLeastOnce);
    broker.connect(9, "publisher", false);
    publish(&mut broker, 0, 5);
    broker.publish(9, "t", "5", QoS::AtLeastOnce, false);
    assert_eq!(away(&broker, "worker"), 5);
    broker.disk.plan(0, Fault::Sync(std::io::ErrorKind::Other));
    broker.commit();
    assert_eq!(away(&broker, "worker"), 5, "nobody knows what the disk has of it");
    broker.connect(0, "worker", false);
    broker.commit();
    assert_eq!(payloads(&broker.got(0)), numbers(0, 6));
}

#[test]
fn a_shared_group_s_other_member_gets_all_of_it() {
    for (comes_back, ends) in [(true, false), (false, false), (false, true)] {
        let mut broker = broker();
        absent(&mut broker, 0, "first", "$share/group/t", QoS::AtLeastOnce);
        absent(&mut broker, 1, "second", "$share/group/t", QoS::AtLeastOnce);
        broker.connect(9, "publisher", false);
        publish(&mut broker, 0, 20);
        assert_eq!(away(&broker, "first") + away(&broker, "second"), 20);
        let mut got = Vec::new();
        if comes_back {
            broker.connect(0, "first", false);
        } else {
            // A third one joins; one of the others may end.
            broker.connect(2, "third", false);
            broker.subscribe(2, "$share/group/t", QoS::AtLeastOnce);
        }
        let id = if comes_back { 0 } else { 2 };
        if ends {
            broker.connect(1, "second", true);
            broker.close(1);
        }
        for _ in 0..60 {
            broker.commit();
            broker.wait(10);
            got.extend(payloads(&broker.got(id)));
        }
        got.sort_by_key(|it| it.parse::<u32>().expect("a number"));
        assert_eq!(got, numbers(0, 20), "{comes_back} {ends}");
        assert_eq!(away(&broker, "first"), 0);
    }
}

/// That tells nothing of what is in it: too many may be open.
#[test]
fn a_file_that_is_not_opened_is_tried_again() {
    let mut broker = broker();
    absent(&mut broker, 0, "worker", "t", QoS::AtLeastOnce);
    broker.connect(9, "publisher", false);
    publish(&mut broker, 0, 3);
    broker.disk.plan(0, Fault::Open(std::io::ErrorKind::Other));
    broker.connect(0, "worker", false);
    broker.commit();
    assert_eq!(payloads(&broker.got(0)), Vec::<String>::new());
    broker.wait(1_000);
    assert_eq!(payloads(&broker.got(0)), numbers(0, 3));
    assert_eq!(broker.router.counters().dropped_expired, 0);
}

/// Nobody could get it any more.
#[test]
fn the_end_of_a_group_s_last_member_reads_nothing() {
    let mut broker = broker();
    absent(&mut broker, 0, "worker", "$share/group/t", QoS::AtLeastOnce);
    broker.connect(9, "publisher", false);
    publish(&mut broker, 0, 20);
    assert_eq!(away(&broker, "worker"), 20);
    broker.connect(0, "worker", true);
    broker.commit();
    assert_eq!(payloads(&broker.got(0)), Vec::<String>::new());
    assert_eq!(broker.router.counters().recalled, 0);
    assert_eq!(away(&broker, "worker"), 0);
}

#[test]
fn what_is_read_back_carries_what_is_left_of_its_interval() {
    let mut broker = broker();
    absent(&mut broker, 0, "worker", "t", QoS::AtLeastOnce);
    broker.connect(9, "publisher", false);
    let expiry = Property::U32(PropertyId::MessageExpiryInterval, 5);
    let properties = PropertiesBuf::new().with(expiry);
    for payload in [b"1", b"2"] {
        broker.send(
            9,
            &Packet::Publish(Publish {
                topic: "t",
                payload,
                qos: QoS::AtLeastOnce,
                packet_id: 1,
                properties: properties.view(),
                ..Publish::default()
            }),
        );
        broker.commit();
    }
    publish(&mut broker, 3, 4);
    assert_eq!(away(&broker, "worker"), 3);
    // In time they carry what is left of their interval; later they are gone.
    broker.wait(3_000);
    broker.connect(0, "worker", false);
    broker.commit();
    let got = broker.got(0);
    assert_eq!(payloads(&got), ["1", "2", "3"]);
    let publish = got.iter().find_map(publish_of).expect("a PUBLISH");
    let left = publish.properties.integer(PropertyId::MessageExpiryInterval);
    assert_eq!(left, Some(2));
}

#[test]
fn what_has_expired_leaves_the_line_unread() {
    let mut settings = Settings::default();
    settings.limits.durable_queue_memory = 0;
    let mut broker = Broker::start(SimulatedDisk::default(), settings);
    absent(&mut broker, 0, "worker", "t", QoS::AtLeastOnce);
    broker.connect(9, "publisher", false);
    let expiry = Property::U32(PropertyId::MessageExpiryInterval, 5);
    let properties = PropertiesBuf::new().with(expiry);
    let publish = Packet::Publish(Publish {
        topic: "t",
        payload: b"late",
        qos: QoS::AtLeastOnce,
        packet_id: 1,
        properties: properties.view(),
        ..Publish::default()
    });
    broker.send(9, &publish);
    broker.commit();
    broker.wait(6_000);
    broker.connect(0, "worker", false);
    broker.commit();
    assert_eq!(payloads(&broker.got(0)), Vec::<String>::new());
    let counters = broker.router.counters();
    assert_eq!((counters.dropped_expired, counters.recalled), (1, 0));
    let mut broker = broker.restart();
    broker.connect(0, "worker", false);
    assert_eq!(away(&broker, "worker"), 0, "it is gone for good");
}

#[test]
fn the_oldest_make_room_without_being_read() {
    let mut settings = Settings::default();
    settings.limits.durable_queue_memory = 0;
    settings.limits.durable_queue_bytes = 3 * 165;
    let mut broker = Broker::start(SimulatedDisk::default(), settings);
    absent(&mut broker, 0, "worker", "t", QoS::AtLeastOnce);
    broker.connect(9, "publisher", false);
    publish(&mut broker, 0, 8);
    assert_eq!(broker.router.counters().recalled, 0);
    let mut broker = broker.restart();
    broker.connect(0, "worker", false);
    broker.commit();
    assert_eq!(payloads(&broker.got(0)), numbers(5, 8));
}

#[test]
fn all_queues_together_have_a_bound_too() {
    let mut settings = Settings::default();
    settings.limits.queue_memory = 4_000;
    let mut broker = Broker::start(SimulatedDisk::default(), settings);
    let workers: Vec<String> = (0..8).map(|number| format!("worker-{number}")).collect();
    for (id, worker) in (0..).zip(&workers) {
        absent(&mut broker, id, worker, "t", QoS::AtLeastOnce);
    }
    broker.connect(9, "publisher", false);
    publish(&mut broker, 0, 50);
    let resident = |broker: &Broker| -> usize {
        let sessions = workers.iter().map(|it| broker.router.session(it).expect("a session"));
        sessions.map(|it| it.queue.resident_bytes()).sum()
    };
    assert!(resident(&broker) > 3_000, "the first stay: {}", resident(&broker));
    assert!(resident(&broker) <= 4_000, "{}", resident(&broker));
    for (id, worker) in (0..).zip(&workers) {
        broker.connect(id, worker, false);
        broker.commit();
        assert_eq!(payloads(&broker.got(id)), numbers(0, 50), "{worker}");
    }
    let mut broker = broker.restart();
    assert_eq!(resident(&broker), 0);
    broker.connect(0, "worker-0", true);
    broker.commit();
}
