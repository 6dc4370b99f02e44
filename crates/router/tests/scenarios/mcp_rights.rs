//! What rules give to servers and clients of MCP over MQTT: names, filters and roles hold on every
//! path by which a message could go.

use std::sync::Arc;

use agentmq_codec::{PropertiesBuf, Property, QoS, ReasonCode, SubscriptionOptions};
use agentmq_identity::{
    About, Authenticator, Claims, Effect, Guarded, InForce, McpClientRule, McpRules, McpServerRule,
    Policy, Principal, name_filter_pattern, server_name_pattern,
};
use agentmq_session::{Author, Message, RestoredWill, SessionKey};

use crate::harness::{Broker, Client, Connecting, Diary, Got, Riddle};

const FORBIDDEN: u8 = 0x87;
const ONLINE: &str = r#"{"jsonrpc":"2.0","method":"notifications/server/online","params":{"meta":
    {"rbac":{"roles":[
        {"name":"reader","allowed_methods":["initialize","tools/list","resources/read"],
         "allowed_tools":[],"allowed_resources":["file:///a"]},
        {"name":"adder","allowed_methods":["initialize","tools/call"],"allowed_tools":["add"]},
        {"name":"admin","allowed_methods":"all","allowed_tools":"all","allowed_resources":"all"}
    ]}}}}"#;

fn user(name: &str) -> About {
    About { users: Some(vec![name.to_owned()]), ..About::default() }
}

fn server(about: About, name: &str) -> McpServerRule {
    McpServerRule { about, server_name: server_name_pattern(name).expect("a name") }
}

fn client(about: About, filters: Option<&[&str]>, roles: Option<&[(&str, &str)]>) -> McpClientRule {
    let pattern = |text: &&str| name_filter_pattern(text).expect("a filter");
    let server_name_filters = filters.map(|all| all.iter().map(pattern).collect());
    let role = |(filter, role): &(&str, &str)| (pattern(filter), (*role).to_owned());
    let roles = roles.map(|all| all.iter().map(role).collect());
    McpClientRule { about, server_name_filters, roles }
}

fn policy(rules: McpRules) -> Policy {
    Policy::new(Vec::new(), Effect::Allow).with_mcp(rules)
}

/// A broker with rules, and what replaces them.
fn broker(rules: McpRules) -> (Broker, impl Fn(McpRules)) {
    let authenticator: Arc<dyn Authenticator> = Arc::new(Riddle);
    let in_force = move |rules| InForce::new(Arc::clone(&authenticator), Some(policy(rules)));
    let guarded = Guarded::new(in_force(rules));
    let broker = Broker::guarded(guarded.clone());
    broker.reconfigure(|settings| settings.agents.mcp = true);
    (broker, move |rules| guarded.replace(in_force(rules)))
}

/// Rules by which `server` is called demo/calc, and `client` reaches demo/#; `any` is let alone.
fn names_and_filters() -> McpRules {
    let any = |about| client(about, Some(&["#"]), None);
    McpRules {
        servers: vec![server(user("server"), "demo/calc"), server(user("any"), "any/{client_id}")],
        clients: vec![client(user("client"), Some(&["demo/#"]), None), any(user("any"))],
        otherwise: Effect::Deny,
    }
}

fn component<'b>(broker: &'b Broker, client_id: &'b str, kind: &str) -> Connecting<'b> {
    let name = if client_id.starts_with('s') { "server" } else { "client" };
    broker.client(client_id).username(name).with(Property::Pair("MCP-COMPONENT-TYPE", kind))
}

