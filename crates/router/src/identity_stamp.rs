//! Who has published a message, as the broker has verified it: User Properties that a client cannot
//! set itself, on the topics where receivers rely on them.

use agentmq_codec::{Properties, PropertiesBuf, Property};
use agentmq_identity::Principal;
use agentmq_topic::matches;

use crate::settings::Settings;

impl Settings {
    /// Whether messages of this topic say who has published them.
    pub(crate) fn identifies(&self, topic: &str) -> bool {
        self.identity_topics.iter().any(|filter| matches(filter, topic))
    }

    /// Of whom messages say that a client has published them that came through a listener.
    pub(crate) fn told_publisher<'p>(&self, door: u16, principal: &'p Principal) -> &'p Principal {
        match self.doors.get(usize::from(door)) {
            Some(door) if door.hide_publishers => &Principal::ANONYMOUS,
            _ => principal,
        }
    }

    /// A message's own properties, without those that only the broker may set, and with what is
    /// known of its publisher. `None`: they are right as they are.
    pub(crate) fn identified(
        &self,
        properties: &Properties<'_>,
        principal: &Principal,
    ) -> Option<PropertiesBuf> {
        let prefix = &*self.identity_prefix;
        let is_ours = |name: &str| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let claims = principal.claims();
        let known = claims.is_some_and(|it| {
            [&it.agent_id, &it.server_id, &it.user_id, &it.org_id].iter().any(|it| it.is_some())
        });
        let is_spoofed = properties.user_properties().any(|(name, _)| is_ours(name));
        if !known && !is_spoofed {
            return None;
        }
        let mut all: PropertiesBuf = properties
            .iter()
            .filter(|property| !matches!(property, Property::Pair(name, _) if is_ours(name)))
            .collect();
        let Some(claims) = claims else { return Some(all) };
        for (name, value) in [
            ("agent-id", &claims.agent_id),
            ("server-id", &claims.server_id),
            ("user-id", &claims.user_id),
            ("org-id", &claims.org_id),
        ] {
            if let Some(value) = value {
                let name = format!("{prefix}{name}");
                all.push(Property::Pair(&name, value));
            }
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use agentmq_codec::PropertyId as P;
    use agentmq_identity::Claims;

    use super::*;

    fn settings() -> Settings {
        let identity_topics = vec!["calls/#".into()];
        Settings { identity_topics, ..Settings::default() }
    }

    fn pairs(properties: &PropertiesBuf) -> Vec<(String, String)> {
        let all = properties.view();
        all.user_properties().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn only_the_broker_says_who_it_was() {
        let mut claims = Claims::default();
        (claims.agent_id, claims.org_id) = (Some("scout".into()), Some("acme".into()));
        let scout = Principal::verified("scout", claims);
        let sent = PropertiesBuf::new()
            .with(Property::Pair("a", "1"))
            .with(Property::Pair("agentmq-agent-id", "root"))
            .with(Property::Text(P::ResponseTopic, "r"))
            .with(Property::Pair("AgentMQ-Role", "admin"))
            .with(Property::Pair("a", "2"));
        let all = settings().identified(&sent.view(), &scout).unwrap();
        let own = [("a", "1"), ("a", "2")];
        let ours = [("agentmq-agent-id", "scout"), ("agentmq-org-id", "acme")];
        let expected = own.into_iter().chain(ours).map(|(a, b)| (a.into(), b.into()));
        assert_eq!(pairs(&all), expected.collect::<Vec<(String, String)>>());
        assert_eq!(all.view().text(P::ResponseTopic), Some("r"));
        // One of whom nothing is known cannot say so, either.
        let all = settings().identified(&sent.view(), &Principal::named("root")).unwrap();
        assert_eq!(pairs(&all).len(), 2);
    }

    #[test]
    fn what_need_not_be_changed_is_left_as_it_is() {
        let plain = PropertiesBuf::new().with(Property::Pair("a", "1"));
        assert_eq!(settings().identified(&plain.view(), &Principal::ANONYMOUS), None);
        let named = Principal::verified("me", Claims::default());
        assert_eq!(settings().identified(&plain.view(), &named), None);
        assert!(settings().identifies("calls/a") && !settings().identifies("other"));
    }
}
