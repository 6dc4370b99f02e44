//! MCP without sessions on the bus: revision 2026-07-28, packet by packet and from end to end.

use std::path::Path;
use std::time::Instant;

use agentmq_testkit::codec::{
    Ack, AckKind, Connect, Packet, PropertiesBuf, Property, PropertyId, Publish, QoS, ReasonCode,
};
use agentmq_testkit::{Broker, PATIENCE, RawClient};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::mcp_elsewhere::Mosquitto;
use crate::mcp_program::{Lines, bridge, expose, names, text, url, wait_for_trace};
use crate::mcp_stateless_parts::{ANY, Peer, call, expose_stateless, meta, request, subscribe};
use crate::program::{printed, run};

#[test]
fn requests_need_no_session_and_say_what_they_must() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let _exposed = expose_stateless(&url(&broker), "demo/calc", &trace);
    let mut peer = Peer::new(&broker, "peer", "demo/calc", 1);
    let server = peer.servers[0].clone();
    peer.say(&server, &request(1, "server/discover", json!({})));
    let (from, discovered) = peer.hear();
    assert_eq!(from, server);
    let revisions = discovered["result"]["supportedVersions"].as_array().unwrap();
    assert!(revisions.contains(&json!("2026-07-28")), "{discovered}");
    assert!(revisions.contains(&json!("2025-11-25")), "those with sessions, too: {discovered}");
    let about = &discovered["result"]["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(about["name"], "demo/calc", "{discovered}");
    peer.say(&server, &call(2, "whoami"));
    let called = peer.hear().1;
    assert_eq!((&called["id"], &called["result"]["resultType"]), (&json!(2), &json!("complete")));

    let mut other = request(3, "tools/list", json!({}));
    other["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2031-01-01");
    peer.say(&server, &other);
    let refused = peer.hear().1;
    assert_eq!(refused["error"]["code"], -32022, "{refused}");
    assert_eq!(refused["error"]["data"]["requested"], "2031-01-01");
    let mut other = request(4, "tools/list", json!({}));
    let said = other["params"]["_meta"].as_object_mut().unwrap();
    said.remove("io.modelcontextprotocol/clientCapabilities");
    peer.say(&server, &other);
    assert_eq!(peer.hear().1["error"]["code"], -32602);
    for method in ["ping", "resources/subscribe", "logging/setLevel"] {
        let uri = json!({ "uri": "note:///one", "level": "info" });
        peer.say(&server, &request(5, method, uri));
        assert_eq!(peer.hear().1["error"]["code"], -32601, "{method} is no more");
    }
    // Who says nothing of itself has to have a session.
    let mut stranger = Peer::new(&broker, "stranger", "demo/calc", 1);
    let bare = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    stranger.say(&server, &bare);
    let refused = stranger.hear().1;
    assert_eq!(refused["error"]["data"]["reason"], "server_gone", "{refused}");
}

#[test]
fn sessions_and_requests_without_one_live_side_by_side() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let _exposed = expose_stateless(&url(&broker), "calc", &trace);
    let mut peer = Peer::new(&broker, "peer", "calc", 1);
    let server = peer.servers[0].clone();
    peer.say(&server, &call(1, "whoami"));
    let pid = peer.hear().1["result"]["content"][0]["text"].clone();
    // The same client begins a session, on which it need not say who it is.
    let info = json!({ "name": "peer", "version": "1" });
    let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info });
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let control = format!("$mcp-server/{server}/calc");
    peer.client.publish(&control, initialize.to_string().as_bytes(), QoS::AtMostOnce);
    assert_eq!(peer.hear().1["result"]["protocolVersion"], "2025-06-18");
    let params = json!({ "name": "whoami", "arguments": {} });
    let bare = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params });
    peer.say(&server, &bare);
    let answer = peer.hear().1;
    assert_eq!(answer["result"]["content"][0]["text"], pid);
    assert!(answer["result"].get("resultType").is_none(), "no word of its revision: {answer}");
    let asking = json!({ "name": "ask", "arguments": {} });
    let bare = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": asking });
    peer.say(&server, &bare);
    assert_eq!(peer.hear().1["error"]["code"], -32600, "nobody could answer its question");
    // What it wants to know of is heard by listening to the program.
    peer.client.subscribe(&format!("$mcp-server/capability/{server}/calc"), QoS::AtMostOnce);
    let uri = json!({ "uri": "note:///one" });
    let bare = json!({ "jsonrpc": "2.0", "id": 4, "method": "resources/subscribe", "params": uri });
    peer.say(&server, &bare);
    assert_eq!(peer.hear().1["id"], 4);
    wait_for_trace(&trace, "listening ['note:///one']");
    let params = json!({ "name": "touch", "arguments": {} });
    let bare = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params });
    peer.say(&server, &bare);
    let updated = peer.client.wait_for(
        |it| matches!(it, Packet::Publish(it) if it.topic.starts_with("$mcp-server/capability")),
    );
    let updated: Value = serde_json::from_slice(updated.publish().payload).unwrap();
    assert_eq!(updated["method"], "notifications/resources/updated");
    assert!(updated["params"].get("_meta").is_none(), "our subscription is ours: {updated}");
}

