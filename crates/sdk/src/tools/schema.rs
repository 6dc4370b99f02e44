//! Whether arguments are what a tool takes.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::Error;

/// The input schema of a tool.
#[derive(Debug)]
pub(crate) struct Schema(Validator);

impl Schema {
    /// Reads a schema. It is whole: what it refers to elsewhere is an error, since nothing is
    /// fetched. Patterns take linear time, so that arguments cannot make the server slow.
    pub(crate) fn read(tool: &str, schema: &Value) -> Result<Self, Error> {
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        let read = options.build(schema).map(Self);
        read.map_err(|error| Error::Schema { tool: tool.to_owned(), why: short(error.to_string()) })
    }

    /// What is wrong with arguments, each with the path to it; three faults at most.
    pub(crate) fn check(&self, arguments: &Value) -> Result<(), String> {
        let faults: Vec<String> = self
            .0
            .iter_errors(arguments)
            .take(FAULTS)
            .map(|fault| {
                let path = fault.instance_path().to_string();
                let place = if path.is_empty() { "/" } else { &path };
                // Without the value: it may be large, or a secret.
                format!("{place}: {}", short(fault.masked().to_string()))
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }
}

fn short(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

const FAULTS: usize = 3;
/// Characters of one fault.
const LONGEST: usize = 300;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        let schema = json!({
            "type": "object",
            "properties": { "a": { "type": "integer" }, "deep": { "items": { "minimum": 3 } } },
            "required": ["a"],
        });
        Schema::read("t", &schema).unwrap()
    }

    #[test]
    fn a_fault_has_its_path() {
        assert_eq!(schema().check(&json!({ "a": 1, "b": 2 })), Ok(()));
        let wrong = schema().check(&json!({ "a": "secret", "deep": [4, 1] })).unwrap_err();
        assert!(wrong.contains("/a: ") && wrong.contains("/deep/1: "), "{wrong}");
        assert!(!wrong.contains("secret"), "{wrong}");
        let missing = schema().check(&json!({})).unwrap_err();
        assert!(missing.starts_with("/: ") && missing.contains("\"a\""), "{missing}");
        assert!(schema().check(&json!([1])).is_err());
    }

    #[test]
    fn faults_have_a_bound() {
        let schema = Schema::read("t", &json!({ "items": { "enum": ["x".repeat(5000)] } }));
        let wrong = schema.unwrap().check(&json!([1, 2, 3, 4, 5, 6])).unwrap_err();
        assert_eq!(wrong.matches("; ").count(), FAULTS - 1);
        assert!(wrong.chars().count() < (FAULTS + 1) * (LONGEST + 20), "{wrong}");
    }

    #[test]
    fn what_is_no_schema_is_told() {
        for wrong in [
            json!({ "type": "nothing" }),
            json!({ "$ref": "https://example.test/schema" }),
            json!({ "pattern": "(" }),
            json!(7),
        ] {
            assert!(Schema::read("t", &wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn anything_may_be_checked(text in "[\\[\\]{}\":,a0-9. -]{0,60}") {
            if let Ok(value) = serde_json::from_str(&text) {
                let _ = schema().check(&value);
            }
        }
    }
}
