//! What only a broker that plays a part can show: names and filters that it assigns, the order of
//! packets, and servers that say nothing.

#![allow(clippy::unwrap_used)] // a test may panic

mod script;

use std::time::Duration;

use agentmq_client::{Error as ClientError, Options, QoS, ReasonCode, Reconnect};
use agentmq_sdk::mcp::{
    AWAY, Bus, BusConfig, Call, Error, Fault, Instance, Server, ServerConfig, Session, call,
    fault_of,
};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ErrorData, ProgressNotificationParam, ProtocolVersion,
    ServerResult, ToolListChangedNotification,
};
use rmcp::{ClientHandler, ServerHandler};
use script::{PATIENCE, Seen, broker};
use serde_json::{Value, json};
use tokio::time::timeout;

/// Both sides as `rmcp` has them by default.
#[derive(Clone, Default)]
struct Plain;

impl ServerHandler for Plain {}

impl ClientHandler for Plain {}

fn options(url: &str, client_id: &str) -> Options {
    let mut options = Options::new(url).unwrap();
    options.client_id = client_id.into();
    options
}

fn config(name: &str) -> ServerConfig {
    ServerConfig { name: name.into(), description: "adds".into(), ..ServerConfig::default() }
}

/// M-S5, M-S6, M-S7: the name that the broker assigns is the one of the will, too.
#[tokio::test]
async fn a_server_takes_the_name_that_the_broker_gives_it() {
    let (url, mut seen) = broker(&[("MCP-SERVER-NAME", "acme/calc")]).await;
    let (server, acceptor) = Server::connect(options(&url, "s1"), config("calc")).await.unwrap();
    assert_eq!(server.instance().name(), "acme/calc");
    let work = tokio::spawn(acceptor.run(|_| Plain));
    server.online().await;
    server.notify(ToolListChangedNotification::default().into()).await.unwrap();
    server.close().await;
    assert!(matches!(work.await.unwrap(), Error::Closed));
    let Seen::Connect { will, user, .. } = seen.next().await else { panic!("CONNECT") };
    assert_eq!(will.unwrap().topic, "$mcp-server/presence/s1/calc");
    assert_eq!(user, [("MCP-COMPONENT-TYPE".to_owned(), "mcp-server".to_owned())]);
    assert!(matches!(seen.next().await, Seen::Disconnect(_)));
    let Seen::Connect { will, session_expiry, .. } = seen.next().await else { panic!("CONNECT") };
    let will = will.unwrap();
    assert_eq!((&*will.topic, will.retain), ("$mcp-server/presence/s1/acme/calc", true));
    assert!(will.payload.is_empty() && session_expiry == 0);
    let control = "$mcp-server/s1/acme/calc";
    assert_eq!(seen.next().await, Seen::Subscribe(vec![(control.to_owned(), false)]));
    let everybody = "$mcp-rpc/+/s1/acme/calc".to_owned();
    assert_eq!(seen.next().await, Seen::Subscribe(vec![(everybody, true)]));
    let anybody = "$share/mcp/$mcp-rpc/+/$any/instance/acme/calc".to_owned();
    assert_eq!(seen.next().await, Seen::Subscribe(vec![(anybody.clone(), false)]));
    let online = seen.publish().await;
    assert_eq!((&*online.topic, online.retain), ("$mcp-server/presence/s1/acme/calc", true));
    assert_eq!(online.json()["params"]["server_name"], "acme/calc");
    let revisions = &online.json()["params"]["meta"]["supportedVersions"];
    assert_eq!(revisions.as_array().unwrap().last(), Some(&json!("2026-07-28")));
    let changed = seen.publish().await;
    assert_eq!(changed.topic, "$mcp-server/capability/s1/acme/calc");
    assert_eq!(changed.json()["method"], "notifications/tools/list_changed");
    assert!(changed.user.contains(&("MCP-MQTT-CLIENT-ID".to_owned(), "s1".to_owned())));
    assert_eq!(seen.next().await, Seen::Unsubscribe(vec![anybody]));
    let cleared = seen.publish().await;
    assert_eq!((cleared.retain, cleared.payload.len()), (true, 0));
    assert!(matches!(seen.next().await, Seen::Disconnect(_)));
}