#[test]
fn any_instance_takes_a_request_and_says_who_it_is() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let first = expose_stateless(&url(&broker), "calc", &trace);
    let second = expose_stateless(&url(&broker), "calc", &trace);
    let mut peer = Peer::new(&broker, "peer", "calc", 2);
    let mut answered = std::collections::BTreeSet::new();
    for id in 0..10 {
        peer.say(ANY, &call(id, "whoami"));
        let (server, answer) = peer.hear();
        assert_eq!(answer["id"], id, "{answer}");
        answered.insert(server);
    }
    assert_eq!(answered.len(), 2, "the broker shares them out");
    // Who has it says so, and is told when it is taken back.
    peer.say(ANY, &call(20, "wait"));
    let (server, taken) = peer.hear();
    assert_eq!(taken["method"], "notifications/agentmq/taken", "{taken}");
    assert_eq!(taken["params"]["requestId"], 20);
    let params = json!({ "requestId": 20 });
    let cancelled =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
    peer.say(&server, &cancelled);
    wait_for_trace(&trace, "cancelled");
    // Nobody is there: the broker says so.
    for exposed in [first, second] {
        exposed.signal(Signal::KILL);
        peer.client.wait_for(|it| {
            matches!(it, Packet::Publish(it)
                if it.topic.starts_with("$mcp-server/presence") && it.payload.is_empty())
        });
    }
    peer.say(ANY, &call(30, "whoami"));
    let (server, nobody) = peer.hear();
    assert_eq!((&*server, &nobody["error"]["code"]), ("$any", &json!(-32000)), "{nobody}");
}

/// A server that is played by the test, and that a client of ours asks.
fn played(broker: &Broker) -> RawClient {
    let mut server = broker.dial();
    let properties = PropertiesBuf::new().with(Property::U16(PropertyId::ReceiveMaximum, 1));
    server.connect_with(Connect {
        client_id: "played",
        clean_start: true,
        properties: properties.view(),
        ..Connect::default()
    });
    let granted = subscribe(&mut server, "$mcp-rpc/+/played/calc", QoS::AtLeastOnce);
    assert_eq!(granted, ReasonCode::GrantedQoS1);
    let meta = json!({ "supportedVersions": ["2026-07-28"] });
    let params = json!({ "description": "played", "meta": meta });
    let method = "notifications/server/online";
    let online = json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string();
    server.send(&Packet::Publish(Publish {
        topic: "$mcp-server/presence/played/calc",
        payload: online.as_bytes(),
        retain: true,
        ..Publish::default()
    }));
    server
}

/// Hears a request, acknowledges it or not, and answers it.
fn answer(server: &mut RawClient, result: Value) -> (Value, u32) {
    let heard = server.receive_publish();
    let publish = heard.publish();
    let request: Value = serde_json::from_slice(publish.payload).unwrap();
    let expiry = publish.properties.integer(PropertyId::MessageExpiryInterval);
    let payload = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }).to_string();
    let topic = publish.topic.to_owned();
    server.publish(&topic, payload.as_bytes(), QoS::AtMostOnce);
    (request, expiry.expect("it does not wait for ever"))
}

