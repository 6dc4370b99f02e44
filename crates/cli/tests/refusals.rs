//! What a person reads, and a script gets, when something is wrong: cause, fix, exit code.

#![allow(clippy::unwrap_used)] // a test may panic

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use agentmq_testkit::Broker;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;

fn agentmq(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentmq"));
    command.args(arguments).stdin(Stdio::null());
    for name in ["AGENTMQ_URL", "AGENTMQ_CONTEXT", "AGENTMQ_USER", "AGENTMQ_PASSWORD"] {
        command.env_remove(name);
    }
    // No context, and no agentmq.toml, of whoever runs the tests.
    command.env("XDG_CONFIG_HOME", "/nonexistent").current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

fn run(arguments: &[&str]) -> Output {
    agentmq(arguments).output().unwrap()
}

/// Exit code and standard error.
fn refusal(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn broker(more: &str) -> (Broker, String) {
    let tcp = "[[listeners]]\nurl = \"mqtt://127.0.0.1:0\"\n";
    let broker = Broker::start(env!("CARGO_BIN_EXE_agentmq"), &format!("{tcp}{more}"));
    let url = broker.urls()[0].clone();
    (broker, url)
}

#[test]
fn strangers_need_consent_on_the_command_line_too() {
    for command in ["serve", "dev"] {
        let (code, text) = refusal(&[command, "--listen", "mqtt://0.0.0.0:0"]);
        assert_eq!(code, Some(2));
        assert!(text.contains("--listen mqtt://0.0.0.0:0: other machines"), "{text}");
        assert!(text.contains("fix: add --allow-anonymous"), "{text}");
    }
    let mut serve = agentmq(&["serve", "--listen", "mqtt://0.0.0.0:0", "--allow-anonymous"]);
    let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("listening on mqtt://0.0.0.0:"), "{line}");
}

#[test]
fn the_flag_is_named_and_not_a_line_that_nobody_wrote() {
    let (code, text) = refusal(&["serve", "--listen", "mqtts://127.0.0.1:0"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("--listen mqtts://127.0.0.1:0: TLS needs tls.cert"), "{text}");
    assert!(!text.contains("listeners.0"), "{text}");
}

#[test]
fn a_missing_file_is_no_wrong_key() {
    let (code, text) = refusal(&["config", "check", "nowhere.toml"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("cannot read nowhere.toml") && text.contains("check the path"), "{text}");
    let (code, text) = refusal(&["config", "explain", "log"]);
    assert_eq!((code, text.contains("log.level, log.format")), (Some(2), true), "{text}");
}

#[test]
fn wrong_usage_is_json_for_programs() {
    let (code, text) = refusal(&["pub", "--retian", "--json"]);
    let error: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &error["exit_code"]), (Some(2), &2.into()));
    assert_eq!(error["error"], "unexpected argument '--retian' found");
    assert!(error["fix"].as_str().unwrap().contains("'--retain'"), "{text}");
    assert!(run(&["--json", "--help"]).stdout.starts_with(b"MQTT broker"));
}

#[test]
fn results_are_json_for_programs() {
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_slice(&run(&[&["--json"], arguments].concat()).stdout).unwrap()
    };
    assert_eq!(json(&["config", "print"])["limits"]["topic_levels"], 64);
    assert_eq!(json(&["config", "print", "--default"])["session"]["retained_gap_ms"], 10);
    let explained = json(&["config", "explain", "limits.topic_levels"]);
    assert_eq!((&explained["default"], &explained["now"][0]["value"]), (&64.into(), &64.into()));
    let set = |mut command: Command| command.env("AGENTMQ_LIMITS__CONNECTIONS", "5").output();
    let limits: Value =
        serde_json::from_slice(&set(agentmq(&["--json", "limits"])).unwrap().stdout).unwrap();
    let row = limits.as_array().unwrap().iter().find(|row| row["name"] == "connections").unwrap();
    assert_eq!((&row["value"], &row["default"]), (&5.into(), &1_000_000.into()));
}

#[test]
fn a_flag_wins_over_the_environment() {
    let (_broker, url) = broker("");
    let port = url.rsplit_once(':').unwrap().1;
    let mut command = agentmq(&["pub", "--host", "127.0.0.1", "-p", port, "a", "b"]);
    let sent = command.env("AGENTMQ_URL", "mqtt://elsewhere.invalid:1").output().unwrap();
    assert!(sent.status.success(), "{sent:?}");
}

#[test]
fn why_the_broker_hung_up_is_told() {
    let (_broker, url) = broker("");
    let long = "x".repeat(600);
    for qos in ["0", "1", "2"] {
        let (code, text) = refusal(&["pub", "--url", &url, "-q", qos, &long, "hi"]);
        assert_eq!(code, Some(4), "{text}");
        assert!(text.contains("0x90 Topic Name invalid") && text.contains("fix: corr"), "{text}");
    }
    let (code, text) = refusal(&["pub", "--url", &url, "a/#", "hi"]);
    assert_eq!((code, text.contains("only filters may")), (Some(2), true), "{text}");
    let (code, text) = refusal(&["sub", "--url", &url, "a/#/b"]);
    assert_eq!((code, text.contains("# the last one")), (Some(4), true), "{text}");
}

/// The broker knows at once; the time-out would be half a minute.
#[test]
fn a_request_that_nobody_gets_is_not_waited_for() {
    let (_broker, url) = broker("");
    let (code, text) = refusal(&["req", "--url", &url, "nobody", "x", "--timeout", "30s"]);
    assert_eq!(code, Some(5));
    assert!(text.contains("nobody subscribes to nobody"), "{text}");
}

#[test]
fn tls_refusals_say_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let ca = write("ca.pem", authority.pem());
    let cert = write("cert.pem", server.signed_by(&key, &authority).unwrap().pem());
    let key = write("key.pem", key.serialize_pem());
    let (broker, _) = broker(&format!(
        "[[listeners]]\nurl = \"mqtts://127.0.0.1:0\"\ntls.cert = {cert:?}\ntls.key = {key:?}\n\
         tls.client_ca = {ca:?}\ntls.require_client_cert = true\n"
    ));
    let publish = |ca: &str| refusal(&["pub", "--url", &broker.urls()[1], "--ca", ca, "a", "b"]);
    let mut other = CertificateParams::new(Vec::new()).unwrap();
    other.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    other.distinguished_name.push(DnType::CommonName, "another authority");
    let other = CertifiedIssuer::self_signed(other, KeyPair::generate().unwrap()).unwrap();
    for (ca, code, fix) in [
        ("nowhere.pem", 2, "check the path"),
        (&*key, 2, "holds what is needed in PEM"),
        (&*write("other.pem", other.pem()), 3, "trust the authority that signed"),
        (&*ca, 3, "give cert and key"),
    ] {
        let (was, text) = publish(ca);
        assert_eq!((was, text.contains(fix)), (Some(code), true), "{ca}: {text}");
    }
}

#[test]
fn a_broken_connection_is_told_to_programs_too() {
    let (broker, url) = broker("");
    assert!(run(&["pub", "--url", &url, "-r", "-q", "1", "ready", "go"]).status.success());
    let mut sub = agentmq(&["--json", "sub", "--url", &url, "ready"]);
    let mut sub = sub.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(sub.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("ready"), "{line}");
    drop(broker);
    line.clear();
    BufReader::new(sub.stderr.take().unwrap()).read_line(&mut line).unwrap();
    sub.kill().unwrap();
    sub.wait().unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["event"], "disconnected");
    assert!(event["retry_in_ms"].is_u64(), "{event}");
}
