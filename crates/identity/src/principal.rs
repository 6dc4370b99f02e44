//! An authenticated client.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::claims::Claims;
use crate::evidence::Evidence;
use crate::mcp_rights::McpRights;
use crate::mount::{Mount, is_called_as_of_an_organization};
use crate::policy::{Policy, Rights};
use crate::rule::{Effect, Subject};

/// Who a connection acts as. One pointer, since idle connections are many; cheap to clone.
#[derive(Debug, Clone)]
pub struct Principal(Option<Arc<Known>>);

/// What there is to know of one who is not anonymous, or under a policy.
#[derive(Debug, Clone, Default)]
struct Known {
    name: Option<Arc<str>>,
    /// What it has proved; `None`: the name is what it says that it is called.
    claims: Option<Arc<Claims>>,
    /// What proved it.
    evidence: Evidence,
    /// What a policy comes to for it; `None`: there is no policy.
    rights: Option<Rights>,
    /// Where its topics are; `None`: where everybody's are.
    mount: Option<Arc<Mount>>,
}

impl Principal {
    /// A client that gave no credentials.
    pub const ANONYMOUS: Self = Self(None);

    /// A client that says what it is called: nobody has verified it.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self(Some(Arc::new(Known { name: Some(name.into()), ..Known::default() })))
    }

    /// A client that has proved its name and what else is claimed of it.
    pub fn verified(name: impl Into<Arc<str>>, claims: Claims) -> Self {
        let (name, claims) = (Some(name.into()), Some(Arc::new(claims)));
        Self(Some(Arc::new(Known { name, claims, ..Known::default() })))
    }

    /// The same one, proved by this.
    #[must_use]
    pub(crate) fn by(&self, evidence: Evidence) -> Self {
        let known = self.0.as_deref().cloned().unwrap_or_default();
        Self(Some(Arc::new(Known { evidence, ..known })))
    }

    /// What proved it.
    pub(crate) fn evidence(&self) -> &Evidence {
        self.0.as_ref().map_or(&Evidence::Word, |known| &known.evidence)
    }

    /// The same one, who may do nothing any more.
    #[must_use]
    pub fn without_rights(&self) -> Self {
        self.under(&Policy::new(Vec::new(), Effect::Deny), "")
    }

    /// The same one, as the client `client_id` under a policy.
    #[must_use]
    pub fn under(&self, policy: &Policy, client_id: &str) -> Self {
        self.with(Some(policy.rights(&self.subject(client_id))))
    }

    /// Whether it may use a client identifier.
    pub fn may_be(&self, policy: &Policy, client_id: &str) -> bool {
        policy.admits(&self.subject(client_id))
    }

    pub(crate) fn subject<'a>(&'a self, client_id: &'a str) -> Subject<'a> {
        Subject { client_id, user: self.name(), claims: self.claims() }
    }

    /// The same one, without a policy.
    pub(crate) fn unrestricted(&self) -> Self {
        if self.rights().is_some() { self.with(None) } else { self.clone() }
    }

    /// The same one, as the client `client_id` of an organisation that is kept apart from others,
    /// if it is of one. `None`: the name of that cannot be a level of a topic.
    #[must_use]
    pub fn apart(&self, client_id: &str) -> Option<Self> {
        let Some(org) = self.claims().and_then(|claims| claims.org_id.as_deref()) else {
            return Some(self.among_all());
        };
        let mount = Some(Arc::new(Mount::of(org, client_id)?));
        let known = self.0.as_deref().cloned().unwrap_or_default();
        Some(Self(Some(Arc::new(Known { mount, ..known }))))
    }

    /// The same one, where organisations are not kept apart.
    pub(crate) fn among_all(&self) -> Self {
        match self.0.as_deref() {
            Some(known) if known.mount.is_some() => {
                Self(Some(Arc::new(Known { mount: None, ..known.clone() })))
            }
            _ => self.clone(),
        }
    }

    /// Whether it is of an organisation that is kept apart.
    pub fn is_apart(&self) -> bool {
        self.mount().is_some()
    }

    /// What it is called in the broker, where two organisations may have a client of the same
    /// name. An empty one, which it would be assigned, stays empty.
    pub fn mounted_client_id<'c>(&self, own: &'c str) -> Cow<'c, str> {
        match self.mount() {
            Some(mount) if !own.is_empty() => mount.client_id(own).into(),
            _ => own.into(),
        }
    }

    /// Whether it may call itself so at all: nobody is called as those of an organisation are, and
    /// no name is too long.
    pub fn may_be_called(&self, own: &str) -> bool {
        let is_taken = !self.is_apart() && is_called_as_of_an_organization(own);
        !is_taken && self.mounted_client_id(own).len() <= usize::from(u16::MAX)
    }

    /// Where a topic or filter is that it names.
    pub fn mounted<'t>(&self, topic: &'t str) -> Cow<'t, str> {
        self.mount().map_or(Cow::Borrowed(topic), |mount| mount.mounted(topic))
    }

    /// Where a message goes that it publishes to this topic: of MCP over MQTT, a server that has
    /// its name of the broker is there under no other.
    pub fn published<'t>(&self, topic: &'t str) -> Cow<'t, str> {
        match self.mcp().and_then(|mcp| mcp.renamed(topic)) {
            Some(renamed) => self.mounted(&renamed).into_owned().into(),
            None => self.mounted(topic),
        }
    }

    /// What rules give to it as a part of MCP over MQTT; `None`: they do not speak of it.
    pub fn mcp(&self) -> Option<&McpRights> {
        self.rights()?.mcp()
    }

    /// What it calls a topic; one that is none of its own keeps its name.
    pub fn seen<'t>(&self, topic: &'t str) -> &'t str {
        self.mount().and_then(|mount| mount.seen(topic)).unwrap_or(topic)
    }

    pub(crate) fn mount(&self) -> Option<&Mount> {
        self.0.as_ref()?.mount.as_deref()
    }

    fn with(&self, rights: Option<Rights>) -> Self {
        let known = self.0.as_deref().cloned().unwrap_or_default();
        Self(Some(Arc::new(Known { rights, ..known })))
    }

    /// Whether anything restricts it at all.
    pub fn is_restricted(&self) -> bool {
        self.rights().is_some() || self.is_apart()
    }

    /// Its name; `None` for an anonymous client.
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref()?.name.as_deref()
    }

    /// What it has proved; `None` if it has proved nothing, not even its name.
    pub fn claims(&self) -> Option<&Claims> {
        self.0.as_ref()?.claims.as_deref()
    }

    /// Whether the other is the same one: of the same name and organisation, proved by both or by
    /// neither.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let org = |it: &Self| it.claims().map(|claims| claims.org_id.clone());
        self.name() == other.name() && org(self) == org(other)
    }

    /// What a record keeps of it: its name, or a JSON object where there is more to say. `None`
    /// for an anonymous client.
    pub fn record(&self) -> Option<Cow<'_, str>> {
        let (name, claims) = (self.name()?, self.claims());
        if claims.is_none() && !name.starts_with('{') {
            return Some(name.into());
        }
        Some(Value::Object(self.to_object()).to_string().into())
    }

    /// All that is known of it, as a JSON object; an empty one for an anonymous client.
    #[must_use]
    pub fn to_object(&self) -> Map<String, Value> {
        let Some(name) = self.name() else { return Map::new() };
        let claims = self.claims();
        let mut object = claims.map(Claims::to_object).unwrap_or_default();
        object.insert(NAME.into(), json!(name));
        object.insert(IS_VERIFIED.into(), json!(claims.is_some()));
        object.insert(EVIDENCE.into(), self.evidence().to_value());
        object
    }

    /// Who a record speaks of. One that is damaged makes a client that has proved nothing.
    #[must_use]
    pub fn recorded(record: &str) -> Self {
        let object: Option<Map<String, Value>> =
            record.starts_with('{').then(|| serde_json::from_str(record).ok()).flatten();
        let Some(object) = object else { return Self::named(record) };
        let name = object.get(NAME).and_then(Value::as_str).unwrap_or(record);
        let is_verified = object.get(IS_VERIFIED) == Some(&Value::Bool(true));
        match Claims::read(&object) {
            Ok(claims) if is_verified => {
                let evidence = object.get(EVIDENCE).map(Evidence::of_value);
                Self::verified(name, claims).by(evidence.unwrap_or_default())
            }
            _ => Self::named(name),
        }
    }

    pub(crate) fn rights(&self) -> Option<&Rights> {
        self.0.as_ref()?.rights.as_ref()
    }
}