fn told(connecting: Connecting<'_>) -> (Client, Vec<(String, String)>) {
    let client = connecting.attempt();
    let Some(Got::ConnAck { code: 0, properties, .. }) = client.next() else {
        panic!("it is let in");
    };
    let pairs = |it: &PropertiesBuf| -> Vec<(String, String)> {
        let all = it.view();
        let own = all.user_properties().filter(|(name, _)| name.starts_with("MCP-"));
        own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    (client, pairs(&properties))
}

/// Somebody whom no rule hinders: he was there before them.
fn watcher(broker: &Broker) -> Client {
    let watcher = broker.client("watcher").username("any").connect();
    watcher.subscribe("$mcp-server/presence/+/#", 1);
    watcher.packets();
    watcher
}

#[test]
fn connack_says_what_rules_give() {
    let mut rules = names_and_filters();
    rules.clients[0] = client(user("client"), Some(&["demo/#"]), Some(&[("demo/#", "reader")]));
    let (broker, replace) = broker(rules);
    let (_server, name) = told(component(&broker, "s1", "mcp-server"));
    assert_eq!(name, [("MCP-SERVER-NAME".to_owned(), "demo/calc".to_owned())]);
    let (_client, all) = told(component(&broker, "c1", "mcp-client"));
    let expected = [
        ("MCP-SERVER-NAME-FILTERS", r#"["demo/#"]"#),
        ("MCP-RBAC", r#"[{"role_name":"reader","server_name":"demo/#"}]"#),
    ];
    assert_eq!(all, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let silent = told(broker.client("s2").username("server")).1;
    assert!(silent.is_empty(), "it has not said that it is one");
    let other = told(component(&broker, "s3", "mcp-client")).1;
    assert!(other.is_empty(), "no rule gives it anything as a client");
    let narrow = component(&broker, "c2", "mcp-client").maximum_packet_size(90);
    let narrow = told(narrow).1;
    assert!(narrow.len() < 2, "what does not fit is left out: {narrow:?}");
    let id_in_name = |client_id| {
        let any = broker.client(client_id).username("any");
        told(any.with(Property::Pair("MCP-COMPONENT-TYPE", "mcp-server"))).1
    };
    assert_eq!(id_in_name("x1")[0].1, "any/x1");
    assert!(id_in_name("")[0].1.starts_with("any/auto-"), "an identifier of the broker's, too");
    replace(McpRules::default());
    assert!(told(component(&broker, "s4", "mcp-server")).1.is_empty());
}

#[test]
fn a_server_is_there_under_its_own_name_alone() {
    let (broker, _) = broker(names_and_filters());
    let watcher = watcher(&broker);
    let (old, own) = ("$mcp-server/presence/s1/old/name", "$mcp-server/presence/s1/demo/calc");
    let server = component(&broker, "s1", "mcp-server").will(old, "").will_retain().connect();
    for level in 0..=2 {
        server.publishing(old, ONLINE).retain().qos(level).send();
        let online = watcher.message();
        assert_eq!((online.topic.as_str(), online.payload.as_str()), (own, ONLINE));
    }
    server.publishing(old, ONLINE).alias(1).retain().send();
    assert_eq!(watcher.message().topic, own, "an alias is no way round");
    server.vanish();
    let gone = watcher.message();
    assert_eq!((gone.topic.as_str(), gone.payload.as_str()), (own, ""));
    let late = broker.client("late").username("any").connect();
    late.subscribe("$mcp-server/presence/+/#", 0);
    assert!(late.messages().is_empty());

    let server = component(&broker, "s1", "mcp-server").connect();
    for topic in [
        "$mcp-server/presence/s2/demo/calc",
        "$mcp-server/capability/s1/old/name",
        "$mcp-rpc/c1/s1/old/name",
        "$mcp-rpc/c1/s2/demo/calc",
    ] {
        assert_eq!(server.publish(topic, "{}", 1), FORBIDDEN, "{topic}");
        let why = server.reason();
        assert!(why.contains("as a server you are called demo/calc"), "{why}");
    }
    for filter in ["$mcp-server/s1/old/name", "$mcp-server/s1/#", "$mcp-rpc/+/s1/old/name"] {
        assert_eq!(server.subscribe(filter, 0), FORBIDDEN, "{filter}");
    }
    for filter in ["$mcp-server/s1/demo/calc", "$mcp-rpc/c1/s1/demo/calc", "$mcp-client/presence/c"]
    {
        assert_eq!(server.subscribe(filter, 0), 0, "{filter}");
    }
}

#[test]
fn a_will_of_another_server_is_refused() {
    let (broker, _) = broker(names_and_filters());
    let will = "$mcp-server/presence/s2/demo/calc";
    assert_eq!(component(&broker, "s1", "mcp-server").will(will, "").refused(), FORBIDDEN);
}

#[test]
fn a_client_reaches_servers_that_its_filters_match() {
    let (broker, replace) = broker(names_and_filters());
    let client = component(&broker, "c1", "mcp-client").connect();
    for (filter, expected) in [
        ("$mcp-server/presence/+/demo/#", 0),
        ("$mcp-rpc/c1/s1/demo/calc", 0),
        ("$mcp-server/capability/s1/demo/calc", 0),
        ("$mcp-server/presence/+/#", FORBIDDEN),
        ("$mcp-server/#", FORBIDDEN),
        ("$share/g/$mcp-server/presence/+/#", FORBIDDEN),
        ("$mcp-rpc/c1/s2/other", FORBIDDEN),
        ("$mcp-rpc/c2/s1/demo/calc", FORBIDDEN),
        ("$mcp-server/capability/s2/other", FORBIDDEN),
        ("#", 0),
    ] {
        assert_eq!(client.subscribe(filter, 0), expected, "{filter}");
    }
    client.reasons();
    for (topic, expected) in [
        ("$mcp-server/s1/demo/calc", 0x10),
        ("$mcp-server/s2/other", FORBIDDEN),
        ("$mcp-rpc/c1/s2/other", FORBIDDEN),
        ("$mcp-server/presence/c1/demo/calc", FORBIDDEN),
    ] {
        let payload = r#"{"method":"notifications/x"}"#;
        assert_eq!(client.publish(topic, payload, 1), expected, "{topic}");
        if expected == FORBIDDEN {
            let why = client.reason();
            assert!(why.contains("as a client you reach demo/#"), "{why}");
        }
    }
    // A reload takes it away, and who says nothing of itself has no more.
    let mut rules = names_and_filters();
    rules.clients[0] = self::client(user("client"), Some(&["lab/#"]), None);
    replace(rules);
    broker.judge_again();
    let server = component(&broker, "s1", "mcp-server").connect();
    server.publish("$mcp-rpc/c1/s1/demo/calc", "{}", 1);
    server.publishing("$mcp-server/presence/s1/x", ONLINE).retain().send();
    assert!(client.messages().is_empty());
    let silent = broker.client("c2").username("client").connect();
    assert_eq!(silent.publish("$mcp-server/s1/demo/calc", "{}", 1), FORBIDDEN);
}

#[test]
fn whom_no_rule_is_about_has_nothing_or_everything() {
    for (otherwise, expected) in [(Effect::Deny, FORBIDDEN), (Effect::Allow, 0)] {
        let (broker, _) = broker(McpRules { otherwise, ..names_and_filters() });
        let stranger = broker.client("x").username("stranger").connect();
        for filter in ["$mcp-server/presence/+/#", "$mcp-server/x/demo", "$mcp-rpc/x/s1/demo"] {
            assert_eq!(stranger.subscribe(filter, 0), expected, "{otherwise:?} {filter}");
        }
        stranger.publishing("$mcp-server/presence/x/demo", ONLINE).retain().send();
        let shown = watcher(&broker).messages().len();
        let late = broker.client("late").username("any").connect();
        late.subscribe("$mcp-server/presence/+/#", 0);
        assert_eq!(late.messages().len(), usize::from(expected == 0), "{otherwise:?} {shown}");
    }
}

#[test]
fn a_server_that_is_called_otherwise_connects_again() {
    let (broker, replace) = broker(names_and_filters());
    let watcher = watcher(&broker);
    let server = component(&broker, "s1", "mcp-server").connect();
    server.publishing("$mcp-server/presence/s1/demo/calc", ONLINE).retain().send();
    assert_eq!(watcher.payloads(), [ONLINE]);
    broker.judge_again();
    assert!(!server.is_closed(), "nothing has changed");
    let mut rules = names_and_filters();
    rules.servers[0] = self::server(user("server"), "demo/other");
    replace(rules);
    broker.judge_again();
    assert_eq!(server.closed_with(), FORBIDDEN);
    assert_eq!(watcher.payloads(), [""]);
}

#[test]
fn a_server_that_is_called_otherwise_by_auth_connects_again_too() {
    let named = |name| {
        let clients = vec![client(user("any"), Some(&["#"]), None)];
        McpRules { servers: vec![server(user("sphinx"), name)], clients, otherwise: Effect::Deny }
    };
    let (broker, replace) = broker(named("demo/calc"));
    let watcher = watcher(&broker);
    let server = broker.client("s1").method("riddle", "password").connect();
    server.publishing("$mcp-server/presence/s1/demo/calc", ONLINE).retain().send();
    assert_eq!(watcher.payloads(), [ONLINE]);
    server.auth(ReasonCode::ReAuthenticate, "riddle", "password");
    assert!(!server.is_closed(), "nothing has changed");
    replace(named("demo/other"));
    server.packets();
    server.auth(ReasonCode::ReAuthenticate, "riddle", "password");
    assert_eq!(server.closed_with(), FORBIDDEN);
    assert_eq!(watcher.payloads(), [""]);
}

#[test]
fn components_say_that_they_are_where_they_must() {
    let (broker, _) = broker(McpRules::default());
    let topic = "$mcp-server/s1/demo/calc";
    let silent = || broker.client("x").username("client").connect();
    assert_eq!(silent().publish(topic, "{}", 1), 0x10, "unless it is asked for");
    broker.reconfigure(|settings| settings.agents.mcp_component_type = true);
    for version in [4, 5] {
        let connecting = broker.client("x").username("client");
        let client = if version == 4 { connecting.v311().connect() } else { connecting.connect() };
        let refused = if version == 4 { 0x80 } else { FORBIDDEN };
        assert_eq!(client.subscribe("$mcp-server/presence/+/#", 0), refused);
        assert_eq!(client.subscribe("$share/g/$mcp-server/x", 0), refused);
        assert_eq!(client.subscribe("elsewhere/#", 0), 0);
    }
    let client = silent();
    assert_eq!(client.publish(topic, "{}", 1), FORBIDDEN);
    assert!(client.reason().contains("MCP-COMPONENT-TYPE"));
    assert_eq!(client.publish("elsewhere", "{}", 1), 0x10);
    let will = broker.client("x").username("client").will(topic, "{}");
    assert_eq!(will.refused(), FORBIDDEN);
    let component = component(&broker, "c1", "mcp-client").will(topic, "{}").connect();
    assert_eq!(component.subscribe("$mcp-server/presence/+/#", 0), 0);
    assert_eq!(component.publish(topic, "{}", 1), 0x10);
}

/// Roles of `client`; `server` and `any` are as ever.
fn roles(roles: &[(&str, &str)], otherwise: Effect) -> McpRules {
    let clients = vec![client(user("client"), None, Some(roles)), client(user("any"), None, None)];
    let servers = vec![server(user("server"), "demo/calc"), server(user("any"), "other")];
    McpRules { servers, clients, otherwise }
}

/// A server that is there and takes what it is asked.
fn calc(broker: &Broker) -> Client {
    let server = component(broker, "s1", "mcp-server").connect();
    server.subscribe("$mcp-server/s1/demo/calc", 1);
    server.subscribe("$mcp-rpc/c1/s1/demo/calc", 1);
    server.publishing("$mcp-server/presence/s1/demo/calc", ONLINE).retain().send();
    server.packets();
    server
}

const RPC: &str = "$mcp-rpc/c1/s1/demo/calc";
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
const ADD: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"add"}}"#;
const SUB: &str = r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"sub"}}"#;
const READ_A: &str =
    r#"{"jsonrpc":"2.0","id":4,"method":"resources/read","params":{"uri":"file:///a"}}"#;
