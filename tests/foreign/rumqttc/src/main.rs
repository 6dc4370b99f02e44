//! rumqttc over TCP, MQTT 3.1.1 and 5, against the broker at `--host` and `--port`.

mod checks;
mod peer;

use std::process::ExitCode;

use anyhow::{Context, ensure};
use rumqttc::v5::mqttbytes::v5::PublishProperties;

use checks::{Arguments, Checks, binary_payload, unique, unique_topic};
use peer::{Options, Peer, Version};

const MANY: usize = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::read()?;
    let mut checks = Checks::new(&arguments.only);
    for (name, version) in [("311", Version::V311), ("5", Version::V5)] {
        let broker = Broker { arguments: &arguments, version };
        checks.run(&format!("{name}/every-qos-pair"), broker.every_qos_pair()).await;
        checks.run(&format!("{name}/retained-and-cleared"), broker.retained_and_cleared()).await;
        checks.run(&format!("{name}/will"), broker.will()).await;
        checks.run(&format!("{name}/persistent-session"), broker.persistent_session()).await;
        for qos in 0..=2 {
            checks.run(&format!("{name}/many-in-order-qos{qos}"), broker.many_in_order(qos)).await;
            checks.run(&format!("{name}/large-payload-qos{qos}"), broker.large_payload(qos)).await;
        }
        if version == Version::V5 {
            checks.run(&format!("{name}/request-response"), broker.request_response()).await;
        }
    }
    Ok(checks.finish())
}

struct Broker<'a> {
    arguments: &'a Arguments,
    version: Version,
}