/// A program that is back may be another one.
#[tokio::test]
async fn a_server_says_which_revisions_it_speaks_now() {
    let (url, mut seen) = broker(&[]).await;
    let (server, acceptor) = Server::connect(options(&url, "s1"), config("calc")).await.unwrap();
    let work = tokio::spawn(acceptor.run(|_| Plain));
    let older = vec![ProtocolVersion::V_2025_06_18];
    server.online().await;
    server.offline().await;
    server.online_with(older).await;
    server.offline().await;
    server.online().await;
    server.close().await;
    work.await.unwrap();
    let mut said = Vec::new();
    loop {
        match seen.next().await {
            Seen::Publish(it) if !it.payload.is_empty() => {
                let all = it.json()["params"]["meta"]["supportedVersions"].clone();
                said.push(all.as_array().unwrap().last().cloned().unwrap());
            }
            Seen::Disconnect(_) => break,
            _ => {}
        }
    }
    assert_eq!(said, ["2026-07-28", "2025-06-18", "2025-06-18"]);
}

/// M-C4.
#[tokio::test]
async fn a_client_uses_the_filters_that_the_broker_gives_it() {
    let (url, mut seen) = broker(&[("MCP-SERVER-NAME-FILTERS", r#"["acme/#","demo/+"]"#)]).await;
    let bus = Bus::connect(options(&url, "c1"), BusConfig::default()).await.unwrap();
    let Seen::Connect { will, user, clean_start, session_expiry, will_delay } = seen.next().await
    else {
        panic!("CONNECT")
    };
    let away = u32::try_from(AWAY.as_secs()).unwrap();
    assert_eq!((clean_start, session_expiry, will_delay), (true, away, away));
    let will = will.unwrap();
    assert_eq!((&*will.topic, will.retain), ("$mcp-client/presence/c1", false));
    assert!(String::from_utf8_lossy(&will.payload).contains("notifications/disconnected"));
    assert_eq!(user, [("MCP-COMPONENT-TYPE".to_owned(), "mcp-client".to_owned())]);
    let Seen::Subscribe(filters) = seen.next().await else { panic!("SUBSCRIBE") };
    let names: Vec<&str> = filters.iter().map(|(filter, _)| filter.as_str()).collect();
    assert_eq!(names[..2], ["$mcp-server/presence/+/acme/#", "$mcp-server/presence/+/demo/+"]);
    assert!(bus.discovered(PATIENCE).await, "the marker comes back");
    seen.publish().await;
    bus.close().await;
    assert_eq!(seen.publish().await.topic, "$mcp-client/presence/c1");
    assert_eq!(seen.next().await, Seen::Disconnect(Some(0)));
}

/// Its servers hear of its end at once.
#[tokio::test]
async fn who_does_not_come_back_is_not_waited_for() {
    let (url, mut seen) = broker(&[]).await;
    let options = Options { reconnect: Reconnect::NEVER, ..options(&url, "c1") };
    let _bus = Bus::connect(options, BusConfig::default()).await.unwrap();
    let Seen::Connect { session_expiry, will_delay, .. } = seen.next().await else {
        panic!("CONNECT")
    };
    assert_eq!((session_expiry, will_delay), (0, 0));
}

#[tokio::test]
async fn filters_that_are_none_are_not_used() {
    for nonsense in ["", "{}", "[]", "[1]", r#"["a#"]"#] {
        let (url, mut seen) = broker(&[("MCP-SERVER-NAME-FILTERS", nonsense)]).await;
        let _bus = Bus::connect(options(&url, "c1"), BusConfig::default()).await.unwrap();
        seen.next().await;
        let Seen::Subscribe(filters) = seen.next().await else { panic!("SUBSCRIBE") };
        assert_eq!(filters[0].0, "$mcp-server/presence/+/#", "{nonsense}");
    }
}

#[tokio::test]
async fn names_that_cannot_be_are_refused_before_anything_is_sent() {
    let nowhere = "mqtt://127.0.0.1:1";
    for id in ["a/b", "a+", "presence"] {
        let refused = Server::connect(options(nowhere, id), config("calc")).await.unwrap_err();
        assert!(matches!(refused, Error::Name(_)), "{refused}");
        let bus = Bus::connect(options(nowhere, id), BusConfig::default()).await.unwrap_err();
        assert!(matches!(bus, Error::Name(_)), "{bus}");
    }
    let refused = Server::connect(options(nowhere, "a"), config("a/#")).await.unwrap_err();
    assert!(matches!(refused, Error::Name(_)), "{refused}");
    let unreachable = Server::connect(options(nowhere, ""), config("a")).await.unwrap_err();
    let Error::Mqtt(cause) = &unreachable else { panic!("{unreachable}") };
    assert!(matches!(cause.cause(), ClientError::Connect { .. }), "{unreachable}");
}

/// A client that has connected and asked who is there.
async fn connected() -> (Bus, script::Broker) {
    let (url, mut seen) = broker(&[]).await;
    let bus = Bus::connect(options(&url, "c1"), BusConfig::default()).await.unwrap();
    for _ in 0..3 {
        seen.next().await; // CONNECT, SUBSCRIBE, the marker
    }
    (bus, seen)
}

/// A client and a server that is played: it answers `initialize`, and nothing else.
async fn session() -> (Bus, Session, script::Broker) {
    let (bus, mut seen) = connected().await;
    let session = open(&bus, &mut seen).await;
    (bus, session, seen)
}

/// The same, with QoS 1, and the client has noticed that the broker is not there.
async fn away() -> (Bus, Session, script::Broker) {
    let (bus, mut seen) = connected().await;
    seen.qos = QoS::AtLeastOnce;
    let session = open(&bus, &mut seen).await;
    let mut changes = bus.changes();
    seen.go_away();
    while bus.is_connected() {
        assert!(timeout(PATIENCE, changes.next()).await.unwrap());
    }
    (bus, session, seen)
}

async fn open(bus: &Bus, seen: &mut script::Broker) -> Session {
    let instance = Instance::new("s1", "demo/calc").unwrap();
    let opening = bus.open(&instance, Plain);
    let played = async {
        // In this order: the answer comes on a topic that must be ours by then.
        let topics = [("$mcp-server/capability/s1/demo/calc", false), (RPC, true)];
        let topics = topics.map(|(topic, no_local)| (topic.to_owned(), no_local)).to_vec();
        assert_eq!(seen.next().await, Seen::Subscribe(topics));
        let initialize = seen.publish().await;
        assert_eq!(initialize.topic, "$mcp-server/s1/demo/calc");
        assert!(initialize.user.contains(&("MCP-MQTT-CLIENT-ID".to_owned(), "c1".to_owned())));
        let request = initialize.json();
        assert_eq!(request["method"], "initialize");
        let result = json!({
            "protocolVersion": request["params"]["protocolVersion"],
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "played", "version": "1" },
        });
        let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
        seen.deliver(RPC, answer.to_string().as_bytes()).await;
        let initialized = seen.publish().await;
        assert_eq!(initialized.topic, RPC);
        assert_eq!(initialized.json()["method"], "notifications/initialized");
    };
    let (session, ()) = tokio::join!(timeout(PATIENCE, opening), played);
    session.unwrap().unwrap()
}

async fn ask(session: &Session, limit: Duration) -> Result<ServerResult, ErrorData> {
    let request = CallToolRequest::new(CallToolRequestParams::new("slow"));
    let mut it = Call::new(request.into());
    it.timeout = limit;
    let ignore: Option<fn(ProgressNotificationParam) -> std::future::Ready<()>> = None;
    call(session.peer(), it, ignore, std::future::pending()).await
}

/// M-C5: and the server is told.
#[tokio::test]
async fn a_call_without_an_answer_ends_in_time() {
    let (_bus, session, mut seen) = session().await;
    let late = ask(&session, Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(fault_of(&late), Some(Fault::Timeout), "{late:?}");
    let request = seen.publish().await.json();
    assert_eq!(request["method"], "tools/call");
    assert!(request["params"]["_meta"]["progressToken"].is_null(), "nobody asked: {request}");
    let cancelled = seen.publish().await.json();
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], request["id"]);
}

/// A broker that knows the binding says what a subscription that nobody has cannot.
#[tokio::test]
async fn a_broker_answers_for_a_server_that_is_gone() {
    let (_bus, session, mut seen) = session().await;
    let calling = ask(&session, PATIENCE);
    let answering = async {
        let id = seen.publish().await.json()["id"].clone();
        let error = json!({ "code": -32000, "message": "no server is there" });
        let answer = json!({ "jsonrpc": "2.0", "id": id, "error": error });
        seen.deliver(RPC, answer.to_string().as_bytes()).await;
    };
    let (answer, ()) = tokio::join!(timeout(PATIENCE, calling), answering);
    assert_eq!(fault_of(&answer.unwrap().unwrap_err()), Some(Fault::Gone));
}

/// M-C3: what is under way ends at once, whatever its time limit.
#[tokio::test]
async fn a_server_that_clears_its_presence_ends_its_sessions() {
    let (bus, session, mut seen) = session().await;
    let presence = "$mcp-server/presence/s1/demo/calc";
    let mut changes = bus.changes();
    // M-C1: without a name, without params.
    let online = br#"{"jsonrpc":"2.0","method":"notifications/server/online","params":null}"#;
    seen.deliver(presence, online).await;
    assert!(timeout(PATIENCE, changes.next()).await.unwrap());
    assert_eq!(bus.directory().names().collect::<Vec<_>>(), ["demo/calc"]);
    let calling = ask(&session, Duration::from_secs(3600));
    let leaving = async {
        assert_eq!(seen.publish().await.json()["method"], "tools/call");
        seen.deliver(presence, b"").await;
    };
    let (lost, ()) = tokio::join!(timeout(PATIENCE, calling), leaving);
    assert_eq!(fault_of(&lost.unwrap().unwrap_err()), Some(Fault::Gone));
    timeout(PATIENCE, session.over().cancelled()).await.unwrap();
    assert!(bus.directory().is_empty());
    assert!(matches!(bus.open_any("demo/calc", || Plain).await, Err(Error::Offline(_))));
    // Nobody is told good-bye who is gone.
    assert!(matches!(seen.next().await, Seen::Unsubscribe(_)));
}

/// M-C6.
#[tokio::test]
async fn a_session_that_is_dropped_can_be_opened_again() {
    let (bus, session, mut seen) = session().await;
    let over = session.over().clone();
    drop(session);
    timeout(PATIENCE, over.cancelled()).await.unwrap();
    let farewell = seen.publish().await;
    assert_eq!((&*farewell.topic, farewell.json()), (RPC, disconnected()));
    for topic in ["$mcp-server/capability/s1/demo/calc", RPC] {
        assert_eq!(seen.next().await, Seen::Unsubscribe(vec![topic.to_owned()]));
    }
    let again = open(&bus, &mut seen).await;
    assert!(!again.over().is_cancelled());
}

/// The server is not told good-bye in a session that has just begun.
#[tokio::test]
async fn a_session_that_is_opened_twice_is_the_second_one() {
    let (bus, first, mut seen) = session().await;
    let second = open(&bus, &mut seen).await;
    timeout(PATIENCE, first.over().cancelled()).await.unwrap();
    drop(first);
    let calling = ask(&second, Duration::from_millis(20));
    assert_eq!(fault_of(&calling.await.unwrap_err()), Some(Fault::Timeout));
    assert_eq!(seen.publish().await.json()["method"], "tools/call");
    assert!(!second.over().is_cancelled());
}

/// What a server says with QoS 0 does not come to a client that is away: it is not waited for, and
/// the server is told.
#[tokio::test]
async fn a_session_with_qos_0_does_not_outlive_a_blip() {
    let (bus, session, mut seen) = session().await;
    let calling = ask(&session, Duration::from_secs(3600));
    let leaving = async {
        assert_eq!(seen.publish().await.json()["method"], "tools/call");
        seen.hang_up();
    };
    let (lost, ()) = tokio::join!(timeout(PATIENCE, calling), leaving);
    assert_eq!(fault_of(&lost.unwrap().unwrap_err()), Some(Fault::Gone));
    let Seen::Connect { clean_start, .. } = seen.next().await else { panic!("CONNECT") };
    assert!(!clean_start);
    loop {
        // Who is online is asked, too, and the topics are given up.
        if let Seen::Publish(said) = seen.next().await
            && said.topic == RPC
        {
            assert_eq!(said.json(), disconnected());
            break;
        }
    }
    assert!(bus.is_connected());
}

/// Its caller has heard that nothing comes of it.
#[tokio::test]
async fn what_is_given_up_while_away_is_not_sent() {
    let (_bus, session, mut seen) = away().await;
    let late = ask(&session, Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(fault_of(&late), Some(Fault::Timeout));
    seen.come_back(true);
    let calling = ask(&session, Duration::from_millis(1500));
    let reading = async {
        let mut methods = Vec::new();
        while methods.len() < 2 {
            if let Seen::Publish(said) = seen.next().await
                && said.topic == RPC
            {
                methods.push(said.json()["method"].clone());
            }
        }
        methods
    };
    let (_, mut methods) = tokio::join!(calling, reading);
    // That the first one is taken back is said in its own time.
    methods.sort_by_key(Value::to_string);
    assert_eq!(methods, ["notifications/cancelled", "tools/call"]);
}

/// A client whose session is lost has told its caller that nothing came of it: then nothing does.
#[tokio::test]
async fn what_was_to_be_sent_in_a_session_that_is_lost_is_not_sent() {
    let (bus, session, mut seen) = away().await;
    assert!(!session.over().is_cancelled());
    let calling = ask(&session, Duration::from_secs(3600));
    let returning = async { seen.come_back(false) };
    let (lost, ()) = tokio::join!(timeout(PATIENCE, calling), returning);
    assert_eq!(fault_of(&lost.unwrap().unwrap_err()), Some(Fault::Gone));
    is_not_asked(&bus, &mut seen).await;
}

/// The same of what the broker had taken without saying so: who was asked is not asked twice.
#[tokio::test]
async fn what_was_not_acknowledged_in_a_session_that_is_lost_is_not_sent_again() {
    let (bus, mut seen) = connected().await;
    seen.qos = QoS::AtLeastOnce;
    let session = open(&bus, &mut seen).await;
    seen.ignore(RPC);
    let calling = ask(&session, Duration::from_secs(3600));
    let losing = async {
        assert_eq!(seen.publish().await.json()["method"], "tools/call");
        seen.go_away();
        seen.come_back(false);
    };
    let (lost, ()) = tokio::join!(timeout(PATIENCE, calling), losing);
    assert_eq!(fault_of(&lost.unwrap().unwrap_err()), Some(Fault::Gone));
    is_not_asked(&bus, &mut seen).await;
}

/// Sees a client that is there again to its end.
async fn is_not_asked(bus: &Bus, seen: &mut script::Broker) {
    assert!(bus.discovered(PATIENCE).await);
    bus.close().await;
    loop {
        match seen.next().await {
            Seen::Publish(said) => assert_ne!(said.json()["method"], "tools/call"),
            Seen::Disconnect(_) => break,
            _ => {}
        }
    }
}

/// The broker has crashed: it has our session, and has lost the server's will. Its sessions have
/// ended with its connection.
#[tokio::test]
async fn a_server_that_says_once_more_that_it_is_there_has_begun_anew() {
    let (bus, mut seen) = connected().await;
    let presence = "$mcp-server/presence/s1/demo/calc";
    let online = br#"{"method":"notifications/server/online"}"#;
    seen.qos = QoS::AtLeastOnce;
    seen.deliver(presence, online).await;
    let session = open(&bus, &mut seen).await;
    // While we are there it may say so as often as it likes.
    seen.deliver(presence, online).await;
    assert!(ask(&session, Duration::from_millis(20)).await.is_err());
    for _ in 0..2 {
        seen.publish().await; // the call, and that it is taken back
    }
    assert!(!session.over().is_cancelled());
    let calling = ask(&session, Duration::from_secs(3600));
    let away = async {
        assert_eq!(seen.publish().await.json()["method"], "tools/call");
        seen.hang_up();
        let back = seen.next().await;
        assert!(matches!(back, Seen::Connect { clean_start: false, .. }), "{back:?}");
        assert!(!session.over().is_cancelled());
        seen.deliver(presence, online).await;
    };
    let (lost, ()) = tokio::join!(timeout(PATIENCE, calling), away);
    assert_eq!(fault_of(&lost.unwrap().unwrap_err()), Some(Fault::Gone));
    timeout(PATIENCE, session.over().cancelled()).await.unwrap();
    assert!(bus.directory().has(&Instance::new("s1", "demo/calc").unwrap()));
}

/// Its will was of QoS 0: the broker has not kept it for us.
#[tokio::test]
async fn a_server_that_went_unheard_during_a_blip_is_gone() {
    let (bus, mut seen) = connected().await;
    let presence = |id: &str| format!("$mcp-server/presence/{id}/calc");
    let online = br#"{"method":"notifications/server/online"}"#;
    let mut changes = bus.changes();
    for id in ["a", "b"] {
        seen.deliver(&presence(id), online).await;
    }
    while bus.directory().len() < 2 {
        assert!(timeout(PATIENCE, changes.next()).await.unwrap());
    }
    seen.hang_up();
    assert!(matches!(seen.next().await, Seen::Connect { clean_start: false, .. }));
    let all = vec![("$mcp-server/presence/+/#".to_owned(), false)];
    assert_eq!(seen.next().await, Seen::Subscribe(all), "which has it send them once more");
    seen.deliver(&presence("b"), online).await;
    seen.publish().await; // the marker
    while bus.directory().len() == 2 {
        assert!(timeout(PATIENCE, changes.next()).await.unwrap());
    }
    assert!(bus.directory().has(&Instance::new("b", "calc").unwrap()));
    assert!(bus.is_discovered() && bus.is_connected());
}

/// Two played instances that need no session, and a client that has found them.
async fn stateless() -> (Bus, Session, script::Broker) {
    let (bus, mut seen) = connected().await;
    let meta = json!({ "supportedVersions": ["2026-07-28"] });
    let online = json!({ "method": "notifications/server/online", "params": { "meta": meta } });
    for id in ["a", "b"] {
        let presence = format!("$mcp-server/presence/{id}/calc");
        seen.deliver(&presence, online.to_string().as_bytes()).await;
    }
    let mut changes = bus.changes();
    while bus.directory().len() < 2 {
        assert!(timeout(PATIENCE, changes.next()).await.unwrap());
    }
    let opening = bus.open_any("calc", || Plain);
    let played = async {
        let answers = vec![("$mcp-rpc/c1/+/calc".to_owned(), true)];
        assert_eq!(seen.next().await, Seen::Subscribe(answers));
        let discover = seen.publish().await;
        assert_eq!(discover.topic, ANY, "whoever has it: it may be done twice");
        let request = discover.json();
        assert_eq!(request["method"], "server/discover");
        let result = json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {} }, "ttlMs": 0, "cacheScope": "private",
        });
        let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
        seen.deliver("$mcp-rpc/c1/a/calc", answer.to_string().as_bytes()).await;
    };
    let (session, ()) = tokio::join!(timeout(PATIENCE, opening), played);
    (bus, session.unwrap().unwrap(), seen)
}

