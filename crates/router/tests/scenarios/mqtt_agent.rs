//! What MQTT.Agent 0.1 gets beyond the letter of MQTT: sessions that are lent, calls that are
//! answered where nobody does, cards that follow their servers.

use agentmq_agents::{Card, Namespaces, Status};
use agentmq_codec::{Property, PropertyId as P};
use agentmq_identity::{Authenticator, Claims, Credentials, Outcome, Principal};
use agentmq_router::{AgentSettings, DoorSettings, Settings};

use crate::harness::{Broker, Client, Connecting, Got};

const CALL: &str = "lab/mcp/tools/echo/call";
const SHARED: &str = "$share/mcp-tool-echo/lab/mcp/tools/echo/call";
const SERVER_CARD: &str = "lab/mcp/servers/files/card";
const TOOL_CARD: &str = "lab/mcp/tools/echo/card";
const ANSWERS: &str = "lab/mcp/clients/caller/responses";
const FORBIDDEN: u8 = 0x87;

/// Everybody claims to be the agent by whose name he comes.
#[derive(Debug)]
struct Agents;

impl Authenticator for Agents {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        let name = credentials.username.unwrap_or_default();
        let mut claims = Claims::default();
        claims.agent_id = Some(name.into());
        Outcome::Accepted(Principal::verified(name, claims).into())
    }
}

fn settings(settings: &mut Settings) {
    settings.agents = AgentSettings {
        namespaces: Namespaces::new(&["lab"]).expect("is a namespace"),
        session_expiry_secs: 300,
        return_secs: 5,
        hold_on_resume_ms: 200,
        hold_per_subscription_ms: 50,
        check_arguments: true,
        mcp: false,
        mcp_component_type: false,
    };
    settings.doors = vec![DoorSettings { serves_agents: true, ..DoorSettings::default() }];
}

fn broker() -> Broker {
    Broker::with(settings)
}

fn card(status: &str) -> String {
    format!(r#"{{"server":"files","tools":["echo"],"status":"{status}"}}"#)
}

/// As the published server connects: it resumes, and says nothing of how long.
fn server<'a>(broker: &Broker, client_id: &'a str, offline: &'a str) -> Connecting<'a> {
    broker.client(client_id).resuming().will(SERVER_CARD, offline).will_qos(1).will_retain()
}

/// A server that has started as the published one does.
fn started(broker: &Broker, client_id: &str) -> Client {
    starting(server(broker, client_id, &card("offline")))
}

fn starting(server: Connecting<'_>) -> Client {
    let server = server.connect();
    for topic in [SERVER_CARD, TOOL_CARD] {
        server.publishing(topic, &card("online")).qos(1).retain().send();
    }
    assert_eq!(server.subscribe(SHARED, 1), 1);
    server.packets();
    server
}

fn caller(broker: &Broker) -> Client {
    let caller = broker.client("caller").resuming().connect();
    caller.subscribe(ANSWERS, 1);
    caller
}

fn call(caller: &Client, call_id: &str) -> u16 {
    let payload = format!(r#"{{"call_id":"{call_id}","arguments":{{}}}}"#);
    let call = caller.publishing(CALL, &payload).qos(1);
    let response = Property::Text(P::ResponseTopic, ANSWERS);
    call.with(response).with(Property::Binary(P::CorrelationData, call_id.as_bytes())).send()
}

fn answer(server: &Client, call_id: &str) {
    let correlation = Property::Binary(P::CorrelationData, call_id.as_bytes());
    server.publishing(ANSWERS, "answer").qos(1).with(correlation).send();
}

/// What the broker has answered: which call, and why it has failed.
fn errors(caller: &Client) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let answers = caller.payloads().into_iter();
    answers
        .map(|it| serde_json::from_str::<serde_json::Value>(&it).expect("is JSON"))
        .map(|it| (text(&it["call_id"]), text(&it["error"]["type"])))
        .collect()
}

fn unavailable(call_id: &str) -> (String, String) {
    (call_id.into(), "unavailable".into())
}

fn statuses(broker: &Broker) -> [Option<Status>; 2] {
    let reader = broker.connect("reader");
    [SERVER_CARD, TOOL_CARD].map(|topic| {
        reader.subscribe(topic, 1);
        Card::parse(reader.message().payload.as_bytes()).expect("is a card").status()
    })
}

const ONLINE: [Option<Status>; 2] = [Some(Status::Online); 2];
const OFFLINE: [Option<Status>; 2] = [Some(Status::Offline); 2];

#[test]
fn a_session_is_lent_to_who_resumes_and_does_not_say_how_long() {
    let broker = broker();
    let told = |connecting: Connecting<'_>| match connecting.attempt().next() {
        Some(Got::ConnAck { code: 0, properties, .. }) => {
            properties.view().integer(P::SessionExpiryInterval)
        }
        other => panic!("CONNACK expected, got {other:?}"),
    };
    assert_eq!(told(broker.client("a").resuming()), Some(300));
    assert_eq!(told(broker.client("b").resuming().will("w", "")), Some(5));
    assert_eq!(told(broker.client("c")), None, "a clean start asks for nothing");
    assert_eq!(told(broker.client("d").resuming().expiry(0)), None, "it says so");
    assert_eq!(told(broker.client("e").resuming().expiry(9)), None);
    let usual = Broker::new();
    assert_eq!(told(usual.client("a").resuming()), None, "no agent, no loan");
}