const NAME: &str = "name";
const IS_VERIFIED: &str = "verified";
const EVIDENCE: &str = "by";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::TokenMark;

    fn claims(org: &str) -> Claims {
        Claims {
            agent_id: Some("scout".into()),
            org_id: Some(org.into()),
            tool_ids: vec!["echo".into()],
            ..Claims::default()
        }
    }

    #[test]
    fn a_record_keeps_what_is_known() {
        assert_eq!(Principal::ANONYMOUS.record(), None);
        assert_eq!(Principal::named("me").record().as_deref(), Some("me"));
        for before in [
            Principal::named("me"),
            Principal::named("{\"verified\":true,\"name\":\"root\"}"),
            Principal::named("{"),
            Principal::verified("scout", claims("acme")),
            Principal::verified("scout", claims("acme")).by(Evidence::Password),
            Principal::verified("scout", claims("acme")).by(Evidence::Certificate),
            Principal::verified("scout", claims("acme")).by(Evidence::Hook),
            Principal::verified("scout", claims("acme")).by(Evidence::Token(TokenMark {
                id: Some("j".into()),
                chain: None,
                made_at: 7,
            })),
            Principal::verified("{", Claims::default()),
        ] {
            let after = Principal::recorded(&before.record().expect("has a name"));
            assert_eq!((after.name(), after.claims()), (before.name(), before.claims()));
            assert_eq!(after.evidence(), before.evidence());
        }
        for damaged in ["{\"name\":\"me\",\"verified\":true,\"agent_id\":7}", "{\"name\":"] {
            assert_eq!(Principal::recorded(damaged).claims(), None, "{damaged}");
        }
    }

    #[test]
    fn a_name_that_is_only_said_is_not_the_one_that_was_proved() {
        let scout = Principal::verified("scout", claims("acme"));
        assert!(scout.is_same(&Principal::verified("scout", claims("acme"))));
        assert!(!scout.is_same(&Principal::verified("scout", claims("other"))));
        assert!(!scout.is_same(&Principal::named("scout")));
        assert!(!Principal::named("scout").is_same(&Principal::ANONYMOUS));
        assert!(Principal::named("scout").is_same(&Principal::named("scout")));
    }
}
