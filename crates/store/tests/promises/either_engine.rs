//! What keeps messages is nothing to the clients: as long as no crash comes, they see the same of
//! a broker with a disk and of one without.

use std::collections::BTreeSet;

use agentmq_codec::{
    Ack, AckKind, Packet, PropertyLimits, ProtocolVersion, Publish, QoS, ReasonCode,
};
use agentmq_log::SimulatedDisk;
use agentmq_router::Settings;
use proptest::prelude::*;

use crate::broker::{Broker, Sent, kinds, publish_of};

/// What a client does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Comes {
        client: u32,
        starts_anew: bool,
    },
    Goes {
        client: u32,
    },
    Subscribes {
        client: u32,
        filter: usize,
        qos: QoS,
    },
    Publishes {
        client: u32,
        topic: usize,
        qos: QoS,
        retain: bool,
    },
    /// It answers all that it has got and not answered.
    Answers {
        client: u32,
    },
    Time {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    let qos = || prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    prop_oneof![
        3 => (client(), prop::bool::weighted(0.2))
            .prop_map(|(client, starts_anew)| Step::Comes { client, starts_anew }),
        2 => client().prop_map(|client| Step::Goes { client }),
        4 => (client(), 0..FILTERS.len(), qos())
            .prop_map(|(client, filter, qos)| Step::Subscribes { client, filter, qos }),
        10 => (client(), 0..TOPICS.len(), qos(), prop::bool::weighted(0.2))
            .prop_map(|(client, topic, qos, retain)| {
                Step::Publishes { client, topic, qos, retain }
            }),
        6 => client().prop_map(|client| Step::Answers { client }),
        1 => (1u64..2_000).prop_map(|millis| Step::Time { millis }),
    ]
}

/// A broker, and what its clients have seen.
struct World {
    broker: Broker,
    here: BTreeSet<u32>,
    /// What each client has got and not answered.
    unanswered: Vec<Vec<Sent>>,
    published: u32,
}

impl World {
    fn new(broker: Broker) -> Self {
        let unanswered = vec![Vec::new(); CLIENTS as usize];
        Self { broker, here: BTreeSet::new(), unanswered, published: 0 }
    }

    /// One step, with all that it brings about. Answers what each client saw of it.
    fn go(&mut self, step: Step) -> Vec<Seen> {
        match step {
            Step::Comes { client, starts_anew } => {
                self.leave(client);
                self.broker.connect(client, &format!("client-{client}"), starts_anew);
                self.here.insert(client);
            }
            Step::Goes { client } => self.leave(client),
            Step::Subscribes { client, filter, qos } if self.here.contains(&client) => {
                self.broker.subscribe(client, FILTERS[filter], qos);
            }
            Step::Publishes { client, topic, qos, retain } if self.here.contains(&client) => {
                self.published += 1;
                let payload = self.published.to_string();
                self.broker.publish(client, TOPICS[topic], &payload, qos, retain);
            }
            Step::Answers { client } if self.here.contains(&client) => {
                for sent in std::mem::take(&mut self.unanswered[client as usize]) {
                    if let Some(ack) = answer(&sent) {
                        self.broker.send(client, &Packet::Ack(ack));
                    }
                }
            }
            Step::Time { millis } => self.broker.wait(millis),
            _ => {}
        }
        self.settle()
    }

    fn leave(&mut self, client: u32) {
        if self.here.remove(&client) {
            self.broker.close(client);
            self.unanswered[client as usize].clear();
        }
    }

    fn settle(&mut self) -> Vec<Seen> {
        // What absent members of a group hold is read back a portion at a time.
        for _ in 0..20 {
            self.broker.commit();
            self.broker.wait(5);
        }
        self.broker.commit();
        let mut all = Vec::new();
        for client in 0..CLIENTS {
            let got = self.broker.got(client);
            all.push(Seen::of(&got));
            if self.here.contains(&client) {
                self.unanswered[client as usize].extend(got);
            }
        }
        all
    }
}

/// The kinds of packets that came, and the messages in the order that the standard promises: for
/// each topic and QoS by itself [MQTT-4.6.0-6]. With a disk QoS 1 overtakes QoS 2, which waits for
/// it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kinds: Vec<u8>,
    messages: Vec<(String, QoS, bool, Vec<u8>)>,
}

impl Seen {
    fn of(got: &[Sent]) -> Self {
        let mut kinds = kinds(got);
        kinds.sort_unstable();
        let message =
            |it: Publish<'_>| (it.topic.to_owned(), it.qos, it.retain, it.payload.to_vec());
        let mut messages: Vec<_> = got.iter().filter_map(publish_of).map(message).collect();
        messages.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        Self { kinds, messages }
    }
}

/// What a client answers to a packet, if anything.
fn answer((first, body): &Sent) -> Option<Ack<'static>> {
    let limits = PropertyLimits::UNLIMITED;
    let packet = Packet::decode(*first, body, ProtocolVersion::V5, &limits);
    let (kind, id) = match packet.expect("the broker sends packets") {
        Packet::Publish(it) if it.qos == QoS::AtLeastOnce => (AckKind::PubAck, it.packet_id),
        Packet::Publish(it) if it.qos == QoS::ExactlyOnce => (AckKind::PubRec, it.packet_id),
        Packet::Ack(it) if it.kind == AckKind::PubRec => (AckKind::PubRel, it.packet_id),
        Packet::Ack(it) if it.kind == AckKind::PubRel => (AckKind::PubComp, it.packet_id),
        _ => return None,
    };
    Some(Ack::new(kind, id, ReasonCode::Success))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn clients_see_the_same_with_a_disk_and_without(
        steps in prop::collection::vec(step(), 1..80),
        keeps_little in any::<bool>(),
    ) {
        let mut settings = Settings { retained_gap_ms: 0, ..Settings::default() };
        if keeps_little {
            settings.limits.durable_queue_memory = 1_000; // what waits longer is read back
        }
        let mut memory = World::new(Broker::in_memory(settings.clone()));
        let mut disk = World::new(Broker::start(SimulatedDisk::default(), settings));
        for step in steps {
            prop_assert_eq!(memory.go(step), disk.go(step), "{:?}", step);
        }
    }
}

const CLIENTS: u32 = 4;
const TOPICS: [&str; 3] = ["a/1", "a/2", "b"];
const FILTERS: [&str; 5] = ["a/+", "#", "b", "$share/g/a/#", "$share/h/#"];
