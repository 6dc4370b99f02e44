//! Changes that a server without sessions is listened to for.

use std::path::Path;
use std::time::Instant;

use agentmq_testkit::PATIENCE;
use serde_json::{Value, json};

use crate::mcp_program::{Lines, bridge, names, text, url, wait_for_trace};
use crate::mcp_stateless_parts::{expose_stateless, meta};

/// A host that has listed the tools, and for which the bridge listens.
fn listening(url: &str, trace: &Path) -> Lines {
    let mut host = bridge(url, &[]);
    let listed = host.request("tools/list", &json!({}));
    assert_eq!(names(&listed, "tools").len(), 8, "{listed}");
    wait_for_trace(trace, "listening []");
    host
}

#[test]
fn a_host_hears_of_changes_by_listening() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let _exposed = expose_stateless(&url(&broker), "calc", &trace);
    let mut host = listening(&url(&broker), &trace);
    assert_eq!(text(&host.call("calc__grow", &json!({}))), "grown");
    let changed = "notifications/tools/list_changed";
    host.wait_for("change of the list", |line| line["method"] == changed);
    let uri = json!({ "uri": "agentmq://calc/note:///one" });
    let subscribed = host.request("resources/subscribe", &uri);
    assert!(subscribed.get("result").is_some(), "{subscribed}");
    wait_for_trace(&trace, "listening ['note:///one']");
    host.call("calc__touch", &json!({}));
    let updated = "notifications/resources/updated";
    let told = host.wait_for("update", |line| line["method"] == updated);
    assert_eq!(told["params"]["uri"], uri["uri"]);
}

#[test]
fn what_a_program_did_while_nobody_listened_is_asked_for() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let _exposed = expose_stateless(&url(&broker), "calc", &trace);
    let mut host = listening(&url(&broker), &trace);
    assert_eq!(text(&host.call("calc__grow", &json!({ "unheard": true }))), "grown");
    let changed = "notifications/tools/list_changed";
    host.wait_for("change of the list", |line| line["method"] == changed);
    let listed = host.request("tools/list", &json!({}));
    assert_eq!(names(&listed, "tools").len(), 9, "{listed}");
}

#[test]
fn a_host_that_listens_twice_hears_by_the_other_one_when_one_ends() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let _exposed = expose_stateless(&url(&broker), "calc", &trace);
    let mut host = Lines::start(&["mcp", "bridge", "--url", &url(&broker)]);
    host.request("tools/list", &json!({ "_meta": meta() }));
    let uri = "agentmq://calc/note:///one";
    let wanted = json!({ "resourceSubscriptions": [uri] });
    let subscription =
        |line: &Value| line["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].clone();
    let mut listen = || {
        let params = json!({ "notifications": wanted, "_meta": meta() });
        let id = host.ask("subscriptions/listen", &params);
        host.wait_for("acknowledgement", |line| subscription(line) == json!(id));
        id
    };
    let (first, second) = (listen(), listen());
    wait_for_trace(&trace, "listening ['note:///one']");
    let params = json!({ "requestId": first });
    host.say(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }));
    let params = json!({ "name": "calc__touch", "arguments": {}, "_meta": meta() });
    // The update comes before the answer or after it.
    let touch = |host: &mut Lines| {
        let before = host.printed.len();
        host.request("tools/call", &params);
        let is_update = |line: &Value| subscription(line) == json!(second);
        let told = host.printed[before..].iter().find(|line| is_update(line)).cloned();
        told.unwrap_or_else(|| host.wait_for("update", is_update))
    };
    let give_up = Instant::now() + PATIENCE;
    // Until the first one is over, both hear of it.
    loop {
        assert!(Instant::now() < give_up, "the first one does not end");
        let before = host.printed.len();
        assert_eq!(touch(&mut host)["params"]["uri"], uri);
        let heard = |line: &Value| subscription(line) == json!(first);
        if !host.printed[before..].iter().any(heard) {
            break;
        }
    }
    assert_eq!(touch(&mut host)["params"]["uri"], uri);
}
