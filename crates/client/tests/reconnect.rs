//! Broken connections, against Mosquitto behind a proxy that cuts them.

#![allow(clippy::unwrap_used)] // a test may panic

mod foreign;

use std::time::Duration;

use agentmq_client::{
    Acknowledge, Client, Error, Event, Options, ProtocolVersion, Publish, QoS, Reconnect,
    SubscriptionOptions,
};
use foreign::{Mosquitto, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn options(url: &str, id: &str) -> Options {
    let mut options = Options::new(url).unwrap();
    options.client_id = id.into();
    options.session_expiry = 300;
    options.reconnect.first = Duration::from_millis(10);
    options.reconnect.longest = Duration::from_millis(100);
    options
}

/// QoS 2 exactly once, QoS 1 at least once, both in order, over connections cut on both sides.
#[tokio::test]
async fn a_resumed_session_loses_nothing() {
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let broker = Mosquitto::start().await;
        let (near, far) = (Proxy::start(broker.port).await, Proxy::start(broker.port).await);
        let connect = |url: &str, id: &str| {
            let mut options = options(url, id);
            options.version = version;
            // Mosquitto drops what exceeds its own bounds, in 3.1.1 without a word.
            options.max_in_flight = 50;
            Client::connect(options)
        };
        let (subscriber, mut messages) = connect(&far.url(), "subscriber").await.unwrap();
        let (publisher, _quiet) = connect(&near.url(), "publisher").await.unwrap();
        let mut events = publisher.events();
        subscriber.subscribe("twice", SubscriptionOptions::at(QoS::ExactlyOnce)).await.unwrap();
        subscriber.subscribe("once", SubscriptionOptions::at(QoS::AtLeastOnce)).await.unwrap();
        const COUNT: u32 = 600;
        let sender = tokio::spawn(async move {
            let mut acks = Vec::new();
            for n in 0..COUNT {
                if n % 100 == 50 {
                    near.cut();
                    // Mosquitto repeats QoS 2 messages when it is cut off while it resumes.
                    while events.next().await.unwrap() != Event::Resumed {}
                }
                for (topic, qos) in [("twice", QoS::ExactlyOnce), ("once", QoS::AtLeastOnce)] {
                    let publish = Publish::new(topic, n.to_string()).qos(qos);
                    acks.push(publisher.publish(publish).await.unwrap());
                }
                // Lets some of them be on their way when the connection is cut.
                tokio::task::yield_now().await;
            }
            for ack in acks {
                ack.await.unwrap();
            }
        });
        let (mut twice, mut once) = (0, 0);
        while twice < COUNT || once < COUNT {
            let message = messages.next().await.unwrap();
            let n: u32 = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
            if message.topic == "twice" {
                assert_eq!(n, twice, "QoS 2, version {version}");
                twice += 1;
                if n % 100 == 80 {
                    far.cut();
                }
            } else {
                assert!(n <= once, "QoS 1 lost {once}..{n}, version {version}");
                once = once.max(n + 1);
            }
        }
        sender.await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_session_is_subscribed_again() {
    let broker = Mosquitto::start().await;
    let proxy = Proxy::start(broker.port).await;
    let mut options = options(&proxy.url(), "forgetful");
    options.session_expiry = 0;
    let (client, mut messages) = Client::connect(options).await.unwrap();
    let at = SubscriptionOptions::at(QoS::AtLeastOnce);
    client.subscribe("common", at).await.unwrap();
    let mut own = client.subscription("own", at).await.unwrap();
    let mut events = client.events();
    proxy.cut();
    loop {
        match events.next().await.unwrap() {
            Event::Resubscribed { refused } => {
                assert_eq!(refused, 0);
                break;
            }
            Event::Disconnected { retry_in, .. } => assert!(retry_in.is_some()),
            _ => {}
        }
    }
    // Two SUBSCRIBEs were repeated; the second answer comes before these publications' return.
    for topic in ["common", "own"] {
        let publish = Publish::new(topic, "x").qos(QoS::AtLeastOnce);
        client.publish(publish).await.unwrap().await.unwrap();
    }
    assert_eq!(messages.next().await.unwrap().topic, "common");
    assert_eq!(own.next().await.unwrap().topic, "own");
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again() {
    let broker = Mosquitto::start().await;
    let proxy = Proxy::start(broker.port).await;
    let mut options = options(&proxy.url(), "manual");
    options.acknowledge = Acknowledge::Manual;
    let (client, mut messages) = Client::connect(options).await.unwrap();
    client.subscribe("job", SubscriptionOptions::at(QoS::AtLeastOnce)).await.unwrap();
    for n in 0..2 {
        let publish = Publish::new("job", n.to_string()).qos(QoS::AtLeastOnce);
        client.publish(publish).await.unwrap().await.unwrap();
    }
    let (first, second) = (messages.next().await.unwrap(), messages.next().await.unwrap());
    assert_eq!((&first.payload[..], &second.payload[..]), (&b"0"[..], &b"1"[..]));
    messages.ack(&second);
    // The answer shows that the acknowledgement before it has gone out.
    client.publish(Publish::new("x", "").qos(QoS::AtLeastOnce)).await.unwrap().await.unwrap();
    proxy.cut();
    let again = messages.next().await.unwrap();
    assert!(again.dup && again.payload == "0", "{again:?}");
    messages.ack(&first); // void: of the old connection
    messages.ack(&again);
    client.disconnect().await;
}

/// A server that accepts and then is silent, as behind a broken network.
#[tokio::test]
async fn a_silent_peer_is_found_dead() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut packet = [0; 512];
        assert!(socket.read(&mut packet).await.unwrap() > 0);
        socket.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        rest
    });
    let mut options = Options::new(&url).unwrap();
    options.keep_alive = Duration::from_secs(1);
    options.ping_timeout = Duration::from_millis(50);
    options.reconnect = Reconnect::NEVER;
    let (client, mut messages) = Client::connect(options).await.unwrap();
    let mut events = client.events();
    let ended = events.next().await.unwrap();
    let Event::Disconnected { why, retry_in: None, .. } = ended else { panic!("{ended:?}") };
    assert!(why.contains("PINGREQ"), "{why}");
    assert!(messages.next().await.is_none());
    assert_eq!(server.await.unwrap(), [0xC0, 0]);
    let closed = client.publish(Publish::new("a", "")).await;
    let closed = closed.unwrap_err();
    assert!(matches!(closed.cause(), Error::Lost(_)), "{closed:?}");
}

#[tokio::test]
async fn disconnect_ends_the_wait_for_a_broker() {
    let broker = Mosquitto::start().await;
    let mut options = options(&broker.url(), "patient");
    options.reconnect.first = Duration::from_secs(3600);
    options.reconnect.longest = Duration::from_secs(3600);
    let (client, mut messages) = Client::connect(options).await.unwrap();
    let mut events = client.events();
    drop(broker);
    while !matches!(events.next().await.unwrap(), Event::Disconnected { .. }) {}
    let ack = client.publish(Publish::new("a", "").qos(QoS::AtLeastOnce)).await.unwrap();
    client.disconnect().await;
    assert!(matches!(ack.await, Err(Error::Closed)));
    assert!(messages.next().await.is_none());
}
