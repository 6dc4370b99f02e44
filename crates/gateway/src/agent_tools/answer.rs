//! Results of MQTT.Agent as MCP's.

use agentmq_sdk::mcp::{Fault, fault};
use agentmq_sdk::tools::{Error, Failure};
use rmcp::model::{CallToolResult, ContentBlock, ErrorData};
use serde_json::Value;

/// Its content if it has any, as that of a gateway has; else what it is as a text.
pub(crate) fn from_agent(value: Value) -> CallToolResult {
    let has_content = value.get("content").is_some_and(Value::is_array);
    if has_content && let Ok(result) = serde_json::from_value(value.clone()) {
        return result;
    }
    let text = match &value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(value).filter(Value::is_object);
    result
}

/// A failure: the tool's own is a result, since models can do something about it.
pub(crate) fn from_agent_error(error: &Error) -> Result<CallToolResult, ErrorData> {
    let Error::Failed { failure, message, .. } = error else {
        return Err(fault(Fault::Unreachable, error.to_string()));
    };
    let message = message.clone();
    Err(match failure {
        Failure::ToolError => return Ok(CallToolResult::error(vec![ContentBlock::text(message)])),
        Failure::InvalidArguments => ErrorData::invalid_params(message, None),
        Failure::Timeout => fault(Fault::Timeout, message),
        Failure::Unavailable => fault(Fault::Gone, message),
        other => ErrorData::internal_error(format!("{other}: {message}"), None),
    })
}

#[cfg(test)]
mod tests {
    use agentmq_sdk::mcp::fault_of;
    use serde_json::json;

    use super::*;

    #[test]
    fn results_of_gateways_are_whole_and_others_are_texts() {
        let content = json!([{ "type": "text", "text": "42" }]);
        for (value, text, structured) in [
            (json!({ "content": content, "structuredContent": 7 }), "42", Some(json!(7))),
            (json!("as it is"), "as it is", None),
            (json!(42), "42", None),
            (json!({ "a": 1 }), r#"{"a":1}"#, Some(json!({ "a": 1 }))),
            (json!({ "content": [7] }), r#"{"content":[7]}"#, Some(json!({ "content": [7] }))),
            (json!(null), "null", None),
        ] {
            let result = from_agent(value);
            assert_eq!(result.content[0].as_text().map(|it| &*it.text), Some(text));
            assert_eq!(result.structured_content, structured, "{text}");
        }
    }

    #[test]
    fn failures_keep_what_they_are() {
        let failed = |failure| {
            let (tool, message) = ("t".into(), "m".into());
            from_agent_error(&Error::Failed { tool, failure, message, code: None })
        };
        assert_eq!(failed(Failure::ToolError).unwrap().is_error, Some(true));
        for (failure, expected) in [
            (Failure::Timeout, Some(Fault::Timeout)),
            (Failure::Unavailable, Some(Fault::Gone)),
            (Failure::InvalidArguments, None),
            (Failure::Unauthorized, None),
        ] {
            assert_eq!(fault_of(&failed(failure).unwrap_err()), expected);
        }
        let closed = from_agent_error(&Error::Closed).unwrap_err();
        assert_eq!(fault_of(&closed), Some(Fault::Unreachable));
    }
}
