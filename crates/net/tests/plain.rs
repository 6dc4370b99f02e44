//! TCP and Unix links against real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

mod echo_server;

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use agentmq_net::{Link, LinkKind, Listener, ListenerOptions, Read};
use echo_server::{EchoServer, PATIENCE, Seen};
use mio::{Events, Interest, Poll, Token};

fn options(url: &str) -> ListenerOptions {
    ListenerOptions::new(url.parse().unwrap())
}

#[test]
fn tcp_echoes_and_knows_its_peer() {
    for (url, host) in [("mqtt://127.0.0.1:0", "127.0.0.1"), ("mqtt://[::1]:0", "::1")] {
        let server = EchoServer::start(&options(url));
        let mut client = TcpStream::connect((host, server.port())).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
        let peer = server.peer();
        assert_eq!(peer.kind, LinkKind::Tcp);
        assert_eq!(peer.address, Some(client.local_addr().unwrap()));
        drop(client);
        assert!(matches!(server.next(), Seen::Closed));
    }
}

#[test]
fn tcp_survives_a_client_that_reads_late() {
    let server = EchoServer::start(&options("mqtt://127.0.0.1:0"));
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut writer = client.try_clone().unwrap();
    let to_send = sent.clone();
    let thread = std::thread::spawn(move || {
        writer.write_all(&to_send).unwrap();
    });
    // Reading starts only when everything has been taken by the server.
    thread.join().unwrap();
    let mut received = vec![0; sent.len()];
    client.read_exact(&mut received).unwrap();
    assert!(received == sent);
}

#[test]
fn half_closed_clients_get_their_echo() {
    let server = EchoServer::start(&options("mqtt://127.0.0.1:0"));
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"last words");
}

#[test]
fn unix_echoes_and_names_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker.sock");
    let mut options = options(&format!("unix://{}", path.display()));
    options.unix_mode = 0o640;
    let server = EchoServer::start(&options);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    let peer = server.peer();
    assert_eq!((peer.kind, peer.address), (LinkKind::Unix, None));
    assert_eq!(peer.unix.unwrap().pid, std::process::id());
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_stale_unix_socket_is_replaced_and_a_living_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker.sock");
    // Closing a plain listener leaves its file behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let options = options(&format!("unix://{}", path.display()));
    let listener = Listener::bind(&options).unwrap();
    let error = Listener::bind(&options).unwrap_err().to_string();
    assert!(error.contains("another process listens there; stop it"), "{error}");
    drop(listener);
    fs::write(&path, "precious").unwrap();
    let error = Listener::bind(&options).unwrap_err().to_string();
    assert!(error.contains("is no socket; remove the file"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_bind_that_fails_names_address_cause_and_fix() {
    let first = Listener::bind(&options("mqtt://127.0.0.1:0")).unwrap();
    let url = first.endpoint().to_string();
    for (url, cause, fix) in [
        (url.as_str(), "another process listens on port", "choose another port"),
        ("mqtt://192.0.2.1:1883", "does not have that address", "127.0.0.1"),
        ("mqtt://no-such-host.invalid:1883", "has no address", "check the name"),
        ("unix:///no/such/directory/x.sock", "directory does not exist", "create"),
    ] {
        let error = Listener::bind(&options(url)).unwrap_err().to_string();
        assert!(error.contains(&format!("cannot listen on {url}: ")), "{error}");
        assert!(error.contains(cause), "{error}");
        assert!(error.contains(fix), "{error}");
    }
}

#[test]
fn both_families_share_a_port() {
    let v4 = Listener::bind(&options("mqtt://0.0.0.0:0")).unwrap();
    let port = v4.endpoint().port().unwrap();
    Listener::bind(&options(&format!("mqtt://[::]:{port}"))).unwrap();
}

/// Waits for the first event of what is registered with `poll`.
fn wait(poll: &mut Poll) {
    let mut events = Events::with_capacity(4);
    poll.poll(&mut events, Some(PATIENCE)).unwrap();
    assert!(!events.is_empty());
}

fn accept(listener: &mut Listener) -> Link {
    let mut poll = Poll::new().unwrap();
    poll.registry().register(listener, Token(0), Interest::READABLE).unwrap();
    wait(&mut poll);
    let link = listener.accept().unwrap().unwrap();
    assert!(listener.accept().unwrap().is_none());
    poll.registry().deregister(listener).unwrap();
    link
}

#[test]
fn a_link_moves_to_another_event_loop_with_what_it_has_not_read() {
    let mut listener = Listener::bind(&options("mqtt://127.0.0.1:0")).unwrap();
    let port = listener.endpoint().port().unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut link = accept(&mut listener);
    client.write_all(b"CONNECT and more").unwrap();
    let mut first = Poll::new().unwrap();
    first.registry().register(&mut link, Token(1), Interest::READABLE).unwrap();
    wait(&mut first);
    let mut scratch = [0; 7];
    let read = link.read(&mut scratch).unwrap();
    assert_eq!((read, &scratch), (Read::Data { bytes: 7, drained: false }, b"CONNECT"));
    first.registry().deregister(&mut link).unwrap();
    let moved = std::thread::spawn(move || {
        let mut second = Poll::new().unwrap();
        second.registry().register(&mut link, Token(2), Interest::READABLE).unwrap();
        // What the socket still holds is announced anew.
        wait(&mut second);
        let mut scratch = [0; 64];
        let rest = link.read(&mut scratch).unwrap();
        assert_eq!(rest, Read::Data { bytes: 9, drained: true });
        assert_eq!(&scratch[..9], b" and more");
        let error = link.read(&mut scratch).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
    moved.join().unwrap();
}
