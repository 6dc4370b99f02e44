//! What somebody has retained is served while he may retain it: on every shard, after a reload and
//! after a crash.

use agentmq_testkit::codec::{Connect, Packet, ProtocolVersion, Publish, QoS, ReasonCode};
use agentmq_testkit::{Broker, RawClient};
use rustix::process::Signal;

use crate::program::{printed, printed_with_input};

const SHARDS: usize = 3;

/// Everybody may do everything, but nobody publishes here.
fn policy(denied: &str) -> String {
    format!(
        "[[rules]]\neffect = \"allow\"\ntopics = [\"#\", \"$SYS/#\"]\n\
         [[rules]]\neffect = \"deny\"\nactions = [\"publish\"]\ntopics = [\"{denied}\"]\n"
    )
}

fn reload(broker: &Broker) {
    let seen = broker.log().len();
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", seen);
}

fn retain(client: &mut RawClient, topic: &str, payload: &[u8]) {
    let publish = Publish { topic, payload, retain: true, packet_id: 9, ..Publish::default() };
    client.send(&Packet::Publish(Publish { qos: QoS::AtLeastOnce, ..publish }));
    let answer = client.wait_for(|it| matches!(it, Packet::Ack(ack) if ack.packet_id == 9));
    assert!(!answer.reason().is_error());
}

/// Payloads of what is retained, up to the last topic there is.
fn served(reader: &mut RawClient) -> Vec<String> {
    assert!(!reader.subscribe("cards/#", QoS::AtMostOnce).is_error());
    let mut payloads = Vec::new();
    loop {
        let received = reader.receive_publish();
        let publish = received.publish();
        if publish.topic == "cards/~" {
            return payloads;
        }
        payloads.push(String::from_utf8_lossy(publish.payload).into_owned());
    }
}

#[test]
fn a_policy_takes_away_what_was_said_on_every_shard_and_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), policy("nothing")).unwrap();
    let config = format!(
        "{}[access]\npolicy = \"policy.toml\"\n[sys]\ninterval_secs = 1\n\
         [threads]\nshards = {SHARDS}\nplacement = \"spread\"\n",
        crate::TCP
    );
    let mut broker = Broker::start_in(crate::BINARY, &config, folder);
    for number in 0..SHARDS {
        let client_id = format!("writer-{number}");
        retain(&mut broker.client(&client_id), &format!("cards/{client_id}"), client_id.as_bytes());
    }
    retain(&mut broker.client("writer-last"), "cards/~", b"x");
    let all = ["writer-0", "writer-1", "writer-2"];
    let expect = |broker: &Broker, expected: &[&str]| {
        for number in 0..2 * SHARDS {
            let mut reader = broker.client(&format!("reader-{number}"));
            assert_eq!(served(&mut reader), expected, "reader {number}");
        }
    };
    let hold = |broker: &Broker, denied: &str| {
        std::fs::write(broker.folder().join("policy.toml"), policy(denied)).unwrap();
        reload(broker);
    };
    expect(&broker, &all);
    hold(&broker, "cards/writer-1");
    expect(&broker, &["writer-0", "writer-2"]);
    broker.wait_for_statistic("retained messages/withheld", |count| count >= 2 * SHARDS as u64);
    broker = broker.restart();
    expect(&broker, &["writer-0", "writer-2"]);
    // His own rights count, and not those of whoever has published there since.
    hold(&broker, "cards/{client_id}");
    expect(&broker, &[]);
    hold(&broker, "nothing");
    expect(&broker, &all);
}

fn connect(broker: &Broker, client_id: &str, token: &str) -> RawClient {
    let mut client = broker.dial();
    let connack = client.connect_with(Connect {
        client_id,
        version: ProtocolVersion::V5,
        password: Some(token.as_bytes()),
        ..Connect::default()
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    client
}

#[test]
fn who_is_revoked_is_not_heard_any_more_until_he_speaks_again() {
    let folder = tempfile::tempdir().unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let config = format!(
        "{}[access]\ntokens.keys = [\"keys.json\"]\nrevocations = \"revocations.toml\"\n",
        crate::TCP
    );
    let mut broker = Broker::start_in(crate::BINARY, &config, folder);
    let token = |broker: &Broker, agent: &str| {
        printed(broker.folder(), &["token", "create", "--agent", agent])
    };
    let boss = token(&broker, "boss");
    retain(&mut connect(&broker, "scout", &token(&broker, "scout")), "cards/scout", b"from scout");
    retain(&mut connect(&broker, "boss", &boss), "cards/boss", b"from boss");
    retain(&mut connect(&broker, "boss", &boss), "cards/~", b"x");
    let served_now = |broker: &Broker| served(&mut connect(broker, "reader", &boss));
    assert_eq!(served_now(&broker), ["from boss", "from scout"]);
    // As it is read back from the disk, too.
    broker = broker.restart();
    assert_eq!(served_now(&broker), ["from boss", "from scout"]);
    printed(broker.folder(), &["revoke", "--agent", "scout", "--ban"]);
    reload(&broker);
    assert_eq!(served_now(&broker), ["from boss"]);
    broker = broker.restart();
    assert_eq!(served_now(&broker), ["from boss"]);
    printed(broker.folder(), &["revoke", "--agent", "scout", "--ban", "--lift"]);
    reload(&broker);
    assert_eq!(served_now(&broker), ["from boss", "from scout"]);
}

#[test]
fn who_was_removed_or_whose_organisation_was_revoked_is_not_heard_any_more() {
    let folder = tempfile::tempdir().unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    std::fs::write(folder.path().join("users.toml"), "").unwrap();
    let config = format!(
        "{}[access]\ntokens.keys = [\"keys.json\"]\nusers = \"users.toml\"\n\
         revocations = \"revocations.toml\"\n",
        crate::TCP
    );
    let mut broker = Broker::start_in(crate::BINARY, &config, folder);
    let users = broker.folder().join("users.toml");
    printed_with_input(broker.folder(), &["user", "add", "ada"], "secret");
    reload(&broker);
    let of_org = |agent: &str, org: &str| {
        printed(broker.folder(), &["token", "create", "--agent", agent, "--org", org])
    };
    let (boss, scout) = (of_org("boss", "home"), of_org("scout", "acme"));
    retain(&mut connect(&broker, "scout", &scout), "cards/scout", b"from scout");
    retain(&mut connect(&broker, "boss", &boss), "cards/boss", b"from boss");
    retain(&mut connect(&broker, "boss", &boss), "cards/~", b"x");
    let mut ada = broker.dial();
    let connack = ada.connect_with(Connect {
        client_id: "ada",
        version: ProtocolVersion::V5,
        username: Some("ada"),
        password: Some(b"secret"),
        ..Connect::default()
    });
    assert_eq!(connack.reason(), ReasonCode::Success);
    retain(&mut ada, "cards/ada", b"from ada");
    let served_now = |broker: &Broker| served(&mut connect(broker, "reader", &boss));
    assert_eq!(served_now(&broker), ["from ada", "from boss", "from scout"]);
    std::fs::write(users, "").unwrap();
    reload(&broker);
    assert_eq!(served_now(&broker), ["from boss", "from scout"]);
    printed(broker.folder(), &["revoke", "--org", "acme"]);
    reload(&broker);
    assert_eq!(served_now(&broker), ["from boss"]);
    broker = broker.restart();
    assert_eq!(served_now(&broker), ["from boss"]);
}
