//! One call of a device's tool, from its arguments to its result.

use std::sync::Arc;

use agentmq_client::{Error as MqttError, Message, Publish, ReasonCode};
use agentmq_sdk::mcp::{Fault, fault};
use base64::Engine as _;
use rmcp::model::{CallToolResult, ContentBlock, ErrorData, ResourceContents};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::tool::{DeviceTool, End, Request, State, read};
use super::topics::Topics;
use super::turns::Turns;

/// The devices, ready to be called.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) tools: Vec<DeviceTool>,
    pub(crate) topics: Arc<Topics>,
    turns: Turns,
    places: Semaphore,
}

/// Why a call has failed.
enum Failed {
    /// By its arguments. Nothing was sent.
    Arguments(String),
    /// On the way to the device, or by it: whoever called may try something else.
    Device(String),
}

/// What is to be sent.
struct Sending {
    topic: String,
    publish: Publish,
    retain: bool,
}

/// What a device says, and which part of it counts.
struct Said {
    message: Message,
    part: Option<Value>,
}

impl Running {
    pub(crate) fn new(tools: Vec<DeviceTool>, topics: Arc<Topics>) -> Self {
        Self { tools, topics, turns: Turns::default(), places: Semaphore::new(CALLS) }
    }

    /// Calls a tool. Dropping the future gives the call up; what was sent has been sent.
    pub(crate) async fn call(
        &self,
        name: &str,
        arguments: Map<String, Value>,
    ) -> Result<CallToolResult, ErrorData> {
        let Some(tool) = self.tools.iter().find(|tool| tool.tool.name == name) else {
            return Err(ErrorData::invalid_params(format!("unknown tool: {name}"), None));
        };
        let arguments = Value::Object(arguments);
        tool.schema.check(&arguments).map_err(|why| ErrorData::invalid_params(why, None))?;
        let Value::Object(arguments) = arguments else { return Ok(CallToolResult::default()) };
        let Ok(_place) = self.places.try_acquire() else {
            let what = format!("{CALLS} calls of devices are under way already");
            return Err(fault(Fault::Busy, what));
        };
        let done = tokio::time::timeout(tool.limit, self.work(tool, &arguments)).await;
        match done.unwrap_or_else(|_| Err(late(tool, &arguments))) {
            Ok(Some(said)) => Ok(said.result(tool.unit.as_deref())),
            Ok(None) => Ok(CallToolResult::success(vec![ContentBlock::text("sent")])),
            Err(Failed::Arguments(why)) => Err(ErrorData::invalid_params(why, None)),
            Err(Failed::Device(why)) => Ok(CallToolResult::error(vec![ContentBlock::text(why)])),
        }
    }

    async fn work(
        &self,
        tool: &DeviceTool,
        arguments: &Map<String, Value>,
    ) -> Result<Option<Said>, Failed> {
        let request = match &tool.request {
            Some(request) => Some(sending(request, tool, arguments)?),
            None => None,
        };
        if self.topics.is_away() {
            let what = "the broker cannot be reached now, and nothing was sent";
            return Err(Failed::Device(what.into()));
        }
        match &tool.end {
            End::Sent => {
                self.send(request).await?;
                Ok(None)
            }
            End::Correlated => {
                let Some(Sending { publish, .. }) = request else { return Ok(None) };
                let answer = self.topics.client.request_with(publish, tool.limit).await;
                let message = answer.map_err(failed)?;
                Ok(Some(Said { part: read(&message.payload), message }))
            }
            End::Response(topic) => {
                let topic = topic.topic(arguments).map_err(Failed::Arguments)?;
                // Nothing says which request an answer is for: one at a time.
                let _turn = self.turns.take(&topic).await;
                let mut listening = self.topics.listen(&topic).await.map_err(failed)?;
                listening.forget();
                self.send(request).await?;
                while let Some(message) = listening.next().await {
                    if !message.retain {
                        return Ok(Some(Said { part: read(&message.payload), message }));
                    }
                }
                Err(failed(self.topics.client.ending()))
            }
            End::State(state) => self.state(state, request, arguments).await.map(Some),
        }
    }