/// Who has the call is told as soon as it is known who that is.
#[tokio::test]
async fn what_any_may_have_is_taken_back_from_who_has_it() {
    let (_bus, session, mut seen) = Box::pin(stateless()).await;
    let late = ask(&session, Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(fault_of(&late), Some(Fault::Timeout), "{late:?}");
    let call = seen.publish().await;
    assert_eq!((&*call.topic, &call.json()["method"]), (ANY, &json!("tools/call")));
    let id = call.json()["id"].clone();
    let method = "notifications/agentmq/taken";
    let taken = json!({ "jsonrpc": "2.0", "method": method, "params": { "requestId": id } });
    seen.deliver("$mcp-rpc/c1/b/calc", taken.to_string().as_bytes()).await;
    let cancelled = seen.publish().await;
    assert_eq!(cancelled.topic, "$mcp-rpc/c1/b/calc");
    assert_eq!(cancelled.json()["method"], "notifications/cancelled");
    assert_eq!(cancelled.json()["params"]["requestId"], id);
}

/// Nobody has said that it has the call, and one who may have it is gone: that is not waited for.
#[tokio::test]
async fn what_any_may_have_is_not_waited_for_when_one_is_gone() {
    let (_bus, session, mut seen) = Box::pin(stateless()).await;
    let calling = ask(&session, Duration::from_secs(3600));
    let leaving = async {
        let call = seen.publish().await;
        assert_eq!(call.topic, ANY);
        // What another one says of the call before is none of its business.
        let result = json!({ "resultType": "complete", "content": [] });
        let forged = json!({ "jsonrpc": "2.0", "id": 0, "result": result });
        seen.deliver("$mcp-rpc/c1/a/calc", forged.to_string().as_bytes()).await;
        seen.deliver("$mcp-server/presence/b/calc", b"").await;
    };
    let (lost, ()) = tokio::join!(timeout(PATIENCE, calling), leaving);
    assert_eq!(fault_of(&lost.unwrap().unwrap_err()), Some(Fault::Gone));
    assert!(!session.over().is_cancelled(), "there is another one");
}

/// The broker has swallowed it, and nobody else is there, whatever they say: the caller is told.
#[tokio::test]
async fn a_request_that_cannot_be_sent_once_more_fails() {
    let (_bus, session, mut seen) = Box::pin(stateless()).await;
    for id in ["a", "b"] {
        seen.refuse(&format!("$mcp-rpc/c1/{id}/calc"), ReasonCode::NoMatchingSubscribers);
    }
    let request = CallToolRequest::new(CallToolRequestParams::new("slow"));
    let mut it = Call::new(request.into());
    it.timeout = Duration::from_secs(3600);
    it.repeatable = true;
    let ignore: Option<fn(ProgressNotificationParam) -> std::future::Ready<()>> = None;
    let lost = timeout(PATIENCE, call(session.peer(), it, ignore, std::future::pending())).await;
    assert_eq!(fault_of(&lost.unwrap().unwrap_err()), Some(Fault::Gone));
    assert_eq!(seen.publish().await.topic, ANY);
    assert!(seen.publish().await.topic.ends_with("/calc"), "an instance is asked");
}

/// A broker that has too many roles to look up, or rules against it, may let one instance be asked.
#[tokio::test]
async fn what_any_may_not_have_one_is_asked() {
    let (_bus, session, mut seen) = Box::pin(stateless()).await;
    seen.refuse(ANY, ReasonCode::NotAuthorized);
    let calling = ask(&session, PATIENCE);
    let answering = async {
        assert_eq!(seen.publish().await.topic, ANY);
        let request = seen.publish().await;
        assert_ne!(request.topic, ANY);
        let result = json!({ "resultType": "complete", "content": [] });
        let id = request.json()["id"].clone();
        let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
        seen.deliver(&request.topic, answer.to_string().as_bytes()).await;
    };
    let (answer, ()) = tokio::join!(timeout(PATIENCE, calling), answering);
    assert!(answer.unwrap().is_ok());
}

/// What the server says that is none of the session's business does not harm it.
#[tokio::test]
async fn garbage_does_not_end_a_session() {
    let (bus, session, mut seen) = session().await;
    for garbage in [&b""[..], b"{", b"[1,2]", b"\xFF", b"{\"jsonrpc\":\"2.0\"}", &[b'['; 10_000]] {
        seen.deliver(RPC, garbage).await;
        seen.deliver("$mcp-server/presence/s1/demo/calc/x", garbage).await;
        seen.deliver("$mcp-server/presence/no-name", garbage).await;
    }
    let calling = ask(&session, PATIENCE);
    let answering = async {
        let request = seen.publish().await.json();
        let unreadable = format!(r#"{{"jsonrpc":"3.0","id":{},"result":{{}}}}"#, request["id"]);
        seen.deliver(RPC, unreadable.as_bytes()).await;
    };
    let (answer, ()) = tokio::join!(timeout(PATIENCE, calling), answering);
    let told = answer.unwrap().unwrap_err();
    assert!(told.message.contains("not JSON-RPC"), "an error at once, and no time-out: {told:?}");
    assert!(bus.dropped().count() >= 5, "{:?}", bus.dropped());
    assert!(!session.over().is_cancelled());
}

fn disconnected() -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/disconnected" })
}

const ANY: &str = "$mcp-rpc/c1/$any/instance/calc";

const RPC: &str = "$mcp-rpc/c1/s1/demo/calc";
