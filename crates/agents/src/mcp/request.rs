//! What a broker must know of JSON-RPC to answer a request that nobody else will.

use serde_json::{Value, json};

/// A request that somebody waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What its answer is known by: a number or a string.
    pub id: Value,
}

impl Request {
    /// Reads a payload; `None` for notifications, answers, and what is no JSON-RPC.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let Value::Object(mut object) = serde_json::from_slice(payload).ok()? else { return None };
        object.get("method").filter(|method| method.is_string())?;
        let id = object.remove("id").filter(|id| id.is_number() || id.is_string())?;
        Some(Self { id })
    }
}

/// An answer with an error, as a payload; `reason` is a word for programs, in `data`.
#[must_use]
pub fn error_response(
    request: &Request,
    code: i32,
    message: &str,
    reason: Option<&str>,
) -> Vec<u8> {
    let mut error = json!({ "code": code, "message": message });
    if let Some(reason) = reason {
        error["data"] = json!({ "reason": reason });
    }
    json!({ "jsonrpc": "2.0", "id": request.id, "error": error }).to_string().into_bytes()
}

/// There is no server to answer: the code that gateways of the binding use. With a reason in `data`
/// it is something else that keeps the request from a server.
pub const NO_SERVER: i32 = -32_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_waited_for_is_a_request() {
        let id = |payload: &str| Request::parse(payload.as_bytes()).map(|it| it.id);
        assert_eq!(id(r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#), Some(json!(7)));
        assert_eq!(id(r#"{"id":"a","method":"x"}"#), Some(json!("a")));
        for other in [
            r#"{"method":"notifications/initialized"}"#,
            r#"{"id":1,"result":{}}"#,
            r#"{"id":null,"method":"x"}"#,
            r#"{"id":1,"method":2}"#,
            r#"[{"id":1,"method":"x"}]"#,
            "",
        ] {
            assert_eq!(id(other), None, "{other}");
        }
    }

    #[test]
    fn the_answer_has_the_request_s_id() {
        let answer = |reason| -> Value {
            let payload = error_response(&Request { id: json!("a") }, NO_SERVER, "gone", reason);
            serde_json::from_slice(&payload).unwrap()
        };
        let error = json!({"code": -32000, "message": "gone"});
        assert_eq!(answer(None), json!({"jsonrpc": "2.0", "id": "a", "error": error}));
        assert_eq!(answer(Some("not_allowed"))["error"]["data"], json!({"reason": "not_allowed"}));
    }
}
