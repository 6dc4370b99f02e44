//! `/mcp`: MCP clients that come by HTTP, and those who only look like some.

use std::cell::Cell;
use std::time::Instant;

use agentmq_testkit::codec::{Connect, ProtocolVersion, QoS};
use agentmq_testkit::{Broker, PATIENCE};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::http_client::{HttpAnswer, connect_from, send, send_over};
use crate::mcp_program::{Lines, expose, fixture, names, text};
use crate::program::printed;

const ADMIN: &str = "[admin]\nurl = \"http://127.0.0.1:0\"\n";
const ACCEPT: &str = "Accept: application/json, text/event-stream";
const KIND: &str = "Content-Type: application/json";

/// One client: a token, and a session once it has begun one.
struct Client {
    address: String,
    lines: Vec<String>,
}

impl Client {
    fn new(broker: &Broker, token: Option<&str>) -> Self {
        let mut lines = vec![ACCEPT.to_owned(), KIND.to_owned()];
        lines.extend(token.map(|token| format!("Authorization: Bearer {token}")));
        Self { address: broker.admin().to_owned(), lines }
    }

    fn send(&self, method: &str, body: &str) -> HttpAnswer {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        send(&self.address, method, "/mcp", &lines, body)
    }

    fn begin(&self) -> HttpAnswer {
        self.begin_as("2025-11-25")
    }

    fn begin_as(&self, revision: &str) -> HttpAnswer {
        let info = json!({ "name": "scenario", "version": "1" });
        let params = json!({ "protocolVersion": revision, "capabilities": {}, "clientInfo": info });
        let request =
            json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        self.send("POST", &request.to_string())
    }

    /// Begins a session as clients do.
    fn initialize(mut self) -> Self {
        let mut answer = self.begin().expect(200);
        let id = answer.header("mcp-session-id").expect("a session").to_owned();
        let result = answer.event().expect("an answer");
        assert_eq!(result["result"]["protocolVersion"], "2025-11-25", "{result}");
        self.lines.push(format!("Mcp-Session-Id: {id}"));
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(self.send("POST", &initialized.to_string()).status, 202);
        self
    }

    fn session(&self) -> &str {
        self.lines.last().expect("it has one")
    }

    fn request(&self, method: &str, params: &Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer = self.send("POST", &request.to_string()).expect(200);
        answer.event().expect("an answer")
    }

    /// One who speaks the revision without sessions.
    fn newest(broker: &Broker) -> Self {
        let mut client = Self::new(broker, None);
        client.lines.push("MCP-Protocol-Version: 2026-07-28".into());
        client
    }

    /// A request in that revision.
    fn ask(&self, method: &str, mut params: Value) -> HttpAnswer {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "scenario", "version": "1" },
        });
        let mut lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        let method_line = format!("Mcp-Method: {method}");
        let name = params["name"].as_str().map(|name| format!("Mcp-Name: {name}"));
        lines.push(&method_line);
        lines.extend(name.as_deref());
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        send(&self.address, "POST", "/mcp", &lines, &body.to_string())
    }

    fn call(&self, tool: &str, arguments: &Value) -> Value {
        self.request("tools/call", &json!({ "name": tool, "arguments": arguments }))
    }
}

/// A broker that knows one key, has the rules for MCP, and puts out whom it is told to.
fn guarded() -> Broker {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), "profiles = [\"mcp\"]\n").unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let access = "[access]\npolicy = \"policy.toml\"\nrevocations = \"revocations.toml\"\n\
                  tokens.keys = [\"keys.json\"]\n[audit]\nenabled = true\n";
    Broker::start_in(crate::BINARY, &format!("{}{access}{ADMIN}", crate::TCP), folder)
}

fn token(broker: &Broker, claims: &[&str]) -> String {
    printed(broker.folder(), &[&["token", "create"], claims].concat())
}

/// Puts the fixture on the bus as who may serve.
fn expose_guarded(broker: &Broker) -> Lines {
    let (url, server) = (crate::mcp_program::url(broker), token(broker, &["--server", "calc"]));
    let words = ["mcp", "expose", "--json", "--url", &url, "--password", &server];
    let program = fixture();
    let program = ["--id", "calc-1", "--name", "calc", "--", "python3", &program[1]];
    let mut exposed = Lines::start(&[&words[..], &program].concat());
    exposed.wait_for("online", |line| line["event"] == "online");
    exposed
}

