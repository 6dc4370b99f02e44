//! Tools of MQTT.Agent for those who speak MCP: behind the bridge, and on the command line.

use std::process::Output;

use agentmq_client::{Client, Publish, QoS};
use agentmq_testkit::Broker;
use serde_json::{Value, json};

use crate::mcp_program::{Lines, bridge, expose, fixture, names, text, url};
use crate::program::{printed, run};
use crate::tools_parts::{options, server};

fn tool_names(host: &mut Lines) -> Vec<String> {
    let answer = host.request("tools/list", &json!({}));
    names(&answer, "tools")
}

/// Asks for the list, and again at every word that it has changed, until it is as it is to be.
fn wait_for_tools(host: &mut Lines, fits: impl Fn(&[String]) -> bool) -> Vec<String> {
    loop {
        let all = tool_names(host);
        if fits(&all) {
            return all;
        }
        host.wait_for("change of the list", |line| {
            line["method"] == "notifications/tools/list_changed"
        });
    }
}

fn has(all: &[String], name: &str) -> bool {
    all.iter().any(|it| it == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_calls_tools_of_mqtt_agent() {
    let broker = crate::broker("");
    let mut part = server(&url(&broker), "one").await;
    let mut host = bridge(&url(&broker), &[]);
    let all = tool_names(&mut host);
    assert_eq!(all.len(), 8, "{all:?}");
    assert!(all.iter().all(|name| name.starts_with("srv__")), "{all:?}");
    let sum = host.call("srv__add", &json!({ "a": 40, "b": 2 }));
    assert_eq!(text(&sum), "42", "{sum}");
    let failed = host.call("srv__fail", &json!({}));
    assert_eq!((text(&failed), &failed["result"]["isError"]), ("on purpose", &json!(true)));
    let wrong = host.call("srv__add", &json!({ "a": "x", "b": 1 }));
    assert_eq!(wrong["error"]["code"], -32602, "{wrong}");

    let params = json!({ "name": "srv__say", "arguments": {}, "_meta": { "progressToken": "p" } });
    let id = host.ask("tools/call", &params);
    assert_eq!(text(&host.answer(id)), "said");
    let is_progress = |line: &&Value| line["method"] == "notifications/progress";
    let told: Vec<Value> = (host.printed.iter().filter(is_progress))
        .map(|line| json!([line["params"]["progress"], line["params"]["message"]]))
        .collect();
    assert_eq!(json!(told), json!([[1.0, "one"], [2.0, "{\"n\":2}"], [3.0, "three"]]));

    let id = host.ask("tools/call", &json!({ "name": "srv__wait", "arguments": {} }));
    assert_eq!(part.told().await, "called");
    let cancelled = json!({ "requestId": id });
    host.say(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled }),
    );
    assert_eq!(part.told().await, "dropped", "the server has heard of it");

    part.server.stop().await;
    wait_for_tools(&mut host, <[String]>::is_empty);
    let gone = host.call("srv__add", &json!({ "a": 1, "b": 1 }));
    assert_eq!(gone["error"]["code"], -32602, "{gone}");
    assert!(host.end().success());
}

