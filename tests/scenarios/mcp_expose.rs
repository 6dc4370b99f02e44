//! `agentmq mcp expose`: a program that speaks on standard input and output, on the bus.

use std::process::Output;

use agentmq_testkit::codec::{
    Connect, Packet, PropertiesBuf, Property, Publish, QoS, ReasonCode, SubscribeFilter,
    SubscriptionOptions,
};
use agentmq_testkit::{Broker, RawClient, Received};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::mcp_program::{Lines, expose, fixture, url, wait_for_trace};
use crate::program::run;

fn tools(broker: &Broker, arguments: &[&str]) -> Output {
    let url = url(broker);
    let mut all = vec!["tools"];
    all.extend(arguments);
    all.extend(["--url", &url]);
    run(broker.folder(), &all)
}

fn stdout(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Fails with this code, and says why.
fn fails(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains("fix:"), "{error}");
    error
}

#[test]
fn its_tools_are_listed_and_called() {
    let broker = crate::broker("");
    let empty = tools(&broker, &["ls"]);
    assert!(stdout(&empty).is_empty());
    let _exposed = expose(&broker, "demo/calc", &[]);
    let listed = stdout(&tools(&broker, &["ls"]));
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 10, "all pages: {listed}");
    assert!(lines.iter().any(|line| line.starts_with("demo/calc/add ")), "{listed}");
    let json = stdout(&tools(&broker, &["ls", "--json"]));
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["server"], &first["name"]), (&json!("demo/calc"), &json!("add")));
    assert_eq!(first["tool"]["inputSchema"]["properties"]["a"]["type"], "integer");

    let sum = tools(&broker, &["call", "demo/calc/add", "-a", "a=2", "-a", "b=40"]);
    assert_eq!(stdout(&sum), "42\n");
    let said = tools(&broker, &["call", "demo/calc/echo", "--arg", "message=4\u{1b}[2J2"]);
    assert_eq!(stdout(&said), "4\u{FFFD}[2J2\n");
    let json = tools(&broker, &["call", "demo/calc/echo", "--arg", "message=42", "--json"]);
    let answer: Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(answer["content"][0]["text"], "42");
    let steps = tools(&broker, &["call", "demo/calc/steps", "-a", "count=3"]);
    let told = String::from_utf8_lossy(&steps.stderr).into_owned();
    assert_eq!(told, "progress: 1 of 3\nprogress: 2 of 3\nprogress: 3 of 3\n");

    let failed = fails(&tools(&broker, &["call", "demo/calc/fail"]), 1);
    assert!(failed.contains("it did not work \u{FFFD}[2J"), "{failed}");
    let wrong = fails(&tools(&broker, &["call", "demo/calc/add", "-a", "a=x", "-a", "b=1"]), 2);
    assert!(wrong.contains("is to be integer"), "{wrong}");
    let missing = fails(&tools(&broker, &["call", "demo/calc/add", "-a", "a=1"]), 1);
    assert!(missing.contains("-32602"), "{missing}");
    let unknown = fails(&tools(&broker, &["call", "demo/calc/no-such"]), 2);
    assert!(unknown.contains("no tool named no-such"), "{unknown}");
    let nobody = fails(&tools(&broker, &["call", "demo/other/add"]), 5);
    assert!(nobody.contains("demo/calc"), "who is online is named: {nobody}");
}

#[test]
fn a_program_that_dies_fails_its_calls_at_once_and_comes_back() {
    let broker = crate::broker("");
    let mut exposed = expose(&broker, "calc", &[]);
    let lost = fails(&tools(&broker, &["call", "calc/crash", "--timeout", "1h"]), 5);
    assert!(lost.contains("went away"), "{lost}");
    let offline = exposed.wait_for("offline", |line| line["event"] == "offline");
    assert!(offline["why"].as_str().unwrap().contains("exit status: 7"), "{offline}");
    exposed.wait_for("online again", |line| line["event"] == "online");
    exposed.wait_for_error("about to crash");
    let sum = tools(&broker, &["call", "calc/add", "-a", "a=1", "-a", "b=1"]);
    assert_eq!(stdout(&sum), "2\n");
}

#[test]
fn a_call_that_is_given_up_is_taken_back() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let _exposed = expose(&broker, "calc", &["--trace", trace.to_str().unwrap()]);
    let late = fails(&tools(&broker, &["call", "calc/wait", "--timeout", "300ms"]), 5);
    assert!(late.contains("within 300ms"), "{late}");
    wait_for_trace(&trace, "cancelled");
}

