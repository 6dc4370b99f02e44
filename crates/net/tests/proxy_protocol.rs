//! The PROXY protocol in front of links, from allowed and from other sources.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

mod echo_server;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use agentmq_net::{Listener, ListenerOptions, ProxyPolicy};
use echo_server::{EchoServer, PATIENCE};

fn options(networks: &[&str]) -> ListenerOptions {
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    ListenerOptions {
        proxy_protocol: ProxyPolicy::RequiredFrom(networks),
        ..ListenerOptions::new("mqtt://127.0.0.1:0".parse().unwrap())
    }
}

fn connect(server: &EchoServer) -> TcpStream {
    let client = TcpStream::connect(server.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([203, 0, 113, 9, 127, 0, 0, 1, 0x30, 0x39, 0x07, 0x5B]);
    header
}

#[test]
fn both_versions_give_the_clients_address() {
    let v1 = b"PROXY TCP4 203.0.113.9 127.0.0.1 12345 1883\r\n".to_vec();
    for header in [v1, v2()] {
        // Whole, and byte by byte with the payload right behind.
        for piece in [1, usize::MAX] {
            let server = EchoServer::start(&options(&["10.0.0.0/8", "127.0.0.0/8"]));
            let mut client = connect(&server);
            let bytes = [header.as_slice(), b"payload"].concat();
            for part in bytes.chunks(piece.min(bytes.len())) {
                client.write_all(part).unwrap();
            }
            let mut answer = [0; 7];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"payload");
            let peer = server.peer();
            assert_eq!(peer.address, Some("203.0.113.9:12345".parse().unwrap()));
            assert_eq!(peer.proxy, Some(client.local_addr().unwrap()));
        }
    }
}

#[test]
fn a_health_check_speaks_for_the_proxy_itself() {
    let server = EchoServer::start(&options(&["127.0.0.1"]));
    let mut client = connect(&server);
    client.write_all(b"PROXY UNKNOWN\r\nx").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let peer = server.peer();
    assert_eq!((peer.address, peer.proxy), (Some(client.local_addr().unwrap()), None));
}

#[test]
fn another_source_is_refused_whatever_it_sends() {
    let server = EchoServer::start(&options(&["10.0.0.0/8"]));
    let mut client = connect(&server);
    // The server may have closed already.
    let _ = client.write_all(&v2());
    let failure = server.failure();
    assert!(failure.contains("127.0.0.1"), "{failure}");
    assert!(failure.contains("not in their networks"), "{failure}");
    assert!(!matches!(client.read(&mut [0]), Ok(1)));
}

#[test]
fn a_client_without_a_header_is_refused() {
    let server = EchoServer::start(&options(&["127.0.0.1"]));
    connect(&server).write_all(b"\x10\x0c\0\x04MQTT").unwrap();
    let failure = server.failure();
    assert!(failure.contains("does not begin with a PROXY header"), "{failure}");
}

#[test]
fn a_policy_that_cannot_work_is_refused_at_bind() {
    let error = Listener::bind(&options(&[])).unwrap_err().to_string();
    assert!(error.contains("no network is trusted"), "{error}");
    let unix = ListenerOptions {
        endpoint: "unix:///tmp/never-made.sock".parse().unwrap(),
        ..options(&["127.0.0.1"])
    };
    let error = Listener::bind(&unix).unwrap_err().to_string();
    assert!(error.contains("takes no PROXY header"), "{error}");
}
