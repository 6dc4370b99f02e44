//! The file that makes tools of devices: TOML, a table for each tool.

use std::path::Path;
use std::time::Duration;

use agentmq_client::QoS;
use agentmq_sdk::mcp::check_server_name;
use agentmq_sdk::tools::{ArgumentSchema, WrongSchema};
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value, json};
use toml::Spanned;

use super::problem::{Problem, WrongFile};
use super::tables::{
    AnnotationsTable, FileTable, RequestTable, ResponseTable, StateTable, ToolTable,
};
use super::template::{Template, arguments_of_json};
use super::tool::{DeviceTool, End, Payload, Request, State};
use crate::Error;

/// What a file says.
#[derive(Debug)]
pub struct Devices {
    /// The server-name.
    pub name: Option<String>,
    /// A line about it for people.
    pub description: Option<String>,
    pub(crate) tools: Vec<DeviceTool>,
}

impl Devices {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = path.display().to_string();
        let unreadable = |source| Error::File { file: file.clone(), source };
        let length = std::fs::metadata(path).map_err(unreadable)?.len();
        if length > FILE_BYTES {
            let what = format!("the file has more than {FILE_BYTES} bytes: is it the right one?");
            let problems = vec![Problem { line: 1, column: 1, what }];
            return Err(Error::Devices(WrongFile { file, problems }));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text).map_err(|problems| Error::Devices(WrongFile { file, problems }))
    }

    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let table: FileTable = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            vec![Problem::at(text, at, error.message().replace('\n', ", "))]
        })?;
        let mut reading = Reading { text, problems: Vec::new(), tool: String::new() };
        if let Some(name) = &table.name
            && let Err(error) = check_server_name(name.get_ref())
        {
            reading.problem(name.span().start, "name", error.to_string());
        }
        if table.tools.is_empty() {
            let what = "there is no tool: write [tools.NAME], and below it what it does";
            reading.problems.push(Problem::at(text, 0, what));
        }
        let tools = table.tools.into_iter().filter_map(|it| reading.tool(it)).collect();
        let mut problems = reading.problems;
        if problems.is_empty() {
            let name = table.name.map(Spanned::into_inner);
            return Ok(Self { name, description: table.description, tools });
        }
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Err(problems)
    }
}

/// What has been found so far.
struct Reading<'t> {
    text: &'t str,
    problems: Vec<Problem>,
    /// The tool that is being read, as it stands before its keys.
    tool: String,
}