#[test]
fn a_session_lists_calls_and_hears_of_changes() {
    let broker = crate::broker(ADMIN);
    let calc = expose(&broker, "calc", &[]);
    let client = Client::new(&broker, None).initialize();
    let tools = client.request("tools/list", &json!({}));
    assert_eq!(names(&tools, "tools").len(), 10, "{tools}");
    assert_eq!(text(&client.call("calc__add", &json!({ "a": 40, "b": 2 }))), "42");
    let wrong = client.call("calc__no_such", &json!({}));
    assert_eq!(wrong["error"]["code"], -32602, "{wrong}");

    let params = json!({
        "name": "calc__steps", "arguments": { "count": 20 }, "_meta": { "progressToken": 7 },
    });
    let request = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params });
    let mut steps = client.send("POST", &request.to_string());
    for step in 1..=20 {
        let told = steps.event().expect("progress");
        assert_eq!(told["params"]["progress"], f64::from(step), "{told}");
        assert_eq!(told["params"]["progressToken"], 7, "{told}");
    }
    assert_eq!(steps.event().expect("an answer")["id"], 2);

    // Two sessions share a connection to the bus; each has what it has subscribed to.
    let other = Client::new(&broker, None).initialize();
    let (mut stream, mut others) = (client.send("GET", ""), other.send("GET", ""));
    let uri = json!({ "uri": "agentmq://calc/note:///one" });
    client.request("resources/subscribe", &uri);
    hear(&mut stream, "notifications/resources/updated");
    calc.signal(Signal::TERM);
    for (client, stream) in [(&client, &mut stream), (&other, &mut others)] {
        loop {
            let told = hear(stream, "notifications/tools/list_changed");
            let is_update = |it: &Value| it["method"] == "notifications/resources/updated";
            assert!(!told.iter().any(is_update), "subscribed by nobody, or told already");
            if names(&client.request("tools/list", &json!({})), "tools").is_empty() {
                break;
            }
        }
    }
    assert_eq!(client.send("DELETE", "").status, 204);
    while stream.event().is_some() {}
    assert_eq!(client.send("DELETE", "").status, 404);
    assert_eq!(client.send("GET", "").status, 404);
    assert!(names(&other.request("tools/list", &json!({})), "tools").is_empty());
}

/// Waits for a message in a stream; returns those that came before it.
fn hear(stream: &mut HttpAnswer, method: &str) -> Vec<Value> {
    let mut before = Vec::new();
    loop {
        let event = stream.event().unwrap_or_else(|| panic!("no {method} behind {before:?}"));
        if event["method"] == method {
            return before;
        }
        before.push(event);
    }
}

#[test]
fn the_revision_without_sessions_needs_none() {
    let broker = crate::broker(ADMIN);
    let _calc = expose(&broker, "calc", &[]);
    let client = Client::newest(&broker);
    let ask = |method: &str, params: Value| client.ask(method, params);
    let discovered = ask("server/discover", json!({})).event().expect("an answer");
    let versions = discovered["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{discovered}");
    let mut answer =
        ask("tools/call", json!({ "name": "calc__add", "arguments": { "a": 40, "b": 2 } }));
    assert_eq!((answer.status, answer.header("mcp-session-id")), (200, None));
    let sum = answer.event().expect("an answer");
    assert_eq!((text(&sum), &sum["result"]["resultType"]), ("42", &json!("complete")));
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let mut stream = ask("subscriptions/listen", filter);
    let first = stream.event().expect("an acknowledgement");
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    let _more = expose(&broker, "more", &[]);
    let told = stream.event().expect("a change");
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    // Without a session there is nothing to hear and to end.
    assert_eq!(client.send("GET", "").status, 405);
    assert_eq!(client.send("DELETE", "").status, 405);
}

