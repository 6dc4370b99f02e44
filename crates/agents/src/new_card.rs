//! Cards as servers write them (MQTT.Agent 0.1 §4): fields, and their order, of the published
//! server. There are none for what is not known.

use serde::Serialize;
use serde_json::Value;

use crate::{Status, timestamp};

/// What a server says of itself.
#[derive(Debug, Clone, Copy)]
pub struct ServerCard<'a> {
    /// Its name, which its replicas share.
    pub server: &'a str,
    /// Where its topics are.
    pub namespace: &'a str,
    /// The names of its tools.
    pub tools: &'a [&'a str],
}

/// What a server says of one of its tools.
#[derive(Debug, Clone, Copy)]
pub struct ToolCard<'a> {
    /// The tool's name.
    pub tool: &'a str,
    /// The server's.
    pub server: &'a str,
    /// Where its topics are.
    pub namespace: &'a str,
    /// What it does.
    pub description: &'a str,
    /// JSON Schema of its arguments.
    pub input_schema: &'a Value,
    /// JSON Schema of its result.
    pub output_schema: Option<&'a Value>,
    /// Whether it says something while it works.
    pub supports_streaming: bool,
    /// Its version.
    pub version: Option<&'a str>,
    /// An extension: which tool of which MCP server it is. A gateway offers it here, too.
    pub mcp: Option<McpTool<'a>>,
}

/// A tool of an MCP server, by its names there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct McpTool<'a> {
    /// The server-name.
    pub server: &'a str,
    /// What the server calls the tool.
    pub tool: &'a str,
    /// Whether it is served by MCP's binding, too: who sees that need not look here.
    pub served: bool,
}

#[derive(Serialize)]
struct WrittenServer<'a> {
    version: &'a str,
    server: &'a str,
    namespace: &'a str,
    tools: &'a [&'a str],
    version_info: Versions<'a>,
    status: &'a str,
    last_seen: String,
}

#[derive(Serialize)]
struct WrittenTool<'a> {
    version: &'a str,
    tool: &'a str,
    server: &'a str,
    namespace: &'a str,
    description: &'a str,
    input_schema: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<&'a Value>,
    supports_streaming: bool,
    requires_auth: bool,
    version_info: Versions<'a>,
    status: &'a str,
    last_seen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp: Option<McpTool<'a>>,
}

#[derive(Serialize)]
struct Versions<'a> {
    sdk: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a str>,
}

impl ServerCard<'_> {
    /// As a payload, written at this time: milliseconds since 1970.
    #[must_use]
    pub fn payload(&self, status: Status, now_ms: u64) -> Vec<u8> {
        let written = WrittenServer {
            version: FORMAT,
            server: self.server,
            namespace: self.namespace,
            tools: self.tools,
            version_info: Versions { sdk: SDK, tool: None },
            status: status.name(),
            last_seen: timestamp(now_ms),
        };
        serde_json::to_vec(&written).expect("texts and values of JSON can be written as JSON")
    }
}

impl ToolCard<'_> {
    /// As a payload, written at this time: milliseconds since 1970.
    #[must_use]
    pub fn payload(&self, status: Status, now_ms: u64) -> Vec<u8> {
        let written = WrittenTool {
            version: FORMAT,
            tool: self.tool,
            server: self.server,
            namespace: self.namespace,
            description: self.description,
            input_schema: self.input_schema,
            output_schema: self.output_schema,
            supports_streaming: self.supports_streaming,
            requires_auth: true,
            version_info: Versions { sdk: SDK, tool: self.version },
            status: status.name(),
            last_seen: timestamp(now_ms),
            mcp: self.mcp,
        };
        serde_json::to_vec(&written).expect("texts and values of JSON can be written as JSON")
    }
}

const FORMAT: &str = "1";
const SDK: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Card;

    #[test]
    fn cards_have_the_fields_of_the_published_server_in_its_order() {
        let schema = json!({ "type": "object" });
        let tool = ToolCard {
            tool: "echo",
            server: "srv",
            namespace: "a2a/v1",
            description: "says it again",
            input_schema: &schema,
            output_schema: None,
            supports_streaming: false,
            version: None,
            mcp: None,
        };
        let text = String::from_utf8(tool.payload(Status::Online, 0)).unwrap();
        let expected = [
            r#"{"version":"1","tool":"echo","server":"srv","namespace":"a2a/v1","#,
            r#""description":"says it again","input_schema":{"type":"object"},"#,
            r#""supports_streaming":false,"requires_auth":true,"version_info":{"sdk":"SDK"},"#,
            r#""status":"online","last_seen":"1970-01-01T00:00:00.000Z"}"#,
        ];
        assert_eq!(text, expected.concat().replace("SDK", SDK));
        let exposed =
            ToolCard { mcp: Some(McpTool { server: "a/b", tool: "c", served: true }), ..tool };
        let card = Card::parse(&exposed.payload(Status::Online, 0)).unwrap();
        assert_eq!(card.mcp_tool(), Some(McpTool { server: "a/b", tool: "c", served: true }));
        assert_eq!(Card::parse(text.as_bytes()).unwrap().mcp_tool(), None);
        let server = ServerCard { server: "srv", namespace: "a2a/v1", tools: &["echo", "add"] };
        let text = String::from_utf8(server.payload(Status::Offline, 0)).unwrap();
        let expected = [
            r#"{"version":"1","server":"srv","namespace":"a2a/v1","tools":["echo","add"],"#,
            r#""version_info":{"sdk":"SDK"},"#,
            r#""status":"offline","last_seen":"1970-01-01T00:00:00.000Z"}"#,
        ];
        assert_eq!(text, expected.concat().replace("SDK", SDK));
        assert_eq!(Card::parse(text.as_bytes()).unwrap().status(), Some(Status::Offline));
    }
}
