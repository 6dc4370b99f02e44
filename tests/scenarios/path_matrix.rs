//! Every way in which a message reaches a client, and every way in which it comes in, with the
//! right, without it, and with one that was taken away; over every transport. A way of delivery
//! that is added to the router does not compile here until it has a row.

use std::net::TcpStream;

use agentmq_broker::DeliveryPath;
use agentmq_testkit::codec::{
    Ack, AckKind, Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, Publish,
    QoS, ReasonCode, Will,
};
use agentmq_testkit::{Broker, RawClient, WebSocket};
use rustix::process::Signal;

use crate::authority::Authority;

const SECRET: &str = "secret/a";
/// Where the watcher waits for answers.
const ANSWER: &str = "$reply/watcher/secret/0123456789abcdef";
/// What comes behind everything else, and to everybody.
const MARK: &str = "mark";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    Given,
    Missing,
    /// Given until just before the message would come.
    TakenAway,
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Tcp,
    Tls,
    WebSocket,
}

/// A broker, and how its receivers reach it.
struct World {
    broker: Broker,
    authority: Authority,
    transport: Transport,
}

/// Whoever is not called `publisher` has the rights of which `right` tells.
fn policy(right: Right) -> String {
    let denied = match right {
        Right::Given => "nothing/#",
        Right::Missing | Right::TakenAway => "secret/#",
    };
    format!(
        "[[rules]]\neffect = \"allow\"\ntopics = [\"#\", \"$SYS/#\"]\n\
         [[rules]]\neffect = \"deny\"\ntopics = [\"{{client_id}}/{denied}\"]\n\
         [[rules]]\neffect = \"deny\"\nactions = [\"subscribe\"]\ntopics = [\"{denied}\"]\n\
         [[rules]]\neffect = \"deny\"\nactions = [\"publish\"]\ntopics = [\"$reply/+/{denied}\"]\n"
    )
}

impl World {
    fn start(right: Right, transport: Transport) -> Self {
        let authority = Authority::new();
        authority.issue("server");
        let file = |name: &str| authority.path(name).display().to_string();
        let tls = format!(
            "[[listeners]]\nurl = \"mqtts://127.0.0.1:0\"\ntls.cert = {:?}\ntls.key = {:?}\n",
            file("server.pem"),
            file("server.key")
        );
        let config = format!(
            "{}{tls}[[listeners]]\nurl = \"ws://127.0.0.1:0/mqtt\"\n\
             [access]\npolicy = \"policy.toml\"\n[session]\nretained_gap_ms = 300\n\
             [sys]\ninterval_secs = 1\n[threads]\nshards = 1\n",
            crate::TCP
        );
        let folder = tempfile::tempdir().unwrap();
        let first = if right == Right::TakenAway { Right::Given } else { right };
        std::fs::write(folder.path().join("policy.toml"), policy(first)).unwrap();
        let broker = Broker::start_in(crate::BINARY, &config, folder);
        Self { broker, authority, transport }
    }

    /// Takes the right away, if that is the case, and waits until it is.
    fn turn(&self, right: Right) {
        if right != Right::TakenAway {
            return;
        }
        std::fs::write(self.broker.folder().join("policy.toml"), policy(Right::Missing)).unwrap();
        let seen = self.broker.log().len();
        self.broker.signal(Signal::HUP);
        self.broker.wait_for_log("reload done", seen);
        // The only shard reads the command before whatever is sent from now on.
        self.broker.client("publisher").ping();
    }

    fn dial(&self) -> RawClient {
        match self.transport {
            Transport::Tcp => self.broker.dial(),
            Transport::Tls => {
                let port = self.broker.port("mqtts");
                RawClient::over(self.authority.dial(port, None).unwrap())
            }
            Transport::WebSocket => {
                let stream = TcpStream::connect(("127.0.0.1", self.broker.port("ws"))).unwrap();
                RawClient::over(WebSocket::upgrade(stream, "/mqtt", "mqtt").unwrap())
            }
        }
    }

    /// The receiver, whose session lasts.
    fn receiver(&self) -> RawClient {
        let mut client = self.dial();
        let lasting =
            PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 60));
        let connack = client.connect_with(Connect {
            client_id: "receiver",
            version: ProtocolVersion::V5,
            properties: lasting.view(),
            ..Connect::default()
        });
        assert_eq!(connack.reason(), ReasonCode::Success);
        client
    }

    fn publish(&self, topic: &str, qos: QoS, retain: bool) {
        let mut client = self.broker.client("publisher");
        let publish = Publish { topic, payload: b"x", packet_id: 1, ..Publish::default() };
        client.send(&Packet::Publish(Publish { qos, retain, ..publish }));
        match qos {
            QoS::AtMostOnce => client.ping(),
            _ => {
                let is_ack =
                    |packet: &Packet<'_>| matches!(packet, Packet::Ack(it) if it.packet_id == 1);
                client.wait_for(is_ack);
            }
        }
    }
}

