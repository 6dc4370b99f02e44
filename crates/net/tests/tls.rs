//! TLS links against the client of the same library: identities, reload, client certificates,
//! WebSocket inside.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]

mod echo_server;

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use agentmq_net::{
    ClientCertificates, Link, LinkKind, Listener, ListenerOptions, ProxyPolicy, Read, TlsFiles,
    TlsServer,
};
use echo_server::{EchoServer, PATIENCE, Seen};
use mio::{Events, Interest, Poll, Token};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;

type Client = StreamOwned<ClientConnection, TcpStream>;

/// An authority and a directory with what it issued.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`; returns the certificate.
    fn issue(&self, name: &str) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    fn files(&self, client_certificates: ClientCertificates) -> TlsFiles {
        TlsFiles {
            certificate_chain: self.path("server.pem"),
            private_key: self.path("server.key"),
            client_certificates,
        }
    }
}

fn options(url: &str, tls: &TlsServer) -> ListenerOptions {
    ListenerOptions { tls: Some(tls.clone()), ..ListenerOptions::new(url.parse().unwrap()) }
}

/// What a client trusts, presents and offers.
struct Offer<'a> {
    trusts: &'a Authority,
    presents: Option<(&'a Authority, &'a str)>,
    protocols: &'a [&'a [u8]],
    tls12: bool,
}

impl<'a> Offer<'a> {
    fn plain(trusts: &'a Authority) -> Self {
        Self { trusts, presents: None, protocols: &[], tls12: false }
    }

    fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusts.issuer.der().clone()).unwrap();
        let versions: &[&rustls::SupportedProtocolVersion] =
            if self.tls12 { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.presents {
            None => builder.with_no_client_auth(),
            Some((authority, name)) => {
                let chain = authority.path(&format!("{name}.pem"));
                let key = authority.path(&format!("{name}.key"));
                let chain = vec![CertificateDer::from_pem_file(chain).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
            }
            .unwrap(),
        };
        config.alpn_protocols = self.protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    fn connect(&self, server: &EchoServer) -> Client {
        connect_with(self.config(), server, &[])
    }
}

fn connect_with(config: Arc<ClientConfig>, server: &EchoServer, before: &[u8]) -> Client {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.write_all(before).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket)
}

fn echo(client: &mut Client, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    client.flush().unwrap();
    let mut answer = vec![0; bytes.len()];
    client.read_exact(&mut answer).unwrap();
    assert!(answer == bytes);
}

#[test]
fn both_versions_echo_with_any_scratch_buffer() {
    let authority = Authority::new();
    authority.issue("server");
    let tls = TlsServer::load(authority.files(ClientCertificates::NotAsked)).unwrap();
    for (tls12, buffer) in [(false, 64 << 10), (false, 100), (true, 64 << 10), (true, 100)] {
        let server = EchoServer::start_with_buffer(&options("mqtts://127.0.0.1:0", &tls), buffer);
        let offer = Offer { tls12, protocols: &[b"mqtt"], ..Offer::plain(&authority) };
        let mut client = offer.connect(&server);
        echo(&mut client, b"hello");
        let peer = server.peer();
        assert_eq!(peer.kind, LinkKind::Tls);
        let settled = peer.tls.unwrap();
        assert_eq!(settled.server_name.as_deref(), Some("localhost"));
        assert_eq!(settled.version, if tls12 { "TLSv1_2" } else { "TLSv1_3" });
        assert!(settled.cipher_suite.starts_with("TLS"), "{}", settled.cipher_suite);
        assert!(settled.certificates.is_empty());
        let long: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        echo(&mut client, &long);
        client.conn.send_close_notify();
        client.conn.complete_io(&mut client.sock).unwrap();
        // The server answers with its own close_notify: a clean end, no truncation error.
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert!(matches!(server.next(), Seen::Closed));
    }
}

