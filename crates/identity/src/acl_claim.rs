//! The claim `acl`: rules that a token brings along. Two forms are usual, and both are read:
//! `{"publish": ["a/#"], "subscribe": […], "all": […]}` allows, and a list of
//! `{"permission": "allow", "action": "publish", "topic": "a/#"}` may also deny.

use serde_json::{Map, Value};

use crate::claims::Claims;
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

/// Refuses rules that would cost too much for who has these claims.
pub(crate) fn check_size(rules: &[Rule], claims: &Claims) -> Result<(), &'static str> {
    let (mut filters, mut bytes) = (0, 0);
    for pattern in rules.iter().flat_map(|rule| &rule.topics) {
        let (more, longer) = pattern.size_for(claims);
        (filters, bytes) = (filters + more, bytes + longer);
        if filters > MOST_FILTERS {
            return Err("comes to more than 1000 filters (one for each tool where it names them)");
        }
        if bytes > MOST_BYTES {
            return Err("comes to filters of more than 2 MiB, if all names in it are long");
        }
    }
    Ok(())
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
/// Filters that one claim may come to.
const MOST_FILTERS: usize = 1_000;
/// Bytes of all of them: enough for some dozens that name the client, whose identifier may have
/// 64 KiB.
const MOST_BYTES: usize = 2 << 20;
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

    #[test]
    fn what_it_comes_to_is_bounded() {
        let tools = |count: usize| (0..count).map(|it| it.to_string()).collect();
        let size = |topics: Vec<String>, tool_ids| {
            let claims = Claims { tool_ids, ..Claims::default() };
            check_size(&rules(&json!({"all": topics})).unwrap(), &claims)
        };
        let each = |count: usize| vec!["t/{tool_id}".to_owned(); count];
        assert_eq!(size(each(10), tools(100)), Ok(()));
        assert!(size(each(10), tools(101)).unwrap_err().contains("1000 filters"));
        assert!(size(each(600), tools(1024)).is_err());
        assert_eq!(size(each(1001), tools(0)), Ok(()), "comes to nothing");
        assert_eq!(size(vec!["a".into(); 1000], tools(1000)), Ok(()));
        assert!(size(vec!["a".into(); 1001], tools(0)).is_err());
        assert_eq!(size(vec!["{client_id}/a".into(); 30], tools(0)), Ok(()));
        assert!(size(vec!["{client_id}/a".into(); 40], tools(0)).unwrap_err().contains("MiB"));
        let long = vec!["{tool_id}/{tool_id}/{tool_id}/{tool_id}/{tool_id}".into()];
        assert!(size(long, vec!["x".repeat(500); 1000]).is_err());
    }
}
