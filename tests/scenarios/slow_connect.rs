//! Connections that do not finish their CONNECT are closed in time, however they linger.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use agentmq_testkit::codec::ProtocolVersion;
use agentmq_testkit::{RawClient, connect_packet};

#[test]
fn half_a_connect_is_closed_and_others_go_on() {
    let broker = crate::broker(
        "[[listeners]]\nurl = \"ws://127.0.0.1:0/mqtt\"\n[limits]\nconnect_timeout_ms = 1_500\n",
    );
    let connect = connect_packet(ProtocolVersion::V5, &"long".repeat(50));
    let mut established = broker.client("established");
    let mut waiting = Vec::new();
    for sent in [0, 1, 2, 10, connect.len() - 1] {
        for _ in 0..20 {
            let mut client = broker.dial();
            client.send_bytes(&connect[..sent]);
            waiting.push(client);
        }
    }
    for sent in ["", "G", "GET /mqtt HTTP/1.1\r\nHost: localhost\r\n"] {
        let mut client = RawClient::tcp(broker.port("ws"));
        client.send_bytes(sent.as_bytes());
        waiting.push(client);
    }
    established.ping();
    broker.client("newcomer").ping();
    for mut client in waiting {
        assert_eq!(client.receive_or_end(), None, "closed without a word");
    }
    established.ping();
    broker.client("newcomer").ping();
}

#[test]
fn a_connect_that_drips_in_gets_no_more_time() {
    let broker = crate::broker("[limits]\nconnect_timeout_ms = 1_500\n");
    let connect = connect_packet(ProtocolVersion::V5, &"long".repeat(5_000));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port("mqtt"))).unwrap();
    // The pace: a byte whenever the broker has kept the connection open for so long.
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut dripped = 0;
    for byte in connect {
        match stream.read(&mut [0]) {
            Ok(0) => break,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            other => panic!("{other:?}"),
        }
        dripped += 1;
        if stream.write_all(&[byte]).is_err() {
            break;
        }
    }
    assert!(dripped < 20_000, "the whole CONNECT was accepted");
    broker.client("newcomer").ping();
}
