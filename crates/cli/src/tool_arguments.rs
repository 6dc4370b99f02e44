//! Arguments of a tool on the command line.

use serde_json::{Map, Value};

/// Puts `--args` and `--arg` together. What a value is read as depends on what the tool's schema
/// says of its name; where it says nothing, a value that is JSON is taken as such.
pub(crate) fn read(
    all: Option<&str>,
    pairs: &[(String, String)],
    schema: &Value,
) -> Result<Map<String, Value>, String> {
    let mut arguments = match all {
        None => Map::new(),
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err("--args is not a JSON object".into()),
            Err(error) => return Err(format!("--args is not JSON: {error}")),
        },
    };
    for (name, text) in pairs {
        let kinds = kinds(schema.get("properties").and_then(|all| all.get(name)));
        let value = value(text, &kinds).ok_or_else(|| {
            format!("the argument {name} is to be {}, and {text:?} is none", kinds.join(" or "))
        })?;
        arguments.insert(name.clone(), value);
    }
    Ok(arguments)
}

/// The JSON types that a schema allows; none when it does not say.
fn kinds(schema: Option<&Value>) -> Vec<&str> {
    let Some(schema) = schema else { return Vec::new() };
    match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => {
            let choices = schema.get("anyOf").or_else(|| schema.get("oneOf"));
            let choices = choices.and_then(Value::as_array).into_iter().flatten();
            choices.flat_map(|choice| kinds(Some(choice))).collect()
        }
    }
}

fn value(text: &str, kinds: &[&str]) -> Option<Value> {
    let json: Option<Value> = serde_json::from_str(text).ok();
    let fits = |value: &Value| {
        kinds.is_empty()
            || kinds.iter().any(|kind| match *kind {
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                "array" => value.is_array(),
                "object" => value.is_object(),
                "null" => value.is_null(),
                // Text is taken as it stands, quotes and all.
                _ => false,
            })
    };
    match json.filter(fits) {
        Some(value) => Some(value),
        None if kinds.is_empty() || kinds.contains(&"string") => Some(text.into()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({ "properties": {
            "text": { "type": "string" },
            "count": { "type": "integer" },
            "ratio": { "type": "number" },
            "deep": { "type": "object" },
            "maybe": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
            "either": { "type": ["string", "boolean"] },
            "any": {},
        }})
    }

    fn one(name: &str, text: &str) -> Result<Value, String> {
        let read = read(None, &[(name.to_owned(), text.to_owned())], &schema())?;
        Ok(read[name].clone())
    }

    #[test]
    fn the_schema_says_what_a_value_is() {
        assert_eq!(one("text", "7"), Ok(json!("7")));
        assert_eq!(one("text", "\"7\""), Ok(json!("\"7\"")));
        assert_eq!(one("count", "7"), Ok(json!(7)));
        assert_eq!(one("ratio", "0.5"), Ok(json!(0.5)));
        assert_eq!(one("deep", r#"{"a":1}"#), Ok(json!({ "a": 1 })));
        assert_eq!(one("maybe", "null"), Ok(Value::Null));
        assert_eq!(one("either", "true"), Ok(json!(true)));
        assert_eq!(one("either", "yes"), Ok(json!("yes")));
        assert_eq!(one("any", "[1]"), Ok(json!([1])));
        assert_eq!(one("any", "[1"), Ok(json!("[1")));
        assert_eq!(one("unknown", "a=b"), Ok(json!("a=b")));
        assert_eq!(read(None, &[], &Value::Null), Ok(Map::new()));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = one("count", "many").unwrap_err();
        assert_eq!(error, "the argument count is to be integer, and \"many\" is none");
        assert!(one("deep", "[]").is_err() && one("count", "1.5").is_err());
    }

    #[test]
    fn pairs_add_to_the_object() {
        let pairs = [("count".to_owned(), "2".to_owned())];
        let read_all = read(Some(r#"{"count":1,"text":"a"}"#), &pairs, &schema());
        assert_eq!(read_all.map(Value::Object), Ok(json!({ "count": 2, "text": "a" })));
        assert!(
            read(Some("[]"), &[], &schema()).is_err() && read(Some("{"), &[], &schema()).is_err()
        );
    }
}
