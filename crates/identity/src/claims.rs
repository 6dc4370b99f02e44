//! What a proof of identity says of who brings it, by the names that MQTT.Agent has for it.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::acl_claim;
use crate::rule::Rule;

/// Verified statements about a client. Rules name them in braces.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// `agent_id`: the agent that it acts as.
    pub agent_id: Option<String>,
    /// `tool_id`: the tools that it serves, one or a list.
    pub tool_ids: Vec<String>,
    /// `server_id`: the tool server that it is.
    pub server_id: Option<String>,
    /// `user_id`: for whom it acts.
    pub user_id: Option<String>,
    /// `org_id`: whose it is.
    pub org_id: Option<String>,
    /// `roles`: what rules may be about.
    pub roles: Vec<String>,
    /// `acl` as it was written, and the rules that it adds to those of the policy.
    pub(crate) acl: Option<(Value, Vec<Rule>)>,
}

/// A claim that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the claim `{claim}` {what}")]
pub struct ClaimError {
    /// Its name.
    pub claim: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Claims {
    /// The claims of a JSON object; members of other names are no matter.
    pub fn read(object: &Map<String, Value>) -> Result<Self, ClaimError> {
        let claims = Self {
            agent_id: text(object, AGENT_ID)?,
            tool_ids: texts(object, TOOL_ID)?,
            server_id: text(object, SERVER_ID)?,
            user_id: text(object, USER_ID)?,
            org_id: text(object, ORG_ID)?,
            roles: texts(object, ROLES)?,
            acl: None,
        };
        let Some(value) = object.get(ACL).filter(|value| !value.is_null()) else {
            return Ok(claims);
        };
        let rules = acl_claim::rules(value).map_err(of(ACL))?;
        acl_claim::check_size(&rules, &claims).map_err(of(ACL))?;
        Ok(Self { acl: Some((value.clone(), rules)), ..claims })
    }

    /// Of somebody of whom only his organisation is known.
    #[must_use]
    pub fn of_organization(org_id: Option<String>) -> Self {
        Self { org_id, ..Self::default() }
    }

    /// The object that [`Claims::read`] reads them from.
    #[must_use]
    pub fn to_object(&self) -> Map<String, Value> {
        let mut object = Map::new();
        for (name, value) in [
            (AGENT_ID, &self.agent_id),
            (SERVER_ID, &self.server_id),
            (USER_ID, &self.user_id),
            (ORG_ID, &self.org_id),
        ] {
            object.extend(value.as_ref().map(|text| (name.to_owned(), json!(text))));
        }
        for (name, values) in [(TOOL_ID, &self.tool_ids), (ROLES, &self.roles)] {
            if !values.is_empty() {
                object.insert(name.to_owned(), json!(values));
            }
        }
        object.extend(self.acl.as_ref().map(|(value, _)| (ACL.to_owned(), value.clone())));
        object
    }

    /// Whether there is a claim of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        match name {
            AGENT_ID => self.agent_id.is_some(),
            TOOL_ID => !self.tool_ids.is_empty(),
            SERVER_ID => self.server_id.is_some(),
            USER_ID => self.user_id.is_some(),
            ORG_ID => self.org_id.is_some(),
            ROLES => !self.roles.is_empty(),
            ACL => self.acl.is_some(),
            _ => false,
        }
    }

    /// The same ones, without those that give rights of their own.
    pub(crate) fn without_rights(self) -> Self {
        Self { roles: Vec::new(), acl: None, ..self }
    }

    /// The rules of the claim `acl`.
    pub(crate) fn rules(&self) -> &[Rule] {
        self.acl.as_ref().map_or(&[], |(_, rules)| rules)
    }

    /// What a client of these claims is called if nothing else names it: the most particular one.
    pub fn name(&self) -> Option<&str> {
        let known = [&self.agent_id, &self.server_id, &self.user_id];
        let named = known.into_iter().find_map(|it| it.as_deref());
        named.or_else(|| self.tool_ids.first().map(String::as_str))
    }
}

/// The names of all claims.
pub const CLAIM_NAMES: [&str; 7] = [AGENT_ID, TOOL_ID, SERVER_ID, USER_ID, ORG_ID, ROLES, ACL];

fn of(claim: &'static str) -> impl Fn(&'static str) -> ClaimError {
    move |what| ClaimError { claim, what }
}

fn text(object: &Map<String, Value>, claim: &'static str) -> Result<Option<String>, ClaimError> {
    match object.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => checked_text(value).map(Some).map_err(of(claim)),
    }
}