#[test]
fn a_client_may_what_its_token_may_and_no_longer() {
    let broker = guarded();
    let _calc = expose_guarded(&broker);
    let none = Client::new(&broker, None).begin();
    assert_eq!((none.status, none.header("www-authenticate")), (401, Some("Bearer")));
    for wrong in ["x", "a.b.c", &token(&broker, &["--agent", "scout"])[1..]] {
        let refused = Client::new(&broker, Some(wrong)).begin().expect(401);
        assert_eq!(refused.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    }
    let server = token(&broker, &["--server", "other"]);
    let no_client = Client::new(&broker, Some(&server)).begin().expect(401).text();
    assert!(no_client.contains("no rule allows"), "a server is no client: {no_client}");

    let scout = token(&broker, &["--agent", "scout"]);
    let client = Client::new(&broker, Some(&scout)).initialize();
    assert_eq!(text(&client.call("calc__add", &json!({ "a": 40, "b": 2 }))), "42");
    // Its session is nobody else's, and no name for one who has no token.
    for other in [Some(token(&broker, &["--agent", "ranger"])), None] {
        let mut thief = Client::new(&broker, other.as_deref());
        thief.lines.push(client.session().to_owned());
        let expected = if other.is_some() { 404 } else { 401 };
        for method in ["GET", "DELETE"] {
            assert_eq!(thief.send(method, "").status, expected);
        }
        let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
        assert_eq!(thief.send("POST", &list.to_string()).status, expected);
    }
    let rows = printed(broker.folder(), &["audit", "search", "--data", "agentmq-data", "--json"]);
    let came = |row: &&str| row.contains(r#""kind":"connect""#) && row.contains("scout");
    let came = rows.lines().find(came).unwrap_or_else(|| panic!("{rows}"));
    assert!(came.contains("127.0.0.1"), "{came}");

    // Who is put out loses his sessions, and is told why.
    let mut stream = client.send("GET", "").expect(200);
    printed(broker.folder(), &["revoke", "--agent", "scout"]);
    broker.signal(Signal::HUP);
    while stream.event().is_some() {} // it ends
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let refused = client.send("POST", &list.to_string()).expect(401);
    assert!(refused.text().contains("revoked"));
}

#[test]
fn the_audit_log_has_every_address_of_a_token() {
    let broker = guarded();
    let _calc = expose_guarded(&broker);
    let scout = token(&broker, &["--agent", "scout"]);
    let client = Client::new(&broker, Some(&scout)).initialize();
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    let ask = |last: u8| {
        let lines: Vec<&str> = client.lines.iter().map(String::as_str).collect();
        let stream = connect_from([127, 0, 0, last].into(), &client.address);
        send_over(stream, &client.address, "POST", "/mcp", &lines, &ping).expect(200);
    };
    for last in [2, 3, 2, 3] {
        ask(last);
    }
    let search = ["audit", "search", "--data", "agentmq-data", "--json"];
    let rows = printed(broker.folder(), &search);
    let count = |address: &str| {
        let came = |row: &&str| {
            let row: Value = serde_json::from_str(row).unwrap();
            row["kind"] == "connect" && row["who"]["name"] == "scout" && row["source"] == address
        };
        rows.lines().filter(came).count()
    };
    assert_eq!(["127.0.0.2", "127.0.0.3"].map(count), [1, 1], "{rows}");
    assert!(count("127.0.0.1") >= 1, "{rows}");
}

#[test]
fn whom_a_listener_hides_is_hidden_here_too() {
    for (hides, told) in [("", true), ("hide_publishers = true\n", false)] {
        let folder = tempfile::tempdir().unwrap();
        printed(folder.path(), &["keys", "create", "keys.json"]);
        let access = "[access]\ntokens.keys = [\"keys.json\"]\n";
        let settings = format!("{}{}{hides}{access}{ADMIN}", crate::TCP, crate::TCP);
        let broker = Broker::start_in(crate::BINARY, &settings, folder);
        let _calc = expose_guarded(&broker);
        let mut watcher = broker.dial();
        let password = token(&broker, &["--agent", "watcher"]);
        watcher.connect_with(Connect {
            client_id: "watcher",
            version: ProtocolVersion::V5,
            password: Some(password.as_bytes()),
            ..Connect::default()
        });
        watcher.subscribe("$mcp-rpc/#", QoS::AtMostOnce);
        let client = Client::new(&broker, Some(&token(&broker, &["--agent", "scout"])));
        client.initialize().call("calc__add", &json!({ "a": 40, "b": 2 }));
        let says_who = loop {
            let received = watcher.receive_publish();
            let publish = received.publish();
            if publish.payload.windows(10).any(|text| text == b"tools/call") {
                let mut pairs = publish.properties.user_properties();
                break pairs.any(|pair| pair == ("agentmq-agent-id", "scout"));
            }
        };
        assert_eq!(says_who, told, "{hides}");
    }
}

#[test]
fn the_anonymous_are_neighbours_whom_a_listener_lets_in() {
    let folder = tempfile::tempdir().unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let listener = format!("{}allow_anonymous = true\n", crate::TCP);
    let access = "[access]\ntokens.keys = [\"keys.json\"]\n";
    let broker = Broker::start_in(crate::BINARY, &format!("{listener}{access}{ADMIN}"), folder);
    let _ = Client::new(&broker, None).initialize();
    for line in ["X-Forwarded-For: 192.0.2.1", "Via: 1.1 proxy", "X-Real-IP: 192.0.2.1"] {
        let mut elsewhere = Client::new(&broker, None);
        elsewhere.lines.push(line.into());
        assert_eq!(elsewhere.begin().status, 401, "{line}");
    }
    assert_eq!(Client::new(&broker, Some("a.b.c")).begin().status, 401);
}

#[test]
fn pages_of_others_and_wrong_names_get_nowhere() {
    let broker = crate::broker(ADMIN);
    for (line, status) in [
        ("Host: evil.test", 421),
        ("Origin: http://evil.test", 403),
        ("Origin: null", 403),
        ("Authorization: Basic dTpw", 401),
    ] {
        let mut client = Client::new(&broker, None);
        client.lines.push(line.into());
        let refused = client.begin().expect(status).json();
        assert!(refused["error_description"].is_string(), "{line}");
    }
    let mut own = Client::new(&broker, None);
    own.lines.push(format!("Origin: http://{}", broker.admin()));
    assert_eq!(own.begin().status, 200);
}

#[test]
fn what_is_no_request_is_told_so() {
    let broker = crate::broker(&format!("{ADMIN}[limits]\npacket_bytes = 65536\n"));
    let client = Client::new(&broker, None).initialize();
    for (body, code, id) in [
        ("", -32700, Value::Null),
        ("{", -32700, Value::Null),
        ("[]", -32600, Value::Null),
        ("{}", -32600, Value::Null),
        (r#"{"jsonrpc":"2.0","id":3}"#, -32600, json!(3)),
        (r#"{"jsonrpc":"1.0","id":"x","method":"ping"}"#, -32600, json!("x")),
    ] {
        let answer = client.send("POST", body).expect(400).json();
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &id), "{body}");
    }
    let large = client.send("POST", &" ".repeat(65537)).expect(413).json();
    assert_eq!(large["error"], "too_large");
    let mut unknown = Client::new(&broker, None);
    unknown.lines.push("Mcp-Session-Id: 00000000-0000-4000-8000-000000000000".into());
    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(unknown.send(method, "{}").status, 404, "{method}");
    }
    assert_eq!(client.send("PUT", "").status, 405);
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    Client::new(&broker, None).send("POST", &list.to_string()).expect(400);
    // Nothing of this harmed the session.
    assert!(names(&client.request("tools/list", &json!({})), "tools").is_empty());
}

#[test]
fn who_does_not_read_keeps_nobody_waiting() {
    let broker = crate::broker(ADMIN);
    let _calc = expose(&broker, "calc", &[]);
    let slow = Client::new(&broker, None).initialize();
    let params = json!({
        "name": "calc__steps", "arguments": { "count": 20_000 }, "_meta": { "progressToken": 7 },
    });
    let request = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params });
    let mut unread = slow.send("POST", &request.to_string()).expect(200);
    let _deaf = slow.send("GET", "").expect(200);
    // Others of the same token, and the same session, go on.
    let other = Client::new(&broker, None).initialize();
    for client in [&other, &slow] {
        assert_eq!(text(&client.call("calc__add", &json!({ "a": 40, "b": 2 }))), "42");
    }
    // What waits is bounded, so some steps are left out; the answer is not.
    let mut last = 0.0;
    loop {
        let event = unread.event().expect("an answer at the end");
        if event["id"] == 2 {
            assert_eq!(text(&event), "all steps done");
            break;
        }
        let step = event["params"]["progress"].as_f64().expect("progress");
        assert!(step > last, "{step} behind {last}");
        last = step;
    }
    assert_eq!(unread.event(), None);
}

