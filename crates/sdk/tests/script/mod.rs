//! A broker for one client: it acknowledges everything, tells what it has seen, and delivers what
//! the test says, or what the client publishes to itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentmq_codec::{
    Ack, AckKind, ConnAck, FilterAck, FilterAckKind, Packet, Properties, PropertiesBuf, Property,
    PropertyId, PropertyLimits, ProtocolVersion, Publish, QoS, ReasonCode, frame,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// After which a test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the client has sent, but for acknowledgements and pings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Connect {
        will: Option<Message>,
        user: Vec<(String, String)>,
        clean_start: bool,
        session_expiry: u32,
        will_delay: u32,
    },
    /// Filters, and whether they are No Local.
    Subscribe(Vec<(String, bool)>),
    Unsubscribe(Vec<String>),
    Publish(Message),
    /// With its Session Expiry Interval.
    Disconnect(Option<u32>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retain: bool,
    pub(crate) user: Vec<(String, String)>,
}

impl Message {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap()
    }
}

pub(crate) struct Broker {
    seen: mpsc::UnboundedReceiver<Seen>,
    orders: mpsc::UnboundedSender<Order>,
    /// How messages are delivered: with 0 at first, as most brokers and clients of the binding have
    /// it.
    pub(crate) qos: QoS,
    refused: Refused,
}

/// What the test has the broker do.
enum Order {
    Deliver(String, Vec<u8>, QoS),
    HangUp,
    /// What it does not do until then. It has the client's session, or has lost it.
    Answer(bool),
}

/// Topics whose messages are acknowledged otherwise than with success, or not at all.
type Refused = Arc<Mutex<HashMap<String, Option<ReasonCode>>>>;

impl Broker {
    pub(crate) async fn next(&mut self) -> Seen {
        let next = tokio::time::timeout(PATIENCE, self.seen.recv()).await;
        next.expect("the client sends something").expect("the broker runs")
    }

    pub(crate) async fn publish(&mut self) -> Message {
        match self.next().await {
            Seen::Publish(message) => message,
            other => panic!("expected PUBLISH: {other:?}"),
        }
    }

    /// Acknowledges messages of a topic with this code from now on.
    pub(crate) fn refuse(&self, topic: &str, code: ReasonCode) {
        self.refused.lock().unwrap().insert(topic.to_owned(), Some(code));
    }

    /// Takes messages of a topic from now on, and does not say so.
    pub(crate) fn ignore(&self, topic: &str) {
        self.refused.lock().unwrap().insert(topic.to_owned(), None);
    }

    /// Gives the client a message.
    pub(crate) async fn deliver(&mut self, topic: &str, payload: &[u8]) {
        self.orders.send(Order::Deliver(topic.to_owned(), payload.to_vec(), self.qos)).unwrap();
        tokio::task::yield_now().await;
    }

    /// Breaks the connection. Who comes back and does not want to begin anew has its session.
    pub(crate) fn hang_up(&mut self) {
        self.go_away();
        self.come_back(true);
    }

    /// Breaks the connection, and answers no other.
    pub(crate) fn go_away(&mut self) {
        self.orders.send(Order::HangUp).unwrap();
    }

    /// Answers again, with what it knew of the client or without it.
    pub(crate) fn come_back(&mut self, has_session: bool) {
        self.orders.send(Order::Answer(has_session)).unwrap();
    }
}

/// Starts one, whose CONNACK has these User Properties.
pub(crate) async fn broker(connack: &[(&str, &str)]) -> (String, Broker) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let properties = connack
        .iter()
        .fold(PropertiesBuf::new(), |all, (name, value)| all.with(Property::Pair(name, value)));
    let (tell, seen) = mpsc::unbounded_channel();
    let (orders, mut given) = mpsc::unbounded_channel();
    let refused = Refused::default();
    let codes = refused.clone();
    tokio::spawn(async move {
        let mut kept = Kept { has_session: true, filters: Vec::new() };
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            if serve(socket, &properties, &codes, &tell, (&mut given, &mut kept)).await {
                let Some(Order::Answer(has_session)) = given.recv().await else { return };
                kept.has_session = has_session;
            }
        }
    });
    (url, Broker { seen, orders, qos: QoS::AtMostOnce, refused })
}

/// What outlives a connection.
struct Kept {
    has_session: bool,
    filters: Vec<(String, bool)>,
}