const READ_B: &str =
    r#"{"jsonrpc":"2.0","id":5,"method":"resources/read","params":{"uri":"file:///b"}}"#;

/// A client reads what its server says to it, and not what it says itself.
fn follow(client: &Client) {
    let options = SubscriptionOptions::at(QoS::AtLeastOnce);
    client.subscribe_as(RPC, SubscriptionOptions { no_local: true, ..options }, None);
    client.reasons();
}

/// Which of these a client with roles gets through, each with QoS 1; those that it does not are
/// answered.
fn passed(client: &Client, server: &Client, requests: &[&'static str]) -> Vec<&'static str> {
    let mut passed = Vec::new();
    for request in requests {
        let code = client.publish(RPC, request, 1);
        let got = server.payloads();
        if got.is_empty() {
            assert_eq!(code, FORBIDDEN, "{request}");
            assert!(client.reason().contains("your roles"), "the cause is told");
            let answer = client.message();
            assert_eq!(answer.topic, RPC);
            assert!(answer.payload.contains(r#""reason":"not_allowed""#), "{}", answer.payload);
            assert!(answer.payload.contains(r#""code":-32000"#), "{}", answer.payload);
        } else {
            assert_eq!((code, got.as_slice()), (0, &[(*request).to_owned()][..]));
            passed.push(*request);
        }
    }
    assert!(client.messages().is_empty() && !client.is_closed());
    passed
}

#[test]
fn a_client_asks_what_one_of_its_roles_allows() {
    let all = [LIST, ADD, SUB, READ_A, READ_B];
    for (given, expected) in [
        (&[("demo/#", "reader")][..], &[LIST, READ_A][..]),
        (&[("demo/calc", "adder")], &[ADD]),
        (&[("demo/#", "reader"), ("+/calc", "adder")], &[LIST, ADD, READ_A]),
        (&[("demo/#", "reader"), ("other", "admin")], &[LIST, READ_A]),
        (&[("#", "admin")], &all),
        (&[("#", "unknown")], &[]),
        (&[("other", "admin")], &[]),
    ] {
        let (broker, _) = broker(roles(given, Effect::Deny));
        let server = calc(&broker);
        let client = component(&broker, "c1", "mcp-client").connect();
        follow(&client);
        assert_eq!(passed(&client, &server, &all), expected, "{given:?}");
    }
    // None of its roles is one at this server, and the rules let that be.
    let (broker, _) = broker(roles(&[("other", "reader")], Effect::Allow));
    let server = calc(&broker);
    let client = component(&broker, "c1", "mcp-client").connect();
    assert_eq!(passed(&client, &server, &all), all);
}

#[test]
fn no_way_leads_round_a_role() {
    let (broker, replace) = broker(roles(&[("demo/#", "adder")], Effect::Deny));
    let server = calc(&broker);
    let client = component(&broker, "c1", "mcp-client").connect();
    follow(&client);
    let diary = Diary::default();
    broker.tell_audit(&diary);
    client.publish(RPC, SUB, 1);
    assert_eq!(diary.rows(), [format!("c1 client refused publish {RPC} 87")]);
    client.message();
    for level in [0, 2] {
        client.publish(RPC, SUB, level);
        assert!(client.message().payload.contains("not_allowed"), "QoS {level}");
    }
    client.publishing(RPC, SUB).retain().send();
    client.publishing(RPC, ADD).alias(3).send();
    assert_eq!(server.payloads(), [ADD]);
    client.publishing("", SUB).alias(3).send();
    for odd in [
        "no JSON",
        "[]",
        r#"[{"id":1,"method":"tools/call","params":{"name":"sub"}}]"#,
        r#"{"id":1,"method":"tools/call","params":{"name":"add","name":"sub"}}"#,
        r#"{"id":1,"method":"tools/call","params":{"name":"add","Name":"sub"}}"#,
        r#"{"method":"tools/call","params":{"name":"sub"}}"#,
    ] {
        assert_eq!(client.publish(RPC, odd, 1), FORBIDDEN, "{odd}");
    }
    let ask = |payload| client.publish("$mcp-server/s1/demo/calc", payload, 1);
    assert_eq!(ask(SUB), FORBIDDEN, "the control topic, too");
    assert_eq!(client.publish("$mcp-rpc/c1/s1/demo/calc/", SUB, 1), 0x90, "no topic of MCP");
    assert!(server.payloads().is_empty());
    assert_eq!(ask(r#"{"id":1,"method":"initialize"}"#), 0);
    client.publish(RPC, r#"{"method":"notifications/initialized"}"#, 1);
    client.publish(RPC, r#"{"id":1,"result":{}}"#, 1);
    assert_eq!(server.payloads().len(), 3, "what a session needs goes through");
    // A will is a message, too.
    let will = || component(&broker, "c2", "mcp-client").will("$mcp-server/s1/demo/calc", SUB);
    assert_eq!(will().refused(), FORBIDDEN);
    replace(roles(&[("demo/#", "admin")], Effect::Deny));
    let admin = will().connect();
    replace(roles(&[("demo/#", "adder")], Effect::Deny));
    broker.judge_again();
    admin.vanish();
    assert!(server.payloads().is_empty(), "its role is another since it has left it");
}

#[test]
fn roles_are_gone_with_their_server_and_others_are_not_asked() {
    let (broker, _) = broker(roles(&[("demo/#", "admin")], Effect::Deny));
    let server = calc(&broker);
    let client = component(&broker, "c1", "mcp-client").connect();
    assert_eq!(client.publish(RPC, ADD, 1), 0);
    server.publishing("$mcp-server/presence/s1/demo/calc", "").retain().send();
    assert_eq!(client.publish(RPC, ADD, 1), FORBIDDEN, "it says nothing of roles any more");
    let other = broker.client("c9").username("any").connect();
    assert_eq!(other.publish("$mcp-rpc/c9/s1/demo/calc", "no JSON", 1), 0x10, "it has no roles");
    assert_eq!(client.publish("elsewhere", "no JSON", 1), 0x10, "nor are they asked elsewhere");
    assert_eq!(client.publish("$mcp-rpc/c1/c1/discovery", "x", 1), 0x10, "what it says to itself");
}

#[test]
fn what_any_instance_may_take_all_of_them_must_allow() {
    const ANY: &str = "$mcp-rpc/c1/$any/instance/demo/calc";
    let (broker, _) = broker(roles(&[("demo/#", "adder")], Effect::Deny));
    let server = calc(&broker);
    assert_eq!(server.subscribe("$share/mcp/$mcp-rpc/+/$any/instance/demo/calc", 1), 1);
    let client = component(&broker, "c1", "mcp-client").connect();
    assert_eq!(client.publish(ANY, ADD, 1), 0);
    assert_eq!(client.publish(ANY, SUB, 1), FORBIDDEN);
    assert_eq!(server.payloads(), [ADD]);
    let other = component(&broker, "s2", "mcp-server").connect();
    other.publishing("$mcp-server/presence/s2/demo/calc", "{}").retain().send();
    assert_eq!(client.publish(ANY, ADD, 1), FORBIDDEN, "the other one has no such role");
    other.publishing("$mcp-server/presence/s2/demo/calc", "").retain().send();
    assert_eq!(client.publish(ANY, ADD, 1), 0);
    server.publishing("$mcp-server/presence/s1/demo/calc", "").retain().send();
    assert_eq!(client.publish(ANY, ADD, 1), FORBIDDEN, "nobody says what it may do");
}

#[test]
fn the_roles_of_many_instances_are_not_looked_up() {
    const ANY: &str = "$mcp-rpc/c1/$any/instance/demo/calc";
    let (broker, _) = broker(roles(&[("demo/#", "adder")], Effect::Deny));
    let server = calc(&broker);
    server.subscribe("$share/mcp/$mcp-rpc/+/$any/instance/demo/calc", 1);
    let client = component(&broker, "c1", "mcp-client").connect();
    let ids: Vec<_> = (0..16).map(|number| format!("s-{number}")).collect();
    let mut others: Vec<_> =
        ids.iter().map(|id| component(&broker, id, "mcp-server").connect()).collect();
    for (id, other) in ids.iter().zip(&others) {
        assert_eq!(client.publish(ANY, ADD, 1), 0, "before {id}");
        let presence = format!("$mcp-server/presence/{id}/demo/calc");
        other.publishing(&presence, ONLINE).retain().send();
    }
    assert_eq!(client.publish(ANY, ADD, 1), FORBIDDEN);
    let why = client.reason();
    assert!(why.contains("more than 16 instances"), "{why}");
    assert_eq!(client.publish(RPC, ADD, 1), 0, "one of them is asked");
    let presence = "$mcp-server/presence/s-15/demo/calc";
    others.pop().unwrap().publishing(presence, "").retain().send();
    assert_eq!(client.publish(ANY, ADD, 1), 0);
}

#[test]
fn a_word_of_the_binding_is_nobody_s_identifier_there() {
    let broker = Broker::new();
    broker.reconfigure(|settings| settings.agents.mcp = true);
    for word in ["presence", "capability", "$any"] {
        let client = broker.client(word).connect();
        for topic in [&*format!("$mcp-server/{word}/demo/calc"), "$mcp-rpc/c1/$any/instance/a"] {
            assert_eq!(client.publish(topic, "{}", 1), FORBIDDEN, "{topic}");
            assert!(client.reason().contains("another client identifier"));
            assert_eq!(client.subscribe(topic, 0), FORBIDDEN, "{topic}");
            assert_eq!(client.subscribe(&format!("$share/g/{topic}"), 0), FORBIDDEN, "{topic}");
            client.reasons();
        }
        for topic in ["$mcp-server/s1/demo/calc", "$mcp-client/presence/a"] {
            assert_eq!(broker.client(word).will(topic, "").refused(), FORBIDDEN, "{topic}");
        }
        let client = broker.client(word).will("elsewhere", "").connect();
        assert_eq!(client.subscribe("elsewhere", 0), 0, "it is a client like others");
        assert_eq!(client.publish("elsewhere", "x", 1), 0);
    }
}

#[test]
fn a_will_of_before_a_crash_is_asked_of_its_roles_too() {
    for (role, expected) in [("admin", &[SUB][..]), ("adder", &[])] {
        let (broker, _) = broker(roles(&[("demo/#", role)], Effect::Deny));
        let server = calc(&broker);
        let author = Author::of(&Principal::verified("client", Claims::default()), "c2");
        let topic = "$mcp-server/s1/demo/calc";
        broker.restore_will(RestoredWill {
            key: SessionKey(7),
            client_id: "c2".into(),
            message: Message::plain(topic, SUB.as_bytes(), QoS::AtLeastOnce, false),
            author: author.map(Arc::new),
        });
        assert_eq!(server.payloads(), expected, "{role}");
    }
}
