//! WebSocket links against a hand-written client.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

mod echo_server;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use agentmq_net::{AllowedOrigins, LinkKind, ListenerOptions};
use echo_server::{EchoServer, PATIENCE, Seen};

fn options() -> ListenerOptions {
    let mut options = ListenerOptions::new("ws://127.0.0.1:0/mqtt".parse().unwrap());
    options.websocket.allowed_origins =
        AllowedOrigins::Listed(vec!["https://app.example".to_owned()]);
    options
}

fn connect(server: &EchoServer) -> TcpStream {
    let client = TcpStream::connect(server.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n{more}\r\n"
    )
}

/// Reads up to the blank line.
fn read_head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

fn open(server: &EchoServer) -> TcpStream {
    let mut client = connect(server);
    client.write_all(request("/mqtt", "").as_bytes()).unwrap();
    let head = read_head(&mut client);
    assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert!(head.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{head}");
    client
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(short @ ..=125) => frame.push(0x80 | short as u8),
        Ok(medium) => {
            frame.push(0xFE);
            frame.extend(medium.to_be_bytes());
        }
        Err(_) => {
            frame.push(0xFF);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Reads one server frame: its first byte and its payload.
fn read_frame(client: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    client.read_exact(&mut head).unwrap();
    let length = match head[1] {
        126 => {
            let mut long = [0; 2];
            client.read_exact(&mut long).unwrap();
            usize::from(u16::from_be_bytes(long))
        }
        127 => {
            let mut long = [0; 8];
            client.read_exact(&mut long).unwrap();
            usize::try_from(u64::from_be_bytes(long)).unwrap()
        }
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    client.read_exact(&mut payload).unwrap();
    (head[0], payload)
}

#[test]
fn packets_come_back_in_binary_frames() {
    let server = EchoServer::start(&options());
    let mut client = open(&server);
    client.write_all(&masked(0x82, b"hello")).unwrap();
    assert_eq!(read_frame(&mut client), (0x82, b"hello".to_vec()));
    let peer = server.peer();
    assert_eq!((peer.kind, peer.address), (LinkKind::Ws, Some(client.local_addr().unwrap())));
    client.write_all(&masked(0x89, b"there?")).unwrap();
    assert_eq!(read_frame(&mut client), (0x8A, b"there?".to_vec()));
    client.write_all(&masked(0x88, &1000_u16.to_be_bytes())).unwrap();
    assert_eq!(read_frame(&mut client), (0x88, 1000_u16.to_be_bytes().to_vec()));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert!(matches!(server.next(), Seen::Closed));
}

#[test]
fn a_connection_in_single_bytes_works_with_any_scratch_buffer() {
    for buffer in [1, 7, 64 << 10] {
        let server = EchoServer::start_with_buffer(&options(), buffer);
        let mut client = connect(&server);
        let mut bytes = request("/mqtt", "").into_bytes();
        bytes.extend(masked(0x02, b"in "));
        bytes.extend(masked(0x89, b""));
        bytes.extend(masked(0x80, b"pieces"));
        for byte in bytes {
            client.write_all(&[byte]).unwrap();
        }
        read_head(&mut client);
        let (mut echo, mut pongs) = (Vec::new(), 0);
        while echo.len() < 9 || pongs == 0 {
            match read_frame(&mut client) {
                (0x82, payload) => echo.extend(payload),
                (0x8A, _) => pongs += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(echo, b"in pieces");
    }
}

#[test]
fn large_amounts_survive_a_client_that_reads_late() {
    let server = EchoServer::start(&options());
    let mut client = open(&server);
    let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    client.write_all(&masked(0x82, &sent)).unwrap();
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let (first, payload) = read_frame(&mut client);
        assert_eq!(first, 0x82);
        assert!(payload.len() <= 64 << 10);
        received.extend(payload);
    }
    assert!(received == sent);
}

#[test]
fn a_broken_rule_is_told_before_the_end() {
    for (frame, code) in [
        (masked(0x81, b"text"), 1003_u16),
        (vec![0x82, 0x01, 0x00], 1002),
        (masked(0x83, b""), 1002),
        (vec![0x82, 0xFF, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4], 1009),
    ] {
        let server = EchoServer::start(&options());
        let mut client = open(&server);
        client.write_all(&frame).unwrap();
        let (first, payload) = read_frame(&mut client);
        assert_eq!((first, &payload[..2]), (0x88, code.to_be_bytes().as_slice()));
        assert!(server.failure().starts_with("WebSocket: "));
    }
}

#[test]
fn a_refused_request_says_why() {
    for (text, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "404"),
        ("GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "426"),
        (request("/mqtt", "Origin: https://evil.example\r\n"), "403"),
        ("\x10\x0c\0\x04MQTT".to_owned(), "400"),
    ] {
        let server = EchoServer::start(&options());
        let mut client = connect(&server);
        client.write_all(text.as_bytes()).unwrap();
        let mut response = String::new();
        client.read_to_string(&mut response).unwrap();
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
        assert!(server.failure().starts_with("WebSocket upgrade: "));
    }
}

#[test]
fn a_peer_that_never_reads_its_pongs_is_given_up() {
    // A small scratch buffer, so that each ping gets its own pong.
    let server = EchoServer::start_with_buffer(&options(), 131);
    let mut client = open(&server);
    let pings = masked(0x89, &[b'.'; 125]).repeat(500);
    // Ends when the server closes; the sockets' own buffers hold some megabytes.
    while client.write_all(&pings).is_ok() {}
    let failure = server.failure();
    assert!(failure.contains("does not read the replies"), "{failure}");
}