#[test]
fn who_claims_to_be_an_agent_is_lent_one_at_any_listener() {
    let broker = Broker::guarded(Agents);
    broker.reconfigure(|it| {
        settings(it);
        it.doors.clear();
    });
    broker.client("a").username("a").resuming().connect().vanish();
    let (_, is_present) = broker.client("a").username("a").resuming().connect_present();
    assert!(is_present);
}

#[test]
fn what_waits_for_a_lent_session_comes_when_its_client_is_ready() {
    let broker = broker();
    let caller = caller(&broker);
    caller.subscribe("other", 1);
    caller.vanish();
    broker.connect("b").publish(ANSWERS, "late", 1);
    let (caller, is_present) = broker.client("caller").resuming().connect_present();
    assert!(is_present && caller.messages().is_empty());
    broker.wait_ms(299);
    assert!(caller.messages().is_empty(), "200 ms, and 50 for each of two subscriptions");
    broker.wait_ms(1);
    assert_eq!(caller.payloads(), ["late"]);
    caller.disconnect();
    let (_, is_present) = broker.client("caller").resuming().connect_present();
    assert!(!is_present, "its DISCONNECT ends what it had not asked for");
}

#[test]
fn a_call_that_nobody_takes_is_answered_at_once() {
    let broker = broker();
    let caller = caller(&broker);
    caller.packets();
    let id = call(&caller, "c1");
    let got = caller.packets();
    assert!(got.contains(&Got::PubAck(id, 0)), "{got:?}");
    let Some(Got::Publish(message)) = got.iter().find(|it| matches!(it, Got::Publish(_))) else {
        panic!("no answer: {got:?}")
    };
    assert!(message.payload.contains("\"unavailable\""), "{}", message.payload);
    assert_eq!(broker.connect("b").publish("lab/other", "x", 1), 0x10, "no call");
    // Where there is nowhere to answer, the acknowledgement says it.
    assert_eq!(caller.publish(CALL, "{}", 1), 0x10);
}