#[test]
fn a_handshake_in_single_bytes_works() {
    let authority = Authority::new();
    authority.issue("server");
    let tls = TlsServer::load(authority.files(ClientCertificates::NotAsked)).unwrap();
    let server = EchoServer::start(&options("mqtts://127.0.0.1:0", &tls));
    let mut client = Offer::plain(&authority).connect(&server);
    while client.conn.is_handshaking() {
        while client.conn.wants_write() {
            let mut flight = Vec::new();
            client.conn.write_tls(&mut flight).unwrap();
            for byte in flight {
                client.sock.write_all(&[byte]).unwrap();
            }
        }
        if client.conn.is_handshaking() {
            client.conn.read_tls(&mut client.sock).unwrap();
            client.conn.process_new_packets().unwrap();
        }
    }
    echo(&mut client, b"hello");
}

#[test]
fn a_resumed_session_keeps_its_name() {
    let authority = Authority::new();
    authority.issue("server");
    let tls = TlsServer::load(authority.files(ClientCertificates::NotAsked)).unwrap();
    let server = EchoServer::start(&options("mqtts://127.0.0.1:0", &tls));
    let config = Offer::plain(&authority).config();
    for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let mut client = connect_with(config.clone(), &server, &[]);
        echo(&mut client, b"hello");
        assert_eq!(client.conn.handshake_kind(), Some(kind));
        assert_eq!(server.peer().tls.unwrap().server_name.as_deref(), Some("localhost"));
        drop(client);
        assert!(matches!(server.next(), Seen::Closed));
    }
    // A reload forgets the tickets.
    tls.reload().unwrap();
    let mut client = connect_with(config, &server, &[]);
    echo(&mut client, b"hello");
    assert_eq!(client.conn.handshake_kind(), Some(rustls::HandshakeKind::Full));
}

#[test]
fn a_client_that_is_asked_to_try_again_keeps_its_name() {
    let authority = Authority::new();
    authority.issue("server");
    let tls = TlsServer::load(authority.files(ClientCertificates::NotAsked)).unwrap();
    let server = EchoServer::start(&options("mqtts://127.0.0.1:0", &tls));
    let mut provider = aws_lc_rs::default_provider();
    // The server does not take the first, for which alone the client sends a key.
    provider.kx_groups = vec![aws_lc_rs::kx_group::MLKEM1024, aws_lc_rs::kx_group::SECP384R1];
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = connect_with(Arc::new(config), &server, &[]);
    echo(&mut client, b"hello");
    let kind = client.conn.handshake_kind();
    assert_eq!(kind, Some(rustls::HandshakeKind::FullWithHelloRetryRequest));
    assert_eq!(server.peer().tls.unwrap().server_name.as_deref(), Some("localhost"));
    // The next client of the same thread gives no name, and gets none.
    let config = Offer::plain(&authority).config();
    let mut config = Arc::unwrap_or_clone(config);
    config.enable_sni = false;
    let config = Arc::new(config);
    let mut client = connect_with(config, &server, &[]);
    echo(&mut client, b"hello");
    assert_eq!(server.peer().tls.unwrap().server_name, None);
}

#[test]
fn a_reload_changes_new_connections_only_and_a_bad_one_changes_nothing() {
    let authority = Authority::new();
    let first = authority.issue("server");
    let tls = TlsServer::load(authority.files(ClientCertificates::NotAsked)).unwrap();
    let server = EchoServer::start(&options("mqtts://127.0.0.1:0", &tls));
    let presented = |client: &mut Client| {
        echo(client, b"x");
        client.conn.peer_certificates().unwrap()[0].clone()
    };
    let mut old = Offer::plain(&authority).connect(&server);
    assert_eq!(presented(&mut old), first);

    let second = authority.issue("server");
    tls.reload().unwrap();
    let mut new = Offer::plain(&authority).connect(&server);
    assert_eq!(presented(&mut new), second);
    echo(&mut old, b"still here");

    authority.issue("other");
    fs::copy(authority.path("other.key"), authority.path("server.key")).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("it is not the key of the certificate in"), "{error}");
    let mut unchanged = Offer::plain(&authority).connect(&server);
    assert_eq!(presented(&mut unchanged), second);
}

