//! What is printed: for people, with colour on a terminal only, or as JSON lines.

use std::io::{self, IsTerminal, Write};

use agentmq_client::{Message, Property, PropertyId as P};
use base64::Engine;
use serde_json::{Map, Value, json};

use crate::failure::{Exit, Failure};
use crate::json_indent::indent;

/// Where and how results are printed.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    color: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { json, color: wanted && !json && io::stdout().is_terminal() }
    }

    /// Prints a line, or with `--json` an object.
    pub(crate) fn result(&self, line: &str, object: &Value) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", json_line(object))?;
        } else if !line.is_empty() {
            writeln!(out, "{}", harmless(line, "\n\t"))?;
        }
        Ok(())
    }

    /// Prints bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// Prints a note for people on standard error; nothing with `--json`.
    pub(crate) fn note(&self, line: &str) {
        if !self.json {
            let _ = writeln!(io::stderr(), "{}", harmless(line, "\n\t"));
        }
    }

    /// Tells on standard error what happened meanwhile.
    pub(crate) fn event(&self, line: &str, object: &Value) {
        let line = if self.json { json_line(object) } else { harmless(line, "\n\t") };
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Prints why a command failed, on standard error.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.exit == Exit::Pipe {
            return;
        }
        let fix = failure.fix.as_ref().map(|fix| format!("\n  fix: {fix}"));
        let line = format!("error: {}{}", failure.message, fix.unwrap_or_default());
        let object = json!({
            "error": failure.message, "fix": failure.fix, "exit_code": failure.exit as u8,
        });
        self.event(&line, &object);
    }

    /// Prints a message that arrived.
    pub(crate) fn message(&self, message: &Message) -> Result<(), Failure> {
        let text = if self.json {
            format!("{}\n", json_line(&message_json(message)))
        } else {
            self.message_text(message)
        };
        self.raw(text.as_bytes())
    }

    fn message_text(&self, message: &Message) -> String {
        let mut text = self.paint(BOLD_CYAN, &harmless(&message.topic, ""));
        let mut marks = format!("  qos {}", message.qos as u8);
        if message.retain {
            marks += "  retained";
        }
        if message.dup {
            marks += "  repeated";
        }
        text += &self.paint(DIM, &marks);
        text.push('\n');
        for (name, value) in properties(message) {
            let value = match value {
                Value::String(value) => value,
                other => other.to_string(),
            };
            text += &self.paint(DIM, &format!("  {}: ", name.replace('_', "-")));
            text += &harmless(&value, "");
            text.push('\n');
        }
        for (name, value) in message.user_properties() {
            text += &self.paint(DIM, &format!("  user {}: ", harmless(name, "")));
            text += &harmless(value, "");
            text.push('\n');
        }
        text += &payload_text(&message.payload);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.color { format!("{style}{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A message as JSON; a payload that is not UTF-8 stands in base64.
fn message_json(message: &Message) -> Value {
    let mut object = Map::new();
    object.insert("topic".into(), json!(message.topic));
    match std::str::from_utf8(&message.payload) {
        Ok(text) => object.insert("payload".into(), json!(text)),
        Err(_) => object.insert("payload_base64".into(), json!(base64(&message.payload))),
    };
    object.insert("qos".into(), json!(message.qos as u8));
    object.insert("retain".into(), json!(message.retain));
    object.insert("dup".into(), json!(message.dup));
    object.extend(properties(message).into_iter().map(|(name, value)| (name.to_owned(), value)));
    let user: Vec<_> = message.user_properties().map(|(n, v)| json!([n, v])).collect();
    if !user.is_empty() {
        object.insert("user_properties".into(), Value::Array(user));
    }
    Value::Object(object)
}

/// The properties worth showing, User Properties apart. Subscription Identifiers are the client's
/// own bookkeeping.
fn properties(message: &Message) -> Vec<(&'static str, Value)> {
    message
        .properties
        .view()
        .iter()
        .filter_map(|property| {
            Some(match property {
                Property::Byte(P::PayloadFormatIndicator, value) => {
                    ("payload_format", json!(value))
                }
                Property::U32(P::MessageExpiryInterval, value) => ("expiry", json!(value)),
                Property::Text(P::ContentType, value) => ("content_type", json!(value)),
                Property::Text(P::ResponseTopic, value) => ("response_topic", json!(value)),
                Property::Binary(P::CorrelationData, value) => {
                    ("correlation_data", json!(correlation(value)))
                }
                _ => return None,
            })
        })
        .collect()
}

/// Printable text as it is, anything else in base64.
fn correlation(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => format!("base64:{}", base64(data)),
    }
}

/// JSON objects and arrays indented, other text as it is, bytes as hexadecimal digits.
fn payload_text(payload: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(payload) else {
        let hex: String = payload.iter().take(SHOWN_BYTES).map(|b| format!("{b:02x}")).collect();
        let more = if payload.len() > SHOWN_BYTES { "…" } else { "" };
        return format!("({} bytes) {hex}{more}", payload.len());
    };
    harmless(indent(text).as_deref().unwrap_or(text), "\n\t")
}

/// Text without control characters but those allowed: a message must not be able to reprogram the
/// terminal.
pub(crate) fn harmless(text: &str, allowed: &str) -> String {
    text.chars()
        .map(|c| if is_harmful(c) && !allowed.contains(c) { '\u{FFFD}' } else { c })
        .collect()
}

/// An object as one line of JSON, whose strings have escapes for what must not reach a terminal.
fn json_line(object: &Value) -> String {
    harmless_json(&object.to_string())
}

/// The same JSON on one line, with escapes for what must not reach a terminal, which only strings
/// can have.
pub(crate) fn harmless_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_harmful(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// Whether a character moves the cursor, or changes in which order others are shown.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}')
        || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

const BOLD_CYAN: &str = "\x1b[1;36m";
const DIM: &str = "\x1b[2m";
const SHOWN_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_readable_and_harmless() {
        assert_eq!(payload_text(b"{\"a\":1}"), "{\n  \"a\": 1\n}");
        assert_eq!(payload_text(b"plain"), "plain");
        assert_eq!(payload_text(b"[broken"), "[broken");
        assert_eq!(payload_text(b"\x1b[2Jx"), "\u{FFFD}[2Jx");
        assert_eq!(payload_text("[\"\u{9b}2J\"]".as_bytes()), "[\n  \"\u{FFFD}2J\"\n]");
        assert_eq!(payload_text(&[0xFF, 0]), "(2 bytes) ff00");
    }

    #[test]
    fn json_is_the_same_and_harmless() {
        let value = json!({ "a\u{9b}": "\u{1b}[2J\n\u{7f}\u{202e}\u{61c}é\u{1f600}\u{2028}" });
        let line = json_line(&value);
        assert!(!line.contains(is_harmful), "{line:?}");
        assert!(line.contains("\\u202e") && line.contains("é\u{1f600}"), "{line:?}");
        assert_eq!(serde_json::from_str::<Value>(&line).ok(), Some(value));
    }

    #[test]
    fn a_topic_cannot_reprogram_the_terminal() {
        assert_eq!(harmless("a\x1b[2J/\nb", ""), "a\u{FFFD}[2J/\u{FFFD}b");
    }
}
