//! Agents that get their tokens over HTTP, as those of MQTT.Agent do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use agentmq_testkit::Broker;
use agentmq_testkit::codec::{Connect, ProtocolVersion, QoS, ReasonCode};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::program::printed;

const SETTINGS: &str = r#"
[access]
policy = "policy.toml"
users = "users.toml"
revocations = "revocations.toml"
tokens.keys = ["keys.json"]
service.organizations = "organizations.toml"

[admin]
url = "http://127.0.0.1:0"
"#;
const POLICY: &str = "[[rules]]\neffect = \"allow\"\ntopics = [\"{org_id}/{agent_id}/#\"]\n";
const USERS: &str = "[\"scout@acme.test\"]\nagent_id = \"scout\"\norg_id = \"acme\"\n";

/// A broker, and the secret key of the organisation `acme`.
fn broker() -> (Broker, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
    std::fs::write(folder.path().join("users.toml"), USERS).unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let add = ["org", "add", "acme", "--organizations", "organizations.toml"];
    let secret = printed(folder.path(), &add);
    (Broker::start_in(crate::BINARY, &format!("{}{SETTINGS}", crate::TCP), folder), secret)
}

/// Status and body of an answer; `head` is what stands between the request line and the body.
fn http(broker: &Broker, method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(broker.admin()).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{head}Connection: close\r\nContent-Length: {length}\r\n\r\n\
         {body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (status.expect("a status"), body.to_owned())
}

fn post(broker: &Broker, path: &str, body: &Value) -> (u16, Value) {
    let (status, body) = http(broker, "POST", path, "Host: localhost\r\n", &body.to_string());
    (status, serde_json::from_str(&body).unwrap())
}

fn create(broker: &Broker, secret: &str) -> Value {
    let body = json!({
        "organization_id": "acme", "secret_key": secret, "user_email": "scout@acme.test",
        "replace_existing": true,
    });
    let (status, answer) = post(broker, "/v2/tokens/create", &body);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn refresh(broker: &Broker, answer: &Value) -> (u16, Value) {
    let body = json!({
        "token_id": answer["token_id"], "current_token_password": answer["access_token"],
    });
    post(broker, "/v2/tokens/refresh", &body)
}

fn reload(broker: &Broker) {
    let seen = broker.log().len();
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", seen);
}

fn login(broker: &Broker, answer: &Value) -> (agentmq_testkit::RawClient, ReasonCode) {
    let credentials = &answer["mqtt_credentials"];
    let text = |name: &str| credentials[name].as_str().unwrap();
    let mut client = broker.dial();
    let connack = client.connect_with(Connect {
        client_id: "c",
        version: ProtocolVersion::V5,
        clean_start: true,
        username: Some(text("username")),
        password: Some(text("password").as_bytes()),
        ..Connect::default()
    });
    let reason = connack.reason();
    (client, reason)
}

#[test]
fn an_agent_gets_a_token_and_logs_in_with_it() {
    let (broker, secret) = broker();
    let answer = create(&broker, &secret);
    for member in [
        "access_token",
        "token_id",
        "expires_at",
        "refresh_recommended_at",
        "provider",
        "user_email",
    ] {
        assert!(answer[member].is_string(), "{member}: {answer}");
    }
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(3600)));
    let (mut client, reason) = login(&broker, &answer);
    assert_eq!(reason, ReasonCode::Success);
    assert_eq!(client.subscribe("acme/scout/#", QoS::AtMostOnce), ReasonCode::Success);
    assert_eq!(client.subscribe("acme/+/#", QoS::AtMostOnce), ReasonCode::NotAuthorized);
    // Both tokens are good after a refresh, and after a restart too.
    let (status, second) = refresh(&broker, &answer);
    assert_eq!(status, 200, "{second}");
    assert_eq!(second["token_id"], answer["token_id"]);
    let chains = broker.folder().join("agentmq-data/token-chains.jsonl");
    assert!(
        std::fs::read_to_string(chains).unwrap().contains(answer["token_id"].as_str().unwrap())
    );
    let broker = broker.restart();
    for answer in [&answer, &second] {
        assert_eq!(login(&broker, answer).1, ReasonCode::Success);
    }
}

