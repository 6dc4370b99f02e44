//! Against Mosquitto: every version, QoS and transport, and the helpers on top.

#![allow(clippy::unwrap_used)] // a test may panic

mod foreign;

use std::time::Duration;

use agentmq_client::{
    Client, Error, Messages, Options, ProtocolVersion, Publish, QoS, ReasonCode,
    SubscriptionOptions, Will,
};
use agentmq_testkit::free_port;
use foreign::Mosquitto;

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const SOON: Duration = Duration::from_secs(20);

async fn connect(url: &str) -> (Client, Messages) {
    Client::connect(Options::new(url).unwrap()).await.unwrap()
}

#[tokio::test]
async fn every_version_and_qos() {
    let broker = Mosquitto::start().await;
    for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
        let mut options = Options::new(&broker.url()).unwrap();
        options.version = version;
        options.client_id = format!("v{}", version.level());
        let (client, mut messages) = Client::connect(options).await.unwrap();
        for qos in ALL_QOS {
            let topic = format!("t/{}/{}", version.level(), qos as u8);
            let granted = client.subscribe(&*topic, SubscriptionOptions::at(qos)).await.unwrap();
            assert_eq!(granted, ReasonCode::granted(qos));
            let ack = client.publish(Publish::new(&*topic, "hello").qos(qos)).await.unwrap();
            assert_eq!(ack.await.unwrap(), ReasonCode::Success);
            let message = messages.next().await.unwrap();
            assert_eq!((message.topic, message.qos), (topic.clone(), qos));
            assert_eq!(message.payload, "hello");
            client.unsubscribe(topic).await.unwrap();
        }
        client.disconnect().await;
        assert!(messages.next().await.is_none());
    }
}

#[tokio::test]
async fn every_transport() {
    let broker = Mosquitto::start().await;
    let urls = [
        broker.url(),
        format!("ws://127.0.0.1:{}/mqtt", broker.ws_port),
        format!("mqtts://127.0.0.1:{}", broker.tls_port),
        format!("unix://{}", broker.path("mqtt.sock").display()),
    ];
    for url in urls {
        let mut options = Options::new(&url).unwrap();
        options.tls.ca = Some(broker.path("ca.pem"));
        let (client, mut messages) = Client::connect(options).await.expect(&url);
        client.subscribe("big/#", SubscriptionOptions::at(QoS::AtLeastOnce)).await.unwrap();
        // Mosquitto takes 4 KiB of a WebSocket message per tenth of a second.
        let payload = vec![7u8; if url.starts_with("ws") { 10 << 10 } else { 1 << 20 }];
        let publish = Publish::new("big/one", payload.clone()).qos(QoS::AtLeastOnce);
        let ack = client.publish(publish).await.unwrap();
        assert_eq!(messages.next().await.unwrap().payload, payload, "{url}");
        ack.await.unwrap();
        client.disconnect().await;
    }
}

#[tokio::test]
async fn properties_arrive() {
    let broker = Mosquitto::start().await;
    let (client, mut messages) = connect(&broker.url()).await;
    client.subscribe("p", SubscriptionOptions::default()).await.unwrap();
    let publish = Publish::new("p", "{}")
        .content_type("application/json")
        .user_property("a", "1")
        .user_property("a", "2")
        .response_topic("r")
        .correlation_data(&[0, 255])
        .expiry(60);
    drop(client.publish(publish).await.unwrap());
    let message = messages.next().await.unwrap();
    assert_eq!(message.content_type(), Some("application/json"));
    assert_eq!(message.user_properties().collect::<Vec<_>>(), [("a", "1"), ("a", "2")]);
    assert_eq!(message.response_topic(), Some("r"));
    assert_eq!(message.correlation_data(), Some(&[0, 255][..]));
    assert!(message.expiry().is_some_and(|seconds| seconds <= 60));
}

#[tokio::test]
async fn streams_get_their_own_messages_only() {
    let broker = Mosquitto::start().await;
    let (client, mut messages) = connect(&broker.url()).await;
    let options = SubscriptionOptions::at(QoS::AtLeastOnce);
    client.subscribe("all/#", options).await.unwrap();
    let mut a = client.subscription("all/a", options).await.unwrap();
    let mut b = client.subscription("all/+", options).await.unwrap();
    for topic in ["all/a", "all/b"] {
        let publish = Publish::new(topic, "x").qos(QoS::AtLeastOnce);
        client.publish(publish).await.unwrap().await.unwrap();
    }
    assert_eq!(a.next().await.unwrap().topic, "all/a");
    assert_eq!(b.next().await.unwrap().topic, "all/a");
    assert_eq!(b.next().await.unwrap().topic, "all/b");
    assert_eq!(messages.next().await.unwrap().topic, "all/a");
    assert_eq!(messages.next().await.unwrap().topic, "all/b");
    client.disconnect().await;
    assert!(a.next().await.is_none() && b.next().await.is_none());
    assert!(messages.next().await.is_none());
}