#[test]
fn a_server_that_is_gone_leaves_nobody_waiting() {
    let broker = broker();
    let (caller, server) = (caller(&broker), started(&broker, "s1"));
    for id in ["c1", "c2", "c3"] {
        call(&caller, id);
    }
    assert_eq!(server.messages().len(), 3);
    answer(&server, "c2");
    assert_eq!(caller.payloads(), ["answer"]);
    server.vanish();
    call(&caller, "c4");
    broker.wait(4);
    assert!(caller.payloads().is_empty(), "it may come back");
    broker.wait(1);
    assert_eq!(errors(&caller), ["c1", "c3", "c4"].map(unavailable));
    call(&caller, "c5");
    assert_eq!(errors(&caller), [unavailable("c5")]);
}

#[test]
fn a_server_that_is_back_in_time_has_lost_nothing() {
    let broker = broker();
    let (caller, server_before) = (caller(&broker), started(&broker, "s1"));
    call(&caller, "c1");
    server_before.messages();
    server_before.vanish();
    call(&caller, "c2");
    broker.wait(2);
    let offline = card("offline");
    let (server, is_present) = server(&broker, "s1", &offline).connect_present();
    assert!(is_present);
    broker.wait(10);
    assert_eq!(server.messages().len(), 1, "c2; c1 it has taken");
    answer(&server, "c1");
    answer(&server, "c2");
    assert_eq!(caller.payloads(), ["answer", "answer"]);
    assert_eq!(statuses(&broker), ONLINE);
    server.disconnect();
    broker.wait(1);
    assert!(caller.payloads().is_empty(), "everything was answered");
}

#[test]
fn a_replica_takes_what_another_has_not_taken() {
    let broker = broker();
    let (caller, offline) = (caller(&broker), card("offline"));
    let one = starting(server(&broker, "s1", &offline).by_hand());
    let two = started(&broker, "s2");
    call(&caller, "c1");
    call(&caller, "c2");
    let taken = [&one, &two].map(|it| it.messages().len());
    assert_eq!(taken, [1, 1]);
    one.vanish(); // it has sent no PUBACK
    assert_eq!(two.messages().len(), 1, "at once");
    broker.wait(10);
    assert!(errors(&caller).is_empty(), "the other one has it now");
    two.vanish();
    broker.wait(5);
    assert_eq!(errors(&caller).len(), 2);
}

#[test]
fn cards_go_offline_with_the_last_replica() {
    let broker = broker();
    let (one, two) = (started(&broker, "s1"), started(&broker, "s2"));
    assert_eq!(statuses(&broker), ONLINE);
    one.vanish();
    broker.wait(10);
    assert_eq!(statuses(&broker), ONLINE, "the other one serves");
    two.vanish();
    broker.wait(4);
    assert_eq!(statuses(&broker), ONLINE, "it may come back");
    broker.wait(1);
    assert_eq!(statuses(&broker), OFFLINE, "the tool's, too");
}

#[test]
fn a_replica_that_stops_does_not_speak_for_the_others() {
    let broker = broker();
    let (one, two) = (started(&broker, "s1"), started(&broker, "s2"));
    let stop = |server: &Client| {
        for topic in [SERVER_CARD, TOOL_CARD] {
            let id = server.publishing(topic, &card("offline")).qos(1).retain().send();
            assert!(server.packets().contains(&Got::PubAck(id, 0)));
        }
        server.disconnect();
    };
    let other = broker.connect("other");
    other.retain("lab/mcp/servers/other/card", &card("offline"));
    stop(&one);
    assert_eq!(statuses(&broker), ONLINE);
    stop(&two);
    assert_eq!(statuses(&broker), OFFLINE);
}

#[test]
fn a_server_that_comes_back_late_is_online_again() {
    let broker = broker();
    started(&broker, "s1").vanish();
    broker.wait(60);
    assert_eq!(statuses(&broker), OFFLINE);
    let offline = card("offline");
    let again = server(&broker, "s1", &offline).connect();
    assert_eq!(statuses(&broker), OFFLINE, "it serves nothing yet");
    again.subscribe(SHARED, 1);
    assert_eq!(statuses(&broker), ONLINE);
    // Who has no card there changes none.
    again.disconnect();
    let other = broker.connect("other");
    broker.connect("s2").retain(SERVER_CARD, &offline);
    other.subscribe(SHARED, 1);
    assert_eq!(statuses(&broker)[0], Some(Status::Offline));
}

