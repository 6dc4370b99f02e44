//! Agents with tokens: whose topics they get, when they have to go, and what no token opens.

use std::time::Instant;

use agentmq_testkit::codec::{
    Auth, Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, QoS, ReasonCode,
    Will,
};
use agentmq_testkit::{Broker, PATIENCE, RawClient, Received};
use rustix::process::Signal;

use crate::program::{printed, run};

const SETTINGS: &str = "[access]\npolicy = \"policy.toml\"\ntokens.keys = [\"keys.json\"]\n";
const POLICY: &str = r#"
[[rules]]
name = "own"
effect = "allow"
topics = ["{org_id}/agents/{agent_id}/#"]

[[rules]]
name = "tools"
effect = "allow"
actions = ["subscribe"]
topics = ["{org_id}/tools/{tool_id}/call"]

[[rules]]
name = "audit"
effect = "allow"
roles = ["auditor"]
topics = ["audit/#"]
"#;

fn config() -> String {
    format!("{}{SETTINGS}", crate::TCP)
}

/// A broker that knows one key.
fn broker() -> Broker {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), POLICY).unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    Broker::start_in(crate::BINARY, &config(), folder)
}

fn token(broker: &Broker, arguments: &[&str]) -> String {
    printed(broker.folder(), &[&["token", "create"], arguments].concat())
}

fn connect<'a>(client_id: &'a str, token: &'a str) -> Connect<'a> {
    let (version, password) = (ProtocolVersion::V5, Some(token.as_bytes()));
    Connect { client_id, version, password, clean_start: true, ..Connect::default() }
}

/// A client that is let in.
fn client(broker: &Broker, client_id: &str, token: &str) -> RawClient {
    let mut client = broker.dial();
    let connack = client.connect_with(connect(client_id, token));
    assert_eq!(connack.reason(), ReasonCode::Success, "{}", reason_string(&connack));
    client
}

fn reason_string(packet: &Received) -> String {
    let properties = match packet.packet() {
        Packet::ConnAck(packet) => packet.properties,
        Packet::Disconnect(packet) => packet.properties,
        other => panic!("{other:?}"),
    };
    properties.text(PropertyId::ReasonString).unwrap_or_default().to_owned()
}

