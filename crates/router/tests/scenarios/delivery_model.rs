//! Delivery against a model: a publisher and a subscriber whose connections break at any step, with
//! whatever was under way lost, and who come back, take themselves over, or start anew; their
//! acknowledgements come in any order, and commits complete when they like.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use crate::harness::{Broker, Client, DelayedEngine, Got, Message};

/// What happens next. The numbers choose among what is possible at the moment.
#[derive(Debug, Clone, Copy)]
enum Step {
    Publish { topic: u8, qos: u8 },
    PublisherSends,
    PublisherReads,
    SubscriberReads,
    SubscriberAcks(u8),
    SubscriberVanishes,
    PublisherVanishes,
    SubscriberComes { receive_maximum: u16 },
    PublisherComes,
    SubscriberStartsAnew,
    PublisherStartsAnew,
    Commit(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..2, 1u8..3).prop_map(|(topic, qos)| Step::Publish { topic, qos }),
        8 => Just(Step::PublisherSends),
        6 => Just(Step::PublisherReads),
        8 => Just(Step::SubscriberReads),
        8 => any::<u8>().prop_map(Step::SubscriberAcks),
        1 => Just(Step::SubscriberVanishes),
        1 => Just(Step::PublisherVanishes),
        2 => (1u16..5).prop_map(|receive_maximum| Step::SubscriberComes { receive_maximum }),
        2 => Just(Step::PublisherComes),
        1 => Just(Step::SubscriberStartsAnew),
        1 => Just(Step::PublisherStartsAnew),
        4 => any::<u8>().prop_map(Step::Commit),
    ]
}

/// A publication that the publisher has not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outgoing {
    id: u16,
    topic: String,
    payload: String,
    qos: u8,
    released: bool,
}

/// What the publisher is about to send.
#[derive(Debug)]
enum Wire {
    Publish(Outgoing, bool),
    Release(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Ack(u16),
    Received(u16),
    Complete(u16),
}

/// The client that publishes, with its own side of the protocol.
#[derive(Default)]
struct Publisher {
    client: Option<Client>,
    wire: VecDeque<Wire>,
    outstanding: Vec<Outgoing>,
    next_id: u16,
    count: u32,
}

/// The client that subscribes, and what the network saw on its way there.
#[derive(Default)]
struct Subscriber {
    client: Option<Client>,
    receive_maximum: u16,
    incoming: VecDeque<Got>,
    answers: Vec<Answer>,
    /// QoS 2 identifiers received and not released.
    unreleased: BTreeSet<u16>,
    /// Identifiers that the broker has in use, with their messages.
    assigned: BTreeMap<u16, String>,
    /// Exchanges that count against Receive Maximum on this connection.
    open: BTreeSet<u16>,
    delivered: Vec<(String, u8, u32)>,
}

struct Model {
    broker: Broker,
    engine: DelayedEngine,
    /// Whether commits complete by themselves.
    prompt: bool,
    publisher: Publisher,
    subscriber: Subscriber,
    published: Vec<(String, u8, u32)>,
    started_anew: bool,
}

impl Model {
    fn new(prompt: bool) -> Self {
        let engine = DelayedEngine::default();
        let mut model = Self {
            broker: Broker::delayed(&engine),
            engine,
            prompt,
            publisher: Publisher::default(),
            subscriber: Subscriber::default(),
            published: Vec::new(),
            started_anew: false,
        };
        model.subscriber_comes(3, true);
        model.publisher_comes(true);
        model
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Publish { topic, qos } => self.publish(topic, qos),
            Step::PublisherSends => self.publisher_sends(),
            Step::PublisherReads => self.publisher_reads(),
            Step::SubscriberReads => self.subscriber_reads(),
            Step::SubscriberAcks(which) => self.subscriber_acks(which),
            Step::SubscriberVanishes => {
                if let Some(client) = self.subscriber.client.take() {
                    self.arrive(&client);
                    client.vanish();
                }
                self.subscriber.forget_connection();
            }
            Step::PublisherVanishes => {
                if let Some(client) = self.publisher.client.take() {
                    client.vanish();
                }
                self.publisher.wire.clear();
            }
            Step::SubscriberComes { receive_maximum } => {
                self.subscriber_comes(receive_maximum, false);
            }
            Step::PublisherComes => self.publisher_comes(false),
            Step::SubscriberStartsAnew => {
                self.started_anew = true;
                self.subscriber_comes(3, true);
            }
            Step::PublisherStartsAnew => {
                self.started_anew = true;
                self.publisher_comes(true);
            }
            Step::Commit(count) => self.engine.complete(u64::from(count % 4)),
        }
        if self.prompt {
            self.engine.complete_all();
        }
        self.broker.committed();
        if let Some(client) = self.subscriber.client.take() {
            self.arrive(&client);
            self.subscriber.client = Some(client);
        }
    }