/// A program whose lists take much memory and few bytes: 40 tools with 3 000 objects each, of which
/// an object alone takes 640 bytes. Each of them answers with 4 MiB, which take 46, or says
/// first what takes 45 in each notification, if it is asked to.
const GREEDY: &str = r#"
import json, sys
schema = {"type": "object", "properties": {"x": {"anyOf": [{} for _ in range(3000)]}}}
tools = [{"name": f"tool{number}", "inputSchema": schema} for number in range(40)]
for line in sys.stdin:
    request = json.loads(line)
    answers = {
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}, "logging": {}},
            "serverInfo": {"name": "greedy", "version": "1"},
        },
        "tools/list": {"tools": tools},
        "tools/call": {
            "content": [{"type": "text", "text": "x" * (4 << 20)}],
            "structuredContent": {"x": [{} for _ in range(60000)]},
        },
    }
    for _ in range(request.get("params", {}).get("arguments", {}).get("say", 0)):
        said = {"level": "error", "data": [{} for _ in range(60000)]}
        told = {"jsonrpc": "2.0", "method": "notifications/message", "params": said}
        print(json.dumps(told), flush=True)
        answers["tools/call"] = {"content": []}
    answer = answers.get(request.get("method"))
    done = {"result": answer} if answer else {"error": {"code": -32601, "message": "unknown"}}
    if "id" in request:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **done}), flush=True)
