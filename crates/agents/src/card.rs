//! What a tool server, or a tool, says of itself in a retained message (MQTT.Agent 0.1 §4).

use serde_json::{Map, Value};

use crate::McpTool;

/// A server card or a tool card. Everything that is not asked for here is kept as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Card(Map<String, Value>);

/// Whether whoever the card is of serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does.
    Online,
    /// It does not.
    Offline,
}

impl Status {
    /// As cards say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}

impl Card {
    /// Reads a payload; `None` for what is no JSON object.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok().map(Self)
    }

    /// `status`; `None` where it is neither.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let status = self.text("status")?;
        [Status::Online, Status::Offline].into_iter().find(|known| known.name() == status)
    }

    /// `server`: whose card it is, or whose tool.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.text("server")
    }

    /// `tools` of a server card: the names of its tools.
    pub fn tools(&self) -> impl Iterator<Item = &str> {
        let names = self.0.get("tools").and_then(Value::as_array);
        names.into_iter().flatten().filter_map(Value::as_str)
    }

    /// The same card with another `status`, as a payload.
    #[must_use]
    pub fn with(mut self, status: Status) -> Vec<u8> {
        self.0.insert("status".into(), status.name().into());
        Value::Object(self.0).to_string().into_bytes()
    }

    /// `tool` of a tool card.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        self.text("tool")
    }

    /// `description` of a tool card.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.text("description")
    }

    /// `mcp` of a tool card, an extension: which tool of which MCP server it is.
    #[must_use]
    pub fn mcp_tool(&self) -> Option<McpTool<'_>> {
        let mcp = self.0.get("mcp")?;
        let text = |key: &str| mcp.get(key).and_then(Value::as_str);
        let served = mcp.get("served") == Some(&Value::Bool(true));
        Some(McpTool { server: text("server")?, tool: text("tool")?, served })
    }

    /// `input_schema` or another field, as it stands there.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Everything that it says.
    #[must_use]
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_read_and_changed() {
        let text = r#"{"version":"1","server":"files","tools":["echo",7,"x"],"status":"offline"}"#;
        let card = Card::parse(text.as_bytes()).unwrap();
        assert_eq!((card.status(), card.server()), (Some(Status::Offline), Some("files")));
        assert_eq!(card.tools().collect::<Vec<_>>(), ["echo", "x"]);
        let online = Card::parse(&card.clone().with(Status::Online)).unwrap();
        assert_eq!(online.status(), Some(Status::Online));
        assert_eq!(online.with(Status::Offline), card.with(Status::Offline));
    }

    #[test]
    fn what_is_no_card_says_nothing() {
        for payload in [&b""[..], b"[]", b"7", b"{", b"\xff", b"\"online\""] {
            assert_eq!(Card::parse(payload), None);
        }
        let empty = Card::parse(br#"{"status":1,"tools":"echo","server":[]}"#).unwrap();
        assert_eq!((empty.status(), empty.server(), empty.tools().count()), (None, None, 0));
    }
}
