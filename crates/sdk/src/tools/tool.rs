//! A tool: what its card says, and what it does.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use super::Context;

/// A tool of a server.
#[derive(Clone)]
pub struct Tool {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) input_schema: Value,
    pub(crate) output_schema: Option<Value>,
    pub(crate) supports_streaming: bool,
    pub(crate) version: Option<String>,
    pub(crate) mcp: Option<McpOrigin>,
    pub(crate) handler: Handler,
}

/// Which tool of which MCP server a tool is that a gateway offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpOrigin {
    /// The server-name.
    pub server: String,
    /// What the server calls the tool.
    pub tool: String,
    /// Whether it is served by MCP's binding, too.
    pub served: bool,
}

/// Why a tool has failed. Every error becomes one by `?`.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolError {
    /// For people.
    pub message: String,
    /// For programs: whatever the tool's callers know.
    pub code: Option<Value>,
}

/// What a tool gives, sooner or later.
pub(crate) type Work = Pin<Box<dyn Future<Output = Result<Value, ToolError>> + Send>>;
pub(crate) type Handler = Arc<dyn Fn(Value, Context) -> Work + Send + Sync>;

impl Tool {
    /// A tool that is given arguments that fit a JSON Schema. When a call is cancelled, or its time
    /// is over, the future of its handler is dropped.
    pub fn new<F, R>(
        name: impl Into<String>,
        description: impl Into<String>,
        input_schema: Value,
        handler: F,
    ) -> Self
    where
        F: Fn(Value, Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, ToolError>> + Send + 'static,
    {
        Self {
            name: name.into(),
            description: description.into(),
            input_schema,
            output_schema: None,
            supports_streaming: false,
            version: None,
            mcp: None,
            handler: Arc::new(move |arguments, context| Box::pin(handler(arguments, context))),
        }
    }

    /// It says something while it works ([`Context::stream`]).
    #[must_use]
    pub fn streaming(mut self) -> Self {
        self.supports_streaming = true;
        self
    }

    /// What its results look like. Only its card says so: results are not checked.
    #[must_use]
    pub fn output_schema(mut self, schema: Value) -> Self {
        self.output_schema = Some(schema);
        self
    }

    /// Its version, for its card.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// That it is a tool of an MCP server: whoever sees both bindings need not take it for two.
    #[must_use]
    pub fn of_mcp(mut self, origin: McpOrigin) -> Self {
        self.mcp = Some(origin);
        self
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ToolError {
    /// A failure.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None }
    }

    /// With a word for programs.
    #[must_use]
    pub fn code(mut self, code: impl Into<Value>) -> Self {
        self.code = Some(code.into());
        self
    }
}

// It is no `std::error::Error` itself: then it could not be made of all that are.
impl<E: std::error::Error> From<E> for ToolError {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}
