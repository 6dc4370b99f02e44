//! MCP over links that break: a client that is back in time goes on, also with the calls that were
//! under way; one that is not is missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentmq_client::{Client, Messages, Publish, QoS, SubscriptionOptions};
use agentmq_sdk::mcp::{
    Bus, BusConfig, Call, Caller, Fault, Server, ServerConfig, Session, call, fault_of,
};
use agentmq_testkit::{Broker, PATIENCE, free_port};
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
    ErrorData, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion,
    ServerCapabilities, ServerConfig as Info, ServerResult, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ClientHandler, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::mcp_elsewhere::Mosquitto;
use crate::mcp_program::{bridge, text, url};
use crate::tools_parts::{Link, options, within};

/// With `initialize`, and without.
const ERAS: [&str; 2] = ["2025-11-25", "2026-07-28"];

/// Its one tool says that it was called, and answers when it is let go.
struct Slow {
    caller: Caller,
    tell: mpsc::UnboundedSender<&'static str>,
    go: watch::Receiver<bool>,
    calls: Arc<AtomicUsize>,
}

impl ServerHandler for Slow {
    fn get_info(&self) -> Info {
        Info::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = Tool::new("slow", "Takes its time", serde_json::Map::new());
        Ok(ListToolsResult::with_all_items(vec![tool]))
    }

    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let _ = self.tell.send("called");
        let mut go = self.go.clone();
        tokio::select! {
            _ = go.wait_for(|go| *go) => {}
            () = self.caller.gone().cancelled() => drop(self.tell.send("client is gone")),
        }
        if let Some(token) = context.meta.get_progress_token() {
            let half = ProgressNotificationParam::new(token, 0.5);
            let _ = context.peer.notify_progress(half).await;
        }
        let content = vec![ContentBlock::text(number.to_string())];
        Ok(CallToolResponse::Complete(CallToolResult::success(content)))
    }
}

/// The server, and an onlooker who reads what is said to its client `c1`.
struct Part {
    server: Server,
    told: mpsc::UnboundedReceiver<&'static str>,
    go: watch::Sender<bool>,
    calls: Arc<AtomicUsize>,
    messages: Messages,
    /// How often a client was said to have gone, as far as the onlooker has read.
    farewells: usize,
    _onlooker: Client,
}

impl Part {
    async fn start(url: &str, revision: &str) -> Self {
        let versions = ProtocolVersion::KNOWN_VERSIONS.iter();
        let versions = versions.filter(|it| it.as_str() == revision).cloned().collect();
        let config = ServerConfig { name: "calc".into(), versions, ..ServerConfig::default() };
        let (server, acceptor) = Server::connect(options(url, "s1"), config).await.unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        let (go, gate) = watch::channel(false);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        tokio::spawn(acceptor.run(move |caller| Slow {
            caller,
            tell: tell.clone(),
            go: gate.clone(),
            calls: counted.clone(),
        }));
        let (onlooker, messages) = Client::connect(options(url, "onlooker")).await.unwrap();
        for filter in [format!("{PRESENCE}+").as_str(), "$mcp-rpc/+/s1/calc"] {
            onlooker.subscribe(filter, at_least_once()).await.unwrap();
        }
        server.online().await;
        Self { server, told, go, calls, messages, farewells: 0, _onlooker: onlooker }
    }