    /// Sends a request, if there is one, and waits for a state.
    async fn state(
        &self,
        state: &State,
        request: Option<Sending>,
        arguments: &Map<String, Value>,
    ) -> Result<Said, Failed> {
        let topic = state.topic.topic(arguments).map_err(Failed::Arguments)?;
        let _turn = match request {
            Some(_) => Some(self.turns.take(&topic).await),
            None => None,
        };
        let mut listening = self.topics.listen(&topic).await.map_err(failed)?;
        // Without a condition only what is new can be the effect of a request.
        let only_new = request.is_some() && state.equals.is_none();
        if only_new {
            listening.forget();
        }
        self.send(request).await?;
        while let Some(message) = listening.next().await {
            if only_new && message.retain {
                continue;
            }
            if let Some(part) = state.part(&message.payload, arguments) {
                return Ok(Said { message, part: Some(part) });
            }
            // Bytes that are no text can only be passed on whole.
            let is_text = std::str::from_utf8(&message.payload).is_ok();
            if !is_text && state.pointer.is_none() && state.equals.is_none() {
                return Ok(Said { message, part: None });
            }
        }
        Err(failed(self.topics.client.ending()))
    }

    async fn send(&self, request: Option<Sending>) -> Result<(), Failed> {
        let Some(Sending { topic, publish, retain }) = request else { return Ok(()) };
        let ack = self.topics.client.publish(publish).await.map_err(failed)?;
        match ack.await.map_err(failed)? {
            // Of a retained request this is no news.
            ReasonCode::NoMatchingSubscribers if !retain => Err(Failed::Device(format!(
                "nobody has subscribed to {topic}: is the device there?"
            ))),
            _ => Ok(()),
        }
    }
}

impl Said {
    fn result(self, unit: Option<&str>) -> CallToolResult {
        let Self { message, part } = self;
        let Some(part) = part else {
            let blob = base64::engine::general_purpose::STANDARD.encode(&message.payload);
            let contents = ResourceContents::blob(blob, format!("mqtt:{}", message.topic));
            return CallToolResult::success(vec![ContentBlock::resource(contents)]);
        };
        let (text, structured) = match (part, unit) {
            (part @ Value::Object(_), _) => (part.to_string(), Some(part)),
            (part @ Value::Number(_), Some(unit)) => {
                (format!("{part} {unit}"), Some(json!({ "value": part, "unit": unit })))
            }
            (Value::String(text), _) => (text, None),
            (part, _) => (part.to_string(), None),
        };
        let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
        result.structured_content = structured;
        result
    }
}

fn sending(
    request: &Request,
    tool: &DeviceTool,
    arguments: &Map<String, Value>,
) -> Result<Sending, Failed> {
    let (topic, mut publish) = request.fill(arguments).map_err(Failed::Arguments)?;
    if !request.retain && !matches!(tool.end, End::Sent) {
        // A device that gets it later would do what nobody expects any more.
        let seconds = u32::try_from(tool.limit.as_secs()).unwrap_or(u32::MAX);
        publish = publish.expiry(seconds.max(1));
    }
    Ok(Sending { topic, publish, retain: request.retain })
}

fn late(tool: &DeviceTool, arguments: &Map<String, Value>) -> Failed {
    let topic = match &tool.end {
        End::Response(topic) => topic.topic(arguments).ok(),
        End::State(state) => state.topic.topic(arguments).ok(),
        End::Sent | End::Correlated => None,
    };
    let place = topic.map(|topic| format!(" on {topic}")).unwrap_or_default();
    let asked = if tool.request.is_some() { ": the device may have got the request" } else { "" };
    Failed::Device(format!(
        "nothing that was waited for came{place} within {:?}{asked}",
        tool.limit
    ))
}

fn failed(error: MqttError) -> Failed {
    Failed::Device(match error {
        MqttError::NoResponder { topic } => {
            format!("nobody has subscribed to {topic}: is the device there?")
        }
        other => format!("{other}: {}", other.fix()),
    })
}

/// Calls that are worked on at once, those that wait for their turn among them. A further one gets
/// an error.
const CALLS: usize = 256;