#[tokio::test]
async fn many_publications_arrive_in_order_within_the_servers_window() {
    let broker = Mosquitto::start().await;
    let (client, mut messages) = connect(&broker.url()).await;
    let mut options = Options::new(&broker.url()).unwrap();
    options.outgoing_aliases = 8;
    let (publisher, _quiet) = Client::connect(options).await.unwrap();
    client.subscribe("many", SubscriptionOptions::at(QoS::ExactlyOnce)).await.unwrap();
    const COUNT: u32 = 5000;
    let sender = tokio::spawn(async move {
        let mut acks = Vec::new();
        for n in 0..COUNT {
            let qos = ALL_QOS[1 + n as usize % 2];
            let publish = Publish::new("many", n.to_string()).qos(qos);
            acks.push(publisher.publish(publish).await.unwrap());
        }
        for ack in acks {
            ack.await.unwrap();
        }
    });
    // Mosquitto may deliver a QoS 1 message before an earlier QoS 2 one: order holds per QoS.
    let mut last = [None, None];
    for _ in 0..COUNT {
        let message = messages.next().await.unwrap();
        let n: u32 = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
        let last = &mut last[n as usize % 2];
        assert!(last.is_none_or(|last| n == last + 2), "{n} after {last:?}");
        *last = Some(n);
    }
    sender.await.unwrap();
}

#[tokio::test]
async fn a_slow_consumer_stops_the_reading_and_loses_nothing() {
    let broker = Mosquitto::start().await;
    let mut options = Options::new(&broker.url()).unwrap();
    options.queue_capacity = 4;
    let (slow, mut messages) = Client::connect(options).await.unwrap();
    slow.subscribe("slow", SubscriptionOptions::at(QoS::AtLeastOnce)).await.unwrap();
    let (publisher, _quiet) = connect(&broker.url()).await;
    let mut acks = Vec::new();
    for n in 0..2000u32 {
        let publish = Publish::new("slow", n.to_string()).qos(QoS::AtLeastOnce);
        acks.push(publisher.publish(publish).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
    for n in 0..2000u32 {
        assert_eq!(messages.next().await.unwrap().payload, n.to_string());
    }
}

#[tokio::test]
async fn requests_get_their_answers() {
    let broker = Mosquitto::start().await;
    let (server, mut calls) = connect(&broker.url()).await;
    server.subscribe("add", SubscriptionOptions::at(QoS::AtLeastOnce)).await.unwrap();
    tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            let n: u32 = std::str::from_utf8(&call.payload).unwrap().parse().unwrap();
            let answer = Publish::new(call.response_topic().unwrap(), (n + 1).to_string())
                .correlation_data(call.correlation_data().unwrap());
            drop(server.publish(answer).await.unwrap());
        }
    });
    let (caller, _quiet) = connect(&broker.url()).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..50u32 {
        let caller = caller.clone();
        calls.spawn(async move {
            let answer = caller.request("add", n.to_string(), SOON).await.unwrap();
            assert_eq!(answer.payload, (n + 1).to_string());
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    let nobody = caller.request("nobody", "", SOON).await;
    assert!(matches!(nobody, Err(Error::NoResponder { .. })), "{nobody:?}");
    server_that_is_silent(&broker, &caller).await;
}

/// Somebody subscribes, but never answers.
async fn server_that_is_silent(broker: &Mosquitto, caller: &Client) {
    let (server, _unread) = connect(&broker.url()).await;
    server.subscribe("silent", SubscriptionOptions::at(QoS::AtLeastOnce)).await.unwrap();
    let silent = caller.request("silent", "", Duration::from_millis(1)).await;
    assert!(matches!(silent, Err(Error::Timeout { .. })), "{silent:?}");
}

#[tokio::test]
async fn the_will_is_published_when_asked_for() {
    let broker = Mosquitto::start().await;
    let (watcher, mut messages) = connect(&broker.url()).await;
    watcher.subscribe("gone", SubscriptionOptions::default()).await.unwrap();
    let mut options = Options::new(&broker.url()).unwrap();
    options.will = Some(Will::new("gone", "bye"));
    let (client, _quiet) = Client::connect(options).await.unwrap();
    let reason = ReasonCode::DisconnectWithWill;
    client.disconnect_with(reason, Default::default()).await;
    assert_eq!(messages.next().await.unwrap().payload, "bye");
}

#[tokio::test]
async fn refusals_name_reason_and_fix() {
    let broker = Mosquitto::start_with("allow_anonymous false").await;
    let refused = Client::connect(Options::new(&broker.url()).unwrap()).await.unwrap_err();
    assert!(
        matches!(refused, Error::Refused { reason: ReasonCode::NotAuthorized, .. }),
        "{refused}"
    );
    assert!(refused.fix().contains("password"));
}

#[tokio::test]
async fn nobody_there_names_the_address() {
    let port = free_port();
    let options = Options::new(&format!("mqtt://127.0.0.1:{port}")).unwrap();
    let error = Client::connect(options).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }));
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[tokio::test]
async fn an_untrusted_certificate_is_refused() {
    let broker = Mosquitto::start().await;
    let other = Mosquitto::start().await;
    let mut options = Options::new(&format!("mqtts://127.0.0.1:{}", broker.tls_port)).unwrap();
    options.tls.ca = Some(other.path("ca.pem"));
    let error = Client::connect(options).await.unwrap_err();
    assert!(matches!(error, Error::Layer { layer: "TLS", .. }), "{error}");
}

#[tokio::test]
async fn bad_topics_are_refused_before_they_are_sent() {
    let broker = Mosquitto::start().await;
    let (client, _quiet) = connect(&broker.url()).await;
    for topic in ["", "a/+", "a/#", "a\0b"] {
        let result = client.publish(Publish::new(topic, "")).await;
        assert!(matches!(result, Err(Error::Invalid(_))), "{topic:?}");
    }
}
