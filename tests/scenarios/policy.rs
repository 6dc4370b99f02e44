//! Rules of access from a file: what they deny is refused with the reason, a wrong file changes
//! nothing, and `agentmq acl test` tells what they come to.

use std::process::{Command, Output};

use agentmq_testkit::codec::{
    Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, QoS, ReasonCode, Will,
};
use agentmq_testkit::{Broker, RawClient};

use crate::program::printed;

const POLICY: &str = "policy.toml";
const SETTINGS: &str = "access.policy = \"policy.toml\"\n";
const OWN_TOPICS: &str = "[[rules]]\nname = \"own topics\"\neffect = \"allow\"\n\
                          topics = [\"agents/{client_id}/#\"]\n\
                          [[rules]]\nname = \"news\"\neffect = \"allow\"\n\
                          actions = [\"subscribe\"]\ntopics = [\"news/+\"]\n";

/// A broker with these rules.
fn broker(rules: &str) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(POLICY), rules).unwrap();
    Broker::start_in(crate::BINARY, &format!("{SETTINGS}{}", crate::TCP), folder)
}

#[test]
fn an_agent_has_its_own_topics_and_no_others() {
    let broker = broker(OWN_TOPICS);
    let (mut one, mut two) = (broker.client("one"), broker.client("two"));
    for (filter, expected) in [
        ("agents/one/#", ReasonCode::Success),
        ("news/+", ReasonCode::Success),
        ("agents/two/#", ReasonCode::NotAuthorized),
        ("agents/+/inbox", ReasonCode::NotAuthorized),
        ("#", ReasonCode::NotAuthorized),
        ("$share/g/agents/two/inbox", ReasonCode::NotAuthorized),
        ("$SYS/#", ReasonCode::NotAuthorized),
    ] {
        assert_eq!(one.subscribe(filter, QoS::AtMostOnce), expected, "{filter}");
    }
    // One that the broker has chosen counts too.
    let mut any = broker.dial();
    let connack = any.connect_with(Connect {
        version: ProtocolVersion::V5,
        clean_start: true,
        ..Connect::default()
    });
    let Packet::ConnAck(packet) = connack.packet() else { panic!("{connack:?}") };
    let chosen = packet.properties.text(PropertyId::AssignedClientIdentifier).unwrap();
    let own = any.subscribe(&format!("agents/{chosen}/#"), QoS::AtMostOnce);
    assert_eq!(own, ReasonCode::Success);
    assert_eq!(any.subscribe("agents/one/#", QoS::AtMostOnce), ReasonCode::NotAuthorized);
    assert_eq!(two.publish("agents/one/inbox", b"x", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
    assert_eq!(two.publish("news/today", b"x", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
    assert_eq!(one.publish("agents/one/inbox", b"mine", QoS::AtLeastOnce), ReasonCode::Success);
    assert_eq!(one.receive_publish().publish().payload, b"mine", "and nothing before it");
}

#[test]
fn a_reload_counts_for_who_comes_then_and_a_wrong_file_changes_nothing() {
    let broker = broker(OWN_TOPICS);
    let file = broker.folder().join(POLICY);
    let config = format!("{SETTINGS}{}", crate::TCP);
    let asks = |id: &str| broker.client(id).subscribe("news/today", QoS::AtMostOnce);
    assert_eq!(asks("a"), ReasonCode::Success);
    let mut seen = 0;
    for (wrong, place) in [
        ("", "policy.toml:1:1: there are no rules"),
        ("[[rules]]\neffect = \"allow\"\ntopics = [\"news/#/+\"]\n", "policy.toml:3:"),
        ("[[rul", "policy.toml:1:"),
    ] {
        std::fs::write(&file, wrong).unwrap();
        broker.reload(&config);
        let log = broker.wait_for_log("reload refused", seen);
        assert!(log[seen..].contains(place), "{place} is not in\n{}", &log[seen..]);
        seen = log.len();
        assert_eq!(asks("b"), ReasonCode::Success, "as before");
    }
    std::fs::write(&file, "[[rules]]\neffect = \"deny\"\ntopics = [\"news/#\"]\n").unwrap();
    broker.reload(&config);
    broker.wait_for_log("reload done", seen);
    assert_eq!(asks("c"), ReasonCode::NotAuthorized);
}

/// A session that survives the broker acts by the rules of the broker that has started.
#[test]
fn a_will_is_judged_by_the_rules_after_a_restart() {
    let open = "otherwise = \"allow\"\n[[rules]]\neffect = \"deny\"\nactions = [\"publish\"]\n\
                topics = [\"nothing\"]\n";
    let broker = broker(open);
    let mut watcher = persistent(&broker, "watcher", None);
    watcher.subscribe("+/will", QoS::AtLeastOnce);
    watcher.subscribe("mark", QoS::AtLeastOnce);
    let _agents = ["secret/will", "open/will"].map(|topic| persistent(&broker, topic, Some(topic)));
    watcher.ping();
    let changed = open.replace("nothing", "secret/#");
    std::fs::write(broker.folder().join(POLICY), changed).unwrap();
    let broker = broker.restart();
    let mut watcher = persistent(&broker, "watcher", None);
    // Both are due at the same time.
    assert_eq!(watcher.receive_publish().publish().topic, "open/will");
    broker.client("publisher").publish("mark", b"", QoS::AtLeastOnce);
    assert_eq!(watcher.receive_publish().publish().topic, "mark");
}

/// What was granted survives, and rules that allow more grant it to who asks again.
#[test]
fn a_subscription_keeps_the_qos_that_was_granted_after_a_restart() {
    let rules =
        |max_qos| format!("[[rules]]\neffect = \"allow\"\ntopics = [\"#\"]\nmax_qos = {max_qos}\n");
    let broker = broker(&rules(1));
    let mut watcher = persistent(&broker, "watcher", None);
    assert_eq!(watcher.subscribe("m", QoS::ExactlyOnce), ReasonCode::granted(QoS::AtLeastOnce));
    std::fs::write(broker.folder().join(POLICY), rules(2)).unwrap();
    let broker = broker.restart();
    let mut watcher = persistent(&broker, "watcher", None);
    broker.client("publisher").publish("m", b"", QoS::ExactlyOnce);
    assert_eq!(watcher.receive_publish().publish().qos, QoS::AtLeastOnce);
    assert_eq!(watcher.subscribe("m", QoS::ExactlyOnce), ReasonCode::granted(QoS::ExactlyOnce));
}

/// A client whose session lasts, perhaps with a will that is due a second after it has gone.
fn persistent(broker: &Broker, client_id: &str, will: Option<&str>) -> RawClient {
    let mut client = broker.dial();
    let lasting = |id, secs| PropertiesBuf::new().with(Property::U32(id, secs));
    let (session, delay) = (
        lasting(PropertyId::SessionExpiryInterval, 3600),
        lasting(PropertyId::WillDelayInterval, 1),
    );
    let will = will.map(|topic| Will {
        topic,
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: delay.view(),
    });
    let version = ProtocolVersion::V5;
    let connack = client.connect_with(Connect {
        client_id,
        version,
        properties: session.view(),
        will,
        ..Connect::default()
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    client
}

#[test]
fn a_policy_that_cannot_be_read_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("agentmq.toml");
    std::fs::write(&config, format!("{SETTINGS}{}", crate::TCP)).unwrap();
    let serve = |arguments: &[&str]| {
        let mut command = Command::new(crate::BINARY);
        command.current_dir(folder.path()).args(arguments).output().unwrap()
    };
    let missing = serve(&["serve"]);
    assert!(!missing.status.success());
    assert!(text(&missing).contains("cannot read policy.toml"), "{}", text(&missing));
    std::fs::write(folder.path().join(POLICY), "otherwise = \"allow\"\n").unwrap();
    for arguments in [&["serve"][..], &["config", "check"]] {
        let output = serve(arguments);
        assert!(!output.status.success());
        assert!(text(&output).contains("policy.toml:1:1: there are no rules"), "{}", text(&output));
    }
}

#[test]
fn what_the_rules_come_to_can_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(POLICY);
    std::fs::write(&file, OWN_TOPICS).unwrap();
    let file = file.to_str().unwrap();
    let ask = |action, topic| {
        let mut command = Command::new(crate::BINARY);
        let arguments = ["acl", "test", "--policy", file, "--client-id", "one", action, topic];
        command.current_dir(folder.path()).args(arguments).output().unwrap()
    };
    let yes = ask("publish", "agents/one/a");
    assert_eq!((yes.status.code(), text(&yes).trim()), (Some(0), "allowed by rule `own topics`"));
    for shared in ["$share/g/agents/one/a", "$share/g/news/+"] {
        assert_eq!(ask("subscribe", shared).status.code(), Some(0), "{shared}: by what is in it");
    }
    assert_eq!(ask("subscribe", "$share/g/#").status.code(), Some(4));
    for (action, wrong) in [("publish", "a/+"), ("subscribe", "a/#/b"), ("subscribe", "$share/g")] {
        assert_eq!(ask(action, wrong).status.code(), Some(2), "{wrong} is no topic to {action}");
    }
    let with = |action, qos| {
        let mut command = Command::new(crate::BINARY);
        let (rest, limited) = (["--qos", qos, action, "m/a"], folder.path().join("limited.toml"));
        let rules = "[[rules]]\neffect = 'allow'\ntopics = ['m/#']\nmax_qos = 1\n";
        std::fs::write(&limited, rules).unwrap();
        let policy = ["acl", "test", "--policy", limited.to_str().unwrap()];
        let output = command.current_dir(folder.path()).args(policy).args(rest).output().unwrap();
        (output.status.code(), text(&output).trim().to_owned())
    };
    assert_eq!(with("publish", "1"), (Some(0), "allowed by rule `1`".into()));
    assert_eq!(with("subscribe", "2"), (Some(0), "allowed with QoS 1 by rule `1`".into()));
    let (code, beyond) = with("publish", "2");
    assert!(code == Some(4) && beyond.contains("publish with QoS 1 at most"), "{beyond}");
    let no = ask("subscribe", "agents/+/a");
    assert_eq!(no.status.code(), Some(4));
    assert!(text(&no).contains("no rule allows all that this filter matches"), "{}", text(&no));
}

#[test]
fn all_that_somebody_may_do_can_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let rules = r##"
client_ids = ["{agent_id}", "{agent_id}:*"]
[[rules]]
name = "own"
effect = "allow"
topics = ["agents/{agent_id}/#", "tools/{tool_id}/call"]
[[rules]]
name = "no secrets"
effect = "deny"
actions = ["subscribe"]
topics = ["secret/#"]
[[rules]]
name = "auditors"
effect = "allow"
roles = ["auditor"]
topics = ["audit/#"]
[[rules]]
name = "measures"
effect = "allow"
actions = ["publish"]
topics = ["measures/+"]
max_qos = 1
"##;
    std::fs::write(folder.path().join(POLICY), rules).unwrap();
    let about = ["acl", "explain", "--policy", POLICY, "--agent", "scout", "--tool", "echo"];
    let explained = printed(folder.path(), &about);
    let expected = [
        "client identifiers: {agent_id}, {agent_id}:*",
        "deny subscribe: secret/#  [no secrets]",
        "allow publish, retain, subscribe: agents/scout/#, tools/echo/call  [own]",
        "allow publish, retain: measures/+ (QoS 1 at most)  [measures]",
        "deny everything else",
    ];
    assert_eq!(explained.lines().collect::<Vec<_>>(), expected);
    let other = printed(folder.path(), &[&about[..], &["--client-id", "ranger"]].concat());
    assert!(other.contains("`ranger` is none of these: such a CONNECT is refused"), "{other}");
}

/// The rules in the README are what its text says.
#[test]
fn the_readme_s_rules() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, rest) = readme.split_once("```toml\n").expect("rules");
    let (rules, _) = rest.split_once("```").expect("their end");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(POLICY), rules).unwrap();
    for (action, topic, expected) in [
        ("subscribe", "agents/scout/#", 0),
        ("subscribe", "agents/+/inbox", 4),
        ("publish", "agents/other/inbox", 0),
        ("publish", "agents/other/answers", 4),
        ("subscribe", "a2a/v1/mcp/clients/scout/responses", 0),
    ] {
        let mut command = Command::new(crate::BINARY);
        let arguments = ["acl", "test", "--policy", POLICY, "--agent", "scout", action, topic];
        let status = command.current_dir(folder.path()).args(arguments).status().unwrap();
        assert_eq!(status.code(), Some(expected), "{action} {topic}");
    }
}

fn text(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    texts.concat()
}
