//! What an operator says of MCP over MQTT: what servers are called, which of them clients reach,
//! and in which roles. In each list the first rule that is about somebody counts.

use agentmq_agents::mcp;

use crate::about::About;
use crate::mcp_rights::{Given, McpRights, McpRole};
use crate::rule::{Effect, Pattern, PatternError, Subject};

/// The rules of MCP over MQTT. A list without rules says nothing of anybody.
#[derive(Debug, Clone, Default)]
pub struct McpRules {
    /// What servers are called.
    pub servers: Vec<McpServerRule>,
    /// What clients reach.
    pub clients: Vec<McpClientRule>,
    /// What holds for whom none of a list's rules is about, and for servers of which none of a
    /// client's roles is. The default denies.
    pub otherwise: Effect,
}

/// What a server is called.
#[derive(Debug, Clone)]
pub struct McpServerRule {
    /// Which server.
    pub about: About,
    /// Its name.
    pub server_name: Pattern,
}

/// What a client reaches.
#[derive(Debug, Clone, Default)]
pub struct McpClientRule {
    /// Which client.
    pub about: About,
    /// Filters of the names of servers; `None`: all.
    pub server_name_filters: Option<Vec<Pattern>>,
    /// Its roles, by filters of the names of servers that define them; `None`: it may do whatever
    /// servers let it do.
    pub roles: Option<Vec<(Pattern, String)>>,
}

/// A name of a server, in which whole levels may be placeholders.
pub fn server_name_pattern(text: &str) -> Result<Pattern, String> {
    mcp::check_server_name(text).map_err(|wrong| wrong.why.to_owned())?;
    pattern(text)
}

/// A filter of names of servers, in which whole levels may be placeholders.
pub fn name_filter_pattern(text: &str) -> Result<Pattern, String> {
    mcp::check_name_filter(text).map_err(|wrong| wrong.why.to_owned())?;
    pattern(text)
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error: PatternError| error.to_string())
}

impl McpRules {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.clients.is_empty()
    }

    /// What they come to for one client; `None`: they say nothing of it.
    pub(crate) fn rights(&self, subject: &Subject<'_>) -> Option<McpRights> {
        let named = self.servers.iter().filter(|rule| rule.about.includes(subject));
        let name = { named }.find_map(|rule| rule.name(subject));
        let name = self.or_otherwise(&self.servers, name);
        let rule = self.clients.iter().find(|rule| rule.about.includes(subject));
        let (filters, roles) = match self.or_otherwise(&self.clients, rule) {
            Given::This(rule) => (rule.reached(subject), rule.roles(subject)),
            Given::Everything => (Given::Everything, None),
            Given::Nothing => (Given::Nothing, None),
        };
        if (&name, &filters, &roles) == (&Given::Everything, &Given::Everything, &None) {
            return None;
        }
        Some(McpRights::new(subject.client_id, name, filters, roles, self.otherwise))
    }

    fn or_otherwise<R, T>(&self, rules: &[R], given: Option<T>) -> Given<T> {
        match given {
            Some(given) => Given::This(given),
            None if rules.is_empty() || self.otherwise == Effect::Allow => Given::Everything,
            None => Given::Nothing,
        }
    }
}

impl McpServerRule {
    /// `None`: it names somebody by what he has not.
    fn name(&self, subject: &Subject<'_>) -> Option<String> {
        let names = self.server_name.filters_for(subject).into_iter();
        { names }.find(|name| mcp::check_server_name(name).is_ok())
    }
}

impl McpClientRule {
    fn reached(&self, subject: &Subject<'_>) -> Given<Vec<String>> {
        match &self.server_name_filters {
            Some(all) => Given::This(all.iter().flat_map(|it| filters(it, subject)).collect()),
            None => Given::Everything,
        }
    }

    fn roles(&self, subject: &Subject<'_>) -> Option<Vec<McpRole>> {
        let mut roles = Vec::new();
        for (pattern, role) in self.roles.as_ref()? {
            let there = filters(pattern, subject).into_iter();
            roles.extend(there.map(|server_name| McpRole { server_name, role: role.clone() }));
        }
        Some(roles)
    }
}

fn filters(pattern: &Pattern, subject: &Subject<'_>) -> Vec<String> {
    let mut filters = pattern.filters_for(subject);
    filters.retain(|it| mcp::check_name_filter(it).is_ok());
    filters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::Action;
    use crate::claims::Claims;

    fn users(name: &str) -> About {
        About { users: Some(vec![name.to_owned()]), ..About::default() }
    }

    fn server(about: About, name: &str) -> McpServerRule {
        McpServerRule { about, server_name: server_name_pattern(name).expect("is one") }
    }

    fn client(about: About, filters: &[&str]) -> McpClientRule {
        let filters = filters.iter().map(|it| name_filter_pattern(it).expect("is one"));
        let server_name_filters = Some(filters.collect());
        McpClientRule { about, server_name_filters, roles: None }
    }

    fn told(rules: &McpRules, user: &str, claims: Option<&Claims>) -> Option<String> {
        let rights = rules.rights(&Subject { client_id: "me", user: Some(user), claims })?;
        Some(rights.server_name().unwrap_or("-").to_owned())
    }

    #[test]
    fn the_first_rule_about_somebody_counts() {
        let claims = Claims { org_id: Some("acme".into()), ..Claims::default() };
        let mut rules = McpRules {
            servers: vec![
                server(users("a"), "first/{client_id}"),
                server(About::default(), "{org_id}/{user}"),
                server(users("b"), "third"),
            ],
            ..McpRules::default()
        };
        for (user, claims, expected) in [
            ("a", None, "first/me"),
            ("b", Some(&claims), "acme/b"),
            ("b", None, "third"), // it has no org_id, so that the second is not about it
            ("c", None, "-"),
        ] {
            assert_eq!(told(&rules, user, claims).as_deref(), Some(expected), "{user}");
        }
        rules.otherwise = Effect::Allow;
        assert_eq!(told(&rules, "c", None), None, "nobody asks");
        assert!(told(&rules, "a", None).is_some());
    }

    #[test]
    fn a_list_without_rules_says_nothing() {
        let rules = McpRules { clients: vec![client(users("a"), &["x/#"])], ..McpRules::default() };
        let subject = |user| Subject { client_id: "me", user: Some(user), claims: None };
        let may = |user, topic: &str| {
            let rights = rules.rights(&subject(user)).expect("rules speak of it");
            rights.refuses(Action::Publish, topic).is_none()
        };
        assert!(may("a", "$mcp-server/s1/x/y") && !may("a", "$mcp-server/s1/z"));
        assert!(!may("b", "$mcp-server/s1/x/y"), "nobody has given it anything");
        assert!(may("b", "$mcp-server/presence/me/x"), "of servers nothing is said");
    }

    #[test]
    fn names_and_filters_are_those_of_the_binding() {
        for wrong in ["", "a/+", "#", "a//b", "{agent}/x", "a/x{user}", "/a"] {
            assert!(server_name_pattern(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "a#", "a//b", "{agent}/#"] {
            assert!(name_filter_pattern(wrong).is_err(), "{wrong}");
        }
        assert!(name_filter_pattern("{org_id}/+/#").is_ok());
    }
}
