//! Fuzz target: answers of a hook, of any bytes and any members. Nothing panics, and nobody is let
//! in but by an answer that says so. Runs as a plain test, or under a fuzzer.

use agentmq_identity::{Claims, HookAnswer};
use serde_json::{Map, Value, json};

fn whole() -> Value {
    json!({
        "result": "allow", "name": "scout", "expires_at": 1_800_000_000, "reason": "late",
        "claims": {"agent_id": "scout", "tool_id": ["a"], "acl": {"publish": ["a/#"]}},
    })
}

/// One byte replaced, taken out or put in: the place, which, and the byte.
type Change = (u16, u8, u8);

fn changed(text: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (place, how, byte) in changes.iter().take(4) {
        let at = usize::from(*place) % bytes.len().max(1);
        match how % 3 {
            0 if at < bytes.len() => bytes[at] = *byte,
            1 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.insert(at, *byte),
        }
    }
    bytes
}

fn check(status: u16, body: &[u8]) {
    match HookAnswer::read(status, body) {
        Ok(HookAnswer::Allow(allowed)) if status == 200 => {
            let read: Value = serde_json::from_slice(body).expect("is JSON");
            assert_eq!(read["result"], "allow");
            assert!(allowed.name.is_none_or(|name| !name.is_empty() && name.len() <= 512));
            assert_eq!(read["expires_at"].as_u64(), allowed.expires_at);
            let again = Claims::read(&allowed.claims.to_object());
            assert_eq!(again.as_ref(), Ok(&allowed.claims));
        }
        Ok(HookAnswer::Deny { reason }) => {
            let reason = reason.unwrap_or_default();
            assert!(reason.chars().count() <= 200 && !reason.contains(char::is_control));
        }
        Ok(_) => assert!(status == 200 || status == 204, "{status}"),
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.len() < 200 && !shown.contains(char::is_control), "{shown}");
        }
    }
}

#[test]
fn any_bytes_are_an_answer_or_not() {
    let text = whole().to_string();
    let any = bolero::check!().with_type::<(Vec<Change>, Vec<u8>, u16)>();
    any.with_iterations(30_000).for_each(|(changes, bytes, status)| {
        check(200, &changed(&text, changes));
        check(200, bytes);
        check(status % 600, &changed(&text, changes));
    });
}

#[test]
fn any_members_are_an_answer_or_not() {
    let any = bolero::check!().with_type::<Vec<(u8, u8, i64, u8)>>();
    any.with_iterations(30_000).for_each(|members| {
        let Value::Object(mut object) = whole() else { unreachable!("it is one") };
        let mut claims = Map::new();
        for (name, kind, number, letter) in members.iter().take(6) {
            let name = NAMES[usize::from(*name) % NAMES.len()];
            let value = value(*kind, *number, *letter);
            match name.strip_prefix("claims.") {
                Some(claim) => drop(claims.insert(claim.to_owned(), value)),
                None => drop(object.insert(name.to_owned(), value)),
            }
        }
        if !claims.is_empty() {
            object.insert("claims".to_owned(), Value::Object(claims));
        }
        check(200, Value::Object(object).to_string().as_bytes());
    });
}

fn value(kind: u8, number: i64, letter: u8) -> Value {
    let text = char::from(letter).to_string();
    match kind % 9 {
        0 => json!(number),
        1 => json!(text.repeat(usize::from(letter) * 3)),
        2 => json!([text, text]),
        3 => json!(["allow", "deny", "ignore"][usize::from(letter % 3)]),
        4 => json!({ "publish": [text], "all": ["a/{agent_id}/#"] }),
        5 => json!(null),
        6 => json!(number.unsigned_abs()),
        7 => json!([{ "permission": "allow", "action": "publish", "topic": text }]),
        _ => json!(f64::from(letter) / 2.0),
    }
}

const NAMES: [&str; 10] = [
    "result",
    "name",
    "expires_at",
    "reason",
    "claims",
    "claims.agent_id",
    "claims.tool_id",
    "claims.roles",
    "claims.acl",
    "other",
];