    fn publish(&mut self, topic: u8, qos: u8) {
        let it = &mut self.publisher;
        if it.client.is_none() || it.outstanding.len() >= 6 {
            return;
        }
        // Few identifiers, so that they are soon used again.
        let mut id = it.next_id % 8 + 1;
        while it.outstanding.iter().any(|other| other.id == id) {
            id = id % 8 + 1;
        }
        it.next_id = id;
        it.count += 1;
        let (topic, number) = (format!("t/{topic}"), it.count);
        let payload = format!("{qos}/{number}");
        let outgoing = Outgoing { id, topic: topic.clone(), payload, qos, released: false };
        it.outstanding.push(outgoing.clone());
        it.wire.push_back(Wire::Publish(outgoing, false));
        self.published.push((topic, qos, number));
    }

    fn publisher_sends(&mut self) {
        let Some(client) = &self.publisher.client else { return };
        match self.publisher.wire.pop_front() {
            Some(Wire::Publish(it, dup)) => {
                let publish = client.publishing(&it.topic, &it.payload).qos(it.qos).id(it.id);
                if dup {
                    publish.dup().send()
                } else {
                    publish.send()
                };
            }
            Some(Wire::Release(id)) => client.pubrel(id),
            None => {}
        }
    }

    fn publisher_reads(&mut self) {
        let it = &mut self.publisher;
        let Some(got) = it.client.as_ref().and_then(Client::next) else { return };
        match got {
            Got::PubAck(id, _) | Got::PubComp(id, _) => it.outstanding.retain(|o| o.id != id),
            Got::PubRec(id, code) => {
                assert!(code < 0x80);
                if let Some(outgoing) = it.outstanding.iter_mut().find(|o| o.id == id) {
                    outgoing.released = true;
                }
                it.wire.push_back(Wire::Release(id));
            }
            other => panic!("the publisher got {other:?}"),
        }
    }

    fn publisher_comes(&mut self, anew: bool) {
        let connecting = self.broker.returning("p").by_hand();
        let connecting = if anew { connecting.clean() } else { connecting };
        let it = &mut self.publisher;
        let (client, present) = connecting.connect_present();
        it.client = Some(client);
        it.wire.clear();
        if !present {
            it.outstanding.clear();
        }
        let publishes = it.outstanding.iter().filter(|o| !o.released);
        it.wire.extend(publishes.map(|o| Wire::Publish(o.clone(), true)));
        let releases = it.outstanding.iter().filter(|o| o.released);
        it.wire.extend(releases.map(|o| Wire::Release(o.id)));
    }

    fn subscriber_comes(&mut self, receive_maximum: u16, anew: bool) {
        if let Some(old) = self.subscriber.client.take() {
            self.arrive(&old);
        }
        self.subscriber.forget_connection();
        self.subscriber.receive_maximum = receive_maximum;
        let connecting = self.broker.returning("s").by_hand().receive_maximum(receive_maximum);
        let connecting = if anew { connecting.clean() } else { connecting };
        let (client, present) = connecting.connect_present();
        assert_eq!(present, !anew);
        if anew {
            self.subscriber.unreleased.clear();
            self.subscriber.assigned.clear();
            let options = agentmq_codec::SubscriptionOptions::at(agentmq_codec::QoS::ExactlyOnce);
            client.send_subscribe(&[("t/#", options)], None);
        }
        self.arrive(&client);
        self.subscriber.client = Some(client);
    }

    /// Packets leave the broker for the subscriber: what the network sees.
    fn arrive(&mut self, client: &Client) {
        let it = &mut self.subscriber;
        for got in client.packets() {
            if let Got::Publish(message) = &got {
                it.check_identifier(message);
            }
            it.incoming.push_back(got);
        }
        let open = it.open.len();
        assert!(open <= usize::from(it.receive_maximum), "{open} exchanges are open");
    }

