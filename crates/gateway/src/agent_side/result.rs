//! Results of MCP as MQTT.Agent's. There a result may be anything; one of an MCP server is what MCP
//! has, so that nothing of it is lost on the way.

use agentmq_sdk::mcp::fault_of;
use agentmq_sdk::tools::ToolError;
use rmcp::model::{CallToolResult, ContentBlock, ErrorData};
use serde_json::Value;

/// A result of MCP as one of MQTT.Agent.
pub(crate) fn to_agent(mut result: CallToolResult) -> Result<Value, ToolError> {
    if result.is_error == Some(true) {
        let texts = result.content.iter().filter_map(ContentBlock::as_text);
        let texts: Vec<&str> = texts.map(|text| text.text.as_str()).collect();
        return Err(ToolError::new(texts.join("\n")));
    }
    // What an error is, and what a whole answer is, MQTT.Agent says itself.
    (result.is_error, result.result_type) = (None, None);
    Ok(serde_json::to_value(result)?)
}

/// An error of MCP, with its reason or code as the code.
pub(crate) fn to_tool_error(error: &ErrorData) -> ToolError {
    let code = match fault_of(error) {
        Some(fault) => Value::from(fault.name()),
        None => Value::from(error.code.0),
    };
    ToolError::new(error.message.to_string()).code(code)
}

#[cfg(test)]
mod tests {
    use agentmq_sdk::mcp::{Fault, fault};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_is_passed_on_whole() {
        let mut result = CallToolResult::success(vec![ContentBlock::text("42")]);
        result.structured_content = Some(json!({ "sum": 42 }));
        let content = json!([{ "type": "text", "text": "42" }]);
        let expected = json!({ "content": content, "structuredContent": { "sum": 42 } });
        assert_eq!(to_agent(result), Ok(expected));
    }

    #[test]
    fn failures_keep_what_they_are() {
        let failed = CallToolResult::error(vec![ContentBlock::text("no"), ContentBlock::text("!")]);
        assert_eq!(to_agent(failed), Err(ToolError::new("no\n!")));
        let gone = to_tool_error(&fault(Fault::Gone, "it went"));
        assert_eq!(gone, ToolError::new("it went").code("server_gone"));
        let wrong = to_tool_error(&ErrorData::invalid_params("a", None));
        assert_eq!(wrong.code, Some(json!(-32602)));
    }
}
