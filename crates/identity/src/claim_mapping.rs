//! Which members of a token are the claims that rules speak of: every identity provider has its own
//! names.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::claims::{CLAIM_NAMES, ClaimError, Claims};

/// For each claim the member that has it, where that is called otherwise. A name that begins with
/// `/` is a JSON Pointer (RFC 6901): `/realm_access/roles`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimMapping(BTreeMap<&'static str, String>);

impl ClaimMapping {
    /// Reads the claim from another member; false when there is no such claim.
    pub fn set(&mut self, claim: &str, member: &str) -> bool {
        let Some(claim) = CLAIM_NAMES.into_iter().find(|known| *known == claim) else {
            return false;
        };
        match member == claim {
            true => self.0.remove(claim),
            false => self.0.insert(claim, member.to_owned()),
        };
        true
    }

    /// The member that a claim is read from.
    #[must_use]
    pub fn member<'a>(&'a self, claim: &'a str) -> &'a str {
        self.0.get(claim).map_or(claim, String::as_str)
    }

    pub(crate) fn claims(&self, payload: &Map<String, Value>) -> Result<Claims, ClaimError> {
        let mut object = Map::new();
        for claim in CLAIM_NAMES {
            let value = match self.member(claim) {
                pointer if pointer.starts_with('/') => follow(payload, pointer),
                member => payload.get(member),
            };
            object.extend(value.map(|value| (claim.to_owned(), value.clone())));
        }
        Claims::read(&object)
    }
}

fn follow<'a>(payload: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let unescaped = |step: &str| step.replace("~1", "/").replace("~0", "~");
    let mut steps = pointer[1..].splitn(2, '/');
    let first = payload.get(&unescaped(steps.next()?))?;
    match steps.next() {
        Some(rest) => first.pointer(&format!("/{rest}")),
        None => Some(first),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_read_from_where_the_provider_has_them() {
        let mut mapping = ClaimMapping::default();
        for (claim, member) in [
            ("agent_id", "azp"),
            ("roles", "/realm_access/roles"),
            ("org_id", "https://id.example/org"),
            ("user_id", "/a~1b/0"),
        ] {
            assert!(mapping.set(claim, member), "{claim}");
        }
        assert!(!mapping.set("agent", "azp"));
        let payload = json!({
            "azp": "scout", "agent_id": "other", "realm_access": {"roles": ["r"]},
            "https://id.example/org": "acme", "a/b": ["u"], "tool_id": "t",
        });
        let claims = mapping.claims(payload.as_object().unwrap()).unwrap();
        let expected = json!({
            "agent_id": "scout", "roles": ["r"], "org_id": "acme", "user_id": "u",
            "tool_id": ["t"],
        });
        assert_eq!(Value::Object(claims.to_object()), expected);
        let none = mapping.claims(&Map::new()).unwrap();
        assert_eq!(none, Claims::default());
    }
}
