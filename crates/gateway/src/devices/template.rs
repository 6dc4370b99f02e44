//! Texts with places for arguments: `{name}`.

use agentmq_topic::{TopicLimits, check_name};
use serde_json::{Map, Value};

/// A topic or payload with places for arguments. A brace that does not stand around a name is a
/// brace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Argument(String),
}

impl Template {
    /// Every text is one.
    pub(crate) fn parse(text: &str) -> Self {
        let (mut parts, mut plain) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            match after.split_once('}').filter(|(name, _)| is_name(name)) {
                Some((name, behind)) => {
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Argument(name.into()));
                    rest = behind;
                }
                None => {
                    plain.push('{');
                    rest = after;
                }
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Self(parts)
    }

    /// The names of its arguments.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Argument(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The argument that it is, and nothing else.
    fn only_argument(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Argument(name)] => Some(name),
            _ => None,
        }
    }

    /// As a text: what is no text itself stands there as JSON.
    pub(crate) fn text(&self, arguments: &Map<String, Value>) -> Result<String, String> {
        self.fill(arguments, |_, text| Ok(text))
    }

    /// As the name of a topic, of the levels that the template has.
    pub(crate) fn topic(&self, arguments: &Map<String, Value>) -> Result<String, String> {
        let topic = self.fill(arguments, |name, text| {
            let wrong = |c: char| matches!(c, '/' | '+' | '#') || c.is_control();
            if text.is_empty() || text.contains(wrong) {
                let what = "stands in a topic: it has no /, +, # or control characters";
                return Err(format!("the argument {name} {what}, and is not empty"));
            }
            Ok(text)
        })?;
        // Topics that begin with $ are the broker's, and MCP's.
        if topic.starts_with('$') && !self.begins_with_dollar() {
            return Err("a topic does not begin with an argument's $".into());
        }
        check_name(&topic, &TopicLimits::default())
            .map(|()| topic)
            .map_err(|error| format!("the topic would not be one: {error}"))
    }

    /// Why no arguments make it a topic.
    pub(crate) fn check_topic(&self) -> Result<(), String> {
        let any = self.arguments().map(|name| (name.to_owned(), "x".into())).collect();
        self.topic(&any).map(drop)
    }

    fn begins_with_dollar(&self) -> bool {
        matches!(self.0.first(), Some(Part::Text(text)) if text.starts_with('$'))
    }

    fn fill(
        &self,
        arguments: &Map<String, Value>,
        check: impl Fn(&str, String) -> Result<String, String>,
    ) -> Result<String, String> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Argument(name) => match arguments.get(name) {
                    Some(value) => filled.push_str(&check(name, plain(value))?),
                    None => return Err(format!("the argument {name} is missing")),
                },
            }
        }
        Ok(filled)
    }
}

/// JSON in whose texts arguments stand. A text that is one argument becomes that, whatever it is;
/// a member or item whose argument is not given is left out.
pub(crate) fn fill_json(
    json: &Value,
    arguments: &Map<String, Value>,
) -> Result<Option<Value>, String> {
    Ok(Some(match json {
        Value::String(text) => {
            let template = Template::parse(text);
            match template.only_argument() {
                Some(name) => return Ok(arguments.get(name).cloned()),
                None => Value::String(template.text(arguments)?),
            }
        }
        Value::Array(items) => {
            let filled = items.iter().map(|item| fill_json(item, arguments));
            Value::Array(filled.filter_map(Result::transpose).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let mut filled = Map::new();
            for (key, value) in members {
                if let Some(value) = fill_json(value, arguments)? {
                    filled.insert(key.clone(), value);
                }
            }
            Value::Object(filled)
        }
        other => other.clone(),
    }))
}

/// The arguments in a JSON's texts; those that must be given come with `true`.
pub(crate) fn arguments_of_json(json: &Value, into: &mut Vec<(String, bool)>) {
    match json {
        Value::String(text) => {
            let template = Template::parse(text);
            let must = template.only_argument().is_none();
            into.extend(template.arguments().map(|name| (name.to_owned(), must)));
        }
        Value::Array(items) => items.iter().for_each(|item| arguments_of_json(item, into)),
        Value::Object(all) => all.values().for_each(|value| arguments_of_json(value, into)),
        _ => {}
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    !text.is_empty() && text.chars().all(letter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn map(json: Value) -> Map<String, Value> {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn arguments_stand_in_their_places() {
        let given = map(json!({ "room": "hall", "n": 2.5, "on": true }));
        for (template, filled) in [
            ("home/{room}/set", "home/hall/set"),
            ("{room}{n}", "hall2.5"),
            ("{\"on\": {on}}", "{\"on\": true}"),
            ("{ room } {{n}} {", "{ room } {2.5} {"),
            ("", ""),
        ] {
            assert_eq!(Template::parse(template).text(&given).as_deref(), Ok(filled));
        }
        assert!(Template::parse("{other}").text(&given).unwrap_err().contains("other is missing"));
    }

    #[test]
    fn an_argument_adds_no_level() {
        let topic =
            |room: Value| Template::parse("home/{room}").topic(&map(json!({ "room": room })));
        assert_eq!(topic(json!("hall 1")).as_deref(), Ok("home/hall 1"));
        for wrong in ["", "a/b", "+", "#", "a\0", "a\n"] {
            assert!(topic(json!(wrong)).unwrap_err().contains("room"), "{wrong:?}");
        }
        let first = Template::parse("{room}/x").topic(&map(json!({ "room": "$SYS" })));
        assert!(first.unwrap_err().contains('$'));
        assert!(Template::parse("$own/{a}").check_topic().is_ok());
        for wrong in ["", "a/+/{b}", "#"] {
            assert!(Template::parse(wrong).check_topic().is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_keeps_the_kinds_of_arguments() {
        let template =
            json!({ "t": "{n}", "s": "is {n}", "l": ["{x}", "{on}"], "x": "{x}", "k": 1 });
        let given = map(json!({ "n": 2.5, "on": true }));
        let filled = fill_json(&template, &given).unwrap();
        assert_eq!(filled, Some(json!({ "t": 2.5, "s": "is 2.5", "l": [true], "k": 1 })));
        let mut named = Vec::new();
        arguments_of_json(&template, &mut named);
        assert!(named.contains(&("n".into(), true)) && named.contains(&("x".into(), false)));
    }

    proptest! {
        #[test]
        fn a_topic_has_the_levels_of_its_template(room in "\\PC{0,12}", other in "[a$+#/]{0,3}") {
            let given = map(json!({ "room": room, "other": other }));
            if let Ok(topic) = Template::parse("{room}/a/{other}").topic(&given) {
                prop_assert_eq!(topic.matches('/').count(), 2);
                prop_assert!(!topic.contains(['+', '#']) && !topic.starts_with('$'));
            }
        }

        #[test]
        fn a_text_without_arguments_stays(text in "[a{} \"]{0,20}") {
            let template = Template::parse(&text);
            if template.arguments().next().is_none() {
                prop_assert_eq!(template.text(&Map::new()), Ok(text));
            }
        }
    }
}
