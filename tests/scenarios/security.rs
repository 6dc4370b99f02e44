//! Threats of the evidence table (docs/security-evidence.md) that no other scenario is about, and
//! the table itself: every test that it names is there.

use std::path::Path;

use agentmq_testkit::Broker;
use agentmq_testkit::codec::{
    Auth, Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, Publish, QoS,
    ReasonCode,
};

use crate::evidence;
use crate::hook_service::{Answer, Service};
use crate::program::{printed, printed_with_input, run};

/// S02: whoever has no right to a session does not disturb it, however often he tries.
#[test]
fn a_thousand_attempts_do_not_disturb_who_is_connected() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users.toml"), "").unwrap();
    add_user(folder.path(), "scout", "right");
    let config = format!("{}[access]\nusers = \"users.toml\"\n", crate::TCP);
    let broker = Broker::start_in(crate::BINARY, &config, folder);
    let login = |password: &str| {
        let mut client = broker.dial();
        let connect = connect("scout", Some(("scout", password.as_bytes())));
        (client.connect_with(connect).reason(), client)
    };
    let (reason, mut scout) = login("right");
    assert_eq!(reason, ReasonCode::Success);
    let mut reasons = Vec::new();
    for attempt in 0..1_000 {
        reasons.push(login("wrong").0);
        if attempt % 100 == 0 {
            scout.ping();
        }
    }
    scout.ping();
    assert_eq!(reasons[..5], [ReasonCode::BadUserNameOrPassword; 5]);
    assert_eq!(reasons[5..], [ReasonCode::QuotaExceeded; 995], "and costs no more hashes");
}

/// S03: whatever a client is called, it is one level of a topic, or none.
#[test]
fn no_client_identifier_opens_another_s_topics() {
    let folder = tempfile::tempdir().unwrap();
    let own =
        "[[rules]]\neffect = \"allow\"\ntopics = [\"agents/{client_id}/#\", \"{client_id}/#\"]\n";
    std::fs::write(folder.path().join("policy.toml"), own).unwrap();
    let config = format!("{}[access]\npolicy = \"policy.toml\"\n", crate::TCP);
    let broker = Broker::start_in(crate::BINARY, &config, folder);
    for client_id in [
        "+",
        "#",
        "a/b",
        "victim/",
        "/victim",
        ".*",
        "a|b",
        "%c",
        "${x}",
        "{user}",
        "\u{feff}victim",
        "VICTIM",
        "vi\u{0441}tim",
        "$SYS",
        "$share",
    ] {
        let mut client = broker.dial();
        let connack = client.connect_with(connect(client_id, None));
        if connack.reason().is_error() {
            continue;
        }
        for filter in
            ["agents/victim/inbox", "agents/+/inbox", "agents/#", "#", "victim/#", "$SYS/#", "+/#"]
        {
            let granted = client.subscribe(filter, QoS::AtMostOnce);
            assert_eq!(granted, ReasonCode::NotAuthorized, "{client_id:?} got {filter}");
        }
        let refused = client.publish("agents/victim/inbox", b"x", QoS::AtLeastOnce);
        assert_eq!(refused, ReasonCode::NotAuthorized, "{client_id:?}");
    }
}

