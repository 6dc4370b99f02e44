//! What a tool takes: a JSON Schema of its arguments (MQTT.Agent 0.1 §4, MCP `inputSchema`).

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// A schema that arguments are checked against.
#[derive(Debug)]
pub struct ArgumentSchema {
    validator: Validator,
    /// Its values, each as often as something refers to it; 0 where nobody has counted.
    size: usize,
}

/// Why something is no schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSchema(pub String);

impl ArgumentSchema {
    /// Reads a schema of one's own. It is whole: what it refers to elsewhere is an error, since
    /// nothing is fetched. Patterns take linear time, so that arguments cannot make anybody slow.
    pub fn read(schema: &Value) -> Result<Self, WrongSchema> {
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES);
        let read = jsonschema::options().with_pattern_options(patterns).build(schema);
        let validator = read.map_err(|error| WrongSchema(short(error.to_string())))?;
        Ok(Self { validator, size: 0 })
    }

    /// Reads somebody else's schema; `None` for what is none, and where nobody can tell beforehand
    /// how long a check takes: it has words whose cost is not that of counting (patterns,
    /// `uniqueItems`, `unevaluatedProperties` and others), refers to itself, or has more than 1 000
    /// values when all that it refers to stands in its place.
    #[must_use]
    pub fn read_bounded(schema: &Value) -> Option<Self> {
        let mut left = MOST_VALUES;
        expand(schema, schema, DEEPEST, &mut left)?;
        let options = jsonschema::options().should_validate_formats(false);
        let validator = options.with_pattern_options(PatternOptions::regex()).build(schema).ok()?;
        Some(Self { validator, size: MOST_VALUES - left })
    }

    /// Its values, each as often as something refers to it; 0 if nobody has counted.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// What is wrong with arguments, each with the path to it; three faults at most.
    pub fn check(&self, arguments: &Value) -> Result<(), String> {
        let faults: Vec<String> = self
            .validator
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

    /// The same, but arguments that would take long are not looked at.
    pub fn check_bounded(&self, arguments: &Value) -> Result<(), String> {
        let mut left = MOST_WORK / self.size.max(1);
        match weigh(arguments, &mut left) {
            Some(()) => self.check(arguments),
            None => Ok(()),
        }
    }
}

/// Counts the values of a schema, and those that it refers to within `root`; `None` where `left` of
/// them, or `depth` levels, are not enough, as in what refers to itself, and where it says what we
/// do not count.
fn expand(schema: &Value, root: &Value, depth: usize, left: &mut usize) -> Option<()> {
    *left = left.checked_sub(1)?;
    let depth = depth.checked_sub(1)?;
    let Value::Object(words) = schema else { return schema.is_boolean().then_some(()) };
    for (word, value) in words {
        let of_each = |left: &mut usize| match value {
            Value::Array(schemas) => {
                schemas.iter().try_for_each(|it| expand(it, root, depth, left))
            }
            Value::Object(schemas) => {
                schemas.values().try_for_each(|it| expand(it, root, depth, left))
            }
            _ => None,
        };
        match &**word {
            // The path is taken as it stands, so that nothing in it may mean something else.
            "$ref" => {
                let path = value.as_str()?.strip_prefix('#').filter(|it| !it.contains('%'))?;
                expand(root.pointer(path)?, root, depth, left)?;
            }
            // Counted where something refers to them, and here: they are read in any case.
            "properties" | "$defs" | "definitions" => of_each(left)?,
            "allOf" | "anyOf" | "oneOf" => of_each(left)?,
            "items" | "additionalProperties" => expand(value, root, depth, left)?,
            "enum" | "const" | "required" | "type" => weigh(value, left)?,
            _ if COUNTED.contains(&&**word) => *left = left.checked_sub(1)?,
            _ if SAID.contains(&&**word) => {}
            _ => return None,
        }
    }
    Some(())
}

/// Counts values, longer texts as several.
fn weigh(value: &Value, left: &mut usize) -> Option<()> {
    let text = |text: &str| text.len() / LETTERS;
    *left = left.checked_sub(1)?;
    match value {
        Value::Array(items) => items.iter().try_for_each(|it| weigh(it, left)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, it)| {
            *left = left.checked_sub(text(key))?;
            weigh(it, left)
        }),
        Value::String(it) => left.checked_sub(text(it)).map(|rest| *left = rest),
        _ => Some(()),
    }
}

