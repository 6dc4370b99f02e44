//! What organisations may use: the plan `free` and others, before and after a restart.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentmq_testkit::codec::{
    Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, Publish, QoS, ReasonCode,
};
use agentmq_testkit::{Broker, PATIENCE, RawClient};
use rustix::process::Signal;

use crate::program::{printed, run};

const SETTINGS: &str = "[sys]\ninterval_secs = 1\n[access]\ntokens.keys = [\"keys.json\"]\n\
                        plans = \"plans.toml\"\nservice.organizations = \"organizations.toml\"\n";
/// `acme` has the plan `small`, `other` has none.
const ORGANIZATIONS: &str = "[acme]\nplan = \"small\"\n[other]\n";
const QUOTA: ReasonCode = ReasonCode::QuotaExceeded;

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// A broker whose plan `small` has these bounds.
fn broker(small: &str, settings: &str) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    write(folder.path(), "plans.toml", &format!("[small]\n{small}"));
    write(folder.path(), "organizations.toml", ORGANIZATIONS);
    let config = format!("{}{SETTINGS}{settings}", crate::TCP);
    Broker::start_in(crate::BINARY, &config, folder)
}

fn token(broker: &Broker, organization: &str, agent: &str) -> String {
    let create = ["token", "create", "--agent", agent, "--org", organization];
    printed(broker.folder(), &create)
}

/// Connects an agent of an organisation, whose name is its client identifier.
fn attempt(
    broker: &Broker,
    organization: &str,
    agent: &str,
    version: ProtocolVersion,
) -> (RawClient, ReasonCode, String) {
    let token = token(broker, organization, agent);
    let mut client = broker.dial();
    client.speak(version);
    let connack = client.connect_with(Connect {
        client_id: agent,
        version,
        username: Some("token"),
        password: Some(token.as_bytes()),
        clean_start: true,
        ..Connect::default()
    });
    let Packet::ConnAck(packet) = connack.packet() else { panic!("no CONNACK") };
    let why = packet.properties.text(PropertyId::ReasonString).unwrap_or_default().to_owned();
    (client, packet.reason, why)
}

fn client(broker: &Broker, organization: &str, agent: &str) -> RawClient {
    let (client, reason, why) = attempt(broker, organization, agent, ProtocolVersion::V5);
    assert_eq!(reason, ReasonCode::Success, "{agent}: {why}");
    client
}

/// Publishes, and reads code and Reason String of the answer.
fn answer(client: &mut RawClient, topic: &str, qos: QoS, retain: bool) -> (ReasonCode, String) {
    let publish =
        Publish { topic, payload: b"x", qos, retain, packet_id: 77, ..Publish::default() };
    client.send(&Packet::Publish(publish));
    let received = client.wait_for(|packet| matches!(packet, Packet::Ack(_)));
    let Packet::Ack(ack) = received.packet() else { panic!("no acknowledgement") };
    let why = ack.properties.text(PropertyId::ReasonString).unwrap_or_default();
    (ack.reason, why.to_owned())
}

/// How many of so many publications are accepted.
fn accepted(client: &mut RawClient, count: usize) -> usize {
    let publish = |client: &mut RawClient| client.publish("t", b"x", QoS::AtLeastOnce);
    (0..count).filter(|_| !publish(client).is_error()).count()
}

fn is_refused(broker: &Broker) -> bool {
    accepted(&mut client(broker, "acme", "again"), 1) == 0
}

fn reload(broker: &Broker) {
    let seen = broker.log().len();
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", seen);
}

fn day() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400
}

/// Runs a test about one day; once more if it failed because midnight came.
fn on_one_day(test: impl Fn()) {
    let today = day();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(&test)) {
        if day() == today {
            resume_unwind(panic);
        }
        test();
    }
}

