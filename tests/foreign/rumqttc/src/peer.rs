//! One rumqttc connection of either version behind one face: calls that wait for their answer.

use anyhow::{Context, bail};
use rumqttc::v5::mqttbytes::v5::{LastWill as LastWillV5, PublishProperties};
use rumqttc::{LastWill, QoS, v5};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::checks::{Arguments, LIMIT, unique};

/// Both versions accept packets of 300 kB only when told to.
const MAX_PACKET: u32 = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V311,
    V5,
}

/// How a peer connects; the default is a clean session under a name of its own.
#[derive(Clone, Default)]
pub struct Options {
    pub client_id: Option<String>,
    pub persistent: bool,
    /// Topic and payload of a QoS 1 will.
    pub will: Option<(String, &'static str)>,
}

#[derive(Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    pub properties: Option<PublishProperties>,
}

enum Event {
    Connected { session_present: bool },
    Subscribed(Vec<Option<u8>>),
    Acknowledged,
    Received(Message),
    Failed(String),
}

enum Client {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

pub struct Peer {
    client: Client,
    events: mpsc::UnboundedReceiver<Event>,
    task: JoinHandle<()>,
    unacknowledged: usize,
    pub session_present: bool,
    pub messages: Vec<Message>,
}

impl Peer {
    pub async fn connect(
        arguments: &Arguments,
        version: Version,
        options: Options,
    ) -> anyhow::Result<Self> {
        let (sender, events) = mpsc::unbounded_channel();
        let id = options.client_id.clone().unwrap_or_else(unique);
        let (client, task) = match version {
            Version::V311 => start_v311(arguments, id, options, sender),
            Version::V5 => start_v5(arguments, id, options, sender),
        };
        let (unacknowledged, session_present, messages) = (0, false, Vec::new());
        let mut peer = Self { client, events, task, unacknowledged, session_present, messages };
        let Event::Connected { session_present } =
            peer.wait("CONNACK", |event| matches!(event, Event::Connected { .. })).await?
        else {
            bail!("no CONNACK")
        };
        peer.session_present = session_present;
        Ok(peer)
    }

    /// SUBSCRIBE and SUBACK: the granted QoS, `None` if refused.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> anyhow::Result<Option<u8>> {
        match &self.client {
            Client::V311(client) => client.subscribe(filter, qos_v311(qos)).await?,
            Client::V5(client) => client.subscribe(filter, qos_v5(qos)).await?,
        }
        match self.wait("SUBACK", |event| matches!(event, Event::Subscribed(_))).await? {
            Event::Subscribed(codes) => codes.first().copied().context("SUBACK without codes"),
            _ => bail!("no SUBACK"),
        }
    }

    /// Hand a PUBLISH to rumqttc, which sends it as its window allows.
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
    ) -> anyhow::Result<()> {
        self.unacknowledged += usize::from(qos > 0);
        match &self.client {
            Client::V311(client) => {
                client.publish(topic, qos_v311(qos), retain, payload).await?;
            }
            Client::V5(client) => {
                client.publish(topic, qos_v5(qos), retain, payload.to_vec()).await?;
            }
        }
        Ok(())
    }

    /// The same, QoS 1 and MQTT 5, with properties.
    pub async fn publish_with(
        &mut self,
        topic: &str,
        payload: &'static str,
        properties: PublishProperties,
    ) -> anyhow::Result<()> {
        let Client::V5(client) = &self.client else { bail!("MQTT 3.1.1 has no properties") };
        self.unacknowledged += 1;
        let qos = v5::mqttbytes::QoS::AtLeastOnce;
        Ok(client.publish_with_properties(topic, qos, false, payload, properties).await?)
    }

    /// Until everything published at QoS 1 and 2 is acknowledged.
    pub async fn acknowledged(&mut self) -> anyhow::Result<()> {
        while self.unacknowledged > 0 {
            self.wait("acknowledgement", |event| matches!(event, Event::Acknowledged)).await?;
            self.unacknowledged -= 1;
        }
        Ok(())
    }

    /// Until `count` publications have come, in all.
    pub async fn receive(&mut self, count: usize) -> anyhow::Result<&[Message]> {
        while self.messages.len() < count {
            let what = format!("publication {} of {count}", self.messages.len() + 1);
            let event = self.next(&what).await?;
            self.keep(event)?;
        }
        Ok(&self.messages)
    }

    /// DISCONNECT, until the connection is gone.
    pub async fn disconnect(mut self) -> anyhow::Result<()> {
        match &self.client {
            Client::V311(client) => client.disconnect().await?,
            Client::V5(client) => client.disconnect().await?,
        }
        self.wait("close", |event| matches!(event, Event::Failed(_))).await?;
        Ok(())
    }

    async fn wait(&mut self, what: &str, wanted: fn(&Event) -> bool) -> anyhow::Result<Event> {
        loop {
            let event = self.next(what).await?;
            if wanted(&event) {
                return Ok(event);
            }
            self.keep(event)?;
        }
    }

    async fn next(&mut self, what: &str) -> anyhow::Result<Event> {
        let event = timeout(LIMIT, self.events.recv()).await;
        event.with_context(|| format!("no {what} in {LIMIT:?}"))?.context("event loop ended")
    }

    /// An event other than the one waited for.
    fn keep(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Received(message) => self.messages.push(message),
            Event::Acknowledged => self.unacknowledged = self.unacknowledged.saturating_sub(1),
            Event::Failed(reason) => bail!("connection lost: {reason}"),
            Event::Connected { .. } | Event::Subscribed(_) => {}
        }
        Ok(())
    }
}