#[test]
fn an_agent_gets_the_topics_of_its_claims_and_no_others() {
    let broker = broker();
    let scout = token(&broker, &["--agent", "scout", "--org", "acme", "--tool", "echo"]);
    let mut scout = client(&broker, "any client id", &scout);
    for (filter, expected) in [
        ("acme/agents/scout/#", ReasonCode::Success),
        ("acme/tools/echo/call", ReasonCode::Success),
        ("$share/g/acme/tools/echo/call", ReasonCode::Success),
        ("acme/tools/other/call", ReasonCode::NotAuthorized),
        ("acme/agents/+/inbox", ReasonCode::NotAuthorized),
        ("other/agents/scout/inbox", ReasonCode::NotAuthorized),
        ("audit/#", ReasonCode::NotAuthorized),
        ("#", ReasonCode::NotAuthorized),
    ] {
        assert_eq!(scout.subscribe(filter, QoS::AtMostOnce), expected, "{filter}");
    }
    let refused = scout.publish("acme/agents/ranger/inbox", b"x", QoS::AtLeastOnce);
    assert_eq!(refused, ReasonCode::NotAuthorized);
    let auditor = token(&broker, &["--subject", "eve", "--role", "auditor"]);
    let mut auditor = client(&broker, "auditor", &auditor);
    assert_eq!(auditor.subscribe("audit/#", QoS::AtMostOnce), ReasonCode::Success);
    // In MQTT 3.1.1 too, whose password needs a user name beside it.
    let ranger = token(&broker, &["--agent", "ranger", "--org", "acme"]);
    let mut old = broker.dial();
    old.speak(ProtocolVersion::V311);
    let version = ProtocolVersion::V311;
    let connack = old.connect_with(Connect {
        version,
        username: Some("whatever"),
        ..connect("ranger", &ranger)
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    assert_eq!(old.subscribe("acme/agents/ranger/inbox", QoS::AtMostOnce), ReasonCode::Success);
}

#[test]
fn a_client_identifier_is_whose_the_policy_says() {
    let folder = tempfile::tempdir().unwrap();
    let whose = "client_ids = [\"{agent_id}\", \"{agent_id}:*\"]";
    std::fs::write(folder.path().join("policy.toml"), format!("{whose}\n{POLICY}")).unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let broker = Broker::start_in(crate::BINARY, &config(), folder);
    let scout = token(&broker, &["--agent", "scout"]);
    for (client_id, expected) in [
        ("ranger", ReasonCode::ClientIdentifierNotValid),
        ("scout2", ReasonCode::ClientIdentifierNotValid),
        ("scout", ReasonCode::Success),
        ("scout:2", ReasonCode::Success),
        ("", ReasonCode::Success),
    ] {
        let connack = broker.dial().connect_with(connect(client_id, &scout));
        assert_eq!(connack.reason(), expected, "{client_id}: {}", reason_string(&connack));
    }
    // Nobody came first to it.
    client(&broker, "ranger", &token(&broker, &["--agent", "ranger"]));
}

#[test]
fn who_has_no_good_token_stays_outside() {
    let broker = broker();
    let other = tempfile::tempdir().unwrap();
    printed(other.path(), &["keys", "create", "keys.json"]);
    let create = ["token", "create", "--agent", "scout", "--keys", "keys.json"];
    let foreign = printed(other.path(), &create);
    for (password, reason, why) in [
        (Some(foreign.as_str()), ReasonCode::BadUserNameOrPassword, "a key or algorithm that"),
        (Some("secret"), ReasonCode::BadUserNameOrPassword, "the user name or password is wrong"),
        (None, ReasonCode::NotAuthorized, "this server asks for credentials"),
    ] {
        let mut client = broker.dial();
        let password = password.map(str::as_bytes);
        let connack = client.connect_with(Connect { password, ..connect("scout", "") });
        assert_eq!(connack.reason(), reason);
        assert!(reason_string(&connack).contains(why), "{}", reason_string(&connack));
    }
    let log = broker.log();
    assert!(!log.contains(&foreign), "no token stands in the log");
    let inspected =
        run(broker.folder(), &["token", "inspect", &foreign, "--config", "agentmq.toml"]);
    assert_eq!(inspected.status.code(), Some(4));
}

/// [S01], [S02] of the threat table: a token of one's own does not open another's session.
#[test]
fn a_client_identifier_of_somebody_else_is_refused() {
    let broker = broker();
    let (scout, ranger) =
        (token(&broker, &["--agent", "scout"]), token(&broker, &["--agent", "ranger"]));
    let mut scout = client(&broker, "scout", &scout);
    for _ in 0..3 {
        let refused = broker.dial().connect_with(connect("scout", &ranger));
        assert_eq!(refused.reason(), ReasonCode::NotAuthorized);
        assert!(reason_string(&refused).contains("a session of somebody else"));
        scout.ping();
    }
}

#[test]
fn a_token_that_expires_ends_the_connection_and_a_new_one_by_auth_keeps_it() {
    let broker = broker();
    let short = token(&broker, &["--agent", "scout", "--ttl", "2s"]);
    let mut leaving = client(&broker, "leaving", &short);
    let mut staying = broker.dial();
    let method = |token: &str| {
        PropertiesBuf::new()
            .with(Property::Text(PropertyId::AuthenticationMethod, "JWT"))
            .with(Property::Binary(PropertyId::AuthenticationData, token.as_bytes()))
    };
    let properties = method(&short);
    let connack = staying.connect_with(Connect {
        properties: properties.view(),
        password: None,
        ..connect("staying", "")
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    let long = method(&token(&broker, &["--agent", "scout", "--ttl", "1h"]));
    let reason = ReasonCode::ReAuthenticate;
    staying.send(&Packet::Auth(Auth { reason, properties: long.view() }));
    let answer = staying.wait_for(|packet| matches!(packet, Packet::Auth(_)));
    assert!(matches!(answer.packet(), Packet::Auth(auth) if auth.reason == ReasonCode::Success));
    let end = leaving.wait_for(|packet| matches!(packet, Packet::Disconnect(_)));
    assert!(reason_string(&end).starts_with("the token has expired"), "{}", reason_string(&end));
    staying.ping();
    // A bad one ends it, with a reason that DISCONNECT may have.
    let bad = method("junk");
    staying.send(&Packet::Auth(Auth { reason, properties: bad.view() }));
    let end = staying.wait_for(|packet| matches!(packet, Packet::Disconnect(_)));
    assert_eq!(end.reason(), ReasonCode::NotAuthorized);
    let refused = broker.dial().connect_with(connect("late", &short));
    assert_eq!(refused.reason(), ReasonCode::NotAuthorized);
    assert_eq!(reason_string(&refused), "the token has expired: get a new one");
}

/// What a token grants is remembered with the session: a will is judged by it after a crash.
#[test]
fn claims_survive_the_broker() {
    let broker = broker();
    let watcher_token = token(&broker, &["--agent", "scout", "--org", "acme"]);
    let lasting = PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 3600));
    let delayed = PropertiesBuf::new().with(Property::U32(PropertyId::WillDelayInterval, 1));
    let mut agent = broker.dial();
    let will = Will {
        topic: "acme/agents/scout/status",
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: delayed.view(),
    };
    let connack = agent.connect_with(Connect {
        properties: lasting.view(),
        will: Some(will),
        ..connect("agent", &watcher_token)
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    let watch = |broker: &Broker| {
        let mut watcher = broker.dial();
        let connect = connect("watcher", &watcher_token);
        let resumed = Connect { clean_start: false, properties: lasting.view(), ..connect };
        assert_eq!(watcher.connect_with(resumed).reason(), ReasonCode::Success);
        watcher
    };
    watch(&broker).subscribe("acme/agents/scout/status", QoS::AtLeastOnce);
    agent.ping();
    let broker = broker.restart();
    let mut watcher = watch(&broker);
    assert_eq!(watcher.receive_publish().publish().payload, b"gone");
    let other = token(&broker, &["--agent", "other"]);
    let refused = broker.dial().connect_with(connect("agent", &other));
    assert_eq!(refused.reason(), ReasonCode::NotAuthorized, "it is still scout's");
}

#[test]
fn keys_are_rotated_without_a_gap() {
    let broker = broker();
    let old = token(&broker, &["--agent", "scout"]);
    let config_file = broker.config_file();
    let config_file = config_file.to_str().unwrap();
    printed(broker.folder(), &["keys", "rotate", "--config", config_file]);
    let new = token(&broker, &["--agent", "scout"]);
    let refused = broker.dial().connect_with(connect("early", &new));
    assert_eq!(refused.reason(), ReasonCode::BadUserNameOrPassword, "not read yet");
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", 0);
    let _both = [client(&broker, "old", &old), client(&broker, "new", &new)];
    let listed = printed(broker.folder(), &["keys", "ls", "--keys", "keys.json"]);
    assert_eq!(listed.lines().count(), 2);
    assert!(listed.lines().next().unwrap().contains("signs"), "{listed}");
    let public = printed(broker.folder(), &["keys", "public", "--keys", "keys.json"]);
    assert!(!public.contains("\"d\""), "{public}");
    let seen = broker.log().len();
    std::fs::write(broker.folder().join("keys.json"), "{\"keys\": []}").unwrap();
    broker.signal(Signal::HUP);
    let log = broker.wait_for_log("reload refused", seen);
    assert!(log[seen..].contains("keys.json:1:1: it has no key"), "{}", &log[seen..]);
    client(&broker, "as before", &new).ping();
}

/// [S08]: who is here loses what the rules do not give any more.
#[test]
fn a_new_policy_takes_rights_away_from_who_is_connected() {
    let broker = broker();
    let scout = token(&broker, &["--agent", "scout", "--org", "acme"]);
    let mut scout = client(&broker, "scout", &scout);
    let inbox = "acme/agents/scout/inbox";
    assert_eq!(scout.subscribe(inbox, QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
    assert_eq!(scout.publish(inbox, b"1", QoS::AtLeastOnce), ReasonCode::Success);
    assert_eq!(scout.receive_publish().publish().payload, b"1");
    let without = POLICY.replace("agents/{agent_id}/#", "agents/{agent_id}/outbox");
    std::fs::write(broker.folder().join("policy.toml"), without).unwrap();
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", 0);
    // The shard reads the command in its own time; whatever was allowed until then has come.
    let give_up = Instant::now() + PATIENCE;
    while scout.publish(inbox, b"2", QoS::AtLeastOnce) == ReasonCode::Success {
        assert!(Instant::now() < give_up, "it may publish for ever");
    }
    assert_eq!(scout.subscribe(inbox, QoS::AtLeastOnce), ReasonCode::NotAuthorized);
}

#[test]
fn rights_can_be_asked_about_by_claims_or_token() {
    let broker = broker();
    let scout = token(&broker, &["--agent", "scout", "--org", "acme"]);
    let ask = |arguments: &[&str]| {
        let all = [&["acl", "test"], arguments, &["publish", "acme/agents/scout/x"]].concat();
        run(broker.folder(), &all).status.code()
    };
    assert_eq!(ask(&["--agent", "scout", "--org", "acme"]), Some(0));
    assert_eq!(ask(&["--agent", "ranger", "--org", "acme"]), Some(4));
    assert_eq!(ask(&["--as", "scout"]), Some(4), "a name is no claim");
    assert_eq!(ask(&["--token", &scout]), Some(0));
    assert_eq!(ask(&["--token", "eyJ.a.b"]), Some(4));
    let inspected = printed(broker.folder(), &["token", "inspect", &scout]);
    assert!(inspected.contains("\"org_id\":\"acme\""), "{inspected}");
}