#[test]
fn its_presence_ends_with_it() {
    let broker = crate::broker("");
    let mut watcher = broker.client("watcher");
    watcher.subscribe("$mcp-server/presence/#", QoS::AtLeastOnce);
    for signal in [Signal::TERM, Signal::KILL] {
        let trace = broker.folder().join(format!("trace-{signal:?}"));
        let mut exposed = expose(&broker, "calc", &["--trace", trace.to_str().unwrap()]);
        let online = watcher.receive_publish();
        let said: Value = serde_json::from_slice(online.publish().payload).unwrap();
        assert_eq!(said["method"], "notifications/server/online");
        assert_eq!(said["params"]["server_name"], "calc");
        assert_eq!(said["params"]["description"], "The calc server");
        let topic = online.publish().topic.to_owned();
        let user: Vec<_> = online.publish().properties.user_properties().collect();
        assert!(user.contains(&("MCP-COMPONENT-TYPE", "mcp-server")), "{user:?}");
        exposed.signal(signal);
        let cleared = watcher.receive_publish();
        assert_eq!((cleared.publish().topic, cleared.publish().payload), (&*topic, &b""[..]));
        assert_eq!(exposed.end().success(), signal == Signal::TERM);
        // Its input has ended, so the program has, too.
        wait_for_trace(&trace, "ended");
        let mut late = broker.client("late");
        late.subscribe("$mcp-server/presence/#", QoS::AtLeastOnce);
        late.subscribe("mark", QoS::AtLeastOnce);
        late.publish("mark", b"", QoS::AtLeastOnce);
        assert_eq!(late.receive_publish().publish().topic, "mark", "nothing is kept");
    }
}

#[test]
fn what_cannot_work_is_refused_at_once() {
    let broker = crate::broker("");
    let url = url(&broker);
    let expose = |more: &[&str]| {
        let mut all = vec!["mcp", "expose", "--url", &url];
        all.extend(more);
        run(broker.folder(), &all)
    };
    let missing = fails(&expose(&["--", "/no/such/program"]), 1);
    assert!(missing.contains("cannot start /no/such/program"), "{missing}");
    let ended = fails(&expose(&["--", "false"]), 1);
    assert!(ended.contains("ended (exit status: 1)"), "{ended}");
    fails(&expose(&["--name", "a/+", "--", "cat"]), 2);
    fails(&expose(&["--id", "a/b", "--", "python3", &fixture()[1]]), 2);
    fails(&expose(&["--mqtt-version", "3.1.1", "--", "cat"]), 2);
    let arguments = ["mcp", "expose", "--url", "mqtt://127.0.0.1:1", "--", "python3"];
    let nobody = run(broker.folder(), &[&arguments[..], &[&fixture()[1]]].concat());
    fails(&nobody, 3);
}

#[test]
fn the_program_does_not_see_what_lets_us_in() {
    let broker = crate::broker("");
    let _exposed = expose(&broker, "calc", &[]);
    let seen = stdout(&tools(&broker, &["call", "calc/environment"]));
    assert!(seen.contains("PATH") && !seen.contains("AGENTMQ_PASSWORD"), "{seen}");
}

/// A broker that adds nothing to what clients say, as others do not: ours would name the sender.
const AS_IT_COMES: &str = "[agents]\nmcp = false\n";

/// A client that speaks the binding packet by packet.
struct Peer {
    client: RawClient,
    id: &'static str,
    server: String,
}

impl Peer {
    /// Finds the one server that is online.
    fn new(broker: &Broker, id: &'static str) -> Self {
        let mut client = broker.dial();
        let component = Property::Pair("MCP-COMPONENT-TYPE", "mcp-client");
        let properties = PropertiesBuf::new().with(component);
        client.connect_with(Connect {
            client_id: id,
            clean_start: true,
            properties: properties.view(),
            ..Connect::default()
        });
        client.subscribe("$mcp-server/presence/+/#", QoS::AtLeastOnce);
        let online = client.receive_publish();
        let topic = online.publish().topic.to_owned();
        let server = topic.strip_prefix("$mcp-server/presence/").unwrap().to_owned();
        let mut peer = Self { client, id, server };
        peer.listen();
        peer
    }

    fn rpc(&self) -> String {
        format!("$mcp-rpc/{}/{}", self.id, self.server)
    }