/// Waits until the file of the day has these words.
fn wait_for_ledger(broker: &Broker, words: &str) {
    let file = broker.folder().join("agentmq-data/quotas.jsonl");
    let give_up = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains(words)) {
        assert!(Instant::now() < give_up, "{words} was not written");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn the_free_plan_ends_with_five_thousand_messages_and_a_restart_gives_none_back() {
    on_one_day(|| {
        let broker = broker("", "default_plan = \"free\"\n");
        write(broker.folder(), "organizations.toml", "[acme]\nplan = \"free\"\n");
        reload(&broker);
        let mut watcher = client(&broker, "other", "watcher");
        watcher.subscribe("t", QoS::AtMostOnce);
        let mut scout = client(&broker, "acme", "scout");
        assert_eq!(accepted(&mut scout, 5_000), 5_000);
        let date = tomorrow();
        let expected = format!(
            "organisation acme has published its 5000 messages of today (plan free): again from \
             {date}T00:00:00Z"
        );
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            assert_eq!(answer(&mut scout, "t", qos, false), (QUOTA, expected.clone()));
        }
        scout.publish("t", b"dropped", QoS::AtMostOnce);
        let (mut old, ..) = attempt(&broker, "acme", "old", ProtocolVersion::V311);
        assert!(!old.publish("t", b"dropped", QoS::AtLeastOnce).is_error());
        old.ping();
        assert_eq!(accepted(&mut client(&broker, "other", "ranger"), 7), 7);
        for _ in 0..5_007 {
            assert_eq!(watcher.receive_publish().publish().payload, b"x");
        }
        let mut broker = broker;
        broker.terminate();
        broker.wait();
        let broker = broker.restart();
        assert!(is_refused(&broker), "the day goes on");
        assert_eq!(accepted(&mut client(&broker, "other", "ranger"), 1), 1);
    });
}

/// The date of tomorrow, as the system's own program has it.
fn tomorrow() -> String {
    let seconds = format!("@{}", (day() + 1) * 86_400);
    let date = Command::new("date").args(["-u", "-d", &seconds, "+%F"]).output().unwrap();
    String::from_utf8(date.stdout).unwrap().trim().to_owned()
}

#[test]
fn neither_a_crash_nor_a_new_beginning_gives_today_s_messages_back() {
    on_one_day(|| {
        let broker = broker("messages_per_day = 3\n[small.client]\nmessages_per_day = 2\n", "");
        let mut scout = client(&broker, "acme", "scout");
        assert_eq!(accepted(&mut scout, 5), 2, "the client's own");
        assert_eq!(accepted(&mut client(&broker, "acme", "ranger"), 5), 1);
        wait_for_ledger(&broker, "\"messages\":3");
        let broker = broker.restart(); // kill -9
        assert!(is_refused(&broker), "killed, and started again");
        // Without the organisation and without a plan there is nobody who counts.
        write(broker.folder(), "organizations.toml", "[other]\n");
        reload(&broker);
        wait_until(|| !is_refused(&broker));
        write(broker.folder(), "organizations.toml", ORGANIZATIONS);
        reload(&broker);
        wait_until(|| is_refused(&broker));
        // The client's own bound has been kept as well.
        write(broker.folder(), "plans.toml", "[small.client]\nmessages_per_day = 2\n");
        reload(&broker);
        wait_until(|| accepted(&mut client(&broker, "acme", "new"), 1) == 1);
        assert_eq!(accepted(&mut client(&broker, "acme", "scout"), 1), 0);
    });
}

#[test]
fn what_a_session_holds_counts_after_a_restart() {
    let broker = broker("subscriptions = 1\nqueue_bytes = 1000\n", "");
    let token = token(&broker, "acme", "scout");
    let hour = PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 3600));
    let connect = Connect {
        client_id: "scout",
        version: ProtocolVersion::V5,
        password: Some(token.as_bytes()),
        properties: hour.view(),
        ..Connect::default()
    };
    let mut scout = broker.dial();
    assert_eq!(scout.connect_with(connect.clone()).reason(), ReasonCode::Success);
    assert!(!scout.subscribe("t", QoS::AtLeastOnce).is_error());
    drop(scout);
    let broker = broker.restart();
    let mut ranger = client(&broker, "acme", "ranger");
    assert_eq!(ranger.subscribe("u", QoS::AtLeastOnce), QUOTA);
    let mut sender = client(&broker, "other", "sender");
    for number in 0..20u8 {
        assert!(!sender.publish("t", &[number; 40], QoS::AtLeastOnce).is_error());
    }
    let mut scout = broker.dial();
    assert_eq!(scout.connect_with(connect).reason(), ReasonCode::Success);
    assert!(scout.receive_publish().publish().payload[0] > 5, "the oldest have gone");
    scout.ping();
}