/// Returns whether it has hung up.
async fn serve(
    mut socket: TcpStream,
    connack: &PropertiesBuf,
    refused: &Refused,
    tell: &mpsc::UnboundedSender<Seen>,
    (orders, kept): (&mut mpsc::UnboundedReceiver<Order>, &mut Kept),
) -> bool {
    let mut bytes = Vec::new();
    loop {
        while let Some(frame) = frame::cut(&bytes, usize::MAX).unwrap() {
            let body = &bytes[frame.body_at..frame.total];
            let packet = Packet::decode(frame.first, body, V5, &PropertyLimits::UNLIMITED).unwrap();
            let mut out = Vec::new();
            answer(&packet, connack, refused, kept, &mut out);
            if let Some(seen) = note(&packet) {
                let _ = tell.send(seen);
            }
            bytes.drain(..frame.total);
            // A client that has said DISCONNECT hears nothing any more.
            let _ = socket.write_all(&out).await;
        }
        tokio::select! {
            read = socket.read_buf(&mut bytes) => if read.unwrap_or(0) == 0 { return false },
            Some(order) = orders.recv() => {
                let Order::Deliver(topic, payload, qos) = order else { return true };
                let mut out = Vec::new();
                put(&topic, &payload, qos, &mut out);
                socket.write_all(&out).await.unwrap();
            }
        }
    }
}

fn answer(
    packet: &Packet<'_>,
    connack: &PropertiesBuf,
    refused: &Refused,
    kept: &mut Kept,
    out: &mut Vec<u8>,
) {
    match packet {
        Packet::Connect(connect) => {
            let (reason, session_present) =
                (ReasonCode::Success, !connect.clean_start && kept.has_session);
            ConnAck { session_present, reason, properties: connack.view() }.encode(V5, out);
        }
        Packet::Subscribe(subscribe) => {
            kept.filters.extend(subscribed(subscribe));
            let reasons = subscribe.filters().map(|_| ReasonCode::GrantedQoS1);
            acknowledge(FilterAckKind::SubAck, subscribe.packet_id, reasons, out);
        }
        Packet::Unsubscribe(unsubscribe) => {
            let reasons = unsubscribe.filters().map(|_| ReasonCode::Success);
            acknowledge(FilterAckKind::UnsubAck, unsubscribe.packet_id, reasons, out);
        }
        Packet::Publish(publish) => {
            let code = refused.lock().unwrap().get(publish.topic).copied();
            if let Some(code) = code.unwrap_or(Some(ReasonCode::Success)) {
                Ack::new(AckKind::PubAck, publish.packet_id, code).encode(V5, out);
            }
            if kept.filters.iter().any(|(filter, no_local)| filter == publish.topic && !no_local) {
                put(publish.topic, publish.payload, QoS::AtMostOnce, out);
            }
        }
        Packet::PingReq => Packet::PingResp.encode(V5, out),
        _ => {}
    }
}

fn acknowledge(
    kind: FilterAckKind,
    packet_id: u16,
    reasons: impl Iterator<Item = ReasonCode>,
    out: &mut Vec<u8>,
) {
    FilterAck::encode_parts(kind, packet_id, Properties::EMPTY, reasons, V5, out);
}

fn put(topic: &str, payload: &[u8], qos: QoS, out: &mut Vec<u8>) {
    // Each is acknowledged before the next one matters.
    let packet_id = u16::from(qos > QoS::AtMostOnce);
    let publish = Publish { topic, payload, qos, packet_id, ..Publish::default() };
    Packet::Publish(publish).encode(V5, out);
}

fn note(packet: &Packet<'_>) -> Option<Seen> {
    Some(match packet {
        Packet::Connect(connect) => Seen::Connect {
            will: connect.will.as_ref().map(|will| Message {
                topic: will.topic.to_owned(),
                payload: will.payload.to_vec(),
                retain: will.retain,
                user: user(will.properties),
            }),
            user: user(connect.properties),
            clean_start: connect.clean_start,
            session_expiry: connect
                .properties
                .integer(PropertyId::SessionExpiryInterval)
                .unwrap_or_default(),
            will_delay: connect
                .will
                .as_ref()
                .and_then(|will| will.properties.integer(PropertyId::WillDelayInterval))
                .unwrap_or_default(),
        },
        Packet::Subscribe(subscribe) => Seen::Subscribe(subscribed(subscribe).collect()),
        Packet::Unsubscribe(it) => Seen::Unsubscribe(it.filters().map(str::to_owned).collect()),
        Packet::Publish(publish) => Seen::Publish(Message {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            retain: publish.retain,
            user: user(publish.properties),
        }),
        Packet::Disconnect(it) => {
            Seen::Disconnect(it.properties.integer(PropertyId::SessionExpiryInterval))
        }
        _ => return None,
    })
}

fn subscribed(subscribe: &agentmq_codec::Subscribe<'_>) -> impl Iterator<Item = (String, bool)> {
    subscribe.filters().map(|it| (it.filter.to_owned(), it.options.no_local))
}

fn user(properties: Properties<'_>) -> Vec<(String, String)> {
    let all = properties.user_properties();
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

const V5: ProtocolVersion = ProtocolVersion::V5;