    fn listen(&mut self) {
        let rpc = self.rpc();
        let options = SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() };
        let filters = [SubscribeFilter { filter: &rpc, options }];
        let mut bytes = Vec::new();
        agentmq_testkit::codec::Subscribe::encode_parts(
            77,
            agentmq_testkit::codec::Properties::EMPTY,
            filters,
            agentmq_testkit::codec::ProtocolVersion::V5,
            &mut bytes,
        );
        self.client.send_bytes(&bytes);
        self.client.wait_for(|packet| matches!(packet, Packet::SubAck(_)));
    }

    /// Publishes with QoS 0, as most others do, and says who we are.
    fn send(&mut self, topic: &str, payload: &[u8], sender: Option<&str>) {
        let mut properties = PropertiesBuf::new();
        if let Some(sender) = sender {
            properties.push(Property::Pair("MCP-MQTT-CLIENT-ID", sender));
        }
        let properties = properties.view();
        self.client.send(&Packet::Publish(Publish {
            topic,
            payload,
            properties,
            ..Publish::default()
        }));
    }

    fn control(&mut self, payload: &[u8], sender: Option<&str>) {
        let topic = format!("$mcp-server/{}", self.server);
        self.send(&topic, payload, sender);
    }

    fn say(&mut self, payload: &[u8]) {
        let rpc = self.rpc();
        self.send(&rpc, payload, None);
    }

    fn hear(&mut self) -> Value {
        let rpc = self.rpc();
        self.hear_on(&rpc)
    }

    fn hear_on(&mut self, topic: &str) -> Value {
        let fits = |packet: &Packet<'_>| matches!(packet, Packet::Publish(it) if it.topic == topic);
        let heard: Received = self.client.wait_for(fits);
        serde_json::from_slice(heard.publish().payload).unwrap()
    }

    fn initialize(&mut self, id: i64) -> Value {
        let request = json!({
            "jsonrpc": "2.0", "id": id, "method": "initialize",
            "params": {
                "protocolVersion": "2024-11-05", "capabilities": {},
                "clientInfo": { "name": "peer", "version": "1" },
            },
        });
        let sender = self.id;
        self.control(request.to_string().as_bytes(), Some(sender));
        let answer = self.hear();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }
}

