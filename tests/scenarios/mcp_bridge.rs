//! `agentmq mcp bridge`: what a host sees of the bus.

use agentmq_testkit::{Broker, free_port};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::mcp_program::{Lines, bridge, expose, names, text, url, wait_for_trace};

fn tool_names(bridge: &mut Lines) -> Vec<String> {
    let answer = bridge.request("tools/list", &json!({}));
    names(&answer, "tools")
}

#[test]
fn a_host_sees_all_servers_under_names_of_its_own_kind() {
    let broker = crate::broker("");
    let _files = expose(&broker, "files", &[]);
    let _calc = expose(&broker, "demo/calc", &[]);
    let mut host = bridge(&url(&broker), &[]);
    let all = tool_names(&mut host);
    assert_eq!(all.len(), 20, "{all:?}");
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    assert!(all.iter().all(|name| name.len() <= 64 && name.chars().all(legal)), "{all:?}");
    assert!(all.contains(&"files__add".to_owned()), "{all:?}");
    let add = all.iter().find(|name| name.starts_with("demo-calc__add_")).unwrap().clone();
    assert_eq!(text(&host.call(&add, &json!({ "a": 40, "b": 2 }))), "42");
    let failed = host.call("files__fail", &json!({}));
    assert_eq!(failed["result"]["isError"], true, "{failed}");
    let wrong = host.call("files__add", &json!({ "a": 1 }));
    assert_eq!(wrong["error"]["code"], -32602, "{wrong}");
    let unknown = host.call("files__no_such", &json!({}));
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");

    let resources = host.request("resources/list", &json!({}));
    let uris: Vec<&str> = resources["result"]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["uri"].as_str().unwrap())
        .collect();
    assert_eq!(uris, ["agentmq://demo%2Fcalc/note:///one", "agentmq://files/note:///one"]);
    let read = host.request("resources/read", &json!({ "uri": uris[1] }));
    let contents = &read["result"]["contents"][0];
    assert_eq!(contents["text"], "note:///one of files", "{read}");
    assert_eq!(contents["uri"], uris[1]);
    let templates = host.request("resources/templates/list", &json!({}));
    let template = &templates["result"]["resourceTemplates"][1]["uriTemplate"];
    assert_eq!(template, "agentmq://files/note:///{name}");
    host.request("resources/subscribe", &json!({ "uri": uris[1] }));
    let updated =
        host.wait_for("update", |line| line["method"] == "notifications/resources/updated");
    assert_eq!(updated["params"]["uri"], uris[1]);

    let prompts = host.request("prompts/list", &json!({}));
    assert!(names(&prompts, "prompts").contains(&"files__greet".to_owned()), "{prompts}");
    let params = json!({ "name": "files__greet", "arguments": { "who": "Ada" } });
    let prompt = host.request("prompts/get", &params);
    let said = &prompt["result"]["messages"][0]["content"]["text"];
    assert_eq!(said, "Greet Ada from files.", "{prompt}");
    let completion = host.request(
        "completion/complete",
        &json!({
            "ref": { "type": "ref/prompt", "name": "files__greet" },
            "argument": { "name": "who", "value": "A" },
        }),
    );
    assert_eq!(completion["result"]["completion"]["values"], json!(["A-completed"]));
    assert!(host.end().success());
}

#[test]
fn progress_comes_in_order_and_before_the_answer() {
    let broker = crate::broker("");
    let _calc = expose(&broker, "calc", &[]);
    let mut host = bridge(&url(&broker), &[]);
    let params = json!({
        "name": "calc__steps", "arguments": { "count": 20 }, "_meta": { "progressToken": 7 },
    });
    let id = host.ask("tools/call", &params);
    host.answer(id);
    let told: Vec<&Value> =
        host.printed.iter().filter(|line| line["method"] == "notifications/progress").collect();
    let steps: Vec<f64> =
        told.iter().map(|line| line["params"]["progress"].as_f64().unwrap()).collect();
    assert_eq!(steps, (1..=20).map(f64::from).collect::<Vec<_>>());
    assert!(told.iter().all(|line| line["params"]["progressToken"] == 7), "{told:?}");
}

#[test]
fn what_the_host_takes_back_is_taken_back_from_the_program() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let _calc = expose(&broker, "calc", &["--trace", trace.to_str().unwrap()]);
    let mut host = bridge(&url(&broker), &[]);
    let id = host.ask("tools/call", &json!({ "name": "calc__wait", "arguments": {} }));
    wait_for_trace(&trace, "waiting");
    let cancelled = json!({ "requestId": id, "reason": "changed my mind" });
    host.say(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled }),
    );
    wait_for_trace(&trace, "cancelled");
    assert_eq!(text(&host.call("calc__echo", &json!({ "message": "still here" }))), "still here");
    assert!(host.printed.iter().all(|line| line["id"] != json!(id)), "no answer to it");
}

