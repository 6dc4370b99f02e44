//! The commands as a user runs them, against Mosquitto.

#![allow(clippy::unwrap_used)] // a test may panic

#[path = "../../client/tests/foreign/mod.rs"]
mod foreign;

use std::process::{Output, Stdio};

use foreign::Mosquitto;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

fn agentmq(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentmq"));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    for name in ["AGENTMQ_URL", "AGENTMQ_CONTEXT", "AGENTMQ_USER", "AGENTMQ_PASSWORD"] {
        command.env_remove(name);
    }
    // No context of whoever runs the tests.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

async fn run(arguments: &[&str]) -> Output {
    agentmq(arguments).output().await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Waits until a subscription stands, by publishing retained to a topic of its own first.
async fn subscriber(
    url: &str,
    arguments: &[&str],
) -> (Child, BufReader<tokio::process::ChildStdout>) {
    let ready = run(&["pub", "--url", url, "-r", "-q", "1", "ready", "go"]).await;
    assert!(ready.status.success(), "{ready:?}");
    let mut child = agentmq(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).await.unwrap();
    assert!(line.contains("ready"), "{line}");
    (child, lines)
}

#[tokio::test]
async fn what_is_published_is_printed() {
    let broker = Mosquitto::start().await;
    let url = &*broker.url();
    let (mut sub, mut lines) =
        subscriber(url, &["--json", "sub", "--url", url, "-q", "2", "-n", "4", "ready", "a/#"])
            .await;
    let sent = run(&[
        "pub",
        "--url",
        url,
        "a/b",
        r#"{"x":1}"#,
        "-q",
        "2",
        "--expiry",
        "1h",
        "-P",
        "k=v",
        "--content-type",
        "application/json",
        "--response-topic",
        "r",
        "--correlation",
        "c",
    ])
    .await;
    assert!(sent.status.success(), "{sent:?}");
    let mut from_lines = agentmq(&["pub", "--url", url, "a/lines", "--lines", "-q", "1"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    from_lines.stdin.take().unwrap().write_all(b"one\ntwo\n").await.unwrap();
    assert!(from_lines.wait().await.unwrap().success());
    let mut messages = Vec::new();
    for _ in 0..3 {
        let mut line = String::new();
        lines.read_line(&mut line).await.unwrap();
        messages.push(serde_json::from_str::<Value>(&line).unwrap());
    }
    assert!(sub.wait().await.unwrap().success());
    let first = &messages[0];
    assert_eq!(first["topic"], "a/b");
    assert_eq!(first["payload"], r#"{"x":1}"#);
    assert_eq!(first["qos"], 2);
    assert_eq!(first["content_type"], "application/json");
    assert_eq!(first["response_topic"], "r");
    assert_eq!(first["correlation_data"], "c");
    assert_eq!(first["user_properties"][0], serde_json::json!(["k", "v"]));
    assert_eq!((&messages[1]["payload"], &messages[2]["payload"]), (&"one".into(), &"two".into()));
}

#[tokio::test]
async fn what_is_printed_cannot_reprogram_the_terminal() {
    let broker = Mosquitto::start().await;
    let url = &*broker.url();
    let payload = "a\u{9b}2J\u{202e}b";
    for json in [true, false] {
        let arguments = ["sub", "--url", url, "-n", "2", "ready", "a/#", "--json"];
        let count = arguments.len() - usize::from(!json);
        let (mut sub, mut lines) = subscriber(url, &arguments[..count]).await;
        assert!(run(&["pub", "--url", url, "-q", "1", "a/b", payload]).await.status.success());
        let mut rest = String::new();
        lines.read_to_string(&mut rest).await.unwrap();
        assert!(sub.wait().await.unwrap().success());
        assert!(!rest.contains(['\u{9b}', '\u{202e}']), "{rest:?}");
        if json {
            let message: Value = serde_json::from_str(rest.trim()).unwrap();
            assert_eq!(message["payload"], payload);
        }
    }
}

#[tokio::test]
async fn json_payloads_are_indented_for_people() {
    let broker = Mosquitto::start().await;
    let url = &*broker.url();
    run(&["pub", "--url", url, "-r", "-q", "1", "p", r#"{"a":[1]}"#]).await;
    let sub = run(&["sub", "--url", url, "p", "-n", "1", "--timeout", "10s"]).await;
    assert_eq!(text(&sub.stdout), "p  qos 0  retained\n{\n  \"a\": [\n    1\n  ]\n}\n");
    let raw = run(&["sub", "--url", url, "p", "-n", "1", "--raw", "--timeout", "10s"]).await;
    assert_eq!(text(&raw.stdout), "{\"a\":[1]}\n");
}

#[tokio::test]
async fn requests_are_answered_by_a_command() {
    let broker = Mosquitto::start().await;
    let url = &*broker.url();
    let mut reply = agentmq(&["reply", "--url", url, "upper", "-c", "tr a-z A-Z", "-n", "1"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(reply.stderr.take().unwrap()).lines();
    assert!(notes.next_line().await.unwrap().unwrap().contains("upper"));
    let answer = run(&["req", "--url", url, "upper", "hello", "--raw"]).await;
    assert_eq!((text(&answer.stdout), answer.status.code()), ("HELLO\n", Some(0)));
    assert!(reply.wait().await.unwrap().success());
}

/// Whom a service manager ends has not died: it says DISCONNECT, and no will is published.
#[tokio::test]
async fn a_subscriber_that_is_told_to_end_says_goodbye() {
    let broker = Mosquitto::start().await;
    let url = &*broker.url();
    let will = ["sub", "--url", url, "--will-topic", "end", "--will-message", "died", "ready"];
    let (mut child, _lines) = subscriber(url, &will).await;
    let (mut watcher, mut seen) = subscriber(url, &["sub", "--url", url, "ready", "end"]).await;
    let mut rest = String::new();
    seen.read_line(&mut rest).await.unwrap(); // the payload of what showed it ready
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    run(&["pub", "--url", url, "-q", "1", "end", "the test"]).await;
    rest.clear();
    seen.read_line(&mut rest).await.unwrap();
    seen.read_line(&mut rest).await.unwrap();
    assert_eq!(rest, "end  qos 0\nthe test\n");
    watcher.kill().await.unwrap();
}

#[tokio::test]
async fn a_subscriber_that_dies_leaves_its_will() {
    let broker = Mosquitto::start().await;
    let url = &*broker.url();
    let will = ["--will-topic", "end", "--will-message", "died", "--will-qos", "1"];
    let sub = ["sub", "--url", url, "ready", "--will-retain"];
    let (mut child, _lines) = subscriber(url, &[&sub[..], &will].concat()).await;
    child.kill().await.unwrap();
    let end = ["sub", "--url", url, "-q", "1", "-n", "1", "end"];
    assert_eq!(text(&run(&[&end[..], &["--raw"]].concat()).await.stdout), "died\n");
    assert_eq!(text(&run(&end).await.stdout), "end  qos 1  retained\ndied\n");
}

#[tokio::test]
async fn exit_codes_are_as_documented() {
    let broker = Mosquitto::start().await;
    let url = &*broker.url();
    let closed = Mosquitto::start_with("allow_anonymous false").await;
    let closed = &*closed.url();
    for (arguments, code) in [
        (&["pub", "--url", url, "a", "b"][..], 0),
        (&["pub"], 2),
        (&["pub", "--url", "nonsense://h", "a", "b"], 2),
        (&["pub", "--url", url, "a/#", "b"], 2),
        (&["pub", "--context", "unknown", "a", "b"], 2),
        (&["pub", "--url", "unix:///nonexistent", "a", "b"], 3),
        (&["pub", "--url", closed, "a", "b"], 4),
        (&["sub", "--url", url, "a", "-n", "1", "--timeout", "10ms"], 5),
        (&["sub", "--url", url, "a", "--timeout", "10ms"], 0),
        (&["req", "--url", url, "a", "b", "--timeout", "10ms"], 5),
    ] {
        let output = run(arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {}", text(&output.stderr));
        if code > 0 && arguments.len() > 1 {
            assert!(text(&output.stderr).contains("fix: "), "{arguments:?}");
        }
    }
}

#[tokio::test]
async fn contexts_are_kept_and_used() {
    let broker = Mosquitto::start().await;
    let home = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| {
        agentmq(arguments).env("XDG_CONFIG_HOME", home.path()).output().await.unwrap()
    };
    assert!(run(&["ctx", "add", "one", "--url", &broker.url()]).await.status.success());
    let secret = "mqtt://me:secret@127.0.0.1:1";
    assert!(run(&["ctx", "add", "two", "--url", secret]).await.status.success());
    assert!(run(&["pub", "a", "b"]).await.status.success(), "the first is the current one");
    assert_eq!(run(&["pub", "--context", "two", "a", "b"]).await.status.code(), Some(3));
    assert!(run(&["ctx", "use", "two"]).await.status.success());
    assert_eq!(run(&["pub", "a", "b"]).await.status.code(), Some(3));
    let list = run(&["ctx", "ls"]).await;
    assert!(text(&list.stdout).contains("* two  mqtt://127.0.0.1:1"), "{list:?}");
    assert!(!text(&list.stdout).contains("secret"));
    assert!(run(&["ctx", "rm", "two"]).await.status.success());
    assert_eq!(run(&["ctx", "use", "two"]).await.status.code(), Some(2));
}

/// Each scenario, small; the command itself fails when anything is lost or out of order.
#[tokio::test]
async fn every_scenario_measures_mosquitto() {
    let broker = Mosquitto::start().await;
    let url = &*broker.url();
    let pid = broker.pid().to_string();
    let short = ["--duration", "200ms", "--warm-up", "20ms"];
    for (scenario, timed) in [
        (&["pair", "--pairs", "5", "-q", "0"][..], true),
        (&["pair", "--pairs", "5", "-q", "1", "-V", "3.1.1"], true),
        (&["pair", "--pairs", "5", "-q", "2", "--outstanding", "20"], true),
        (&["fan-out", "--subscribers", "20", "-q", "1", "--outstanding", "5"], true),
        (&["fan-in", "--publishers", "10", "-q", "1", "--outstanding", "5"], true),
        (&["shared", "--publishers", "10", "-q", "1", "--outstanding", "5"], true),
        (&["pair", "--pairs", "2", "--churn", "500", "--idle", "20", "--away", "20"], true),
        (&["pair", "--pairs", "2", "--away", "20", "-V", "3.1.1"], true),
        (&["filters", "--filters", "500", "--subscribers", "7", "-q", "1"], true),
        (&["filters", "--filters", "600", "--publishers", "7", "-V", "3.1.1"], true),
        (&["paced", "--rate", "1000", "-q", "1"], true),
        (&["rpc", "--callers", "10", "-q", "1"], true),
        (&["connect", "-n", "100"], false),
        (&["idle", "-n", "100", "--hold", "50ms"], false),
        (&["retained", "--topics", "3000"], false),
        (&["retained", "--topics", "300", "-q", "1", "-V", "3.1.1"], false),
        (&["retained", "--topics", "20000", "--subscribers", "3", "--live", "2000"], false),
        (&["offline", "--messages", "2000"], false),
        (&["offline", "--messages", "200", "-q", "2", "-V", "3.1.1"], false),
    ] {
        let mut arguments = vec!["--json", "bench"];
        arguments.extend(scenario);
        arguments.extend(["--at", url, "--broker-pid", &pid]);
        if timed {
            arguments.extend(short);
        }
        let output = run(&arguments).await;
        let errors = text(&output.stderr);
        assert!(output.status.success(), "{scenario:?}: {errors} {}", text(&output.stdout));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["scenario"], scenario[0]);
        assert!(report["count"].as_u64().unwrap() > 0, "{scenario:?}: {report}");
        assert!(report["broker"]["rss_kib"].as_u64().unwrap() > 0, "{scenario:?}");
        assert!(report["generator_cpu_seconds"].as_f64().unwrap() > 0.0, "{scenario:?}");
        let expected: &[&str] = match scenario {
            _ if scenario.contains(&"--churn") => &["/more/subscriptions_changed"],
            _ if scenario.contains(&"--live") => &["/live/quiet/p99_us", "/live/busy/p99_us"],
            _ => &[],
        };
        for figure in expected {
            let value = report.pointer(figure).and_then(Value::as_f64);
            assert!(value.is_some_and(|value| value > 0.0), "{scenario:?}: {report}");
        }
    }
}
