//! MQTT over TLS: certificates, client certificates, reload.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use agentmq_testkit::codec::{Connect, ProtocolVersion, QoS, ReasonCode};
use agentmq_testkit::{Broker, PATIENCE, RawClient, WebSocket};

use crate::authority::{Authority, Tls};

#[test]
fn clients_of_all_kinds_meet() {
    let authority = Authority::new();
    let broker = start(&authority, "");
    let mut secure = RawClient::over(authority.dial(broker.port("mqtts"), None).unwrap());
    secure.connect("secure");
    let stream = authority.dial(broker.port("wss"), None).unwrap();
    let mut web = RawClient::over(WebSocket::upgrade(stream, "/mqtt", "mqtt").unwrap());
    web.connect("web");
    let mut plain = broker.client("plain");
    for (client, topic) in [(&mut secure, "to/secure"), (&mut web, "to/web")] {
        assert!(!client.subscribe(topic, QoS::ExactlyOnce).is_error());
        for size in [1, 16_384, 16_385, 500_000] {
            plain.publish(topic, &vec![7; size], QoS::AtLeastOnce);
            assert_eq!(client.receive_publish().publish().payload.len(), size);
        }
        client.publish("nobody", &vec![7; 500_000], QoS::ExactlyOnce);
    }
}

/// What it counts unopened agrees with what was sent, and what it opens is in order.
#[test]
fn the_load_generator_counts_what_it_does_not_open() {
    let authority = Authority::new();
    let broker = start(&authority, "");
    let url = format!("mqtts://127.0.0.1:{}", broker.port("mqtts"));
    let ca = authority.path("ca.pem");
    for scenario in [
        &["fan-out", "--subscribers", "7", "--opened", "2"][..],
        &["shared", "--publishers", "12", "--opened", "1", "--size", "3000"],
        &["shared", "--publishers", "5", "-q", "1"],
    ] {
        let output = Command::new(crate::BINARY)
            .args(["--json", "bench"])
            .args(scenario)
            .args(["--duration", "100ms", "--warm-up", "10ms", "--url", &url, "--ca"])
            .arg(&ca)
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let integrity = &report["integrity"];
        assert!(report["count"].as_u64() > Some(0), "{report}");
        assert_eq!(integrity["received"], integrity["expected"], "{report}");
        assert_eq!(integrity["out_of_order"], 0, "{report}");
    }
}

#[test]
fn other_certificates_and_other_protocols_are_turned_away() {
    let authority = Authority::new();
    let broker = start(&authority, "");
    let stranger = Authority::new();
    assert!(stranger.dial(broker.port("mqtts"), None).is_err(), "the client does not trust it");
    // MQTT without TLS at the TLS port.
    let connect = agentmq_testkit::connect_packet(Default::default(), "plain");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port("mqtts"))).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&connect).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // an alert at most, then the end
    assert!(answer.is_empty() || answer[0] == 21, "{answer:02X?}");
    authority.dial(broker.port("mqtts"), None).unwrap();
}

#[test]
fn a_reload_brings_the_new_certificate_and_keeps_the_connections() {
    let authority = Authority::new();
    let config = config(&authority, "");
    let broker = start(&authority, "");
    let dial = || authority.dial(broker.port("mqtts"), None).unwrap();
    let before = dial();
    let first = presented(&before);
    let mut open = RawClient::over(before);
    open.connect("open");

    authority.issue("server");
    broker.reload(&config);
    let log = broker.wait_for_log("reload done", 0);
    let after = dial();
    let second = presented(&after);
    assert_ne!(first, second, "the new certificate is presented");
    open.ping();

    // Files that do not fit are refused, and the last good ones stay.
    fs::write(authority.path("server.key"), "no key").unwrap();
    broker.reload(&config);
    let log = broker.wait_for_log("reload refused", log.len());
    assert!(log.contains("server.key"), "the log names the file:\n{log}");
    assert_eq!(presented(&dial()), second);
    open.ping();
}