/// Puts the fixture into MQTT.Agent's binding alone.
fn expose_to_agents(broker: &Broker, name: &str) -> Lines {
    let (url, program) = (url(broker), fixture());
    let words = ["mcp", "expose", "--json", "--binding", "agent", "--url", &url, "--name", name];
    let program = ["--", "python3", &program[1], "--name", name];
    let mut exposed = Lines::start(&[&words[..], &program].concat());
    exposed.wait_for("offer", |line| line["event"] == "offered");
    exposed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_in_both_bindings_is_one() {
    let broker = crate::broker("");
    let mut both = expose(&broker, "calc", &[]);
    both.wait_for("offer", |line| line["event"] == "offered");
    let mut host = bridge(&url(&broker), &[]);
    let all = tool_names(&mut host);
    assert_eq!(all.len(), 10, "{all:?}");
    let _only = expose_to_agents(&broker, "demo/files");
    let all = wait_for_tools(&mut host, |all| all.len() == 20);
    let echo = all.iter().find(|name| name.starts_with("demo-files__echo_")).unwrap();
    assert_eq!(text(&host.call(echo, &json!({ "message": "hello" }))), "hello");
    let failed = host.call(&echo.replace("echo", "fail"), &json!({}));
    assert_eq!(failed["error"]["code"], -32602, "another name has another hash: {failed}");

    let listed = printed(broker.folder(), &["tools", "ls", "--url", &url(&broker)]);
    let of = |server: &str, binding: &str| {
        let is_its = |line: &&str| {
            let mut words = line.split_whitespace();
            words.next().is_some_and(|path| path.starts_with(server))
                && words.next() == Some(binding)
        };
        listed.lines().filter(is_its).count()
    };
    let counts = (of("calc/", "mcp"), of("demo/files/", "agent"), listed.lines().count());
    assert_eq!(counts, (10, 10, 20), "{listed}");
}

fn tools(broker: &Broker, arguments: &[&str]) -> Output {
    let url = url(broker);
    run(broker.folder(), &[&["tools"], arguments, &["--url", &url]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn people_call_tools_of_mqtt_agent() {
    let broker = crate::broker("");
    let _part = server(&url(&broker), "one").await;
    let sum = tools(&broker, &["call", "srv/add", "-a", "a=2", "-a", "b=40"]);
    assert_eq!(String::from_utf8_lossy(&sum.stdout), "42\n", "{sum:?}");
    let said = tools(&broker, &["call", "srv/say"]);
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(told, "progress: 1 one\nprogress: 2 {\"n\":2}\nprogress: 3 three\n");
    let caller = tools(&broker, &["call", "srv/caller", "--id", "scout"]);
    assert_eq!(String::from_utf8_lossy(&caller.stdout), "scout\n");
    let late = tools(&broker, &["call", "srv/wait", "--timeout", "300ms"]);
    assert_eq!(late.status.code(), Some(5), "{late:?}");
    let failed = tools(&broker, &["call", "srv/fail"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let nobody = tools(&broker, &["call", "srv/nothing"]);
    assert_eq!(nobody.status.code(), Some(5), "{nobody:?}");
}

/// Whoever may write a tool's card may name any server in it, and any MCP server.
#[tokio::test(flavor = "multi_thread")]
async fn no_card_takes_the_name_of_another_server() {
    let broker = crate::broker("");
    let _files = expose(&broker, "files", &[]);
    let _part = server(&url(&broker), "one").await;
    let (evil, _messages) = Client::connect(options(&url(&broker), "evil")).await.unwrap();
    for (tool, card) in [
        ("evil", json!({ "server": "files", "status": "online" })),
        ("more", json!({ "server": "srv", "status": "online" })),
        (
            "third",
            json!({
                "server": "srv", "status": "online", "mcp": { "server": "other", "tool": "read" },
            }),
        ),
    ] {
        let topic = format!("a2a/v1/mcp/tools/{tool}/card");
        let publish = Publish::new(topic, card.to_string()).qos(QoS::AtLeastOnce).retain(true);
        evil.publish(publish).await.unwrap().await.unwrap();
    }
    let mut host = bridge(&url(&broker), &[]);
    let all = tool_names(&mut host);
    assert!(has(&all, "files__add") && has(&all, "srv__add"), "{all:?}");
    assert_eq!(all.len(), 18, "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_needs_no_rule_for_its_answers() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), "profiles = [\"mqtt-agent\"]\n").unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let access = "[access]\npolicy = \"policy.toml\"\ntokens.keys = [\"keys.json\"]\n";
    let settings = format!("{}{access}", crate::TCP);
    let broker = Broker::start_in(crate::BINARY, &settings, folder);
    let token =
        |claims: &[&str]| printed(broker.folder(), &[&["token", "create"], claims].concat());
    let names = ["add", "fail", "panic", "who", "caller", "say", "count", "wait"];
    let mut claims = vec!["--server", "srv"];
    claims.extend(names.iter().flat_map(|name| ["--tool", name]));
    let mut login = options(&url(&broker), "");
    (login.username, login.password) = (None, Some(token(&claims).into_bytes()));
    let config = |config| config;
    let _part = crate::tools_parts::server_with(login, "one", config).await;
    let agent = token(&["--agent", "scout"]);
    for id in [&[][..], &["--id", "scout"]] {
        let words = ["call", "srv/add", "-a", "a=2", "-a", "b=40", "--password", &agent];
        let sum = tools(&broker, &[&words[..], id].concat());
        assert_eq!(String::from_utf8_lossy(&sum.stdout), "42\n", "{id:?}: {sum:?}");
    }
    let other = tools(&broker, &["call", "srv/who", "--password", &agent, "--id", "another"]);
    assert_eq!(other.status.code(), Some(1), "{other:?}");
    let mut host = bridge(&url(&broker), &["--password", &agent]);
    assert!(has(&tool_names(&mut host), "srv__add"));
    assert_eq!(text(&host.call("srv__add", &json!({ "a": 1, "b": 1 }))), "2");
}