#[test]
fn one_bad_identity_keeps_the_others_as_they_were() {
    let (good, bad) = (Authority::new(), Authority::new());
    let first = good.issue("server");
    bad.issue("server");
    let load = |authority: &Authority| {
        TlsServer::load(authority.files(ClientCertificates::NotAsked)).unwrap()
    };
    let (tls, other) = (load(&good), load(&bad));
    let server = EchoServer::start(&options("mqtts://127.0.0.1:0", &tls));
    good.issue("server");
    fs::write(bad.path("server.pem"), "").unwrap();
    assert!(TlsServer::reload_all(&[tls, other]).is_err());
    let mut client = Offer::plain(&good).connect(&server);
    echo(&mut client, b"x");
    assert_eq!(client.conn.peer_certificates().unwrap()[0], first);
}

#[test]
fn unusable_files_are_explained() {
    let authority = Authority::new();
    authority.issue("server");
    let asked = |name: &str| ClientCertificates::Required(authority.path(name));
    fs::write(authority.path("empty.pem"), "").unwrap();
    let good = authority.files(ClientCertificates::NotAsked);
    for (files, cause) in [
        (TlsFiles { certificate_chain: authority.path("none"), ..good.clone() }, "No such file"),
        (
            TlsFiles { certificate_chain: authority.path("server.key"), ..good.clone() },
            "holds no certificate",
        ),
        (
            TlsFiles { private_key: authority.path("server.pem"), ..good.clone() },
            "holds no private key",
        ),
        (authority.files(asked("empty.pem")), "holds no certificate"),
    ] {
        let error = TlsServer::load(files).unwrap_err().to_string();
        assert!(error.starts_with("cannot use /") && error.contains(cause), "{error}");
    }
    let options = ListenerOptions::new("mqtts://127.0.0.1:0".parse().unwrap());
    let error = Listener::bind(&options).unwrap_err().to_string();
    assert!(error.contains("no certificate is configured"), "{error}");
}

#[test]
fn client_certificates_are_verified_and_handed_out() {
    let authority = Authority::new();
    authority.issue("server");
    let agent = authority.issue("agent");
    let stranger = Authority::new();
    stranger.issue("agent");
    let ca = authority.path("ca.pem");
    for tls12 in [false, true] {
        let required = ClientCertificates::Required(ca.clone());
        let tls = TlsServer::load(authority.files(required)).unwrap();
        let server = EchoServer::start(&options("mqtts://127.0.0.1:0", &tls));
        let offer = |presents| Offer { presents, tls12, ..Offer::plain(&authority) };
        let config = offer(Some((&authority, "agent"))).config();
        // Twice, because the second could be a resumed session, which would skip the verification.
        for _ in 0..2 {
            let mut client = connect_with(config.clone(), &server, &[]);
            echo(&mut client, b"hello");
            assert_eq!(client.conn.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert_eq!(server.peer().tls.unwrap().certificates, [agent.to_vec()]);
            drop(client);
            assert!(matches!(server.next(), Seen::Closed));
        }

        for presents in [None, Some((&stranger, "agent"))] {
            let mut client = offer(presents).connect(&server);
            // The client may finish its side before it learns of the refusal.
            let _ = client.write_all(b"hello");
            let error = client.read(&mut [0]).unwrap_err().to_string();
            assert!(error.contains("alert") || error.contains("reset"), "{error}");
            let failure = server.failure();
            assert!(failure.starts_with("TLS: "), "{failure}");
        }

        let optional = ClientCertificates::Optional(ca.clone());
        let tls = TlsServer::load(authority.files(optional)).unwrap();
        let server = EchoServer::start(&options("mqtts://127.0.0.1:0", &tls));
        let mut client = offer(None).connect(&server);
        echo(&mut client, b"hello");
        assert!(server.peer().tls.unwrap().certificates.is_empty());
    }
}

#[test]
fn wrong_protocols_are_refused_with_a_reason() {
    let authority = Authority::new();
    authority.issue("server");
    let tls = TlsServer::load(authority.files(ClientCertificates::NotAsked)).unwrap();
    let server = EchoServer::start(&options("mqtts://127.0.0.1:0", &tls));
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.write_all(b"\x10\x0c\0\x04MQTT").unwrap();
    let failure = server.failure();
    assert!(failure.contains("does not speak TLS: its first byte is 0x10"), "{failure}");

    let offer = Offer { protocols: &[b"h2"], ..Offer::plain(&authority) };
    let error = offer.connect(&server).write_all(b"x").unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    assert!(server.failure().starts_with("TLS: "));
}

#[test]
fn websocket_in_tls_behind_a_proxy() {
    let authority = Authority::new();
    authority.issue("server");
    let tls = TlsServer::load(authority.files(ClientCertificates::NotAsked)).unwrap();
    for buffer in [64 << 10, 50] {
        let mut options = options("wss://127.0.0.1:0/mqtt", &tls);
        options.proxy_protocol = ProxyPolicy::RequiredFrom(vec!["127.0.0.0/8".parse().unwrap()]);
        let server = EchoServer::start_with_buffer(&options, buffer);
        let config = Offer { protocols: &[b"http/1.1"], ..Offer::plain(&authority) }.config();
        let header = b"PROXY TCP4 203.0.113.9 127.0.0.1 12345 8084\r\n";
        let mut client = connect_with(config, &server, header);
        client
            .write_all(
                b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                  Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                  Sec-WebSocket-Protocol: mqtt\r\n\r\n",
            )
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        // Two frames with a mask of zeros, a ping between them, then a close.
        client.write_all(&[0x82, 0x82, 0, 0, 0, 0, b'h', b'i']).unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"\x82\x02hi");
        client.write_all(&[0x89, 0x81, 0, 0, 0, 0, b'?']).unwrap();
        client.read_exact(&mut answer[..3]).unwrap();
        assert_eq!(&answer[..3], b"\x8a\x01?");
        let peer = server.peer();
        assert_eq!(peer.kind, LinkKind::Wss);
        assert_eq!(peer.address, Some("203.0.113.9:12345".parse().unwrap()));
        assert_eq!(peer.tls.unwrap().server_name.as_deref(), Some("localhost"));
        client.write_all(&[0x88, 0x82, 0, 0, 0, 0, 3, 0xE8]).unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0x88, 2, 3, 0xE8]);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert!(matches!(server.next(), Seen::Closed));
    }
}