#[test]
fn what_is_retained_counts_after_a_restart() {
    let broker = broker("retained_messages = 1\n", "");
    let mut scout = client(&broker, "acme", "scout");
    assert!(!answer(&mut scout, "kept", QoS::AtLeastOnce, true).0.is_error());
    let broker = broker.restart();
    let mut ranger = client(&broker, "acme", "ranger");
    assert_eq!(answer(&mut ranger, "more", QoS::AtLeastOnce, true).0, QUOTA);
    assert!(!ranger.subscribe("kept", QoS::AtMostOnce).is_error());
    assert_eq!(ranger.receive_publish().publish().topic, "kept", "it is still there");
}

/// A shard reads of a reload in its own time.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < give_up, "it does not come to be so");
    }
}

#[test]
fn shards_count_together_and_others_lose_nothing() {
    on_one_day(|| {
        let threads = "[threads]\nshards = 2\nplacement = \"spread\"\n";
        let bounds = "messages_per_day = 100\nretained_messages = 2\n";
        let broker = broker(bounds, threads);
        let mut watcher = client(&broker, "other", "watcher");
        watcher.subscribe("calm", QoS::AtLeastOnce);
        let mut calm = client(&broker, "other", "calm");
        let mut noisy: Vec<_> =
            (0..4).map(|number| client(&broker, "acme", &format!("noisy-{number}"))).collect();
        // One message of each topic at a time, whichever shard it has come to.
        for topic in ["a", "b"] {
            for client in &mut noisy {
                let (reason, why) = answer(client, topic, QoS::AtLeastOnce, true);
                assert!(!reason.is_error(), "{why}");
            }
        }
        let (reason, why) = answer(&mut noisy[0], "c", QoS::AtLeastOnce, true);
        assert_eq!(reason, QUOTA);
        assert!(why.starts_with("delivered but not retained"), "{why}");
        let mut sum = 9;
        for round in 0..50u32 {
            sum += noisy.iter_mut().map(|client| accepted(client, 1)).sum::<usize>();
            assert!(!calm.publish("calm", &round.to_be_bytes(), QoS::AtLeastOnce).is_error());
        }
        assert_eq!(sum, 100);
        for round in 0..50u32 {
            assert_eq!(watcher.receive_publish().publish().payload, round.to_be_bytes());
        }
    });
}

#[test]
fn connections_and_subscriptions_have_bounds_and_a_reload_changes_them() {
    let broker = broker("connections = 2\nsubscriptions = 1\n", "");
    let mut first = client(&broker, "acme", "first");
    let second = client(&broker, "acme", "second");
    let (_, reason, why) = attempt(&broker, "acme", "third", ProtocolVersion::V5);
    assert_eq!(reason, QUOTA);
    assert_eq!(why, "organisation acme has its 2 connections already (plan small): close one");
    client(&broker, "other", "anybody").ping();
    assert_eq!(first.subscribe("a", QoS::AtMostOnce), ReasonCode::Success);
    assert_eq!(first.subscribe("b", QoS::AtMostOnce), QUOTA);
    drop(second);
    let enters = || attempt(&broker, "acme", "third", ProtocolVersion::V5).1 != QUOTA;
    wait_until(enters);
    write(broker.folder(), "plans.toml", "[small]\nconnections = many\n");
    let seen = broker.log().len();
    broker.signal(Signal::HUP);
    let log = broker.wait_for_log("reload refused", seen);
    assert!(log[seen..].contains("plans.toml:2:15:"), "{}", &log[seen..]);
    assert_eq!(first.subscribe("b", QoS::AtMostOnce), QUOTA, "what was good holds");
    write(broker.folder(), "plans.toml", "[small]\nsubscriptions = 2\n");
    reload(&broker);
    assert_eq!(first.subscribe("b", QoS::AtMostOnce), ReasonCode::Success);
    assert_eq!(first.subscribe("c", QoS::AtMostOnce), QUOTA);
    let more: Vec<_> =
        (0..4).map(|number| client(&broker, "acme", &format!("more-{number}"))).collect();
    assert_eq!(more.len(), 4);
}