/// S14: what cannot be read turns nothing off: the broker does not start.
#[test]
fn access_that_cannot_be_read_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("half.json", "{\"keys\": [{\"kty\":");
    write("empty.json", "");
    write("bad.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
    write("half.toml", "[scout]\npassword = \"$argon2id$");
    for setting in [
        "tokens.keys = [\"none.json\"]",
        "tokens.keys = [\"half.json\"]",
        "tokens.keys = [\"empty.json\"]",
        "tokens.keys = [\"bad.pem\"]",
        "users = \"none.toml\"",
        "users = \"half.toml\"",
        "revocations = \"half.toml\"",
        "policy = \"none.toml\"",
        "hook = { url = \"https://127.0.0.1:1/\", secret = \"none.txt\" }",
        "hook = { url = \"https://127.0.0.1:1/\", ca = \"none.pem\" }",
    ] {
        write("agentmq.toml", &format!("{}[access]\n{setting}\n", crate::TCP));
        let output = run(folder.path(), &["serve"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{setting}: {error}");
        assert!(
            error.contains("none.") || error.contains(":1:") || error.contains(":2:"),
            "{error}"
        );
    }
}

/// S38: at the most talkative level of the log, too.
#[test]
fn no_secret_is_written_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users.toml"), "").unwrap();
    add_user(folder.path(), "scout", "canary-right");
    printed(folder.path(), &["keys", "create", "keys.json"]);
    std::fs::write(folder.path().join("bearer"), "canary-bearer").unwrap();
    let service = Service::start(serde_json::json!({"result": "deny"}));
    let config = format!(
        "{}[access]\nusers = \"users.toml\"\ntokens.keys = [\"keys.json\"]\n\
         hook.url = \"{}\"\nhook.secret = \"bearer\"\n[log]\nlevel = \"trace\"\n",
        crate::TCP,
        service.url(),
    );
    let broker = Broker::start_in(crate::BINARY, &config, folder);
    let token = printed(broker.folder(), &["token", "create", "--agent", "canary"]);
    for (name, password) in [
        ("scout", "canary-right"),
        ("scout", "canary-wrong"),
        ("scout", &*token),
        ("scout", &format!("{token}x")),
        ("asked", "canary-asked"),
        ("asked", "canary-answer"),
    ] {
        if password == "canary-answer" {
            service.answers(Answer::Raw("HTTP/1.1 200 canary-\r\n\r\ncanary-{".into()));
        }
        let mut client = broker.dial();
        client.connect_with(connect("c", Some((name, password.as_bytes()))));
        let secret = PropertiesBuf::new()
            .with(Property::Pair("a2a-authorization", "Bearer canary-property"));
        let publish = Publish { topic: "t", payload: b"canary-payload", ..Publish::default() };
        let _ = client.try_send_bytes(&{
            let mut bytes = Vec::new();
            let packet = Packet::Publish(Publish { properties: secret.view(), ..publish });
            packet.encode(ProtocolVersion::V5, &mut bytes);
            bytes
        });
        let data = PropertiesBuf::new()
            .with(Property::Text(PropertyId::AuthenticationMethod, "JWT"))
            .with(Property::Binary(PropertyId::AuthenticationData, b"canary-data"));
        let auth =
            Packet::Auth(Auth { reason: ReasonCode::ReAuthenticate, properties: data.view() });
        let mut bytes = Vec::new();
        auth.encode(ProtocolVersion::V5, &mut bytes);
        let _ = client.try_send_bytes(&bytes);
        while client.receive_or_end().is_some() {}
    }
    assert_eq!(service.asked().len(), 2);
    let log = broker.wait_for_log("the hook does not say who a client is", 0);
    assert!(!log.contains("canary-") && !log.contains(&token), "{log}");
}

/// The table in docs/security-evidence.md: a row that names a test names one that there is.
#[test]
fn the_evidence_is_there() {
    let rows = evidence::rows("docs/security-evidence.md", &["S", "A"]);
    let ids: Vec<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
    let left_out = ["S33", "S34", "S35", "S36", "S37", "S41", "S43"];
    let all = (1..=46).map(|number| format!("S{number:02}"));
    let mut expected: Vec<String> = all.filter(|id| !left_out.contains(&id.as_str())).collect();
    expected.extend(["A10", "A12", "A15", "A16"].map(str::to_owned));
    assert_eq!(ids, expected, "one row for each");
    let named: usize = rows.iter().map(|(_, row)| evidence::named_tests(row)).sum();
    assert!(named > 60, "{named} tests");
}

fn connect<'a>(client_id: &'a str, login: Option<(&'a str, &'a [u8])>) -> Connect<'a> {
    let (version, clean_start) = (ProtocolVersion::V5, true);
    let (username, password) = (login.map(|it| it.0), login.map(|it| it.1));
    Connect { client_id, version, clean_start, username, password, ..Connect::default() }
}

fn add_user(folder: &Path, name: &str, password: &str) {
    printed_with_input(folder, &["user", "add", name, "--users", "users.toml"], password);
}