#[test]
fn a_call_says_who_calls_and_says_the_truth() {
    let broker = Broker::guarded(Agents);
    broker.reconfigure(settings);
    let server = broker.client("s").username("s").connect();
    server.subscribe(SHARED, 1);
    let caller = broker.client("x1").username("caller").connect();
    caller.subscribe(ANSWERS, 1);
    caller.packets();
    let send = |payload: &str| {
        let call = caller.publishing(CALL, payload).qos(1);
        call.with(Property::Text(P::ResponseTopic, ANSWERS)).send();
        (server.messages().len(), errors(&caller).into_iter().map(|(_, it)| it).next())
    };
    assert_eq!(send(r#"{"call_id":"a","client":"caller"}"#), (1, None));
    assert_eq!(send(r#"{"call_id":"a"}"#), (1, None));
    let refused = |kind: &str| (0, Some(kind.to_owned()));
    assert_eq!(send(r#"{"call_id":"a","client":"another"}"#), refused("unauthorized"));
    let twice = r#"{"client":"caller","client":"another"}"#;
    assert_eq!(send(twice), refused("unauthorized"), "the last one counts");
    assert_eq!(send("[]"), refused("invalid_arguments"));
    assert_eq!(send("no JSON"), refused("invalid_arguments"));
    assert_eq!(caller.publish(CALL, r#"{"client":"another"}"#, 1), FORBIDDEN);
    let call = caller.publishing(CALL, "[]").qos(2);
    let id = call.with(Property::Text(P::ResponseTopic, ANSWERS)).send();
    let got = caller.packets();
    assert!(got.contains(&Got::PubRec(id, 0)), "{got:?}");
    assert!(got.contains(&Got::PubComp(id, 0)), "an exchange like any other: {got:?}");
}

#[test]
fn arguments_are_what_the_card_of_the_tool_says() {
    let broker = broker();
    let server = broker.connect("server");
    server.subscribe(SHARED, 1);
    let caller = caller(&broker);
    // What the caller is answered, and how many calls the server gets.
    let send = |arguments: &str| {
        let payload = format!(r#"{{"call_id":"c","arguments":{arguments}}}"#);
        let call = caller.publishing(CALL, &payload).qos(1);
        call.with(Property::Text(P::ResponseTopic, ANSWERS)).send();
        (caller.payloads().concat(), server.payloads().len())
    };
    let passed = (String::new(), 1);
    assert_eq!(send("7"), passed, "there is no card");
    let offer = |schema: &str| {
        let card = format!(r#"{{"server":"files","status":"online","input_schema":{schema}}}"#);
        server.publishing(TOOL_CARD, &card).qos(1).retain().send();
        server.packets();
    };
    offer(r#"{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}"#);
    let (wrong, calls) = send(r#"{"text":"hidden","text":7}"#);
    assert!(wrong.contains("invalid_arguments") && wrong.contains("/text: "), "{wrong}");
    assert_eq!(calls, 0);
    let (wrong, calls) = send("null");
    assert!(wrong.contains("invalid_arguments") && calls == 0, "none are none: {wrong}");
    assert_eq!(send(r#"{"text":"x"}"#), passed);
    offer(r#"{"type":"object"}"#);
    assert_eq!(send("{}"), passed, "the card has changed");
    offer(r##"{"allOf":[{"$ref":"#"}],"type":"object"}"##);
    assert_eq!(send("7"), passed, "what cannot be checked in a known time is the server's");
    offer(r#"{"type":"object"}"#);
    assert_eq!(send("7").1, 0);
    broker.reconfigure(|it| it.agents.check_arguments = false);
    assert_eq!(send("7"), passed);
}
