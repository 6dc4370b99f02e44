//! kill -9 of a broker with several shards while clients publish from all of them to sessions on
//! all of them: whatever was acknowledged is there afterwards, QoS 2 once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use agentmq_testkit::codec::{
    Ack, AckKind, Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, Publish,
    QoS, ReasonCode, Will,
};
use agentmq_testkit::{Broker, RawClient};

/// A publisher in the middle of its work when the broker went.
struct Publisher {
    number: usize,
    acknowledged: BTreeSet<u32>,
    /// Sent and not acknowledged, with the packet identifier; true when PUBREC has come.
    open: BTreeMap<u16, (u32, bool)>,
    next: u32,
}

#[test]
fn what_was_acknowledged_on_any_shard_survives() {
    let mut broker = start();
    let mut publishers: Vec<Publisher> = Vec::new();
    for round in 0..ROUNDS {
        // What survived is on the first shard; who is new comes to all of them.
        for number in round * SUBSCRIBERS..(round + 1) * SUBSCRIBERS {
            assert!(!join(&broker, number).subscribe("jobs/#", granted(number)).is_error());
        }
        let (acknowledged, progress) = channel();
        let work = |number| {
            let (publisher, acknowledged) = (Publisher::new(number), acknowledged.clone());
            let client = publisher.connect(&broker);
            thread::spawn(move || publisher.run(client, &acknowledged))
        };
        let numbers = round * PUBLISHERS..(round + 1) * PUBLISHERS;
        let threads: Vec<_> = numbers.map(work).collect();
        drop(acknowledged);
        assert_eq!(progress.iter().take(PER_ROUND).count(), PER_ROUND);
        broker = broker.restart();
        for thread in threads {
            let mut publisher = thread.join().unwrap();
            let mut client = publisher.connect(&broker);
            while !publisher.open.is_empty() {
                assert!(publisher.step(&mut client).is_some());
            }
            publishers.push(publisher);
        }
    }
    for number in 0..ROUNDS * SUBSCRIBERS {
        let first = number / SUBSCRIBERS * PUBLISHERS;
        check(&mut join(&broker, number), granted(number), &publishers[first..]);
    }
}