/// Topics that arrive, up to the mark.
fn topics(client: &mut RawClient) -> Vec<String> {
    let mut topics = Vec::new();
    loop {
        let received = client.wait_for(|packet| matches!(packet, Packet::Publish(_)));
        let publish = received.publish();
        if publish.topic == MARK {
            return topics;
        }
        topics.push(publish.topic.to_owned());
        let ack = match publish.qos {
            QoS::AtMostOnce => continue,
            QoS::AtLeastOnce => AckKind::PubAck,
            QoS::ExactlyOnce => AckKind::PubRec,
        };
        client.send(&Packet::Ack(Ack::new(ack, publish.packet_id, ReasonCode::Success)));
    }
}

/// Whether the message has come by this way.
fn arrives(path: DeliveryPath, filter: &str, right: Right, transport: Transport) -> bool {
    let world = World::start(right, transport);
    let mut receiver = world.receiver();
    receiver.subscribe(MARK, QoS::AtLeastOnce);
    let subscribe = |receiver: &mut RawClient, qos| {
        let granted = receiver.subscribe(filter, qos);
        assert_eq!(granted.is_error(), right == Right::Missing, "{granted:?}");
    };
    match path {
        DeliveryPath::Live | DeliveryPath::Held => {
            let qos = match path {
                DeliveryPath::Held => QoS::ExactlyOnce,
                _ => QoS::AtMostOnce,
            };
            subscribe(&mut receiver, qos);
            world.turn(right);
            world.publish(SECRET, qos, false);
        }
        DeliveryPath::Queued => {
            subscribe(&mut receiver, QoS::AtLeastOnce);
            receiver.disconnect();
            assert!(receiver.receive_or_end().is_none());
            world.publish(SECRET, QoS::AtLeastOnce, false);
            world.turn(right);
            receiver = world.receiver();
        }
        DeliveryPath::Retained => {
            world.publish(SECRET, QoS::AtLeastOnce, true);
            subscribe(&mut receiver, QoS::AtMostOnce);
            // It comes a moment after the SUBACK (retained_gap_ms).
            world.turn(right);
            // Behind the retained one in any case.
            receiver.subscribe("behind", QoS::AtMostOnce);
            world.publish("behind", QoS::AtLeastOnce, true);
        }
        DeliveryPath::Again => {
            subscribe(&mut receiver, QoS::AtLeastOnce);
            world.publish(SECRET, QoS::AtLeastOnce, false);
            if right != Right::Missing {
                // It comes, and is not acknowledged.
                receiver.wait_for(|packet| matches!(packet, Packet::Publish(_)));
            }
            receiver.disconnect();
            assert!(receiver.receive_or_end().is_none());
            world.turn(right);
            receiver = world.receiver();
        }
    }
    world.publish(MARK, QoS::AtLeastOnce, false);
    topics(&mut receiver).iter().any(|topic| topic == SECRET)
}

#[test]
fn nothing_reaches_whom_it_must_not() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::WebSocket] {
        for path in DeliveryPath::ALL {
            for right in [Right::Given, Right::Missing, Right::TakenAway] {
                let arrived = arrives(path, SECRET, right, transport);
                assert_eq!(arrived, right == Right::Given, "{path:?} {right:?} {transport:?}");
            }
        }
    }
}

/// A shared group is another way to say where; retained messages are not for groups.
#[test]
fn nothing_reaches_a_member_of_a_group_that_it_must_not() {
    let all = DeliveryPath::ALL.into_iter();
    for path in all.filter(|path| *path != DeliveryPath::Retained) {
        for right in [Right::Given, Right::Missing, Right::TakenAway] {
            let arrived = arrives(path, "$share/g/secret/a", right, Transport::Tcp);
            assert_eq!(arrived, right == Right::Given, "{path:?} {right:?}");
        }
    }
}

/// The ways in which a client publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Qos(QoS),
    Retained,
    /// It was retained before, and is served now.
    Served,
    Alias,
    Will,
    DelayedWill,
    ResponseTopic,
    /// To an open request.
    Answer,
}