#[test]
fn a_client_certificate_can_be_required() {
    let authority = Authority::new();
    authority.issue("client");
    let ca = authority.path("ca.pem");
    let broker = start(
        &authority,
        &format!(
            "tls.client_ca = {:?}\ntls.require_client_cert = true\n",
            ca.display().to_string()
        ),
    );
    let port = broker.port("mqtts");
    let mut known = RawClient::over(authority.dial(port, Some(&authority)).unwrap());
    known.connect("known");
    let stranger = Authority::new();
    stranger.issue("client");
    for presents in [None, Some(&stranger)] {
        // TLS 1.3 tells the client only when it reads.
        if let Ok(stream) = authority.dial(port, presents) {
            let mut client = RawClient::over(stream);
            let connect = agentmq_testkit::connect_packet(Default::default(), "unknown");
            let _ = client.try_send_bytes(&connect);
            assert_eq!(client.receive_or_end(), None);
        }
    }
    known.ping();
}

#[test]
fn a_handshake_that_stops_is_closed_in_time() {
    let authority = Authority::new();
    authority.issue("server");
    let config = config(&authority, "") + "[limits]\nconnect_timeout_ms = 1_500\n";
    let broker = Broker::start(crate::BINARY, &config);
    let mut known = RawClient::over(authority.dial(broker.port("mqtts"), None).unwrap());
    known.connect("known");
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03";
    let mut waiting = Vec::new();
    for scheme in ["mqtts", "wss"] {
        for sent in [0, 1, 5, hello.len()] {
            let mut stream =
                TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port(scheme))).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&hello[..sent]).unwrap();
            waiting.push(stream);
        }
    }
    // Shaken hands, and then no CONNECT.
    let mut silent = RawClient::over(authority.dial(broker.port("mqtts"), None).unwrap());
    for mut stream in waiting {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(silent.receive_or_end(), None);
    known.ping();
}

/// A broker with `mqtt`, `mqtts` and `wss` listeners whose certificate the authority has issued.
fn start(authority: &Authority, settings: &str) -> Broker {
    authority.issue("server");
    Broker::start(crate::BINARY, &config(authority, settings))
}

fn config(authority: &Authority, settings: &str) -> String {
    let listener = |url: &str| {
        format!(
            "[[listeners]]\nurl = \"{url}\"\ntls.cert = {:?}\ntls.key = {:?}\n{settings}",
            authority.path("server.pem").display().to_string(),
            authority.path("server.key").display().to_string(),
        )
    };
    let (mqtts, wss) = (listener("mqtts://127.0.0.1:0"), listener("wss://127.0.0.1:0/mqtt"));
    format!("{}{mqtts}{wss}", crate::TCP)
}

fn presented(stream: &Tls) -> Vec<u8> {
    stream.0.conn.peer_certificates().unwrap()[0].to_vec()
}

/// What the certificate says decides about topics, and nobody else takes its client identifier.
#[test]
fn a_client_certificate_says_who_somebody_is() {
    let (authority, clients) = (Authority::new(), Authority::new());
    clients.issue("client");
    let policy = authority.path("policy.toml");
    let rules = "[[rules]]\neffect = \"allow\"\ntopics = [\"agents/{agent_id}/#\"]\n";
    fs::write(&policy, rules).unwrap();
    let settings = format!("tls.client_ca = {:?}\n", clients.path("ca.pem").display().to_string());
    authority.issue("server");
    let access = format!(
        "[access]\npolicy = {:?}\ncertificates.agent_id = \"dns\"\n",
        policy.display().to_string()
    );
    let config = format!("{}{access}", config(&authority, &settings));
    let broker = Broker::start(crate::BINARY, &config);
    let port = broker.port("mqtts");
    let mut known = RawClient::over(authority.dial(port, Some(&clients)).unwrap());
    known.connect("known");
    // The certificate's only DNS name.
    assert_eq!(known.subscribe("agents/localhost/#", QoS::AtMostOnce), ReasonCode::Success);
    assert_eq!(known.subscribe("agents/other/#", QoS::AtMostOnce), ReasonCode::NotAuthorized);
    let mut without = RawClient::over(authority.dial(port, None).unwrap());
    let version = ProtocolVersion::V5;
    let connect = Connect { client_id: "known", version, clean_start: true, ..Connect::default() };
    assert_eq!(without.connect_with(connect).reason(), ReasonCode::NotAuthorized);
    known.ping();
}