impl Broker<'_> {
    async fn peer(&self, options: Options) -> anyhow::Result<Peer> {
        Peer::connect(self.arguments, self.version, options).await
    }

    async fn pair(&self) -> anyhow::Result<(Peer, Peer)> {
        Ok((self.peer(Options::default()).await?, self.peer(Options::default()).await?))
    }

    /// Delivered at the lower of published and granted QoS, DUP and RETAIN clear.
    async fn every_qos_pair(&self) -> anyhow::Result<()> {
        let topic = unique_topic("qos");
        let (mut subscriber, mut publisher) = self.pair().await?;
        let mut wanted = Vec::new();
        for granted in 0..=2 {
            let filter = format!("{topic}/{granted}");
            let code = subscriber.subscribe(&filter, granted).await?;
            ensure!(code == Some(granted), "SUBACK grants {code:?} for {granted}");
            for sent in 0..=2 {
                publisher.publish(&filter, &[sent], sent, false).await?;
                wanted.push((filter.clone(), vec![sent], sent.min(granted)));
            }
        }
        publisher.acknowledged().await?;
        let messages = subscriber.receive(wanted.len()).await?;
        let mut got: Vec<_> =
            messages.iter().map(|m| (m.topic.clone(), m.payload.clone(), m.qos)).collect();
        got.sort();
        ensure!(got == wanted, "got {got:?}, want {wanted:?}");
        ensure!(messages.iter().all(|m| !m.dup && !m.retain), "DUP or RETAIN set");
        Ok(())
    }

    async fn retained_and_cleared(&self) -> anyhow::Result<()> {
        let topic = unique_topic("retained");
        let (mut late, mut publisher) = self.pair().await?;
        for name in ["gone", "kept"] {
            publisher.publish(&format!("{topic}/{name}"), name.as_bytes(), 1, true).await?;
        }
        publisher.publish(&format!("{topic}/gone"), b"", 1, true).await?;
        publisher.acknowledged().await?;
        late.subscribe(&format!("{topic}/gone"), 1).await?;
        late.subscribe(&format!("{topic}/kept"), 1).await?;
        let message = late.receive(1).await?.first().context("no message")?;
        ensure!(message.payload == b"kept" && message.retain, "retained: {message:?}");
        Ok(())
    }

    async fn will(&self) -> anyhow::Result<()> {
        let topic = unique_topic("will");
        let mut subscriber = self.peer(Options::default()).await?;
        subscriber.subscribe(&topic, 1).await?;
        let will = Some((topic, "lost"));
        drop(self.peer(Options { will, ..Options::default() }).await?);
        let message = subscriber.receive(1).await?.first().context("no message")?;
        ensure!(message.payload == b"lost", "will: {message:?}");
        Ok(())
    }

    async fn persistent_session(&self) -> anyhow::Result<()> {
        let topic = unique_topic("session");
        let stay = Options { client_id: Some(unique()), persistent: true, ..Options::default() };
        let mut first = self.peer(stay.clone()).await?;
        ensure!(!first.session_present, "Session Present of a new session");
        first.subscribe(&topic, 1).await?;
        first.disconnect().await?;
        let mut publisher = self.peer(Options::default()).await?;
        let wanted = self.publish_numbers(&mut publisher, &topic, 50, 1).await?;
        let mut second = self.peer(stay).await?;
        ensure!(second.session_present, "Session Present is 0 on resume");
        expect_payloads(second.receive(50).await?, &wanted)
    }

    async fn many_in_order(&self, qos: u8) -> anyhow::Result<()> {
        let topic = unique_topic("many");
        let (mut subscriber, mut publisher) = self.pair().await?;
        subscriber.subscribe(&topic, qos).await?;
        let wanted = self.publish_numbers(&mut publisher, &topic, MANY, qos).await?;
        expect_payloads(subscriber.receive(MANY).await?, &wanted)
    }

    async fn large_payload(&self, qos: u8) -> anyhow::Result<()> {
        let topic = unique_topic("large");
        let (mut subscriber, mut publisher) = self.pair().await?;
        subscriber.subscribe(&topic, qos).await?;
        let payload = binary_payload();
        publisher.publish(&topic, &payload, qos, false).await?;
        publisher.acknowledged().await?;
        let message = subscriber.receive(1).await?.first().context("no message")?;
        ensure!(message.payload == payload && message.qos == qos, "payload or QoS differs");
        Ok(())
    }

    /// [MQTT-3.3.2-15..18]
    async fn request_response(&self) -> anyhow::Result<()> {
        let topic = unique_topic("call");
        let (mut caller, mut server) = self.pair().await?;
        server.subscribe(&format!("{topic}/request"), 1).await?;
        caller.subscribe(&format!("{topic}/reply"), 1).await?;
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let properties = PublishProperties {
            response_topic: Some(format!("{topic}/reply")),
            correlation_data: Some(vec![0, 255, 1].into()),
            user_properties: vec![pair("b", "1"), pair("a", "2"), pair("b", "3")],
            ..PublishProperties::default()
        };
        caller.publish_with(&format!("{topic}/request"), "ping", properties.clone()).await?;
        let request = server.receive(1).await?.first().context("no request")?;
        let got = request.properties.clone().context("request without properties")?;
        ensure!(got == properties, "request's properties: {got:?}");
        let answer = PublishProperties {
            correlation_data: got.correlation_data.clone(),
            ..PublishProperties::default()
        };
        let reply_topic = got.response_topic.context("no Response Topic")?;
        server.publish_with(&reply_topic, "pong", answer.clone()).await?;
        let reply = caller.receive(1).await?.first().context("no reply")?;
        ensure!(reply.payload == b"pong", "reply: {reply:?}");
        ensure!(reply.properties.as_ref() == Some(&answer), "reply's properties: {reply:?}");
        Ok(())
    }

    async fn publish_numbers(
        &self,
        publisher: &mut Peer,
        topic: &str,
        count: usize,
        qos: u8,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let wanted: Vec<_> = (0..count).map(|number| number.to_string().into_bytes()).collect();
        for payload in &wanted {
            publisher.publish(topic, payload, qos, false).await?;
        }
        publisher.acknowledged().await?;
        Ok(wanted)
    }
}

fn expect_payloads(messages: &[peer::Message], wanted: &[Vec<u8>]) -> anyhow::Result<()> {
    let different = messages.iter().zip(wanted).position(|(got, want)| &got.payload != want);
    ensure!(different.is_none(), "publication {different:?} is out of order");
    Ok(())
}
