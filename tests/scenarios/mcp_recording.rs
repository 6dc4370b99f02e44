//! What EMQX's SDK for Python sent over our broker once, byte for byte, and what it must get for
//! it. The SDK is in no package registry, so what it did live is in `tests/recordings`.

use std::collections::HashMap;

use agentmq_testkit::codec::{
    Packet, PropertyId, PropertyLimits, ProtocolVersion, ReasonCode, frame,
};
use agentmq_testkit::{RawClient, Signal};
use serde_json::Value;

use crate::mcp_program::{Lines, fixture, url};

const RECORDING: &str = include_str!("../recordings/emqx_mcp_python_sdk.txt");

/// A line of the recording and what stands below it.
#[derive(Debug)]
struct Entry {
    /// `server` or `client`.
    who: &'static str,
    /// It was sent by the program, not to it.
    sent: bool,
    what: &'static str,
    /// Empty where the connection ends.
    bytes: Vec<u8>,
}

impl Entry {
    fn packet(&self) -> Packet<'_> {
        let frame = frame::cut(&self.bytes, usize::MAX).unwrap().expect("a whole packet");
        assert_eq!(frame.total, self.bytes.len(), "{}", self.what);
        let body = &self.bytes[frame.body_at..];
        let version = ProtocolVersion::V5;
        Packet::decode(frame.first, body, version, &PropertyLimits::UNLIMITED).unwrap()
    }
}

fn recording() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in RECORDING.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(dump) = line.strip_prefix("  ") {
            let (hex, _text) = dump.split_once('|').expect("bytes and their text");
            let bytes = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap());
            entries.last_mut().expect("a packet has a line of its own").bytes.extend(bytes);
        } else {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().expect("who, a direction, and what it is");
            let (who, direction, what) = (word(), word(), word());
            entries.push(Entry { who, sent: direction == ">", what, bytes: Vec::new() });
        }
    }
    entries
}

/// Both sides of the recording, and the broker between them.
#[test]
fn both_programs_get_what_they_got() {
    let broker = crate::broker("");
    let mut clients: HashMap<&str, RawClient> = HashMap::new();
    let (mut sent, mut received) = (0, 0);
    for entry in recording() {
        let client = clients.entry(entry.who).or_insert_with(|| broker.dial());
        if entry.bytes.is_empty() {
            let mut gone = clients.remove(entry.who).expect("it was there");
            // The server is killed; of the client, which said DISCONNECT, nothing is left over.
            if entry.who == "client" {
                assert!(gone.receive_or_end().is_none(), "nothing comes after DISCONNECT");
            }
        } else if entry.sent {
            client.send_bytes(&entry.bytes);
            sent += 1;
        } else {
            let got = client.receive();
            match (got.packet(), entry.packet()) {
                // A broker may tell more of itself; this is what the SDK insists on.
                (Packet::ConnAck(got), Packet::ConnAck(_)) => {
                    assert_eq!((got.session_present, got.reason), (false, ReasonCode::Success));
                    for flag in
                        [PropertyId::RetainAvailable, PropertyId::WildcardSubscriptionAvailable]
                    {
                        assert_eq!(got.properties.byte(flag), Some(1), "{flag:?}");
                    }
                }
                (got, wanted) => {
                    assert_eq!(got, wanted, "{}, entry {}", entry.what, sent + received)
                }
            }
            received += 1;
        }
    }
    assert!(clients.is_empty(), "both have gone: {clients:?}");
    assert!(sent > 20 && received > 20, "{sent} sent, {received} received");
}

/// The client's side alone, with a program behind `agentmq mcp expose` where its server was.
#[test]
fn its_client_is_answered_by_a_server_that_we_expose() {
    let broker = crate::broker("");
    let url = url(&broker);
    let program = fixture();
    let mut arguments = vec!["mcp", "expose", "--json", "--url", &url];
    arguments.extend(["--id", "recorded-server", "--name", "demo/calculator", "--"]);
    arguments.extend(program.iter().map(String::as_str));
    let mut exposed = Lines::start(&arguments);
    exposed.wait_for("online", |line| line["event"] == "online");
    let mut client = broker.dial();
    let mut answers = 0;
    for entry in recording() {
        if entry.who == "server" {
            if entry.what == "end" {
                exposed.signal(Signal::KILL);
            }
        } else if entry.bytes.is_empty() {
            assert!(client.receive_or_end().is_none(), "nothing comes after DISCONNECT");
        } else if entry.sent {
            client.send_bytes(&entry.bytes);
        } else {
            let got = client.receive();
            match (got.packet(), entry.packet()) {
                (Packet::Publish(got), Packet::Publish(wanted)) => {
                    assert_eq!((got.topic, got.retain), (wanted.topic, wanted.retain));
                    let [got, wanted] = [got.payload, wanted.payload].map(message);
                    assert_eq!(got["id"], wanted["id"], "{got}");
                    assert_eq!(got["method"], wanted["method"], "{got}");
                    answers += usize::from(got["id"].is_i64());
                }
                (Packet::SubAck(got), Packet::SubAck(wanted)) => assert_eq!(got, wanted),
                (got, wanted) => assert_eq!(
                    std::mem::discriminant(&got),
                    std::mem::discriminant(&wanted),
                    "{}: {got:?}",
                    entry.what
                ),
            }
        }
    }
    assert_eq!(answers, 11, "initialize, nine requests and a ping");
}

/// What a publication says; nothing if it is empty.
fn message(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).unwrap_or_default()
}