#[test]
fn lists_follow_the_servers() {
    let broker = crate::broker("");
    let mut host = bridge(&url(&broker), &["--server", "demo/#"]);
    assert!(tool_names(&mut host).is_empty());
    let calc = expose(&broker, "demo/calc", &[]);
    let _other = expose(&broker, "other", &[]);
    wait_for_changes(&mut host, 1);
    let all = tool_names(&mut host);
    assert_eq!(all.len(), 10, "{all:?}");
    let grow = all.iter().find(|name| name.contains("grow")).unwrap().clone();
    host.call(&grow, &json!({}));
    wait_for_changes(&mut host, 2);
    assert_eq!(tool_names(&mut host).len(), 11);
    calc.signal(Signal::TERM);
    wait_for_changes(&mut host, 3);
    assert!(tool_names(&mut host).is_empty());
}

fn is_change(line: &Value) -> bool {
    line["method"] == "notifications/tools/list_changed"
}

/// Waits until the host has been told so many times in all.
fn wait_for_changes(host: &mut Lines, count: usize) {
    while host.printed.iter().filter(|line| is_change(line)).count() < count {
        host.wait_for("change of the list", is_change);
    }
}

#[test]
fn a_host_is_answered_while_there_is_no_broker() {
    let port = free_port();
    let url = format!("mqtt://127.0.0.1:{port}");
    let mut host = bridge(&url, &[]);
    let called = host.call("calc__add", &json!({ "a": 1, "b": 1 }));
    assert_eq!(called["error"]["data"]["reason"], "broker_unreachable", "{called}");
    assert!(tool_names(&mut host).is_empty());
    let listener = format!("[[listeners]]\nurl = \"{url}\"\n");
    let broker = Broker::start(crate::BINARY, &listener);
    let _calc = expose(&broker, "calc", &[]);
    wait_for_changes(&mut host, 1);
    assert_eq!(text(&host.call("calc__add", &json!({ "a": 1, "b": 1 }))), "2");
    // The broker goes and comes back: so do the session and the server.
    let broker = broker.restart();
    let give_up = std::time::Instant::now() + agentmq_testkit::PATIENCE;
    loop {
        let answer = host.call("calc__add", &json!({ "a": 2, "b": 2 }));
        if answer.get("result").is_some() {
            assert_eq!(text(&answer), "4");
            break;
        }
        let reason = answer["error"]["data"]["reason"].as_str();
        let known = matches!(reason, Some("broker_unreachable" | "server_gone" | "server_offline"));
        let unknown_tool = answer["error"]["code"] == -32602;
        assert!(known || unknown_tool, "{answer}");
        assert!(std::time::Instant::now() < give_up, "{answer}");
    }
    drop(broker);
}

#[test]
fn another_instance_takes_over() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let more = ["--trace", trace.to_str().unwrap()];
    let instances = [expose(&broker, "calc", &more), expose(&broker, "calc", &more)];
    let mut host = bridge(&url(&broker), &[]);
    assert_eq!(tool_names(&mut host).len(), 10, "two instances are one server");
    let first = text(&host.call("calc__whoami", &json!({}))).to_owned();
    let id = host.ask("tools/call", &json!({ "name": "calc__wait", "arguments": {} }));
    let again = host.ask("tools/call", &json!({ "name": "calc__second", "arguments": {} }));
    // Another call is answered, so the first ones are under way.
    host.call("calc__echo", &json!({ "message": "x" }));
    let pid = rustix::process::Pid::from_raw(first.parse().unwrap()).unwrap();
    let parents = parent(pid.as_raw_nonzero().get());
    let used = instances.iter().position(|it| it.pid() == parents).unwrap();
    instances[used].signal(Signal::KILL);
    let lost = host.answer(id);
    assert_eq!(lost["error"]["data"]["reason"], "server_gone", "{lost}");
    // What may be done twice is done by the other one.
    let before = host.printed.iter().find(|line| line["id"] == json!(again)).cloned();
    let done = before.unwrap_or_else(|| host.answer(again));
    assert_eq!(text(&done), "second");
    let second = text(&host.call("calc__whoami", &json!({}))).to_owned();
    assert_ne!(first, second);
    let changes = host.printed.iter().filter(|line| is_change(line));
    assert_eq!(changes.count(), 0, "the host sees no change: the tools are the same");
}

fn parent(pid: i32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    line.trim().parse().unwrap()
}
