//! The members of a JSON object, each as it was written: to change one and leave the others alone.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Names and values in their order.
#[derive(Debug)]
pub(crate) struct Members(Vec<(String, String)>);

impl Members {
    /// Reads an object; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// A member's value. Of a name that stands twice the last one counts.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Gives a member this value, where it stands or behind the others.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().rfind(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Takes a member away.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (place, (name, value)) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{}:{value}", serde_json::Value::from(name.as_str()))?;
        }
        f.write_str("}")
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    members.push((name, value.get().to_owned()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_words_and_order() {
        let text = r#"{"b":1.50,"a":{"x":[1, 2]},"b\n":null}"#;
        let mut members = Members::parse(text).unwrap();
        assert_eq!(members.to_string(), text);
        assert_eq!((members.get("b"), members.get("c")), (Some("1.50"), None));
        members.set("b", "2");
        members.set("c", "3");
        members.remove("a");
        assert_eq!(members.to_string(), r#"{"b":2,"b\n":null,"c":3}"#);
        assert!(["[]", "", "{", "7"].map(Members::parse).iter().all(Option::is_none));
    }
}
