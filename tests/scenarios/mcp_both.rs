//! `agentmq mcp expose` in both bindings: what clients of MQTT.Agent see of an MCP program.

use std::time::Duration;

use agentmq_sdk::tools::{Failure, McpOrigin, ToolClient, ToolInfo};
use agentmq_testkit::Broker;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::mcp_program::{Lines, fixture, url, wait_for_trace};
use crate::program::{printed, run};
use crate::tools_parts::{options, within};

fn expose(broker: &Broker, name: &str, more: &[&str], of_program: &[&str]) -> Lines {
    let (url, program) = (url(broker), fixture());
    let mut arguments = vec!["mcp", "expose", "--json", "--url", &url, "--name", name];
    arguments.extend(more);
    arguments.push("--");
    arguments.extend(program.iter().map(String::as_str));
    arguments.extend(["--name", name]);
    arguments.extend(of_program);
    Lines::start(&arguments)
}

fn offered(exposed: &mut Lines) -> Value {
    exposed.wait_for("offer", |line| line["event"] == "offered")
}

async fn client(broker: &Broker) -> ToolClient {
    ToolClient::connect(options(&url(broker), "agent-a")).await.unwrap()
}

/// Waits until a tool's card is as it is to be.
async fn card(client: &ToolClient, tool: &str, fits: impl Fn(&ToolInfo) -> bool) -> ToolInfo {
    let mut changes = client.watch().await.unwrap();
    within("card", async {
        loop {
            if let Some(info) = client.cards().tool(tool).filter(&fits) {
                return info;
            }
            assert!(changes.next().await);
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_call_the_tools_of_a_program() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let mut exposed = expose(&broker, "calc", &[], &["--trace", trace.to_str().unwrap()]);
    let told = offered(&mut exposed);
    assert_eq!((&told["server"], &told["namespace"]), (&json!("calc"), &json!("a2a/v1")));
    assert_eq!(told["tools"].as_array().unwrap().len(), 10);
    let client = client(&broker).await;
    let add = card(&client, "calc__add", |card| card.online && card.listed).await;
    assert_eq!((&*add.server, &*add.description), ("calc", "add of calc"));
    assert_eq!(add.input_schema["properties"]["a"]["type"], "integer");
    let origin = McpOrigin { server: "calc".into(), tool: "add".into(), served: true };
    assert_eq!(add.mcp, Some(origin));

    let sum = client.call("calc__add", json!({ "a": 40, "b": 2 })).await.unwrap();
    assert_eq!(sum["content"], json!([{ "type": "text", "text": "42" }]));
    let failed = client.call("calc__fail", json!({})).await.unwrap_err();
    assert_eq!(failed.failure(), Some(&Failure::ToolError));
    assert!(failed.to_string().ends_with("it did not work \u{1b}[2J"), "{failed}");
    let wrong = client.call("calc__add", json!({ "a": "x" })).await.unwrap_err();
    assert_eq!(wrong.failure(), Some(&Failure::InvalidArguments), "by the card's schema");
    let missing = client.call("calc__add", json!({ "a": 1 })).await.unwrap_err();
    assert_eq!(missing.failure(), Some(&Failure::ToolError), "by the program: {missing}");

    let arguments = json!({ "count": 3 });
    let steps = client.call_streaming("calc__steps", arguments, Duration::from_secs(10)).await;
    let mut steps = steps.unwrap();
    for step in 1..=3 {
        let said = within("step", steps.next()).await.unwrap();
        assert_eq!((&said["progress"], &said["total"]), (&json!(f64::from(step)), &json!(3.0)));
    }
    let done = steps.result().await.unwrap();
    assert_eq!(done["content"][0]["text"], "all steps done");

    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.call("calc__wait", json!({})).await }
    });
    wait_for_trace(&trace, "waiting");
    waiting.abort();
    wait_for_trace(&trace, "cancelled");

    exposed.signal(Signal::TERM);
    assert!(exposed.end().success());
    card(&client, "calc__add", |card| !card.online).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_follow_the_program() {
    let broker = crate::broker("");
    let mut exposed = expose(&broker, "demo/calc", &[], &[]);
    let told = offered(&mut exposed);
    let name = |own: &str, told: &Value| -> String {
        let all = told["tools"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let start = format!("demo-calc__{own}_");
        all.filter(|name| name.starts_with(&start)).collect()
    };
    let client = client(&broker).await;
    let add = name("add", &told);
    card(&client, &add, |card| card.online).await;
    client.call(&name("grow", &told), json!({})).await.unwrap();
    let told = offered(&mut exposed);
    let grown = card(&client, &name("grown", &told), |card| card.online).await;
    assert_eq!(grown.mcp.unwrap().server, "demo/calc");
    assert!(grown.server.starts_with("demo-calc_"), "one level: {}", grown.server);

    let lost = client.call(&name("crash", &told), json!({})).await.unwrap_err();
    assert_eq!(lost.failure(), Some(&Failure::ToolError), "{lost}");
    assert!(lost.to_string().contains("went away"), "{lost}");
    offered(&mut exposed);
    card(&client, &add, |card| card.online).await;
    let sum = client.call(&add, json!({ "a": 1, "b": 1 })).await.unwrap();
    assert_eq!(sum["content"][0]["text"], "2", "of the new process");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_binding_may_be_chosen() {
    let broker = crate::broker("");
    let mut only_mcp = expose(&broker, "files", &["--binding", "mcp"], &[]);
    only_mcp.wait_for("online", |line| line["event"] == "online");
    let elsewhere = ["--binding", "agent", "--namespace", "lab"];
    let mut only_agent = expose(&broker, "calc", &elsewhere, &[]);
    assert_eq!(offered(&mut only_agent)["namespace"], "lab");
    assert!(only_agent.printed.iter().all(|line| line["event"] != "online"));
    let listed = printed(broker.folder(), &["tools", "ls", "--url", &url(&broker)]);
    assert!(listed.lines().all(|line| line.starts_with("files/")), "{listed}");
    let lab = ToolClient::connect_in(options(&url(&broker), "b"), "lab").await.unwrap();
    let who = lab.call("calc__whoami", json!({})).await.unwrap();
    assert!(who["content"][0]["text"].is_string(), "{who}");
    assert!(client(&broker).await.tools().await.unwrap().is_empty(), "none of files");
}

/// A broker whose policy knows one of the bindings, or none.
fn ruled(profiles: &str, tools: &[&str]) -> (Broker, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), profiles).unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let access = "[access]\npolicy = \"policy.toml\"\ntokens.keys = [\"keys.json\"]\n";
    let settings = format!("{}{access}", crate::TCP);
    let broker = Broker::start_in(crate::BINARY, &settings, folder);
    let tools: Vec<String> = tools.iter().map(|tool| format!("calc__{tool}")).collect();
    let mut claims = vec!["token", "create", "--server", "calc"];
    claims.extend(tools.iter().flat_map(|tool| ["--tool", tool]));
    let token = printed(broker.folder(), &claims);
    (broker, token)
}

#[test]
fn a_binding_that_is_not_allowed_leaves_the_other_alone() {
    let all = [
        "echo",
        "add",
        "fail",
        "steps",
        "wait",
        "second",
        "crash",
        "grow",
        "whoami",
        "environment",
    ];
    let (broker, token) = ruled("profiles = [\"mcp\"]\n", &all);
    let mut exposed = expose(&broker, "calc", &["--password", &token], &[]);
    exposed.wait_for("online", |line| line["event"] == "online");
    let refused = exposed.wait_for("refusal", |line| line["event"] == "refused");
    assert_eq!(refused["binding"], "agent", "{refused}");

    let (broker, token) = ruled("profiles = [\"mqtt-agent\"]\n", &all);
    let mut exposed = expose(&broker, "calc", &["--password", &token], &[]);
    let refused = exposed.wait_for("refusal", |line| line["event"] == "refused");
    assert_eq!(refused["binding"], "mcp", "{refused}");
    offered(&mut exposed);

    // Its token names one of ten tools.
    let (broker, token) = ruled("profiles = [\"mqtt-agent\"]\n", &["add"]);
    let (url, program) = (url(&broker), fixture());
    let words = ["mcp", "expose", "--url", &url, "--password", &token, "--name", "calc", "--"];
    let refused = run(broker.folder(), &[&words[..], &["python3", &program[1]]].concat());
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let admin = printed(broker.folder(), &["token", "create", "--agent", "a"]);
    let words = ["sub", "--url", &url, "--password", &admin, "--count", "1", "--json"];
    let card = printed(broker.folder(), &[&words[..], &["a2a/v1/mcp/servers/calc/card"]].concat());
    assert!(card.contains("offline"), "what was refused is not there: {card}");
}
