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