#[test]
fn who_is_revoked_gets_no_token_for_the_one_that_he_has() {
    let (broker, secret) = broker();
    let first = create(&broker, &secret);
    printed(broker.folder(), &["revoke", "--agent", "scout"]);
    // Refreshed in a later second, before the broker has read of it.
    let refreshed = || {
        let (status, answer) = refresh(&broker, &first);
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let mut second = refreshed();
    let then = second["expires_at"].clone();
    while second["expires_at"] == then {
        std::thread::park_timeout(Duration::from_millis(200));
        second = refreshed();
    }
    assert_eq!(login(&broker, &second).1, ReasonCode::Success);
    reload(&broker);
    for answer in [&first, &second] {
        let (status, refused) = refresh(&broker, answer);
        assert_eq!((status, &refused["error"]), (401, &json!("access_revoked")));
        assert_eq!(login(&broker, answer).1, ReasonCode::NotAuthorized);
    }
    assert_eq!(login(&broker, &create(&broker, &secret)).1, ReasonCode::Success);
}

#[test]
fn a_user_of_no_organisation_is_nobody_s() {
    let (broker, secret) = broker();
    let users = format!("{USERS}[root]\nagent_id = \"root\"\nroles = [\"admin\"]\n");
    std::fs::write(broker.folder().join("users.toml"), users).unwrap();
    reload(&broker);
    let body = json!({
        "organization_id": "acme", "secret_key": secret, "user_email": "root",
    });
    let (status, answer) = post(&broker, "/v2/tokens/create", &body);
    assert_eq!((status, &answer["error"]), (403, &json!("wrong_organization")));
}

#[test]
fn who_asks_wrongly_is_told_why_in_the_clients_words() {
    let (broker, secret) = broker();
    let asked = |organization: &str, secret: &str| {
        let body = json!({
            "organization_id": organization, "secret_key": secret, "user_email": "a@b",
        });
        let (status, answer) = post(&broker, "/v2/tokens/create", &body);
        assert!(answer["error_description"].is_string(), "{answer}");
        (status, answer["error"].as_str().unwrap().to_owned())
    };
    assert_eq!(asked("acme", "sk_wrong"), (401, "invalid_secret".into()));
    assert_eq!(asked("other", &secret), (404, "organization_not_found".into()));
    let (status, answer) = post(&broker, "/v2/tokens/create", &json!({}));
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")));
    let exchange = json!({ "organization_id": "acme", "token": "eyJhbGciOiJub25lIn0.e30." });
    let (status, answer) = post(&broker, "/v2/tokens/exchange", &exchange);
    assert_eq!((status, &answer["error"]), (404, &json!("provider_not_found")));
    let refresh = json!({ "token_id": "x", "current_token_password": "y" });
    let (status, answer) = post(&broker, "/v2/tokens/refresh", &refresh);
    assert_eq!((status, &answer["error"]), (401, &json!("invalid_token")));
    let log = broker.log();
    assert!(!log.contains(&secret), "{log}");
}

#[test]
fn the_http_side_answers_its_own_names_only() {
    let (broker, _) = broker();
    let get = |path: &str, head: &str| http(&broker, "GET", path, head, "");
    assert_eq!(get("/healthz", "Host: localhost\r\n").0, 200);
    assert_eq!(get("/healthz", "Host: evil.test\r\n").0, 421);
    assert_eq!(get("/healthz", "").0, 421);
    let foreign = "Host: localhost\r\nOrigin: http://evil.test\r\n";
    assert_eq!(get("/healthz", foreign).0, 403);
    let (status, keys) = get("/.well-known/jwks.json", "Host: localhost\r\n");
    assert_eq!(status, 200);
    assert!(keys.contains("Ed25519") && !keys.contains("\"d\""), "{keys}");
    let local = "Host: localhost\r\n";
    let (status, providers) = get("/v2/providers?organization_id=acme", local);
    assert_eq!((status, providers.as_str()), (200, "{\"providers\":[]}"));
    assert_eq!(get("/", local).0, 404);
    let long = "x".repeat(100_000);
    for (method, path, body, status) in [
        ("POST", "/v2/tokens/create", long.as_str(), 413),
        ("POST", "/v2/tokens/create", "[\"acme\", \"x\", \"y\"]", 400),
        ("GET", "/v2/tokens/create", "", 405),
        ("GET", "/v2/providers", "", 400),
    ] {
        let (got, answer) = http(&broker, method, path, local, body);
        assert_eq!(got, status, "{method} {path}");
        assert!(answer.starts_with("{\"error\":\""), "{method} {path}: {answer}");
    }
}

/// Some clients ask again at once, for ever.
#[test]
fn a_flood_of_requests_is_held_up() {
    let (broker, _) = broker();
    let refresh = json!({ "token_id": "x", "current_token_password": "y" });
    let statuses: Vec<u16> =
        (0..60).map(|_| post(&broker, "/v2/tokens/refresh", &refresh).0).collect();
    assert_eq!(statuses[0], 401);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(http(&broker, "GET", "/healthz", "Host: localhost\r\n", "").0, 200);
}

#[test]
fn organisations_come_and_go_with_a_reload() {
    let (broker, secret) = broker();
    let file = ["--organizations", "organizations.toml"];
    let new = printed(broker.folder(), &[&["org", "secret", "acme"], &file[..]].concat());
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", 0);
    create(&broker, &new);
    let old = json!({ "organization_id": "acme", "secret_key": secret, "user_email": "a@b" });
    assert_eq!(post(&broker, "/v2/tokens/create", &old).0, 401);
    let listed = printed(broker.folder(), &[&["org", "ls"], &file[..]].concat());
    assert_eq!(listed, "acme  has a secret key, 0 identity providers");
}
