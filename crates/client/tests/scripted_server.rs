//! What only a server that plays a part can show: packets at the wrong moment, and refusals.

#![allow(clippy::unwrap_used)] // a test may panic

use std::time::Duration;

use agentmq_client::{Client, Error, Options, Publish, QoS, ReasonCode, SubscriptionOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server on a port of its own, and the options of a client that comes back to it quickly.
async fn server() -> (TcpListener, Options) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = Options::new(&format!("mqtt://{}", listener.local_addr().unwrap())).unwrap();
    options.client_id = "c".into();
    options.session_expiry = 300;
    options.reconnect.first = Duration::from_millis(1);
    options.reconnect.longest = Duration::from_millis(10);
    (listener, options)
}

/// Takes a connection and its CONNECT; answers it.
async fn accept(listener: &TcpListener, session_present: u8) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    assert_eq!(packet(&mut socket).await[0] >> 4, CONNECT);
    socket.write_all(&[0x20, 3, session_present, 0, 0]).await.unwrap();
    socket
}

/// The next packet, which is shorter than 128 bytes.
async fn packet(socket: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 2];
    socket.read_exact(&mut head).await.unwrap();
    let mut packet = vec![0; usize::from(head[1])];
    socket.read_exact(&mut packet).await.unwrap();
    [&head[..], &packet].concat()
}

/// A resumed session would send the refused packet for ever.
#[tokio::test]
async fn a_publication_that_the_server_hangs_up_on_ends_with_its_reason() {
    let (listener, options) = server().await;
    let served = tokio::spawn(async move {
        let mut socket = accept(&listener, 0).await;
        assert_eq!(packet(&mut socket).await[0] >> 4, PUBLISH);
        socket.write_all(&[0xE0, 2, 0x90, 0]).await.unwrap();
        let _ = socket.read(&mut [0]).await;
        listener
    });
    let (client, mut messages) = Client::connect(options).await.unwrap();
    let publish = || Publish::new("too/long", "x").qos(QoS::AtLeastOnce);
    let ack = client.publish(publish()).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, ack).await.unwrap().unwrap_err();
    let reason = ReasonCode::TopicNameInvalid;
    let tells = |error: &Error| match error.cause() {
        Error::ServerDisconnect { reason: told, .. } => *told == reason,
        _ => false,
    };
    assert!(tells(&ended), "{ended:?}");
    assert!(messages.next().await.is_none());
    let later = client.publish(publish()).await.unwrap_err();
    assert!(tells(&later) && tells(&client.ending()), "{later:?}");
    drop(served.await.unwrap());
}

#[tokio::test]
async fn a_flush_tells_what_became_of_qos_0() {
    let (listener, options) = server().await;
    let served = tokio::spawn(async move {
        let mut socket = accept(&listener, 0).await;
        for refused in [false, true] {
            assert_eq!(packet(&mut socket).await[0] >> 4, PUBLISH);
            assert_eq!(packet(&mut socket).await, [0xC0, 0]);
            let answer: &[u8] = if refused { &[0xE0, 2, 0x87, 0] } else { &[0xD0, 0] };
            socket.write_all(answer).await.unwrap();
        }
        let _ = socket.read(&mut [0]).await;
    });
    let (client, _messages) = Client::connect(options).await.unwrap();
    let mut refused = Vec::new();
    for _ in 0..2 {
        client.publish(Publish::new("a", "x")).await.unwrap().await.unwrap();
        refused.extend(tokio::time::timeout(PATIENCE, client.flush()).await.unwrap().err());
    }
    let [error] = &refused[..] else { panic!("{refused:?}") };
    let reason = ReasonCode::NotAuthorized;
    assert!(
        matches!(error.cause(), Error::ServerDisconnect { reason: told, .. } if *told == reason)
    );
    served.await.unwrap();
}

/// The session that the server has is the one of the second connection, which broke before the
/// subscription was repeated.
#[tokio::test]
async fn a_subscription_repeated_in_vain_is_repeated_again() {
    let (listener, options) = server().await;
    let served = tokio::spawn(async move {
        let mut socket = accept(&listener, 0).await;
        let subscribe = packet(&mut socket).await;
        assert_eq!(subscribe[0] >> 4, SUBSCRIBE);
        socket.write_all(&[0x90, 4, subscribe[2], subscribe[3], 0, 0]).await.unwrap();
        drop(socket);
        let mut socket = accept(&listener, 0).await;
        assert_eq!(packet(&mut socket).await[0] >> 4, SUBSCRIBE);
        drop(socket);
        let mut socket = accept(&listener, 1).await;
        packet(&mut socket).await
    });
    let (client, _messages) = Client::connect(options).await.unwrap();
    client.subscribe("a/b", SubscriptionOptions::at(QoS::AtMostOnce)).await.unwrap();
    let again = tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap();
    assert_eq!(again[0] >> 4, SUBSCRIBE);
    assert!(again.windows(3).any(|letters| letters == b"a/b"));
}

/// Neither what was sent and not acknowledged, nor what waited in the queue.
#[tokio::test]
async fn what_is_for_one_session_is_not_sent_in_the_next() {
    let (listener, options) = server().await;
    let served = tokio::spawn(async move {
        let mut socket = accept(&listener, 0).await;
        let first: Vec<u8> = [packet(&mut socket).await[4], packet(&mut socket).await[4]].into();
        drop(socket);
        // What is asked from here on waits in the client.
        let (mut socket, _) = listener.accept().await.unwrap();
        assert_eq!(packet(&mut socket).await[0] >> 4, CONNECT);
        (first, listener, socket)
    });
    let (client, _messages) = Client::connect(options).await.unwrap();
    let publish = |topic: &str| Publish::new(topic, "x").qos(QoS::AtLeastOnce);
    let mut lost = vec![client.publish_in(client.session(), publish("a")).await.unwrap()];
    let mut kept = vec![client.publish(publish("b")).await.unwrap()];
    let (first, _listener, mut socket) = served.await.unwrap();
    assert_eq!(first, b"ab");
    lost.push(client.publish_in(client.session(), publish("c")).await.unwrap());
    kept.push(client.publish(publish("d")).await.unwrap());
    socket.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
    for ack in lost {
        let error = tokio::time::timeout(PATIENCE, ack).await.unwrap().unwrap_err();
        assert!(matches!(error, Error::SessionLost), "{error:?}");
    }
    kept.push(client.publish_in(client.session(), publish("e")).await.unwrap());
    for expected in *b"bde" {
        let it = packet(&mut socket).await;
        // Without DUP: for this server it is the first time.
        assert_eq!((it[0], it[4]), (0x32, expected));
        socket.write_all(&[0x40, 2, it[5], it[6]]).await.unwrap();
    }
    for ack in kept {
        tokio::time::timeout(PATIENCE, ack).await.unwrap().unwrap();
    }
}

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
/// After which a test has failed.
const PATIENCE: Duration = Duration::from_secs(10);