/// All that the session holds: everything acknowledged, QoS 2 once, each publisher's in order.
fn check(subscriber: &mut RawClient, granted: QoS, publishers: &[Publisher]) {
    subscriber.send(&Packet::PingReq);
    let mut count: BTreeMap<(usize, u32), usize> = BTreeMap::new();
    let mut newest: BTreeMap<usize, u32> = BTreeMap::new();
    let missing = |count: &BTreeMap<(usize, u32), usize>| {
        let all = publishers.iter().flat_map(|publisher| {
            publisher.acknowledged.iter().map(|message| (publisher.number, *message))
        });
        all.filter(|message| !count.contains_key(message)).count()
    };
    while missing(&count) > 0 {
        let received = subscriber.receive();
        match received.packet() {
            Packet::Publish(publish) => {
                let text = std::str::from_utf8(publish.payload).unwrap();
                let (publisher, message) = text.split_once(' ').unwrap();
                let publisher: usize = publisher.parse().unwrap();
                let message: u32 = message.parse().unwrap();
                let times = count.entry((publisher, message)).or_default();
                *times += 1;
                if *times == 1 {
                    let before = newest.insert(publisher, message).unwrap_or_default();
                    assert!(before < message, "{message} came after {before}");
                }
                let kind = match publish.qos {
                    QoS::ExactlyOnce => AckKind::PubRec,
                    _ => AckKind::PubAck,
                };
                subscriber.send(&ack(kind, publish.packet_id));
            }
            Packet::Ack(it) => subscriber.send(&ack(AckKind::PubComp, it.packet_id)),
            Packet::PingResp => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    for ((publisher, message), times) in count {
        if published(publisher).min(granted) == QoS::ExactlyOnce {
            assert_eq!(times, 1, "message {message} of publisher {publisher}");
        }
    }
}

impl Publisher {
    fn new(number: usize) -> Self {
        Self { number, acknowledged: BTreeSet::new(), open: BTreeMap::new(), next: 1 }
    }

    /// Comes (back) to its session, and sends again what is open.
    fn connect(&self, broker: &Broker) -> RawClient {
        let mut client = persistent(broker, &format!("publisher-{}", self.number));
        let mut open: Vec<(u32, u16, bool)> = self
            .open
            .iter()
            .map(|(id, (message, is_received))| (*message, *id, *is_received))
            .collect();
        open.sort_unstable();
        for (message, packet_id, is_received) in open {
            if is_received {
                client.send(&ack(AckKind::PubRel, packet_id));
            } else {
                client.send_bytes(&self.packet(packet_id, message, true));
            }
        }
        client
    }

    fn packet(&self, packet_id: u16, message: u32, dup: bool) -> Vec<u8> {
        let payload = format!("{} {message}", self.number);
        let publish = Publish {
            dup,
            qos: published(self.number),
            topic: &format!("jobs/{}", self.number),
            packet_id,
            payload: payload.as_bytes(),
            ..Publish::default()
        };
        let mut bytes = Vec::new();
        Packet::Publish(publish).encode(ProtocolVersion::V5, &mut bytes);
        bytes
    }

    /// Keeps a few publications open until the broker is gone.
    fn run(mut self, mut client: RawClient, acknowledged: &Sender<()>) -> Self {
        loop {
            while self.open.len() < OPEN {
                let message = self.next;
                let packet_id = (message % 60_000 + 1) as u16;
                self.next += 1;
                self.open.insert(packet_id, (message, false));
                if client.try_send_bytes(&self.packet(packet_id, message, false)).is_err() {
                    return self;
                }
            }
            match self.step(&mut client) {
                Some(true) => {
                    // Whoever counts may have seen enough.
                    let _ = acknowledged.send(());
                }
                Some(false) => {}
                None => return self,
            }
        }
    }

    /// Reads one packet; says whether it acknowledges something, `None` at the end.
    fn step(&mut self, client: &mut RawClient) -> Option<bool> {
        let received = client.receive_or_end()?;
        let Packet::Ack(it) = received.packet() else { panic!("unexpected {received:?}") };
        // A PUBCOMP may say that the exchange was over before the crash.
        assert!(it.kind == AckKind::PubComp || !it.reason.is_error(), "{it:?}");
        match it.kind {
            AckKind::PubAck => {
                let (message, _) = self.open.remove(&it.packet_id).unwrap();
                self.acknowledged.insert(message);
                Some(true)
            }
            AckKind::PubRec => {
                let (message, is_received) = self.open.get_mut(&it.packet_id).unwrap();
                *is_received = true;
                self.acknowledged.insert(*message);
                let mut bytes = Vec::new();
                ack(AckKind::PubRel, it.packet_id).encode(ProtocolVersion::V5, &mut bytes);
                client.try_send_bytes(&bytes).ok()?;
                Some(true)
            }
            _ => {
                self.open.remove(&it.packet_id).unwrap();
                Some(false)
            }
        }
    }
}

#[test]
fn retained_messages_of_all_shards_survive_the_newest_last() {
    let mut broker = start();
    for round in 0..3u8 {
        let mut publishers: Vec<RawClient> =
            (0..PUBLISHERS).map(|it| broker.client(&format!("publisher-{it}"))).collect();
        // Whoever comes later has heard of the others' acknowledgement.
        for number in 0..40u8 {
            let publisher = &mut publishers[usize::from(number) % PUBLISHERS];
            publisher.send(&Packet::Publish(Publish {
                topic: "state",
                payload: &[round, number],
                qos: QoS::AtLeastOnce,
                retain: true,
                packet_id: 9,
                ..Publish::default()
            }));
            publisher.wait_for(|packet| matches!(packet, Packet::Ack(_)));
        }
        broker = broker.restart();
        let mut reader = broker.client("reader");
        reader.subscribe("state", QoS::AtMostOnce);
        assert_eq!(reader.receive_publish().publish().payload, [round, 39]);
    }
}

#[test]
fn a_will_comes_once_wherever_it_was_when_the_broker_went() {
    let mut broker = start();
    for round in 0..6 {
        let topic = format!("gone/{round}");
        let watchers = round * SUBSCRIBERS..(round + 1) * SUBSCRIBERS;
        for number in watchers.clone() {
            assert!(!join(&broker, number).subscribe(&topic, QoS::ExactlyOnce).is_error());
        }
        let mut other = broker.client("other");
        let agents: Vec<RawClient> = (0..AGENTS).map(|it| agent(&broker, &topic, it)).collect();
        drop(agents);
        // Some come back for another session, and nobody waits for the answer.
        let anew = |number: usize| {
            let (client_id, hour) = (format!("{topic} {number}"), hour());
            let properties = hour.view();
            let anew = Connect {
                client_id: &client_id,
                clean_start: true,
                properties,
                ..Connect::default()
            };
            let mut client = broker.dial();
            client.send(&Packet::Connect(Box::new(anew)));
            client
        };
        let _anew: Vec<RawClient> = (0..AGENTS).step_by(2).map(anew).collect();
        (0..round).for_each(|_| other.ping());
        broker = broker.restart();
        let mark = broker.client("other").publish(&topic, b"mark", QoS::ExactlyOnce);
        assert_eq!(mark, ReasonCode::Success);
        for number in watchers {
            let mut watcher = join(&broker, number);
            let wills: BTreeSet<String> = (0..AGENTS).map(|_| take(&mut watcher)).collect();
            assert!(wills.len() == AGENTS && !wills.contains("mark"), "{wills:?}");
            assert_eq!(take(&mut watcher), "mark");
        }
    }
}

/// The next message, QoS 2.
fn take(client: &mut RawClient) -> String {
    let received = client.wait_for(|packet| matches!(packet, Packet::Publish(_)));
    let publish = received.publish();
    client.send(&ack(AckKind::PubRec, publish.packet_id));
    client.wait_for(|packet| matches!(packet, Packet::Ack(it) if it.kind == AckKind::PubRel));
    client.send(&ack(AckKind::PubComp, publish.packet_id));
    String::from_utf8_lossy(publish.payload).into_owned()
}

/// A client with a will, whose session lasts longer than its connection.
fn agent(broker: &Broker, topic: &str, number: usize) -> RawClient {
    let (name, hour, none) = (format!("{topic} {number}"), hour(), PropertiesBuf::new());
    let will = Will {
        topic,
        payload: name.as_bytes(),
        qos: QoS::ExactlyOnce,
        retain: false,
        properties: none.view(),
    };
    let mut client = broker.dial();
    let connect = Connect {
        client_id: &name,
        will: Some(will),
        properties: hour.view(),
        ..Connect::default()
    };
    assert_eq!(client.connect_with(connect).reason(), ReasonCode::Success);
    client
}

fn start() -> Broker {
    crate::broker(
        "[threads]\nshards = 2\nplacement = \"spread\"\n\
         [limits]\nflapping_connects = 0\nqueue_messages = 100_000\n",
    )
}

fn join(broker: &Broker, number: usize) -> RawClient {
    persistent(broker, &format!("subscriber-{number}"))
}

fn granted(number: usize) -> QoS {
    if number % SUBSCRIBERS < SUBSCRIBERS / 2 { QoS::AtLeastOnce } else { QoS::ExactlyOnce }
}

fn published(number: usize) -> QoS {
    if number % PUBLISHERS < PUBLISHERS / 2 { QoS::AtLeastOnce } else { QoS::ExactlyOnce }
}

/// A client whose session lasts an hour.
fn persistent(broker: &Broker, client_id: &str) -> RawClient {
    let (mut client, properties) = (broker.dial(), hour());
    let connect = Connect { client_id, properties: properties.view(), ..Connect::default() };
    let connack = client.connect_with(connect);
    assert_eq!(connack.reason(), ReasonCode::Success);
    client
}

fn hour() -> PropertiesBuf {
    PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 3600))
}

fn ack(kind: AckKind, packet_id: u16) -> Packet<'static> {
    Packet::Ack(Ack::new(kind, packet_id, ReasonCode::Success))
}

const SUBSCRIBERS: usize = 4;
const PUBLISHERS: usize = 4;
const AGENTS: usize = 4;
/// Publications that a publisher has open.
const OPEN: usize = 5;
const ROUNDS: usize = 3;
/// Acknowledgements after which the broker is killed.
const PER_ROUND: usize = 400;