#[test]
fn a_peer_that_leaves_much_out_has_its_session() {
    let broker = crate::broker(AS_IT_COMES);
    let _exposed = expose(&broker, "demo/calc", &[]);
    let mut peer = Peer::new(&broker, "peer");
    // M-S2: nobody can be answered.
    let ping = br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
    peer.control(ping, None);
    peer.control(ping, Some("a/b"));
    let answer = peer.initialize(2);
    assert_eq!(answer["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(answer["result"]["serverInfo"]["name"], "demo/calc");
    // M-S1: the server listens by the time we have its answer.
    peer.say(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let params = json!({ "name": "add", "arguments": { "a": 1, "b": 2 } });
    let call = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params });
    peer.say(call.to_string().as_bytes());
    assert_eq!(peer.hear()["result"]["content"][0]["text"], "3");
    // M-S3: it begins anew, with the same identifiers, and hears nothing of what was under way.
    let wait = json!({ "name": "wait" });
    let wait = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": wait });
    peer.say(wait.to_string().as_bytes());
    peer.initialize(2);
    peer.say(br#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#);
    let pong = peer.hear();
    assert_eq!((&pong["id"], &pong["result"]), (&json!(3), &json!({})), "{pong}");
    peer.say(br#"{"jsonrpc":"2.0","id":4,"method":"ping"}"#);
    assert_eq!(peer.hear()["id"], 4);
    // M-S4: the session is over, with what was under way, and can begin again.
    peer.say(wait.to_string().as_bytes());
    peer.say(br#"{"jsonrpc":"2.0","method":"notifications/disconnected","params":null}"#);
    peer.initialize(5);
    let presence = format!("$mcp-client/presence/{}", peer.id);
    peer.send(&presence, br#"{"jsonrpc":"2.0","method":"notifications/disconnected"}"#, None);
    peer.initialize(6);
    peer.say(br#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#);
    assert_eq!(peer.hear()["id"], 7);
}

#[test]
fn hostile_messages_get_an_error_or_nothing_and_the_session_lives() {
    let broker = crate::broker(AS_IT_COMES);
    let mut exposed = expose(&broker, "calc", &[]);
    let mut peer = Peer::new(&broker, "peer");
    for garbage in [&b""[..], b"{", b"[]", b"null", b"\xFF\xFE", &[b'['; 100_000]] {
        peer.control(garbage, Some("peer"));
    }
    peer.control(br#"{"jsonrpc":"2.0","id":"x","method":"tools/list"}"#, Some("peer"));
    let refused = peer.hear();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("x"), &json!(-32600)));
    peer.initialize(0);
    for garbage in [&b""[..], b"{", b"[]", b"\xFF", b"{\"jsonrpc\":\"2.0\"}", &[b'{'; 100_000]] {
        peer.say(garbage);
    }
    peer.say(br#"{"id":1,"method":"tools/list"}"#);
    assert_eq!(peer.hear()["error"]["code"], -32600);
    peer.say(br#"{"jsonrpc":"2.0","id":2,"method":"no/such/method","params":{"a":1}}"#);
    assert_eq!(peer.hear()["error"]["code"], -32601);
    peer.say(br#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":7}}"#);
    assert_eq!(peer.hear()["error"]["code"], -32602);
    let forged = format!("$mcp-rpc/peer/{}", peer.server);
    peer.send(&forged, br#"{"jsonrpc":"2.0","id":4,"method":"ping"}"#, Some("other"));
    peer.say(br#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#);
    assert_eq!(peer.hear()["id"], 5, "what names another sender is not answered");
    // More at once than anybody needs: those beyond the bound are refused, the others wait.
    for id in 1000..1300 {
        let call = json!({
            "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "wait" },
        });
        peer.say(call.to_string().as_bytes());
    }
    let busy = peer.hear();
    assert_eq!(busy["error"]["data"]["reason"], "busy", "{busy}");
    let other = Peer::new(&broker, "other").initialize(1);
    assert_eq!(other["result"]["serverInfo"]["name"], "calc");
    exposed.signal(Signal::TERM);
    assert!(exposed.end().success());
}

/// Two clients of one program: what it says of a request is heard by who made it alone, what it
/// says of its lists by both.
#[test]
fn clients_share_the_program_and_not_their_business() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let _exposed = expose(&broker, "calc", &["--trace", trace.to_str().unwrap()]);
    let (mut one, mut two) = (Peer::new(&broker, "one"), Peer::new(&broker, "two"));
    one.initialize(1);
    two.initialize(1);
    let capability = format!("$mcp-server/capability/{}", one.server);
    assert_eq!(one.client.subscribe(&capability, QoS::AtMostOnce), ReasonCode::Success);
    let params = json!({
        "name": "steps", "arguments": { "count": 20 }, "_meta": { "progressToken": "mine" },
    });
    let steps = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params });
    one.say(steps.to_string().as_bytes());
    for step in 1..=20 {
        let report = one.hear();
        assert_eq!(report["params"]["progressToken"], "mine", "{report}");
        assert_eq!(report["params"]["progress"], f64::from(step), "in order, before the answer");
    }
    assert_eq!(one.hear()["id"], 2);
    two.say(br#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"grow"}}"#);
    let changed = one.hear_on(&capability);
    assert_eq!(changed["method"], "notifications/tools/list_changed");
    assert_eq!(two.hear()["id"], 2, "the first that it hears: nothing of the other's steps");
    let about = |id: i64, method: &str| {
        let params = json!({ "uri": "note:///one" });
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
    };
    for peer in [&mut one, &mut two] {
        peer.say(about(3, "resources/subscribe").as_bytes());
        assert_eq!(peer.hear()["id"], 3);
    }
    let updated = one.hear_on(&capability);
    assert_eq!(updated["params"]["uri"], "note:///one", "{updated}");
    two.say(about(4, "resources/unsubscribe").as_bytes());
    assert_eq!(two.hear()["id"], 4);
    assert!(!std::fs::read_to_string(&trace).unwrap_or_default().contains("unsubscribed"));
    // The last one who wants to know of it ends his session, and the program is told.
    one.say(br#"{"jsonrpc":"2.0","method":"notifications/disconnected"}"#);
    wait_for_trace(&trace, "unsubscribed note:///one");
}

#[test]
fn the_name_is_the_programs_own_if_none_is_given() {
    let broker = crate::broker("");
    let url = url(&broker);
    let program = fixture();
    let arguments = [
        "mcp",
        "expose",
        "--json",
        "--url",
        &url,
        "--",
        "python3",
        &program[1],
        "--name",
        "acme/+x",
    ];
    let mut exposed = Lines::start(&arguments);
    let online = exposed.wait_for("online", |line| line["event"] == "online");
    assert_eq!(online["server"], "acme/-x");
}
