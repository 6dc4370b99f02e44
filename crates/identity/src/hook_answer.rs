//! What a hook answers, if it is an answer: whoever is let in by something else is let in by
//! nobody's decision.

use serde_json::{Map, Value};

use crate::claims::{ClaimError, Claims, checked_text};
use crate::strict_json;

/// What a hook says of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum HookAnswer {
    /// He comes in.
    Allow(Box<Allowed>),
    /// He does not.
    Deny {
        /// What he may read about it, in one short line.
        reason: Option<String>,
    },
    /// It does not know him: others judge.
    Ignore,
}

/// As whom a client comes in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Allowed {
    /// What he is called; `None`: as he says, or as his claims do.
    pub name: Option<String>,
    /// What is claimed of him.
    pub claims: Claims,
    /// When he has to go, in Unix seconds; `None`: never.
    pub expires_at: Option<u64>,
}

/// Why something is no answer. Says nothing of what a client has sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Another status than those of answers.
    #[error("it answers with status {0}, and not 200 or 204")]
    Status(u16),
    /// Answers come from where the question goes.
    #[error("it answers with status {0}: a redirect, which is not followed")]
    Redirect(u16),
    /// What must be an object is none.
    #[error("its answer is no JSON object, or a name stands twice in it")]
    NoObject,
    /// It does not say whether.
    #[error("`result` of its answer is none of \"allow\", \"deny\" and \"ignore\"")]
    NoResult,
    /// A member that is not what it must be.
    #[error("`{name}` of its answer {what}")]
    Member {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A claim that is not what it must be.
    #[error("`claims` of its answer: {0}")]
    Claim(#[from] ClaimError),
}

impl HookAnswer {
    /// The answer in an HTTP response.
    pub fn read(status: u16, body: &[u8]) -> Result<Self, NoAnswer> {
        match status {
            200 => {}
            204 => return Ok(Self::Allow(Box::default())),
            300..400 => return Err(NoAnswer::Redirect(status)),
            _ => return Err(NoAnswer::Status(status)),
        }
        let object = strict_json::object(body).map_err(|_| NoAnswer::NoObject)?;
        match object.get("result").and_then(Value::as_str) {
            Some("allow") => Ok(Self::Allow(Box::new(allowed(&object)?))),
            Some("deny") => Ok(Self::Deny { reason: reason(&object)? }),
            Some("ignore") => Ok(Self::Ignore),
            _ => Err(NoAnswer::NoResult),
        }
    }
}

fn allowed(object: &Map<String, Value>) -> Result<Allowed, NoAnswer> {
    let wrong = |name| move |what| NoAnswer::Member { name, what };
    let name = member(object, "name").map(checked_text).transpose().map_err(wrong("name"))?;
    let claims = match member(object, "claims") {
        None => Claims::default(),
        Some(Value::Object(claims)) => Claims::read(claims)?,
        Some(_) => return Err(wrong("claims")("is no object")),
    };
    let expires_at = match member(object, "expires_at") {
        None => None,
        Some(value) => {
            let secs = value.as_u64();
            Some(secs.ok_or_else(|| wrong("expires_at")("is no time in whole Unix seconds"))?)
        }
    };
    Ok(Allowed { name, claims, expires_at })
}

/// It goes into a Reason String and into the log, so it is one line there, whatever it was.
fn reason(object: &Map<String, Value>) -> Result<Option<String>, NoAnswer> {
    let Some(value) = member(object, "reason") else { return Ok(None) };
    let Value::String(text) = value else {
        return Err(NoAnswer::Member { name: "reason", what: "is no text" });
    };
    let line: String = text.chars().filter(|it| !is_layout(*it)).take(LONGEST_REASON).collect();
    Ok(Some(line).filter(|line| !line.is_empty()))
}

/// Whether a character ends lines, or turns them round (Unicode, "Bidi_Control").
fn is_layout(character: char) -> bool {
    let breaks = matches!(character, '\u{2028}' | '\u{2029}');
    let turns = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    breaks || turns || character.is_control()
}

/// A member; one that is null is none.
fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// Characters of a reason at most; the rest is cut off.
const LONGEST_REASON: usize = 200;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(answer: &Value) -> Result<HookAnswer, String> {
        HookAnswer::read(200, answer.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_says_who_comes_in_and_who_does_not() {
        let plain = HookAnswer::Allow(Box::default());
        assert_eq!(read(&json!({"result": "allow"})), Ok(plain.clone()));
        assert_eq!(HookAnswer::read(204, b"whatever"), Ok(plain.clone()));
        let nothing = json!({"result": "allow", "name": null, "claims": null, "expires_at": null});
        assert_eq!(read(&nothing), Ok(plain));
        let whole = json!({
            "result": "allow", "name": "scout-7", "expires_at": 1_800_000_000, "more": [1],
            "claims": {"agent_id": "scout", "roles": ["r"], "acl": {"publish": ["a/#"]}},
        });
        let Ok(HookAnswer::Allow(allowed)) = read(&whole) else { panic!("is let in") };
        assert_eq!(allowed.name.as_deref(), Some("scout-7"));
        assert_eq!(allowed.expires_at, Some(1_800_000_000));
        assert_eq!(Value::Object(allowed.claims.to_object())["acl"], whole["claims"]["acl"]);
        assert_eq!(read(&json!({"result": "ignore", "name": 7})), Ok(HookAnswer::Ignore));
        let denied = |reason: &str| Ok(HookAnswer::Deny { reason: Some(reason.into()) });
        assert_eq!(read(&json!({"result": "deny"})), Ok(HookAnswer::Deny { reason: None }));
        assert_eq!(
            read(&json!({"result": "deny", "reason": "\u{202e}late\r\n\u{0}\u{2028}"})),
            denied("late")
        );
        let long = json!({"result": "deny", "reason": "\u{e4}".repeat(1000)});
        assert_eq!(read(&long), denied(&"\u{e4}".repeat(LONGEST_REASON)));
    }

    #[test]
    fn everything_else_is_no_answer() {
        for (answer, expected) in [
            (json!({}), "`result` of its answer is none of"),
            (json!({"result": "Allow"}), "`result` of its answer is none of"),
            (json!({"result": true}), "`result` of its answer is none of"),
            (json!(["allow"]), "its answer is no JSON object"),
            (json!({"result": "allow", "name": ""}), "`name` of its answer is empty"),
            (json!({"result": "allow", "name": 7}), "`name` of its answer is no text"),
            (json!({"result": "allow", "claims": []}), "`claims` of its answer is no object"),
            (
                json!({"result": "allow", "claims": {"agent_id": 7}}),
                "`claims` of its answer: the claim `agent_id` is no text",
            ),
            (json!({"result": "allow", "expires_at": 1.5}), "`expires_at` of its answer is no"),
            (json!({"result": "allow", "expires_at": -1}), "`expires_at` of its answer is no"),
            (json!({"result": "deny", "reason": {}}), "`reason` of its answer is no text"),
        ] {
            let error = read(&answer).expect_err("is none");
            assert!(error.starts_with(expected), "{answer}: {error}");
        }
        let twice = br#"{"result":"deny","result":"allow"}"#;
        assert_eq!(HookAnswer::read(200, twice), Err(NoAnswer::NoObject));
        for body in [&b""[..], b"allow", b"\xff", b"{\"result\":\"allow\"} x"] {
            assert_eq!(HookAnswer::read(200, body), Err(NoAnswer::NoObject), "{body:?}");
        }
        let allow = br#"{"result":"allow"}"#;
        for status in [100, 201, 202, 206, 401, 403, 404, 500, 503] {
            assert_eq!(HookAnswer::read(status, allow), Err(NoAnswer::Status(status)));
        }
        assert_eq!(HookAnswer::read(302, allow), Err(NoAnswer::Redirect(302)));
    }
}
