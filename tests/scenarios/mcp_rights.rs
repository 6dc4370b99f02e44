//! MCP under the rules that the profile `mcp` brings: who may serve, and who may call.

use agentmq_testkit::Broker;

use crate::mcp_program::{Lines, bridge, fixture, names, text, url};
use crate::program::{printed, run};
use serde_json::json;

/// A broker that knows one key, and nobody without a token.
fn broker(rules: &str) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    let policy = format!("profiles = [\"mcp\"]\n{rules}");
    std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let access = "[access]\npolicy = \"policy.toml\"\ntokens.keys = [\"keys.json\"]\n";
    Broker::start_in(crate::BINARY, &format!("{}{access}", crate::TCP), folder)
}

fn token(broker: &Broker, claims: &[&str]) -> String {
    printed(broker.folder(), &[&["token", "create"], claims].concat())
}

#[test]
fn servers_serve_and_agents_call() {
    let broker = broker("");
    let url = url(&broker);
    let server = token(&broker, &["--server", "calc"]);
    let agent = token(&broker, &["--agent", "scout"]);
    let program = fixture();
    let expose = |token: &str| {
        let words = ["mcp", "expose", "--json", "--url", &url, "--password", token];
        let program = ["--id", "calc-1", "--name", "calc", "--", "python3", &program[1]];
        [&words[..], &program].concat().iter().map(|&word| word.to_owned()).collect::<Vec<_>>()
    };
    let refused: Vec<String> = expose(&agent);
    let refused: Vec<&str> = refused.iter().map(String::as_str).collect();
    let refused = run(broker.folder(), &refused);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "an agent is no server: {why}");
    assert!(why.contains("a client is no server"), "the rule is named: {why}");

    let exposed = expose(&server);
    let mut exposed = Lines::start(&exposed.iter().map(String::as_str).collect::<Vec<_>>());
    exposed.wait_for("online", |line| line["event"] == "online");
    let list =
        |token: &str| run(broker.folder(), &["tools", "ls", "--url", &url, "--password", token]);
    let stranger = list(&server);
    assert_eq!(stranger.status.code(), Some(4), "a server is no agent: {stranger:?}");
    let listed = list(&agent);
    assert!(listed.status.success(), "{listed:?}");
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 10);
    let mut host = bridge(&url, &["--password", &agent]);
    let tools = host.request("tools/list", &json!({}));
    assert_eq!(names(&tools, "tools").len(), 10, "{tools}");
    assert_eq!(text(&host.call("calc__add", &json!({ "a": 40, "b": 2 }))), "42");
}

/// Our own server takes the name that it is given, and clients see what they are to see.
#[test]
fn rules_name_servers_and_say_what_clients_reach() {
    let broker = broker(
        "[[mcp_servers]]\nclaims = [\"server_id\"]\nserver_name = \"acme/{server_id}\"\n\
         [[mcp_clients]]\nclaims = [\"user_id\"]\nserver_name_filters = [\"other/#\"]\n\
         [[mcp_clients]]\nclaims = [\"agent_id\"]\nserver_name_filters = [\"acme/#\"]\n",
    );
    let url = url(&broker);
    let server = token(&broker, &["--server", "calc"]);
    let program = fixture();
    let mut exposed = Lines::start(&[
        "mcp",
        "expose",
        "--json",
        "--url",
        &url,
        "--password",
        &server,
        "--id",
        "calc-1",
        "--name",
        "calc",
        "--",
        "python3",
        &program[1],
    ]);
    exposed.wait_for("online", |line| line["event"] == "online");
    let list = |claims: &[&str]| {
        let token = token(&broker, claims);
        let listed = run(broker.folder(), &["tools", "ls", "--url", &url, "--password", &token]);
        String::from_utf8_lossy(&listed.stdout).into_owned()
    };
    let listed = list(&["--agent", "scout"]);
    assert!(listed.lines().count() == 10 && listed.contains("acme/calc"), "{listed}");
    assert_eq!(list(&["--user", "ada"]), "", "a user reaches other servers");
    let explain = ["acl", "explain", "--policy", "policy.toml", "--client-id", "c"];
    let explained = |claim: &[&str]| printed(broker.folder(), &[&explain[..], claim].concat());
    let (server, agent) = (explained(&["--server", "calc"]), explained(&["--agent", "scout"]));
    assert!(server.contains("CONNACK MCP-SERVER-NAME: acme/calc"), "{server}");
    assert!(agent.contains("CONNACK MCP-SERVER-NAME-FILTERS: [\"acme/#\"]"), "{agent}");
}