/// A peer that is dropped loses its connection without DISCONNECT.
impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn start_v311(
    arguments: &Arguments,
    id: String,
    options: Options,
    sender: mpsc::UnboundedSender<Event>,
) -> (Client, JoinHandle<()>) {
    let mut settings = rumqttc::MqttOptions::new(id, &arguments.host, arguments.port);
    settings.set_max_packet_size(MAX_PACKET as usize, MAX_PACKET as usize);
    settings.set_clean_session(!options.persistent);
    if let Some((topic, payload)) = options.will {
        settings.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, false));
    }
    let (client, mut connection) = rumqttc::AsyncClient::new(settings, 10);
    let task = tokio::spawn(async move {
        loop {
            let event = match connection.poll().await {
                Ok(rumqttc::Event::Incoming(packet)) => event_v311(packet),
                Ok(rumqttc::Event::Outgoing(_)) => None,
                Err(error) => Some(Event::Failed(error.to_string())),
            };
            if !forward(&sender, event) {
                return;
            }
        }
    });
    (Client::V311(client), task)
}

fn start_v5(
    arguments: &Arguments,
    id: String,
    options: Options,
    sender: mpsc::UnboundedSender<Event>,
) -> (Client, JoinHandle<()>) {
    let mut settings = v5::MqttOptions::new(id, &arguments.host, arguments.port);
    settings.set_max_packet_size(Some(MAX_PACKET));
    settings.set_clean_start(!options.persistent);
    settings.set_session_expiry_interval(options.persistent.then_some(300));
    if let Some((topic, payload)) = options.will {
        let qos = v5::mqttbytes::QoS::AtLeastOnce;
        settings.set_last_will(LastWillV5::new(topic, payload, qos, false, None));
    }
    let (client, mut connection) = v5::AsyncClient::new(settings, 10);
    let task = tokio::spawn(async move {
        loop {
            let event = match connection.poll().await {
                Ok(v5::Event::Incoming(packet)) => event_v5(packet),
                Ok(v5::Event::Outgoing(_)) => None,
                Err(error) => Some(Event::Failed(error.to_string())),
            };
            if !forward(&sender, event) {
                return;
            }
        }
    });
    (Client::V5(client), task)
}

/// False once the connection is over: rumqttc would connect again by itself.
fn forward(sender: &mpsc::UnboundedSender<Event>, event: Option<Event>) -> bool {
    match event {
        None => true,
        Some(event) => {
            let over = matches!(event, Event::Failed(_));
            sender.send(event).is_ok() && !over
        }
    }
}

fn event_v311(packet: rumqttc::Packet) -> Option<Event> {
    use rumqttc::{Packet, SubscribeReasonCode};
    match packet {
        Packet::ConnAck(ack) => Some(Event::Connected { session_present: ack.session_present }),
        Packet::SubAck(ack) => {
            let granted = |code: SubscribeReasonCode| match code {
                SubscribeReasonCode::Success(qos) => Some(qos as u8),
                SubscribeReasonCode::Failure => None,
            };
            Some(Event::Subscribed(ack.return_codes.into_iter().map(granted).collect()))
        }
        Packet::PubAck(_) | Packet::PubComp(_) => Some(Event::Acknowledged),
        Packet::Publish(publish) => Some(Event::Received(Message {
            topic: publish.topic,
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            dup: publish.dup,
            properties: None,
        })),
        _ => None,
    }
}

fn event_v5(packet: v5::Incoming) -> Option<Event> {
    use v5::mqttbytes::v5::{Packet, SubscribeReasonCode};
    match packet {
        Packet::ConnAck(ack) => Some(Event::Connected { session_present: ack.session_present }),
        Packet::SubAck(ack) => {
            let granted = |code: SubscribeReasonCode| match code {
                SubscribeReasonCode::Success(qos) => Some(qos as u8),
                _ => None,
            };
            Some(Event::Subscribed(ack.return_codes.into_iter().map(granted).collect()))
        }
        Packet::PubAck(_) | Packet::PubComp(_) => Some(Event::Acknowledged),
        Packet::Publish(publish) => Some(Event::Received(Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos as u8,
            retain: publish.retain,
            dup: publish.dup,
            properties: publish.properties,
        })),
        _ => None,
    }
}

fn qos_v311(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

fn qos_v5(qos: u8) -> v5::mqttbytes::QoS {
    match qos {
        0 => v5::mqttbytes::QoS::AtMostOnce,
        1 => v5::mqttbytes::QoS::AtLeastOnce,
        _ => v5::mqttbytes::QoS::ExactlyOnce,
    }
}
