//! The claim `acl`: rules that a token brings along. Two forms are usual, and both are read:
//! `{"publish": ["a/#"], "subscribe": […], "all": […]}` allows, and a list of
//! `{"permission": "allow", "action": "publish", "topic": "a/#"}` may also deny.

use serde_json::{Map, Value};

use crate::rule::{Effect, Pattern, Rule};

/// The rules of a claim. Whatever is not understood could have made a rule narrower, and so makes
/// the whole claim wrong.
pub(crate) fn rules(claim: &Value) -> Result<Vec<Rule>, &'static str> {
    match claim {
        Value::Object(lists) => by_action(lists),
        Value::Array(entries) => entries.iter().map(entry).collect(),
        _ => Err("is neither an object nor a list"),
    }
}

fn by_action(lists: &Map<String, Value>) -> Result<Vec<Rule>, &'static str> {
    let mut rules = Vec::with_capacity(lists.len());
    for (action, topics) in lists {
        let Value::Array(topics) = topics else { return Err("has something else than lists") };
        let topics = topics.iter().map(pattern).collect::<Result<_, _>>()?;
        rules.push(Rule { effect: Effect::Allow, topics, ..rule(action)? });
    }
    Ok(rules)
}

fn entry(entry: &Value) -> Result<Rule, &'static str> {
    let Value::Object(members) = entry else { return Err("has an entry that is no object") };
    let text = |name| members.get(name).and_then(Value::as_str);
    if members.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
        return Err("has an entry with an unknown member");
    }
    let effect = match text("permission") {
        Some("allow") => Effect::Allow,
        Some("deny") => Effect::Deny,
        _ => return Err("has an entry whose permission is neither allow nor deny"),
    };
    let topics = vec![pattern(members.get("topic").unwrap_or(&Value::Null))?];
    Ok(Rule { effect, topics, ..rule(text("action").unwrap_or("all"))? })
}

/// A rule about an action, which is written out or short.
fn rule(action: &str) -> Result<Rule, &'static str> {
    let (publish, subscribe) = match action {
        "publish" | "pub" => (true, false),
        "subscribe" | "sub" => (false, true),
        "all" => (true, true),
        _ => return Err("has an action that is none of publish, subscribe and all"),
    };
    Ok(Rule { name: NAME.into(), publish, subscribe, ..Rule::default() })
}

fn pattern(topic: &Value) -> Result<Pattern, &'static str> {
    let text = topic.as_str().ok_or("has a topic that is no text")?;
    Pattern::parse(text).map_err(|_| "has a topic that is no filter")
}

/// What decisions call such a rule.
const NAME: &str = "the claim acl";
const MEMBERS: &[&str] = &["permission", "action", "topic"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_are_read() {
        let lists = rules(&json!({"pub": ["a/{agent_id}"], "all": ["b"]})).unwrap();
        let entries = rules(&json!([
            {"permission": "allow", "topic": "b"},
            {"permission": "allow", "action": "publish", "topic": "a/{agent_id}"},
            {"permission": "deny", "action": "sub", "topic": "c/#"},
        ]));
        let entries = entries.unwrap();
        assert_eq!(lists, entries[..2]);
        assert_eq!(entries[2].effect, Effect::Deny);
        assert!(entries[2].subscribe && !entries[2].publish);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for claim in [
            json!("a"),
            json!({"publish": "a"}),
            json!({"publish": [1]}),
            json!({"publish": ["a/#/b"]}),
            json!({"publish": ["$share/g/a"]}),
            json!({"read": ["a"]}),
            json!([1]),
            json!([{"topic": "a"}]),
            json!([{"permission": "Allow", "topic": "a"}]),
            json!([{"permission": "allow"}]),
            json!([{"permission": "allow", "topic": "a", "qos": 1}]),
        ] {
            assert!(rules(&claim).is_err(), "{claim}");
        }
    }
}