    async fn told(&mut self) -> &'static str {
        within("word of the tool", self.told.recv()).await.unwrap()
    }

    /// Waits until somebody has said something that fits.
    async fn seen(&mut self, what: &str, fits: impl Fn(&str, &Value) -> bool) {
        let seen = async {
            loop {
                let message = self.messages.next().await.unwrap();
                self.farewells += usize::from(message.topic.starts_with(PRESENCE));
                let said = serde_json::from_slice(&message.payload).unwrap_or_default();
                if fits(&message.topic, &said) {
                    return;
                }
            }
        };
        within(what, seen).await;
    }

    /// Waits until the server has answered a call.
    async fn answered(&mut self) {
        self.seen("answer", |_, said| !said["result"]["content"].is_null()).await;
    }

    /// Waits until a client is said to have gone.
    async fn missed(&mut self) {
        self.seen("will", |topic, _| topic.starts_with(PRESENCE)).await;
    }

    fn count(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn at_least_once() -> SubscriptionOptions {
    SubscriptionOptions::at(QoS::AtLeastOnce)
}

#[derive(Clone)]
struct Plain;

impl ClientHandler for Plain {}

async fn connect(url: &str, away: Duration) -> (Bus, Session) {
    let config = BusConfig { away, ..BusConfig::default() };
    let bus = Bus::connect(options(url, "c1"), config).await.unwrap();
    assert!(bus.discovered(PATIENCE).await);
    let session = bus.open_any("calc", || Plain).await.unwrap();
    (bus, session)
}

type Called = JoinHandle<Result<ServerResult, ErrorData>>;

/// Calls the tool; progress goes to the test.
fn ask(session: &Session, progress: &mpsc::UnboundedSender<f64>) -> Called {
    let (peer, progress) = (session.peer().clone(), progress.clone());
    tokio::spawn(async move {
        let request = CallToolRequest::new(CallToolRequestParams::new("slow"));
        let report = move |it: ProgressNotificationParam| {
            let _ = progress.send(it.progress);
            std::future::ready(())
        };
        call(&peer, Call::new(request.into()), Some(report), std::future::pending()).await
    })
}

/// Calls the tool for so long, or until it is taken back.
async fn give_up(
    session: &Session,
    limit: Duration,
    taken_back: impl Future<Output = ()>,
) -> Option<Fault> {
    let mut it = Call::new(CallToolRequest::new(CallToolRequestParams::new("slow")).into());
    it.timeout = limit;
    let ignore: Option<fn(ProgressNotificationParam) -> std::future::Ready<()>> = None;
    let ended = within("end of the call", call(session.peer(), it, ignore, taken_back)).await;
    fault_of(&ended.unwrap_err())
}

async fn text_of(called: Called) -> String {
    let answer = within("answer", called).await.unwrap().unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    answer["content"][0]["text"].as_str().unwrap().to_owned()
}

async fn loss_of(called: Called) -> Option<Fault> {
    fault_of(&within("end of the call", called).await.unwrap().unwrap_err())
}

/// Waits until the client has noticed that its link is, or is not.
async fn is_connected(bus: &Bus, connected: bool) {
    let mut changes = bus.changes();
    let noticed = async { while bus.is_connected() != connected && changes.next().await {} };
    within("notice of the link", noticed).await;
}

/// A client over a link that can be cut, and its call, which the tool has begun.
struct UnderWay {
    part: Part,
    link: Link,
    bus: Bus,
    session: Session,
    waiting: Called,
    progress: mpsc::UnboundedSender<f64>,
    reports: mpsc::UnboundedReceiver<f64>,
}

impl UnderWay {
    async fn start(url: &str, revision: &str, away: Duration) -> Self {
        let mut part = Part::start(url, revision).await;
        let link = Link::to(url).await;
        let (bus, session) = connect(&link.url, away).await;
        let (progress, reports) = mpsc::unbounded_channel();
        let waiting = ask(&session, &progress);
        assert_eq!(part.told().await, "called");
        Self { part, link, bus, session, waiting, progress, reports }
    }
}

/// What is answered while the client is away it gets when it is back, and nothing is done twice.
async fn a_call_outlives_a_blip(url: &str, revision: &str) {
    let UnderWay { mut part, link, bus, session, waiting, progress, mut reports } =
        UnderWay::start(url, revision, LONG).await;
    assert_eq!(session.is_stateless(), revision == ERAS[1]);
    link.close();
    is_connected(&bus, false).await;
    assert!(!session.over().is_cancelled() && !bus.directory().is_empty());
    // What is asked meanwhile waits.
    let asked = ask(&session, &progress);
    part.go.send_replace(true);
    part.answered().await;
    assert!(!waiting.is_finished());
    link.mend();
    assert_eq!(text_of(waiting).await, "1");
    assert_eq!(within("progress", reports.recv()).await, Some(0.5));
    assert_eq!(text_of(asked).await, "2");
    assert_eq!(text_of(ask(&session, &progress)).await, "3");
    assert_eq!(part.count(), 3, "each once");
    assert!(!session.over().is_cancelled() && bus.is_connected());
    part.answered().await;
    part.answered().await;
    assert_eq!(part.farewells, 0);
    bus.close().await;
    part.missed().await;
    part.server.close().await;
}

#[tokio::test]
async fn a_call_outlives_a_blip_here() {
    let broker = crate::broker("");
    for revision in ERAS {
        a_call_outlives_a_blip(&url(&broker), revision).await;
    }
}

#[tokio::test]
async fn a_call_outlives_a_blip_at_mosquitto() {
    let broker = Mosquitto::start();
    for revision in ERAS {
        a_call_outlives_a_blip(&broker.url, revision).await;
    }
}

/// A call that was given up while nobody could be asked is not made when somebody can.
#[tokio::test]
async fn what_is_given_up_meanwhile_is_never_asked() {
    let broker = crate::broker("");
    for revision in ERAS {
        let part = Part::start(&url(&broker), revision).await;
        part.go.send_replace(true);
        let link = Link::to(&url(&broker)).await;
        let (bus, session) = connect(&link.url, LONG).await;
        link.close();
        is_connected(&bus, false).await;
        let late = give_up(&session, BRIEF, std::future::pending()).await;
        assert_eq!(late, Some(Fault::Timeout));
        let taken_back = give_up(&session, LONG, tokio::time::sleep(BRIEF)).await;
        assert_eq!(taken_back, Some(Fault::Cancelled));
        link.mend();
        let (progress, _reports) = mpsc::unbounded_channel();
        assert_eq!(text_of(ask(&session, &progress)).await, "1");
        assert_eq!(part.count(), 1, "the others never came");
        bus.close().await;
        part.server.close().await;
    }
}

/// Who stays away is told of, though later, and what was under way ends on both sides; who then
/// comes back begins anew.
async fn who_stays_away_is_missed(url: &str, revision: &str) {
    let UnderWay { mut part, link, bus, session, waiting, progress, .. } =
        UnderWay::start(url, revision, Duration::from_secs(1)).await;
    link.close();
    is_connected(&bus, false).await;
    // Never sent, since nobody waits for it when it could be.
    let asked = ask(&session, &progress);
    part.missed().await;
    assert_eq!(part.told().await, "client is gone");
    assert_eq!(loss_of(waiting).await, Some(Fault::Gone));
    assert_eq!(loss_of(asked).await, Some(Fault::Gone));
    within("end of the session", session.over().cancelled()).await;
    link.mend();
    is_connected(&bus, true).await;
    assert!(bus.discovered(PATIENCE).await);
    let session = bus.open_any("calc", || Plain).await.unwrap();
    part.go.send_replace(true);
    assert_eq!(text_of(ask(&session, &progress)).await, "2");
    assert_eq!(part.count(), 2);
    bus.close().await;
    part.server.close().await;
}

#[tokio::test]
async fn who_stays_away_is_missed_here() {
    let broker = crate::broker("");
    for revision in ERAS {
        who_stays_away_is_missed(&url(&broker), revision).await;
    }
}

#[tokio::test]
async fn who_stays_away_is_missed_at_mosquitto() {
    let broker = Mosquitto::start();
    for revision in ERAS {
        who_stays_away_is_missed(&broker.url, revision).await;
    }
}

/// A server that goes while the client is away is gone for that, too, and so is what it had.
#[tokio::test]
async fn a_server_that_goes_meanwhile_is_missed() {
    let broker = crate::broker("");
    for revision in ERAS {
        let UnderWay { part, link, bus, session: _session, waiting, .. } =
            UnderWay::start(&url(&broker), revision, LONG).await;
        link.close();
        is_connected(&bus, false).await;
        part.server.close().await;
        link.mend();
        assert_eq!(loss_of(waiting).await, Some(Fault::Gone));
        assert!(bus.directory().is_empty());
        bus.close().await;
    }
}

/// Its session is not there any more, which it learns when it is back.
#[tokio::test]
async fn a_session_that_the_broker_has_lost_is_over() {
    let broker = crate::broker("");
    for revision in ERAS {
        let UnderWay { mut part, link, bus, session: _session, waiting, progress, .. } =
            UnderWay::start(&url(&broker), revision, LONG).await;
        link.close();
        is_connected(&bus, false).await;
        // Whoever has the same client id has ended its session.
        let other = Client::connect(options(&url(&broker), "c1")).await.unwrap();
        other.0.disconnect().await;
        part.missed().await;
        link.mend();
        assert_eq!(loss_of(waiting).await, Some(Fault::Gone));
        is_connected(&bus, true).await;
        assert!(bus.discovered(PATIENCE).await && !bus.directory().is_empty());
        part.go.send_replace(true);
        let again = bus.open_any("calc", || Plain).await.unwrap();
        assert_eq!(text_of(ask(&again, &progress)).await, "2");
        bus.close().await;
        part.server.close().await;
    }
}

/// Then nothing waits for the client, and it knows.
#[tokio::test]
async fn a_broker_that_keeps_no_session_ends_those_that_it_carried() {
    let broker = crate::broker("[limits]\nsession_expiry_secs = 0\n");
    for revision in ERAS {
        let UnderWay { mut part, link, bus, session: _session, waiting, .. } =
            UnderWay::start(&url(&broker), revision, LONG).await;
        link.close();
        assert_eq!(loss_of(waiting).await, Some(Fault::Gone));
        part.missed().await;
        assert_eq!(part.told().await, "client is gone");
        bus.close().await;
        part.server.close().await;
    }
}

/// The broker keeps the client's session on its disk; the server's connection was its presence.
#[tokio::test]
async fn a_crash_of_the_broker_ends_what_servers_had() {
    for revision in ERAS {
        let port = free_port();
        let listener = format!("[[listeners]]\nurl = \"mqtt://127.0.0.1:{port}\"\n");
        let broker = Broker::start(crate::BINARY, &listener);
        let mut part = Part::start(&url(&broker), revision).await;
        let (bus, session) = connect(&url(&broker), LONG).await;
        let (progress, _reports) = mpsc::unbounded_channel();
        let waiting = ask(&session, &progress);
        assert_eq!(part.told().await, "called");
        let broker = tokio::task::spawn_blocking(|| broker.restart()).await.unwrap();
        assert_eq!(loss_of(waiting).await, Some(Fault::Gone));
        part.go.send_replace(true);
        let mut changes = bus.changes();
        let again = async {
            loop {
                match bus.open_any("calc", || Plain).await {
                    Ok(session) => break session,
                    // Nobody, as yet.
                    Err(_) => changes.next().await,
                };
            }
        };
        let again = within("session", again).await;
        assert_eq!(text_of(ask(&again, &progress)).await, "2");
        bus.close().await;
        part.server.close().await;
        drop(broker);
    }
}

/// A request whose acknowledgement was lost comes twice.
#[tokio::test]
async fn what_mqtt_delivers_twice_is_done_once() {
    let broker = crate::broker("");
    let mut part = Part::start(&url(&broker), ERAS[1]).await;
    part.go.send_replace(true);
    let (client, _messages) = Client::connect(options(&url(&broker), "c2")).await.unwrap();
    let request = |id: i64| {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": ERAS[1],
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({ "name": "slow", "arguments": {}, "_meta": meta });
        let request =
            json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        let publish = Publish::new("$mcp-rpc/c2/s1/calc", request.to_string());
        publish.qos(QoS::AtLeastOnce)
    };
    for publish in [
        request(1).correlation_data(b"a"),
        request(1).correlation_data(b"a"),
        request(1).correlation_data(b"b"),
        // To some it is one thing for all.
        request(2).correlation_data(b"b"),
        // Others say nothing of that, and count as they like.
        request(1),
        request(1),
    ] {
        client.publish(publish).await.unwrap().await.unwrap();
    }
    for _ in 0..5 {
        part.answered().await;
    }
    assert_eq!(part.count(), 5);
    assert_eq!(part.server.dropped().count(), 1);
}

/// A host does not see that the bridge has been away.
#[tokio::test(flavor = "multi_thread")]
async fn a_hosts_call_outlives_a_blip_of_the_bridge() {
    let broker = crate::broker("");
    for revision in ERAS {
        let mut part = Part::start(&url(&broker), revision).await;
        let link = Link::to(&url(&broker)).await;
        let mut host = bridge(&link.url, &[]);
        let listed = host.request("tools/list", &json!({}));
        assert_eq!(listed["result"]["tools"][0]["name"], "calc__slow", "{listed}");
        let id = host.ask("tools/call", &json!({ "name": "calc__slow", "arguments": {} }));
        assert_eq!(part.told().await, "called");
        link.close();
        part.go.send_replace(true);
        part.answered().await;
        let again = host.ask("tools/call", &json!({ "name": "calc__slow", "arguments": {} }));
        link.mend();
        assert_eq!(text(&host.answer(id)), "1");
        assert_eq!(text(&host.answer(again)), "2");
        assert_eq!(part.count(), 2, "each once");
        assert!(host.end().success());
        part.server.close().await;
    }
}

/// Where clients say that they go.
const PRESENCE: &str = "$mcp-client/presence/";

/// Enough for a call to be on its way.
const BRIEF: Duration = Duration::from_millis(20);

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(600);