fn short(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Words that cost as much as looking at a value once.
const COUNTED: [&str; 10] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];
/// Words that say something to people, or that are not checked.
const SAID: [&str; 10] = [
    "$schema",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
];
const MOST_VALUES: usize = 1_000;
const DEEPEST: usize = 32;
/// Values of a schema times those of arguments.
const MOST_WORK: usize = 50_000;
/// Bytes of a text that count as a value.
const LETTERS: usize = 64;
/// Of a compiled pattern.
const PATTERN_BYTES: usize = 256 * 1024;
const FAULTS: usize = 3;
/// Characters of one fault.
const LONGEST: usize = 300;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn schema() -> ArgumentSchema {
        let schema = json!({
            "type": "object",
            "properties": { "a": { "type": "integer" }, "deep": { "items": { "minimum": 3 } } },
            "required": ["a"],
        });
        ArgumentSchema::read(&schema).unwrap()
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
        let schema = ArgumentSchema::read(&json!({ "items": { "enum": ["x".repeat(5000)] } }));
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
            json!({ "pattern": "(a{1000}){1000}" }),
            json!(7),
        ] {
            assert!(ArgumentSchema::read(&wrong).is_err(), "{wrong}");
            assert!(ArgumentSchema::read_bounded(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_would_take_long_is_not_read() {
        let chain = |links: usize, width: usize| {
            let link = |it: usize| match it + 1 < links {
                true => {
                    let next = json!({ "$ref": format!("#/$defs/d{}", it + 1) });
                    json!({ "anyOf": vec![next; width] })
                }
                false => json!({ "const": "x" }),
            };
            let links = (0..links).map(|it| (format!("d{it}"), link(it)));
            json!({ "$ref": "#/$defs/d0", "$defs": links.collect::<serde_json::Map<_, _>>() })
        };
        assert!(ArgumentSchema::read_bounded(&chain(3, 2)).is_some());
        for (what, schema) in [
            ("doubling", chain(20, 2)),
            ("deep", chain(20, 1)),
            ("itself", json!({ "$ref": "#" })),
            ("a tree", json!({ "properties": { "next": { "$ref": "#" } } })),
            (
                "another place",
                json!({ "$id": "http://a.test/", "$ref": "#/$defs/x", "$defs": { "x": {} } }),
            ),
            ("an anchor", json!({ "$ref": "#x", "$defs": { "x": { "$anchor": "x" } } })),
            ("large", json!({ "enum": vec![1; 2_000] })),
            ("long", json!({ "const": "x".repeat(100_000) })),
            ("a pattern", json!({ "properties": { "a": { "pattern": "a" } } })),
            ("pairs", json!({ "uniqueItems": true })),
            ("what is left", json!({ "unevaluatedProperties": false })),
            ("unknown words", json!({ "sometimes": true })),
            (
                "an escaped path",
                json!({ "$ref": "#/$defs/%41", "$defs": { "%41": true, "A": {} } }),
            ),
        ] {
            assert!(ArgumentSchema::read_bounded(&schema).is_none(), "{what}");
        }
    }

    #[test]
    fn many_arguments_are_not_looked_at() {
        let schema =
            ArgumentSchema::read_bounded(&json!({ "items": { "type": "string" } })).unwrap();
        assert_eq!(schema.size(), 3);
        assert!(schema.check_bounded(&json!(vec![1; 1_000])).is_err());
        assert_eq!(schema.check_bounded(&json!(vec![1; MOST_WORK / 3])), Ok(()));
        assert!(schema.check_bounded(&json!(["x", 1])).is_err());
        assert_eq!(schema.check_bounded(&json!(["x".repeat(64 * MOST_WORK / 3), 1])), Ok(()));
        // What arguments refer to is nothing.
        assert!(schema.check_bounded(&json!([{ "$ref": "#/no" }])).is_err());
    }

    proptest! {
        #[test]
        fn anything_may_be_checked(text in "[\\[\\]{}\":,a0-9. -]{0,60}") {
            if let Ok(value) = serde_json::from_str(&text) {
                let _ = schema().check(&value);
                let _ = ArgumentSchema::read_bounded(&value);
            }
        }
    }
}