#[test]
fn an_organisation_sees_its_own_numbers_and_no_others() {
    for access in ["policy = \"policy.toml\"\n", "isolate_organizations = true\n"] {
        on_one_day(|| sees_its_own_numbers(access));
    }
}

fn sees_its_own_numbers(access: &str) {
    let folder = tempfile::tempdir().unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    write(folder.path(), "plans.toml", "");
    write(folder.path(), "organizations.toml", "");
    let rule = "[[rules]]\neffect = \"allow\"\ntopics = [\"{org_id}/#\"]\n";
    write(folder.path(), "policy.toml", &format!("profiles = [\"mqtt-agent\"]\n{rule}"));
    let admin = "[admin]\nurl = \"http://127.0.0.1:0\"\n";
    let config = format!("{}{SETTINGS}{access}default_plan = \"free\"\n{admin}", crate::TCP);
    let broker = Broker::start_in(crate::BINARY, &config, folder);
    let mut other = client(&broker, "other", "other");
    let mut scout = client(&broker, "acme", "scout");
    for filter in [
        "$SYS/organizations/other/#",
        "$SYS/organizations/+/messages/today",
        "$SYS/organizations/#",
        "$SYS/#",
    ] {
        let reason = scout.subscribe(filter, QoS::AtMostOnce);
        assert_eq!(reason, ReasonCode::NotAuthorized, "{filter}");
    }
    for _ in 0..3 {
        assert!(!other.publish("other/x", b"x", QoS::AtLeastOnce).is_error());
    }
    assert!(!scout.publish("acme/x", b"x", QoS::AtLeastOnce).is_error());
    let own = "$SYS/organizations/acme/#";
    assert_eq!(scout.subscribe(own, QoS::AtMostOnce), ReasonCode::Success);
    let mut missing = vec![
        ("plan", "free"),
        ("messages/today", "1"),
        ("messages/day/limit", "5000"),
        ("connections", "1"),
        ("subscriptions", "1"),
        ("refused", "0"),
    ];
    while !missing.is_empty() {
        let received = scout.receive_publish();
        let publish = received.publish();
        let name = publish.topic.strip_prefix("$SYS/organizations/acme/");
        let name = name.expect("of nobody else");
        missing.retain(|(known, value)| *known != name || value.as_bytes() != publish.payload);
    }
}

#[test]
fn plans_are_given_by_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    printed(folder, &["keys", "create", "keys.json"]);
    write(folder, "plans.toml", "[small]\nconnections = 1\n");
    write(folder, "organizations.toml", "");
    write(folder, "agentmq.toml", &format!("{}{SETTINGS}", crate::TCP));
    assert_eq!(printed(folder, &["org", "plan", "acme", "small"]), "acme has the plan small");
    let refused = run(folder, &["org", "plan", "acme", "smal"]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{error}");
    assert!(error.contains("free, small"), "{error}");
    let listed = printed(folder, &["org", "ls"]);
    assert_eq!(listed, "acme  no secret key, 0 identity providers, plan small");
    // A file that only gives plans needs neither HTTP nor a key that signs.
    printed(folder, &["config", "check"]);
    printed(folder, &["org", "add", "other"]);
    let checked = run(folder, &["config", "check"]);
    let error = String::from_utf8_lossy(&checked.stderr);
    assert!(error.contains("the token service is reached over HTTP: set admin.url"), "{error}");
    write(folder, "plans.toml", "");
    let checked = run(folder, &["config", "check"]);
    let error = String::from_utf8_lossy(&checked.stderr);
    assert!(error.contains("organizations.toml:"), "{error}");
    assert!(error.contains("acme: there is no plan `small`"), "{error}");
}