    fn subscriber_reads(&mut self) {
        let it = &mut self.subscriber;
        match it.incoming.pop_front() {
            Some(Got::Publish(message)) if message.qos == 1 => {
                it.answers.push(Answer::Ack(message.id));
                it.deliver(&message);
            }
            Some(Got::Publish(message)) => {
                it.answers.push(Answer::Received(message.id));
                if it.unreleased.insert(message.id) {
                    it.deliver(&message);
                } else {
                    assert!(message.dup, "an identifier used again before its release");
                }
            }
            Some(Got::PubRel(id, code)) => {
                assert_eq!(code, 0);
                it.unreleased.remove(&id);
                it.answers.push(Answer::Complete(id));
            }
            Some(Got::SubAck(..)) | None => {}
            other => panic!("the subscriber got {other:?}"),
        }
    }

    fn subscriber_acks(&mut self, which: u8) {
        let it = &mut self.subscriber;
        let Some(client) = &it.client else { return };
        if it.answers.is_empty() {
            return;
        }
        match it.answers.remove(usize::from(which) % it.answers.len()) {
            Answer::Received(id) => client.pubrec(id),
            Answer::Ack(id) => {
                it.open.remove(&id);
                it.assigned.remove(&id);
                client.puback(id);
            }
            Answer::Complete(id) => {
                it.open.remove(&id);
                it.assigned.remove(&id);
                client.pubcomp(id);
            }
        }
    }

    /// Lets everything come to rest: both clients are there and work off what they have.
    fn finish(&mut self) {
        self.prompt = true;
        self.take(Step::SubscriberComes { receive_maximum: 2 });
        self.take(Step::PublisherComes);
        for _ in 0..2_000 {
            for step in [
                Step::PublisherSends,
                Step::PublisherReads,
                Step::SubscriberReads,
                Step::SubscriberAcks(0),
            ] {
                self.take(step);
            }
        }
        assert!(self.publisher.outstanding.is_empty(), "{:?}", self.publisher.outstanding);
        assert!(self.subscriber.incoming.is_empty());
        assert_eq!(self.broker.memory_of("s"), Some((0, 0, 0)), "window, queue, unreleased");
        assert_eq!(self.broker.memory_of("p"), Some((0, 0, 0)), "window, queue, unreleased");
        assert!(self.subscriber.assigned.is_empty() && self.subscriber.unreleased.is_empty());
        self.check_deliveries();
    }

    fn check_deliveries(&self) {
        let delivered = &self.subscriber.delivered;
        for message in &self.published {
            let count = delivered.iter().filter(|it| *it == message).count();
            let exactly_once = message.1 == 2;
            assert!(!exactly_once || count <= 1, "{message:?} came {count} times");
            // A session that was thrown away takes its messages with it.
            assert!(self.started_anew || count > 0, "{message:?} never came");
        }
        // [MQTT-4.6.0-5, -6]: in order for each topic and QoS, repetitions aside
        let mut newest = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (topic, qos, number) in delivered {
            if self.started_anew && *qos == 1 {
                continue; // what the lost session held may come again, late, from the publisher
            }
            if seen.insert((topic, qos, number)) {
                let newest = newest.entry((topic, qos)).or_insert(0);
                assert!(number > newest, "{topic} QoS {qos}: {number} behind {newest}");
                *newest = *number;
            }
        }
    }
}

impl Subscriber {
    /// The connection is gone with all that was under way on it.
    fn forget_connection(&mut self) {
        self.incoming.clear();
        self.answers.clear();
        self.open.clear();
    }

    fn check_identifier(&mut self, message: &Message) {
        let id = message.id;
        match self.assigned.get(&id) {
            Some(payload) => {
                assert!(message.dup, "identifier {id} was still in use");
                assert_eq!(payload, &message.payload, "another message under DUP");
            }
            None => assert!(!message.dup, "DUP on what was never sent: {message:?}"),
        }
        self.assigned.insert(id, message.payload.clone());
        assert!(self.open.insert(id), "identifier {id} came twice on one connection");
    }

    fn deliver(&mut self, message: &Message) {
        let (qos, number) = message.payload.split_once('/').expect("QoS and number");
        let parse = |text: &str| text.parse().expect("a number");
        self.delivered.push((message.topic.clone(), parse(qos) as u8, parse(number)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_message_comes_as_often_as_its_qos_says(
        steps in prop::collection::vec(step(), 0..250),
        prompt: bool,
        anew: bool,
    ) {
        let mut model = Model::new(prompt);
        for step in steps {
            let starts = matches!(step, Step::SubscriberStartsAnew | Step::PublisherStartsAnew);
            if anew || !starts {
                model.take(step);
            }
        }
        model.finish();
    }
}
