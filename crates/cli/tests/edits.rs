//! Files that commands change: nothing that is in them is lost.

#![allow(clippy::unwrap_used)] // a test may panic

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn agentmq(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentmq"));
    command.args(arguments).current_dir(folder).env("XDG_CONFIG_HOME", folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    agentmq(folder, arguments).output().unwrap()
}

/// Standard output of a command that succeeds.
fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn what_is_changed_at_the_same_time_is_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for arguments in [
        &["revoke", "--revocations", "r.toml", "--name"][..],
        &["org", "add", "--organizations", "o.toml"],
        &["ctx", "add", "--url", "mqtt://127.0.0.1"],
    ] {
        let names: Vec<String> = (0..24).map(|number| format!("n{number}-")).collect();
        let start =
            |name: &String| agentmq(folder, &[arguments, &[name]].concat()).spawn().unwrap();
        let children: Vec<_> = names.iter().map(start).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        let file = match arguments[0] {
            "revoke" => "r.toml",
            "org" => "o.toml",
            _ => "agentmq/contexts.toml",
        };
        let text = read(folder, file);
        let missing: Vec<_> = names.iter().filter(|name| !text.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{file} lacks {missing:?}");
    }
}

#[test]
fn users_that_are_added_at_the_same_time_are_all_there() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let names = ["a", "b", "c", "d", "e", "f"];
    let children = names.map(|name| {
        let mut command = agentmq(folder.path(), &["user", "add", name, "--users", "u.toml"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"secret\n").unwrap();
        child
    });
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let listed = printed(folder.path(), &["user", "ls", "--users", "u.toml"]);
    assert_eq!(listed.lines().count(), names.len(), "{listed}");
}

#[test]
fn keys_that_only_verify_outlive_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    printed(folder, &["keys", "create", "keys.json"]);
    let others = [
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "partner", "iat": 1, "use": "sig",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }),
        json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "shared" }),
        json!({ "kty": "LATER", "kid": "unknown", "more": [1, null] }),
    ];
    let mut set: Value = serde_json::from_str(&read(folder, "keys.json")).unwrap();
    // Older than any token of it may be.
    let mut expired: Value = set["keys"][0].clone();
    expired["iat"] = json!(1);
    expired["kid"] = json!("expired");
    set["keys"][0]["iat"] = json!(2);
    set["more"] = json!(true);
    let keys = set["keys"].as_array_mut().unwrap();
    keys.insert(0, others[0].clone());
    keys.extend([others[1].clone(), expired, others[2].clone()]);
    let first = keys[1].clone();
    std::fs::write(folder.join("keys.json"), set.to_string()).unwrap();
    let line = printed(folder, &["--json", "keys", "rotate", "--keys", "keys.json"]);
    let said: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&said["keys"], &said["removed"]), (&json!(2), &json!(1)));
    let after: Value = serde_json::from_str(&read(folder, "keys.json")).unwrap();
    let [new, rest @ ..] = &after["keys"].as_array().unwrap()[..] else { panic!("{after}") };
    assert_eq!(new["kid"], said["id"]);
    let [partner, shared, unknown] = &others;
    assert_eq!(rest, [partner, &first, shared, unknown].map(Clone::clone));
    assert_eq!(after["more"], json!(true));
}

#[test]
fn a_weaker_revocation_lifts_no_ban() {
    let folder = tempfile::tempdir().unwrap();
    let revoke = |arguments: &[&str]| -> Value {
        let file = ["--json", "revoke", "--revocations", "r.toml"];
        let line = printed(folder.path(), &[&file, arguments].concat());
        serde_json::from_str(&line).unwrap()
    };
    let ban = ["--agent", "scout", "--ban"];
    assert_eq!(revoke(&ban)["done"], "revoked");
    let before = read(folder.path(), "r.toml");
    for weaker in [&["--for", "1h", "--ban"][..], &["--for", "1h"], &[]] {
        assert_eq!(revoke(&[&["--agent", "scout"], weaker].concat())["done"], "kept");
        assert_eq!(read(folder.path(), "r.toml"), before, "{weaker:?}");
    }
    assert_eq!(revoke(&[&ban[..], &["--lift"]].concat())["revocations"], 0);
    // What neither covers is there twice, and lifted at once.
    revoke(&["--agent", "scout", "--ban", "--for", "1m"]);
    assert_eq!(revoke(&["--agent", "scout", "--for", "1d"])["revocations"], 2);
    revoke(&["--agent", "late", "--ban", "--for", "200000000000000d"]);
    assert_eq!(revoke(&["--agent", "scout", "--lift"])["revocations"], 1);
}

#[test]
fn an_address_is_written_as_connections_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let mapped = ["revoke", "--revocations", "r.toml", "--address", "::ffff:127.7.7.7"];
    printed(folder.path(), &mapped);
    let text = read(folder.path(), "r.toml");
    assert!(text.contains("address = \"127.7.7.7\""), "{text}");
}

#[test]
fn who_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(65_536);
    let revoke = ["revoke", "--revocations", "f.toml"];
    let (user, org) = (["user", "add", "--users", "f"], ["org", "add", "--organizations", "f"]);
    for (command, arguments, why) in [
        (&user[..], &[""][..], "the name is empty"),
        (&user, &["a\nb"], "the name has control characters in it"),
        (&user, &[&long], "the name is longer than 65535 bytes"),
        (&org, &[""], "the name is empty"),
        (&org, &["a\tb"], "the name has control characters in it"),
        (&org, &[&long], "the name is longer than 65535 bytes"),
        (&revoke, &["--agent", ""], "the name is empty"),
        (&revoke, &["--name", "a\u{7f}"], "the name has control characters in it"),
        (&revoke, &["--token", ""], "the identifier is empty"),
        (&revoke, &["--client-id", ""], "the client identifier is empty"),
        (&revoke, &["--agent", "a", "--for", "0s"], "--for is less than a second"),
    ] {
        let output = run(folder.path(), &[command, arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?} {arguments:.9?} {error}");
        assert!(error.contains(why), "{command:?}: {error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn keys_of_others_are_no_file_to_sign_with() {
    let folder = tempfile::tempdir().unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let config = "[access]\ntokens.keys = [\"https://issuer.invalid/keys\", \"keys.json\"]\n";
    std::fs::write(folder.path().join("agentmq.toml"), config).unwrap();
    printed(folder.path(), &["keys", "rotate"]);
    assert_eq!(printed(folder.path(), &["keys", "ls"]).lines().count(), 2);
}
