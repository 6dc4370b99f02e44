//! Servers and clients of tools for the scenarios, on the bus of any broker, and links that break.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentmq_client::{Client, Messages, Options, QoS, SubscriptionOptions};
use agentmq_sdk::tools::{Context, Tool, ToolClient, ToolError, ToolServer, ToolServerConfig};
use agentmq_testkit::PATIENCE;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

/// What a handler has told the test.
pub(crate) type Told = mpsc::UnboundedReceiver<&'static str>;

/// A server and what its tools tell.
pub(crate) struct Part {
    pub(crate) server: ToolServer,
    pub(crate) told: Told,
    /// How often `count` was called.
    pub(crate) counted: Arc<AtomicUsize>,
    /// Lets `wait` go on.
    pub(crate) go: watch::Sender<bool>,
}

/// Says when it is dropped.
struct Drops(mpsc::UnboundedSender<&'static str>);

impl Drop for Drops {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

pub(crate) fn options(url: &str, client_id: &str) -> Options {
    let mut options = Options::new(url).unwrap();
    options.client_id = client_id.into();
    options.reconnect.first = Duration::from_millis(20);
    options.reconnect.longest = Duration::from_millis(50);
    options
}

/// A client of a server that is there: the broker has said so to that with SUBACK.
pub(crate) async fn client(url: &str, id: &str) -> ToolClient {
    let client = ToolClient::connect(options(url, id)).await.unwrap();
    client.call("who", json!({})).await.unwrap();
    client
}

/// A server with the tools that scenarios call.
pub(crate) async fn server(url: &str, replica: &'static str) -> Part {
    server_with(options(url, ""), replica, |config| config).await
}

pub(crate) async fn server_with(
    options: Options,
    replica: &'static str,
    change: impl FnOnce(ToolServerConfig) -> ToolServerConfig,
) -> Part {
    let (tell, told) = mpsc::unbounded_channel();
    let (go, gate) = watch::channel(false);
    let counted = Arc::new(AtomicUsize::new(0));
    let any = json!({ "type": "object" });
    let count = counted.clone();
    let config = ToolServerConfig::new("srv")
        .tool(Tool::new("add", "Adds two numbers", numbers(), add))
        .tool(Tool::new("fail", "Fails", any.clone(), async |_, _| {
            Err(ToolError::new("on purpose").code(7))
        }))
        .tool(Tool::new("panic", "Panics", any.clone(), async |_, _| panic!("on purpose")))
        .tool(Tool::new("who", "Who answers", any.clone(), move |_, _| async move {
            Ok(json!(replica))
        }))
        .tool(Tool::new("caller", "Who calls", any.clone(), async |_, context| {
            Ok(json!(context.caller()))
        }))
        .tool(Tool::new("say", "Says three things", any.clone(), say).streaming())
        .tool(Tool::new("count", "Counts its calls", any.clone(), move |_, _| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            async move { Ok(json!(number)) }
        }))
        .tool(Tool::new("wait", "Answers when it is let go", any, move |_, _| {
            let (tell, mut gate) = (tell.clone(), gate.clone());
            async move {
                let drops = Drops(tell.clone());
                let _ = tell.send("called");
                let _ = gate.wait_for(|go| *go).await;
                std::mem::forget(drops);
                Ok(json!(replica))
            }
        }));
    let server = ToolServer::connect(options, change(config)).await.unwrap();
    Part { server, told, counted, go }
}

impl Part {
    /// The next that a handler tells.
    pub(crate) async fn told(&mut self) -> &'static str {
        within("word of a handler", self.told.recv()).await.unwrap()
    }
}

fn numbers() -> Value {
    json!({
        "type": "object",
        "properties": { "a": { "type": "integer" }, "b": { "type": "integer" } },
        "required": ["a", "b"],
    })
}

async fn add(arguments: Value, _: Context) -> Result<Value, ToolError> {
    let number = |key: &str| arguments[key].as_i64().ok_or_else(|| ToolError::new("too large"));
    Ok(json!(number("a")? + number("b")?))
}

async fn say(_: Value, context: Context) -> Result<Value, ToolError> {
    for value in [json!("one"), json!({ "n": 2 }), json!("three")] {
        context.stream(value).await.map_err(|error| ToolError::new(error.to_string()))?;
    }
    Ok(json!("said"))
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
}

/// Hears every word on the server's card.
pub(crate) async fn hear_card(url: &str) -> (Client, Messages) {
    let (raw, messages) = Client::connect(options(url, "card-reader")).await.unwrap();
    let card = "a2a/v1/mcp/servers/srv/card";
    raw.subscribe(card, SubscriptionOptions::at(QoS::AtLeastOnce)).await.unwrap();
    (raw, messages)
}

pub(crate) async fn status(messages: &mut Messages) -> String {
    let message = within("card", messages.next()).await.unwrap();
    let card: Value = serde_json::from_slice(&message.payload).unwrap();
    card["status"].as_str().unwrap().to_owned()
}

/// A way to a broker that can be broken.
pub(crate) struct Link {
    pub(crate) url: String,
    cut: watch::Sender<u64>,
    open: watch::Sender<bool>,
}

impl Link {
    pub(crate) async fn to(url: &str) -> Self {
        let target = url.strip_prefix("mqtt://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let (cut, cuts) = watch::channel(0);
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut cuts, mut is_open) = (cuts.clone(), is_open.clone());
                cuts.mark_unchanged();
                let target = target.clone();
                tokio::spawn(async move {
                    if is_open.wait_for(|open| *open).await.is_err() {
                        return;
                    }
                    let mut far = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { url, cut, open }
    }

    /// Breaks it; it can be used again at once.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Breaks it until [`Self::mend`].
    pub(crate) fn close(&self) {
        self.open.send_replace(false);
        self.cut();
    }

    pub(crate) fn mend(&self) {
        self.open.send_replace(true);
    }
}