#[test]
fn a_layered_link_says_would_block_only_when_nothing_is_held_back() {
    let authority = Authority::new();
    authority.issue("server");
    let tls = TlsServer::load(authority.files(ClientCertificates::NotAsked)).unwrap();
    let mut listener = Listener::bind(&options("mqtts://127.0.0.1:0", &tls)).unwrap();
    let port = listener.endpoint().port().unwrap();
    let config = Offer::plain(&authority).config();
    let (sent, received) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket);
        // Two records.
        client.write_all(&[1; 300]).unwrap();
        client.write_all(&[2; 300]).unwrap();
        sent.send(()).unwrap();
        client
    });
    let mut link = accept(&mut listener);
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut link, Token(1), Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(4);
    let mut scratch = [0; 100];
    while link.is_handshaking() {
        match link.read(&mut scratch) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll.poll(&mut events, Some(PATIENCE)).unwrap();
                assert!(!events.is_empty());
            }
            read => assert!(matches!(read.unwrap(), Read::Data { bytes: 0, .. })),
        }
    }
    received.recv_timeout(PATIENCE).unwrap();
    // Everything is on its way; it arrives without a further word of the client.
    let mut bytes: Vec<u8> = Vec::new();
    while bytes.len() < 600 {
        match link.read(&mut scratch) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Whole records only: no opened byte waits for an event that never comes.
                assert!(bytes.len().is_multiple_of(300), "{} bytes", bytes.len());
                poll.poll(&mut events, Some(PATIENCE)).unwrap();
                assert!(!events.is_empty());
            }
            Ok(Read::Data { bytes: more, drained }) => {
                bytes.extend(&scratch[..more]);
                assert!(!drained || bytes.len().is_multiple_of(300), "{} bytes", bytes.len());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bytes, [[1; 300], [2; 300]].concat());
    drop(thread.join().unwrap());
}

fn accept(listener: &mut Listener) -> Link {
    let mut poll = Poll::new().unwrap();
    poll.registry().register(listener, Token(0), Interest::READABLE).unwrap();
    poll.poll(&mut Events::with_capacity(4), Some(PATIENCE)).unwrap();
    let link = listener.accept().unwrap().unwrap();
    poll.registry().deregister(listener).unwrap();
    link
}