#[test]
fn a_request_that_is_too_late_never_comes() {
    let broker = crate::broker("");
    let mut server = played(&broker);
    let url = url(&broker);
    let folder = broker.folder().to_owned();
    let calling = std::thread::spawn(move || {
        run(&folder, &["tools", "call", "calc/slow", "--timeout", "1s", "--url", &url])
    });
    let discovered = json!({
        "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0,
        "capabilities": { "tools": {} }, "cacheScope": "private",
    });
    let (discover, expiry) = answer(&mut server, discovered);
    assert_eq!((&discover["method"], expiry), (&json!("server/discover"), 30));
    let said = &discover["params"]["_meta"];
    assert_eq!(said["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    let heard = server.receive();
    let list: Value = serde_json::from_slice(heard.publish().payload).unwrap();
    assert_eq!(list["method"], "tools/list");
    let (topic, unacknowledged) = (heard.publish().topic.to_owned(), heard.publish().packet_id);
    let tool = json!({ "name": "slow", "inputSchema": { "type": "object" } });
    let result =
        json!({ "resultType": "complete", "tools": [tool], "ttlMs": 0, "cacheScope": "private" });
    let payload = json!({ "jsonrpc": "2.0", "id": list["id"], "result": result }).to_string();
    server.publish(&topic, payload.as_bytes(), QoS::AtMostOnce);
    // The window is full: the call waits in the broker, and its caller gives up.
    let late = calling.join().unwrap();
    let said = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(said.contains("within 1s"), "{said}");
    let ack = Ack::new(AckKind::PubAck, unacknowledged, ReasonCode::Success);
    server.send(&Packet::Ack(ack));
    let next = server.receive_publish();
    let next: Value = serde_json::from_slice(next.publish().payload).unwrap();
    assert_eq!(next["method"], "notifications/cancelled", "and no call: {next}");
}

#[test]
fn a_host_and_a_program_of_this_revision_keep_it() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let _exposed = expose_stateless(&url(&broker), "calc", &trace);
    let mut watcher = broker.client("watcher");
    watcher.subscribe("$mcp-rpc/#", QoS::AtMostOnce);
    let url = url(&broker);
    let mut host = Lines::start(&["mcp", "bridge", "--url", &url]);
    let mut ask = |method: &str, params: Value| {
        let mut params = params;
        let traced = params.get("_meta").cloned().unwrap_or_default();
        params["_meta"] = meta();
        for (key, value) in traced.as_object().into_iter().flatten() {
            params["_meta"][key] = value.clone();
        }
        host.request(method, &params)
    };
    let listed = ask("tools/list", json!({}));
    assert_eq!(names(&listed, "tools").len(), 8, "{listed}");
    // What the program asks for reaches the host, and the host's word the program.
    let asked = ask("tools/call", json!({ "name": "calc__ask", "arguments": {} }));
    let asked = &asked["result"];
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    assert_eq!(asked["inputRequests"]["who"]["params"]["message"], "Who are you?");
    let given = json!({ "who": { "action": "accept", "content": { "name": "Ada" } } });
    let again = ask(
        "tools/call",
        json!({
            "name": "calc__ask", "arguments": {},
            "inputResponses": given, "requestState": asked["requestState"],
        }),
    );
    assert_eq!(text(&again), "Ada with state-1");
    assert_eq!(again["result"]["resultType"], "complete");
    // The program sees whose request it is, and which trace it belongs to.
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = json!({ "traceparent": parent, "tracestate": "a=b", "baggage": "broken" });
    let call = json!({ "name": "calc__meta", "arguments": {}, "_meta": traced });
    let seen: Value = serde_json::from_str(text(&ask("tools/call", call))).unwrap();
    assert_eq!(seen["io.modelcontextprotocol/clientInfo"]["name"], "a host", "{seen}");
    assert_eq!(seen["io.modelcontextprotocol/clientCapabilities"], json!({ "elicitation": {} }));
    assert_eq!((&seen["traceparent"], &seen["tracestate"]), (&json!(parent), &json!("a=b")));
    assert!(seen.get("baggage").is_none(), "what is malformed is not passed on: {seen}");
    // So does everybody on the way, of the call and of its answer.
    let mut on_the_way = 0;
    while on_the_way < 2 {
        let seen = watcher.receive_publish();
        let properties: Vec<_> = seen.publish().properties.user_properties().collect();
        if properties.contains(&("traceparent", parent)) {
            assert!(properties.contains(&("tracestate", "a=b")), "{properties:?}");
            assert!(properties.iter().all(|(name, _)| *name != "baggage"), "{properties:?}");
            on_the_way += 1;
        }
    }
}

/// Two instances, one of which is killed: on our broker, and on one that knows nothing of MCP.
fn another_instance_takes_over(url: &str, folder: &Path) {
    let trace = folder.join("trace");
    let instances = [expose_stateless(url, "calc", &trace), expose_stateless(url, "calc", &trace)];
    let mut host = bridge(url, &[]);
    let listed = host.request("tools/list", &json!({}));
    assert_eq!(names(&listed, "tools").len(), 8, "two instances are one server: {listed}");
    let mut pids = std::collections::BTreeSet::new();
    let give_up = Instant::now() + PATIENCE;
    while pids.len() < 2 {
        assert!(Instant::now() < give_up, "one instance does it all");
        pids.insert(text(&host.call("calc__whoami", &json!({}))).to_owned());
    }
    // One of them has it, and nothing is answered twice.
    let waiting =
        [(); 4].map(|()| host.ask("tools/call", &json!({ "name": "calc__wait", "arguments": {} })));
    let again = host.ask("tools/call", &json!({ "name": "calc__second", "arguments": {} }));
    wait_for_trace(&trace, "asked");
    let give_up = Instant::now() + PATIENCE;
    while std::fs::read_to_string(&trace).unwrap().matches("waiting").count() < waiting.len() {
        assert!(Instant::now() < give_up, "not all calls have begun");
        std::thread::yield_now();
    }
    instances[0].signal(Signal::KILL);
    let lost = host.wait_for("a call that is lost", |line| line.get("error").is_some());
    assert_eq!(lost["error"]["data"]["reason"], "server_gone", "{lost}");
    // What may be done twice is done by one that is there.
    let _third = expose_stateless(url, "calc", &trace);
    instances[1].signal(Signal::KILL);
    for id in waiting {
        let before = host.printed.iter().find(|line| line["id"] == json!(id)).cloned();
        let lost = before.unwrap_or_else(|| host.answer(id));
        assert_eq!(lost["error"]["data"]["reason"], "server_gone", "{lost}");
    }
    let before = host.printed.iter().find(|line| line["id"] == json!(again)).cloned();
    let done = before.unwrap_or_else(|| host.answer(again));
    assert_eq!(text(&done), "second");
}

#[test]
fn another_instance_takes_over_here() {
    let broker = crate::broker("");
    another_instance_takes_over(&url(&broker), broker.folder());
}

#[test]
fn another_instance_takes_over_at_mosquitto() {
    let broker = Mosquitto::start();
    another_instance_takes_over(&broker.url, broker.folder.path());
}

#[test]
fn mosquitto_carries_both_eras() {
    let broker = Mosquitto::start();
    let (url, folder) = (&*broker.url, broker.folder.path());
    let trace = folder.join("trace");
    let _first = expose_stateless(url, "calc", &trace);
    let _second = expose_stateless(url, "calc", &trace);
    let _before = crate::mcp_program::expose_at(url, "before", &[]);
    let listed = printed(folder, &["tools", "ls", "--url", url]);
    assert_eq!(listed.lines().count(), 18, "{listed}");
    let told = run(folder, &["tools", "call", "calc/steps", "-a", "count=3", "--url", url]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.matches("progress").count(), 3, "once each: {told}");
    let late = run(folder, &["tools", "call", "calc/wait", "--timeout", "300ms", "--url", url]);
    assert_eq!(late.status.code(), Some(5), "{late:?}");
    wait_for_trace(&trace, "cancelled");
    let alone = folder.join("alone");
    let _alone = expose_stateless(url, "alone", &alone);
    let mut host = bridge(url, &[]);
    assert_eq!(text(&host.call("before__add", &json!({ "a": 40, "b": 2 }))), "42");
    wait_for_trace(&alone, "listening []");
    // In the catalogue by the time that the host may hear of a change.
    host.request("tools/list", &json!({}));
    assert_eq!(text(&host.call("alone__grow", &json!({}))), "grown");
    host.wait_for("change", |line| line["method"] == "notifications/tools/list_changed");
}

#[test]
fn a_host_without_sessions_asks_a_program_with_one() {
    let broker = crate::broker("");
    let _exposed = expose(&broker, "calc", &[]);
    let url = url(&broker);
    let mut host = Lines::start(&["mcp", "bridge", "--url", &url]);
    let add = json!({ "name": "calc__add", "arguments": { "a": 40, "b": 2 }, "_meta": meta() });
    let answer = host.request("tools/call", &add);
    assert_eq!((text(&answer), &answer["result"]["resultType"]), ("42", &json!("complete")));
}