"#;

fn greedy(broker: &Broker, name: &str) -> Lines {
    let url = crate::mcp_program::url(broker);
    let words = ["mcp", "expose", "--json", "--binding", "mcp", "--url", &url];
    let program = ["--name", name, "--", "python3", "-c", GREEDY];
    let mut exposed = Lines::start(&[&words[..], &program].concat());
    exposed.wait_for("online", |line| line["event"] == "online");
    exposed
}

#[test]
fn answers_that_nobody_reads_have_room_together() {
    let broker = crate::broker(&format!("{ADMIN}[limits]\npacket_bytes = 16777216\n"));
    let _server = greedy(&broker, "big");
    let (session, newest) = (Client::new(&broker, None).initialize(), Client::newest(&broker));
    let params = json!({ "name": "big__tool1", "arguments": {} });
    let id = Cell::new(10);
    let by_session = || {
        let id = id.replace(id.get() + 1);
        let request =
            json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        session.send("POST", &request.to_string()).expect(200)
    };
    let by_itself = || newest.ask("tools/call", params.clone()).expect(200);
    let give_up = Instant::now() + PATIENCE;
    // 128 MiB have room for 2 of them.
    for call in [&by_session as &dyn Fn() -> HttpAnswer, &by_itself] {
        let is_answered = || {
            let answer = call().event().expect("an answer");
            let busy = &answer["error"]["data"]["reason"];
            if answer.get("result").is_none() {
                assert_eq!(busy, "busy", "{answer}");
            }
            answer.get("result").is_some()
        };
        assert!(is_answered());
        let mut unread = Vec::new();
        while unread.len() < 2 || is_answered() {
            assert!(unread.len() < 8, "what is too much is refused");
            unread.push(call());
        }
        // What is small still has room.
        let small = session.request("ping", &json!({}));
        assert!(small["result"].is_object(), "{small}");
        drop(unread);
        while !is_answered() {
            assert!(Instant::now() < give_up, "the room never comes back");
        }
    }
}

#[test]
fn what_a_server_says_unasked_takes_no_room_of_answers() {
    let broker = crate::broker(&format!("{ADMIN}[limits]\npacket_bytes = 16777216\n"));
    let _server = greedy(&broker, "big");
    let client = Client::new(&broker, None).initialize();
    // Nobody listens: three of them would be more than 128 MiB.
    let said = client.call("big__tool1", &json!({ "say": 8 }));
    assert!(said["result"].is_object(), "{said}");
    let answer = client.call("big__tool2", &json!({}));
    assert!(answer["result"].is_object(), "{}", answer["error"]);
}

#[test]
fn lists_of_all_servers_have_room_together_which_comes_back() {
    let broker = crate::broker(ADMIN);
    let client = Client::new(&broker, None).initialize();
    let give_up = Instant::now() + PATIENCE;
    let wait_for = |count: usize| loop {
        assert!(Instant::now() < give_up, "there are never {count}");
        let all = names(&client.request("tools/list", &json!({})), "tools").len();
        if all == count {
            break;
        }
        assert!(all < 40, "{all} tools: what is too much is left out");
    };
    // Half of 64 MiB have room for 15 times 3 002 objects.
    let first = greedy(&broker, "first");
    wait_for(15);
    let log = broker.wait_for_log("the rest of its lists is left out", 0);
    assert!(log.contains("first") && log.contains("67108864"), "{log}");
    first.signal(Signal::TERM);
    wait_for(0);
    let _second = greedy(&broker, "second");
    wait_for(15);
    // What is short has the other half.
    let _calc = expose(&broker, "calc", &[]);
    wait_for(15 + 10);
}

#[test]
fn sessions_are_bounded() {
    let broker = crate::broker(ADMIN);
    let client = Client::new(&broker, None);
    let mut count = 0;
    let refused = loop {
        let answer = client.begin();
        if answer.status != 200 {
            break answer.expect(503).json();
        }
        count += 1;
    };
    // The revision without sessions is no way around that.
    let newest = Client::newest(&broker);
    newest.begin_as("2026-07-28").expect(503);
    assert_eq!((count, &refused["error"]), (1024, &json!("busy")), "{refused}");
    let why = refused["error_description"].as_str().unwrap();
    assert!(why.contains("1024 sessions"), "{why}");
}

#[test]
fn it_can_be_turned_off() {
    let broker = crate::broker(&format!("{ADMIN}mcp = false\n"));
    assert_eq!(Client::new(&broker, None).begin().status, 404);
}