impl Reading<'_> {
    fn problem(&mut self, at: usize, key: &str, what: impl AsRef<str>) {
        let what = format!("{}{key}: {}", self.tool, what.as_ref());
        self.problems.push(Problem::at(self.text, at, what));
    }

    fn tool(&mut self, (name, table): (Spanned<String>, ToolTable)) -> Option<DeviceTool> {
        let (at, name) = (name.span().start, name.into_inner());
        self.tool = format!("tools.{name}.");
        let before = self.problems.len();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > NAME_LETTERS || !name.chars().all(legal) {
            let what = format!("choose a name of 1 to {NAME_LETTERS} letters, digits, _, - and .");
            self.problem(at, "name", what);
        }
        let description = table.description.unwrap_or_default();
        if description.trim().is_empty() {
            self.problem(
                at,
                "description",
                "say in a line what the tool does, and when it is used",
            );
        }
        let arguments = self.arguments(at, table.arguments);
        let request = table.request.map(|request| self.request(request, &arguments));
        let ended_by = (table.response, table.state);
        let end = self.end(at, request.is_some(), ended_by, &arguments);
        let limit = self.limit(table.timeout_secs);
        let (schema, request) = (arguments.schema, request.flatten());
        if self.problems.len() > before {
            return None;
        }
        let reads = request.is_none();
        let described = match &table.unit {
            Some(unit) => format!("{} The result is in {unit}.", ended(description.trim())),
            None => description,
        };
        let mut tool = Tool::new(name, described, arguments.object);
        tool.annotations = Some(annotations(table.annotations.unwrap_or_default(), reads));
        Some(DeviceTool { tool, schema: schema?, request, end: end?, unit: table.unit, limit })
    }

    fn arguments(&mut self, at: usize, given: Option<Spanned<Value>>) -> Arguments {
        let none = json!({ "type": "object", "properties": {}, "additionalProperties": false });
        let at = given.as_ref().map_or(at, |given| given.span().start);
        let given = given.map_or(none, Spanned::into_inner);
        let is_object = given.get("type") == Some(&"object".into());
        let (object, schema) = match given {
            Value::Object(object) if is_object => {
                let schema = ArgumentSchema::read(&Value::Object(object.clone()));
                if let Err(WrongSchema(why)) = &schema {
                    self.problem(at, "arguments", format!("{why}: correct the JSON Schema"));
                }
                (object, schema.ok())
            }
            _ => {
                let what = "is a JSON Schema of an object: add type = \"object\"";
                self.problem(at, "arguments", what);
                (Map::new(), None)
            }
        };
        let names = |key: &str| object.get(key).cloned().unwrap_or_default();
        let known = match names("properties") {
            Value::Object(properties) => properties.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let required = match names("required") {
            Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        Arguments { object, schema, known, required }
    }

    fn request(&mut self, table: RequestTable, arguments: &Arguments) -> Option<Request> {
        let topic = self.topic("request.topic", &table.topic, arguments);
        let payload = match (table.text, table.json) {
            (None, None) => Payload::Arguments,
            (Some(text), None) => {
                let template = Template::parse(text.get_ref());
                for name in template.arguments() {
                    self.argument(text.span().start, "request.text", name, true, arguments);
                }
                Payload::Text(template)
            }
            (None, Some(json)) => {
                let mut named = Vec::new();
                arguments_of_json(json.get_ref(), &mut named);
                for (name, must) in named {
                    self.argument(json.span().start, "request.json", &name, must, arguments);
                }
                Payload::Json(json.into_inner())
            }
            (Some(text), Some(_)) => {
                let what = "text and json are both payloads: leave one of them out";
                self.problem(text.span().start, "request", what);
                return None;
            }
        };
        let qos = match &table.qos {
            None => Some(QoS::AtLeastOnce),
            Some(qos) => {
                let known = QoS::from_bits(*qos.get_ref());
                if known.is_none() {
                    self.problem(qos.span().start, "request.qos", "write 0, 1 or 2");
                }
                known
            }
        };
        Some(Request { topic, payload, qos: qos?, retain: table.retain })
    }

    fn end(
        &mut self,
        at: usize,
        asks: bool,
        ended_by: (Option<Spanned<ResponseTable>>, Option<Spanned<StateTable>>),
        arguments: &Arguments,
    ) -> Option<End> {
        let what = match ended_by {
            (None, None) if asks => return Some(End::Sent),
            (None, None) => "does nothing: add request.topic, or state.topic to read",
            (Some(_), _) if !asks => "response answers a request: add request.topic",
            (Some(_), Some(_)) => "response and state both end a call: leave one of them out",
            (Some(response), None) => {
                let at = response.span().start;
                let response = response.into_inner();
                match (response.topic, response.correlated) {
                    (Some(topic), false) => {
                        return Some(End::Response(self.topic(
                            "response.topic",
                            &topic,
                            arguments,
                        )));
                    }
                    (None, true) => return Some(End::Correlated),
                    _ => {
                        let what = "write either topic, or correlated = true where the device \
                            answers by MQTT 5's Response Topic";
                        self.problem(at, "response", what);
                        return None;
                    }
                }
            }
            (None, Some(state)) => {
                return Some(End::State(self.state(state.into_inner(), arguments)));
            }
        };
        self.problem(at, "request", what);
        None
    }

    fn state(&mut self, table: StateTable, arguments: &Arguments) -> State {
        let topic = self.topic("state.topic", &table.topic, arguments);
        if let Some(pointer) = &table.pointer
            && !pointer.get_ref().starts_with('/')
        {
            let what = "is a JSON Pointer: write it as /member/member";
            self.problem(pointer.span().start, "state.pointer", what);
        }
        if let Some(equals) = &table.equals {
            let name = equals.get_ref();
            self.argument(equals.span().start, "state.equals", name, true, arguments);
        }
        let (pointer, equals) = (table.pointer, table.equals);
        let inner = |text: Option<Spanned<String>>| text.map(Spanned::into_inner);
        State { topic, pointer: inner(pointer), equals: inner(equals) }
    }

    fn topic(&mut self, key: &str, text: &Spanned<String>, arguments: &Arguments) -> Template {
        let (at, template) = (text.span().start, Template::parse(text.get_ref()));
        if let Err(why) = template.check_topic() {
            self.problem(at, key, format!("{why}: write the name of one topic"));
        }
        for name in template.arguments() {
            self.argument(at, key, name, true, arguments);
        }
        template
    }

    /// A name that stands for an argument is one; where it cannot be left out, it is required.
    fn argument(&mut self, at: usize, key: &str, name: &str, must: bool, arguments: &Arguments) {
        let Arguments { known, required, .. } = arguments;
        if !known.iter().any(|it| it == name) {
            let fix = match known.as_slice() {
                [] => "there are none: add arguments.properties".to_owned(),
                known => format!("write one of {}", known.join(", ")),
            };
            self.problem(at, key, format!("{name} is no argument: {fix}"));
        } else if must && !required.iter().any(|it| it == name) {
            let what = format!("{name} may be left out: add it to arguments.required");
            self.problem(at, key, what);
        }
    }

    fn limit(&mut self, given: Option<Spanned<u64>>) -> Duration {
        let Some(given) = given else { return LIMIT };
        if !(1..=LONGEST_SECS).contains(given.get_ref()) {
            let what = format!("write 1 to {LONGEST_SECS} seconds");
            self.problem(given.span().start, "timeout_secs", what);
        }
        Duration::from_secs(*given.get_ref())
    }
}

/// The arguments of a tool, by its schema.
struct Arguments {
    object: Map<String, Value>,
    schema: Option<ArgumentSchema>,
    known: Vec<String>,
    required: Vec<String>,
}

/// A tool that sends nothing changes nothing.
fn annotations(table: AnnotationsTable, reads: bool) -> ToolAnnotations {
    ToolAnnotations::from_raw(
        table.title,
        table.read_only_hint.or_else(|| reads.then_some(true)),
        table.destructive_hint,
        table.idempotent_hint,
        table.open_world_hint,
    )
}

/// A sentence with its end.
fn ended(text: &str) -> String {
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

/// How long a call takes that does not say so.
const LIMIT: Duration = Duration::from_secs(10);

const LONGEST_SECS: u64 = 3600;

const FILE_BYTES: u64 = 1 << 20;

/// Letters of a tool's name, as MCP has it.
const NAME_LETTERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = r#"
name = "home"

[tools.light]
description = "Turn a lamp on or off"
arguments.type = "object"
arguments.properties.room = { enum = ["hall", "attic"] }
arguments.properties.on = { type = "boolean" }
arguments.required = ["room", "on"]
request.topic = "home/{room}/light/set"
request.json = { on = "{on}" }
state = { topic = "home/{room}/light", pointer = "/on", equals = "on" }
timeout_secs = 3
annotations.idempotentHint = true

[tools.temperature]
description = "How warm it is outside"
unit = "°C"
state.topic = "home/outside"
"#;

    #[test]
    fn a_file_is_read() {
        let devices = Devices::parse(RIGHT).unwrap();
        assert_eq!(devices.name.as_deref(), Some("home"));
        let [light, temperature] = devices.tools.as_slice() else { panic!("two tools") };
        assert_eq!((&*light.tool.name, light.limit), ("light", Duration::from_secs(3)));
        let hints = light.tool.annotations.as_ref().unwrap();
        assert_eq!((hints.idempotent_hint, hints.read_only_hint), (Some(true), None));
        let request = light.request.as_ref().unwrap();
        assert!(request.qos == QoS::AtLeastOnce && !request.retain);
        let about = temperature.tool.description.as_deref().unwrap();
        assert_eq!(about, "How warm it is outside. The result is in °C.");
        let hints = temperature.tool.annotations.as_ref().unwrap();
        assert_eq!((hints.read_only_hint, temperature.limit), (Some(true), LIMIT));
    }

    #[test]
    fn what_is_wrong_is_told_with_line_key_and_fix() {
        let tool = "[tools.t]\ndescription = 'd'\n";
        let more = "arguments.type = 'object'\narguments.properties.a = {}\n";
        for (text, expected) in [
            ("", "1:1: there is no tool: write [tools.NAME]"),
            ("[tools.t]", "1:8: tools.t.description: say in a line"),
            ("name = '/'", "1:8: name: "),
            ("nam = 'x'", "1:1: unknown field `nam`, expected "),
            ("[tools.t", "1:9: unclosed table, expected `]`"),
            (&format!("[tools.'a b']\n{tool}"), "1:8: tools.a b.name: choose a name"),
            (tool, "1:8: tools.t.request: does nothing: add request.topic"),
            (&format!("{tool}response.topic = 'r'"), "1:8: tools.t.request: response answers a"),
            (&format!("{tool}request.topic = 'a/+'"), "3:17: tools.t.request.topic: "),
            (
                &format!("{tool}request.topic = 'a/{{x}}'"),
                "3:17: tools.t.request.topic: x is no argument: there are none",
            ),
            (
                &format!("{tool}{more}request.topic = '{{b}}'"),
                "5:17: tools.t.request.topic: b is no argument: write one of a",
            ),
            (
                &format!("{tool}{more}request.topic = '{{a}}'"),
                "5:17: tools.t.request.topic: a may be left out: add it to arguments.required",
            ),
            (
                &format!("{tool}request = {{ topic = 'a', qos = 3 }}"),
                "3:32: tools.t.request.qos: write 0, 1 or 2",
            ),
            (
                &format!("{tool}request = {{ topic = 'a', text = '', json = 1 }}"),
                "3:33: tools.t.request: text and json are both payloads",
            ),
            (
                &format!("{tool}request.topic = 'a'\nresponse = {{}}"),
                "4:12: tools.t.response: write either topic, or correlated = true",
            ),
            (
                &format!("{tool}state = {{ topic = 's', pointer = 'x', equals = 'x' }}"),
                "3:34: tools.t.state.pointer: is a JSON Pointer",
            ),
            (&format!("{tool}arguments = 7"), "3:13: tools.t.arguments: is a JSON Schema of"),
            (
                &format!("{tool}arguments = {{ type = 'object', properties = 7 }}"),
                "3:13: tools.t.arguments: ",
            ),
            (
                &format!("{tool}timeout_secs = 0\nstate.topic = 's'"),
                "3:16: tools.t.timeout_secs: write 1 to",
            ),
            (
                &format!("{tool}annotations.readOnly = true"),
                "3:13: unknown field `readOnly`, expected ",
            ),
        ] {
            let problems = Devices::parse(text).expect_err(text);
            let wrong = WrongFile { file: "f".into(), problems }.to_string();
            let expected = format!("f:{expected}");
            assert!(wrong.lines().any(|line| line.starts_with(&expected)), "{text}\n{wrong}");
        }
    }

    #[test]
    fn the_documented_file_is_right() {
        let page = include_str!("../../../../docs/devices.md");
        let (_, behind) = page.split_once("```toml\n").unwrap();
        let (file, _) = behind.split_once("```").unwrap();
        assert_eq!(Devices::parse(file).unwrap().tools.len(), 5);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = "[tools.a]\n\n[tools.b]\n";
        let problems = Devices::parse(text).unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}