/// A text, or a list of texts, each of which counts once.
fn texts(object: &Map<String, Value>, claim: &'static str) -> Result<Vec<String>, ClaimError> {
    match object.get(claim) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() > MOST => Err(of(claim)("has too many values")),
        Some(Value::Array(items)) => {
            let mut texts: Vec<_> =
                items.iter().map(checked_text).collect::<Result<_, _>>().map_err(of(claim))?;
            let mut seen = HashSet::new();
            texts.retain(|text| seen.insert(text.clone()));
            Ok(texts)
        }
        Some(value) => checked_text(value).map(|text| vec![text]).map_err(of(claim)),
    }
}

/// A text that may be a name or another claim.
pub(crate) fn checked_text(value: &Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) if text.is_empty() => Err("is empty"),
        Value::String(text) if text.len() > LONGEST => Err("is too long"),
        Value::String(text) if text.chars().any(char::is_control) => {
            Err("has control characters in it")
        }
        Value::String(text) => Ok(text.clone()),
        _ => Err("is no text"),
    }
}

const AGENT_ID: &str = "agent_id";
const TOOL_ID: &str = "tool_id";
const SERVER_ID: &str = "server_id";
const USER_ID: &str = "user_id";
const ORG_ID: &str = "org_id";
const ROLES: &str = "roles";
const ACL: &str = "acl";
/// Bytes of a value at most.
pub(crate) const LONGEST: usize = 512;
/// Values of a list at most.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<Claims, String> {
        Claims::read(value.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_read_is_written_again() {
        let object = json!({
            "agent_id": "scout", "tool_id": ["a", "b"], "server_id": "s", "user_id": "u",
            "org_id": "acme", "roles": ["r"], "acl": {"publish": ["a/#"]},
        });
        let claims = read(object.clone()).unwrap();
        assert_eq!(claims.tool_ids, ["a", "b"]);
        assert_eq!(Value::Object(claims.to_object()), object);
        assert_eq!(Claims::read(&claims.to_object()), Ok(claims));
        let one = read(json!({"tool_id": "a", "roles": "r", "other": 1, "agent_id": null}));
        let one = one.unwrap();
        assert_eq!(
            (one.tool_ids.as_slice(), one.roles.as_slice()),
            (&["a".into()][..], &["r".into()][..])
        );
        assert_eq!(one.agent_id, None);
    }

    fn tools(count: usize) -> Vec<String> {
        (0..count).map(|tool| tool.to_string()).collect()
    }

    #[test]
    fn a_tool_that_is_named_twice_is_one() {
        let acl = json!({"pub": vec!["{tool_id}/#"; 600]});
        let claims = read(json!({"tool_id": vec!["echo"; MOST], "acl": acl})).unwrap();
        assert_eq!(claims.tool_ids, ["echo"]);
        let claims = read(json!({"tool_id": ["b", "a", "b"]})).unwrap();
        assert_eq!(claims.tool_ids, ["b", "a"]);
    }

    #[test]
    fn a_claim_that_is_none_is_refused_by_name() {
        for (object, expected) in [
            (json!({"agent_id": ""}), "the claim `agent_id` is empty"),
            (json!({"agent_id": 7}), "the claim `agent_id` is no text"),
            (json!({"agent_id": ["a"]}), "the claim `agent_id` is no text"),
            (json!({"tool_id": ["a", 1]}), "the claim `tool_id` is no text"),
            (json!({"org_id": "a\u{0}"}), "the claim `org_id` has control characters in it"),
            (json!({"user_id": "x".repeat(LONGEST + 1)}), "the claim `user_id` is too long"),
            (json!({"roles": vec!["r"; MOST + 1]}), "the claim `roles` has too many values"),
            (
                json!({"tool_id": tools(101), "acl": {"pub": vec!["{tool_id}/#"; 10]}}),
                "the claim `acl` comes to more than 1000 filters (one for each tool where it names \
                 them)",
            ),
            (json!({"acl": 1}), "the claim `acl` is neither an object nor a list"),
        ] {
            assert_eq!(read(object.clone()), Err(expected.to_owned()), "{object}");
        }
    }

    #[test]
    fn the_most_particular_claim_is_the_name() {
        let named = |object| read(object).unwrap().name().map(str::to_owned);
        assert_eq!(named(json!({"user_id": "u", "agent_id": "a"})).as_deref(), Some("a"));
        assert_eq!(named(json!({"tool_id": ["t", "x"]})).as_deref(), Some("t"));
        assert_eq!(named(json!({"org_id": "o"})), None);
    }
}