/// Whether what a client named `writer` publishes comes through.
fn comes_in(entry: Entry, right: Right, transport: Transport) -> bool {
    let world = World::start(right, transport);
    let mut watcher = world.broker.client("watcher");
    watcher.subscribe("writer/secret/a", QoS::AtLeastOnce);
    watcher.subscribe("asked", QoS::AtLeastOnce);
    watcher.subscribe("$reply/watcher/#", QoS::AtLeastOnce);
    watcher.subscribe(MARK, QoS::AtLeastOnce);
    let delay = if entry == Entry::DelayedWill { 1 } else { 0 };
    let properties = PropertiesBuf::new().with(Property::U32(PropertyId::WillDelayInterval, delay));
    // A delayed will comes with the end of its session at the latest.
    let lasts = if entry == Entry::DelayedWill { 1 } else { 60 };
    let lasting =
        PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, lasts));
    let has_will = matches!(entry, Entry::Will | Entry::DelayedWill);
    let will = Will {
        topic: "writer/secret/a",
        payload: b"x",
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: properties.view(),
    };
    let mut writer = world.dial();
    let connack = writer.connect_with(Connect {
        client_id: "writer",
        version: ProtocolVersion::V5,
        properties: lasting.view(),
        will: has_will.then_some(will),
        ..Connect::default()
    });
    if connack.reason().is_error() {
        assert!(has_will && right == Right::Missing, "only its will is refused");
        return false;
    }
    let publish = Publish {
        topic: "writer/secret/a",
        payload: b"x",
        packet_id: 7,
        qos: QoS::AtLeastOnce,
        ..Publish::default()
    };
    let alias = PropertiesBuf::new().with(Property::U16(PropertyId::TopicAlias, 1));
    let response =
        PropertiesBuf::new().with(Property::Text(PropertyId::ResponseTopic, "writer/secret/a"));
    match entry {
        Entry::Qos(qos) => {
            world.turn(right);
            writer.send(&Packet::Publish(Publish { qos, ..publish }));
        }
        Entry::Retained => {
            world.turn(right);
            writer.send(&Packet::Publish(Publish { retain: true, ..publish }));
        }
        Entry::Served => {
            writer.send(&Packet::Publish(Publish { retain: true, ..publish }));
            writer.ping();
            world.turn(right);
            let mut late = world.broker.client("late");
            late.subscribe("writer/secret/a", QoS::AtLeastOnce);
            late.subscribe(MARK, QoS::AtLeastOnce);
            world.publish(MARK, QoS::AtLeastOnce, false);
            return topics(&mut late).iter().any(|topic| topic == "writer/secret/a");
        }
        Entry::Alias => {
            // What the alias stands for was told while it was allowed, or is now.
            let named = Publish { qos: QoS::AtMostOnce, properties: alias.view(), ..publish };
            writer.send(&Packet::Publish(named));
            writer.ping();
            if right != Right::Missing {
                watcher.receive_publish();
            }
            world.turn(right);
            let named = Publish { topic: "", properties: alias.view(), ..publish };
            writer.send(&Packet::Publish(named));
        }
        Entry::Will | Entry::DelayedWill => {
            world.turn(right);
            drop(writer);
            if right == Right::TakenAway {
                // Nothing else tells that its time has come.
                let over = match entry {
                    Entry::Will => "clients/disconnected",
                    _ => "clients/expired",
                };
                world.broker.wait_for_statistic(over, |count| count > 0);
            } else {
                return watcher.receive_publish().publish().topic == "writer/secret/a";
            }
            world.publish(MARK, QoS::AtLeastOnce, false);
            return topics(&mut watcher).iter().any(|topic| topic == "writer/secret/a");
        }
        Entry::ResponseTopic => {
            world.turn(right);
            let asked = Publish { topic: "asked", properties: response.view(), ..publish };
            writer.send(&Packet::Publish(asked));
        }
        Entry::Answer => {
            let here = PropertiesBuf::new().with(Property::Text(PropertyId::ResponseTopic, ANSWER));
            let asking = Publish { topic: "ask", properties: here.view(), ..publish };
            watcher.send(&Packet::Publish(asking));
            watcher.ping();
            world.turn(right);
            writer.send(&Packet::Publish(Publish { topic: ANSWER, ..publish }));
        }
    }
    writer.ping();
    world.publish(MARK, QoS::AtLeastOnce, false);
    !topics(&mut watcher).is_empty()
}

#[test]
fn nothing_comes_in_that_must_not() {
    let entries = [
        Entry::Qos(QoS::AtMostOnce),
        Entry::Qos(QoS::AtLeastOnce),
        Entry::Qos(QoS::ExactlyOnce),
        Entry::Retained,
        Entry::Served,
        Entry::Alias,
        Entry::Will,
        Entry::DelayedWill,
        Entry::ResponseTopic,
        Entry::Answer,
    ];
    for entry in entries {
        for right in [Right::Given, Right::Missing, Right::TakenAway] {
            let came = comes_in(entry, right, Transport::Tcp);
            assert_eq!(came, right == Right::Given, "{entry:?} {right:?}");
        }
    }
}
