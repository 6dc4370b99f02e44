//! What a client may do with topics of MCP over MQTT, where rules speak of that: it has its own
//! name as a server, the servers that it reaches as a client, and its roles there.

use agentmq_agents::mcp;
use agentmq_topic::{contains, matches};
use serde_json::json;

use crate::authorize::{Action, Decision};
use crate::rule::Effect;

/// What rules give to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Given<T> {
    /// Nobody asks.
    Everything,
    /// This alone.
    This(T),
    /// Nothing.
    Nothing,
}

/// A role of a client at the servers whose names match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpRole {
    /// A filter of names of servers.
    pub server_name: String,
    /// What those servers call the role.
    pub role: String,
}

/// What rules of MCP come to for one client. It is what it does: who publishes below its own
/// identifier as a server's is a server there, whatever it has said of itself.
#[derive(Debug, Clone)]
pub struct McpRights {
    name: Option<String>,
    filters: Option<Vec<String>>,
    roles: Option<Vec<McpRole>>,
    otherwise: Effect,
    /// Where it says that it is there, but for its name.
    presence: Option<String>,
    publish: Vec<String>,
    subscribe: Vec<String>,
    /// Control topics to which it may publish; they match topics of presence, too.
    control: Vec<String>,
    /// Where it may ask any instance of a name. What it says to one may look the same.
    service: Vec<String>,
    /// What it reads to whom something is refused.
    refusal: String,
}

impl McpRights {
    pub(crate) fn new(
        client_id: &str,
        name: Given<String>,
        filters: Given<Vec<String>>,
        roles: Option<Vec<McpRole>>,
        otherwise: Effect,
    ) -> Self {
        let refusal = refusal(&name, &filters);
        let is_server = name != Given::Nothing;
        let (names, name) = match name {
            Given::Everything => (vec!["#".to_owned()], None),
            Given::This(name) => (vec![name.clone()], Some(name)),
            Given::Nothing => (Vec::new(), None),
        };
        let (reached, filters) = match filters {
            Given::Everything => (vec!["#".to_owned()], None),
            Given::This(filters) => (filters.clone(), Some(filters)),
            Given::Nothing => (Vec::new(), None),
        };
        let mut it = Self {
            name,
            filters,
            roles,
            otherwise,
            presence: None,
            publish: Vec::new(),
            subscribe: Vec::new(),
            control: Vec::new(),
            service: Vec::new(),
            refusal,
        };
        let own = Some(client_id).filter(|id| mcp::check_client_id(id).is_ok());
        it.serve(own.filter(|_| is_server), &names);
        it.reach(own, &reached);
        it
    }

    /// What a server of these names does, which is called so.
    fn serve(&mut self, own: Option<&str>, names: &[String]) {
        let Some(id) = own else { return };
        let presence = format!("$mcp-server/presence/{id}/");
        // The broker has it go where it belongs.
        self.publish.push(format!("{presence}#"));
        self.presence = Some(presence);
        for name in names {
            self.publish.push(format!("$mcp-server/capability/{id}/{name}"));
            self.publish.push(format!("$mcp-rpc/+/{id}/{name}"));
            self.subscribe.push(format!("$mcp-server/{id}/{name}"));
            self.subscribe.push(format!("$mcp-rpc/+/{id}/{name}"));
            self.subscribe.push(mcp::service("+", name));
        }
        self.subscribe
            .extend(["$mcp-client/presence/+", "$mcp-client/capability/+"].map(Into::into));
    }

    /// What a client does, which is called so, at servers whose names match.
    fn reach(&mut self, own: Option<&str>, filters: &[String]) {
        for filter in filters {
            self.subscribe.push(format!("$mcp-server/presence/+/{filter}"));
            self.subscribe.push(format!("$mcp-server/capability/+/{filter}"));
            if let Some(id) = own {
                self.control.push(format!("$mcp-server/+/{filter}"));
                self.service.push(mcp::service(id, filter));
                for page in [&mut self.publish, &mut self.subscribe] {
                    page.push(format!("$mcp-rpc/{id}/+/{filter}"));
                }
            }
        }
        if let Some(id) = own {
            if !filters.is_empty() {
                self.publish.push(format!("$mcp-client/presence/{id}"));
                self.publish.push(format!("$mcp-client/capability/{id}"));
            }
            for page in [&mut self.publish, &mut self.subscribe] {
                page.push(format!("$mcp-rpc/{id}/{id}/#")); // what it says to itself
            }
        }
    }

    /// What its name is as a server; `None`: it has none of the broker.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What CONNACK says to it as `mcp-server` or `mcp-client`, as User Properties.
    #[must_use]
    pub fn told(&self, component: &str) -> Vec<(&'static str, String)> {
        if component == mcp::SERVER {
            return self.name.iter().map(|name| (mcp::SERVER_NAME, name.clone())).collect();
        }
        let filters = self.filters.as_ref().map(|it| (mcp::NAME_FILTERS, json!(it).to_string()));
        let role = |it: &McpRole| json!({ "server_name": it.server_name, "role_name": it.role });
        let roles = self.roles.as_ref().map(|it| it.iter().map(role).collect::<Vec<_>>());
        filters.into_iter().chain(roles.map(|it| (mcp::RBAC, json!(it).to_string()))).collect()
    }

    /// Whether it has roles: what it says to servers is to be looked at.
    #[must_use]
    pub fn has_roles(&self) -> bool {
        self.roles.is_some()
    }

    /// Its roles at a server; `None`: it may do there whatever the server lets it do.
    #[must_use]
    pub fn roles_at(&self, server_name: &str) -> Option<Vec<&str>> {
        // Below a level, so that `#` matches a name that begins with a `$`, too.
        let name = format!("name/{server_name}");
        let is_there = |it: &&McpRole| matches(&format!("name/{}", it.server_name), &name);
        let there: Vec<_> = self.roles.as_ref()?.iter().filter(is_there).collect();
        if there.is_empty() && self.otherwise == Effect::Allow {
            return None;
        }
        Some(there.into_iter().map(|it| it.role.as_str()).collect())
    }

    /// Where a presence goes that it publishes under another name than its own; `None`: where it
    /// says.
    pub(crate) fn renamed(&self, topic: &str) -> Option<String> {
        let (presence, name) = (self.presence.as_deref()?, self.name.as_deref()?);
        let said = topic.strip_prefix(presence)?;
        (said != name).then(|| format!("{presence}{name}"))
    }

    /// What it may not do with a topic or filter below `$mcp-`.
    pub(crate) fn refuses(&self, action: Action, topic: &str) -> Option<Decision<'_>> {
        let is_allowed = match action {
            Action::Publish | Action::Retain => {
                let is_control = || is_control(topic) && any(&self.control, topic);
                match mcp::is_service(topic) {
                    true => any(&self.service, topic),
                    false => any(&self.publish, topic) || is_control(),
                }
            }
            Action::Receive => any(&self.subscribe, topic),
            Action::Subscribe => self.subscribe.iter().any(|filter| contains(filter, topic)),
        };
        (!is_allowed).then(|| Decision::refused(RULE, &self.refusal))
    }
}

fn any(filters: &[String], topic: &str) -> bool {
    filters.iter().any(|filter| matches(filter, topic))
}

/// `$mcp-server/{server-id}/…`, and no branch beside it.
fn is_control(topic: &str) -> bool {
    let rest = topic.strip_prefix("$mcp-server/").unwrap_or_default();
    !rest.starts_with("presence/") && !rest.starts_with("capability/")
}

fn refusal(name: &Given<String>, filters: &Given<Vec<String>>) -> String {
    let name = match name {
        Given::Everything => "may be called as you like".to_owned(),
        Given::This(name) => format!("are called {name}"),
        Given::Nothing => "have no name".to_owned(),
    };
    let reached = match filters {
        Given::Everything => "all".to_owned(),
        Given::This(filters) => filters.join(" "),
        Given::Nothing => "none".to_owned(),
    };
    format!(
        "this topic of MCP is not yours: as a server you {name}, as a client you reach {reached}, \
         and your own client identifier must stand where it belongs"
    )
}

/// What decisions call these rules.
const RULE: &str = "mcp";

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(name: Given<&str>, filters: Given<&[&str]>) -> McpRights {
        let name = match name {
            Given::Everything => Given::Everything,
            Given::This(name) => Given::This(name.to_owned()),
            Given::Nothing => Given::Nothing,
        };
        let filters = match filters {
            Given::Everything => Given::Everything,
            Given::This(all) => Given::This(all.iter().map(|&it| it.to_owned()).collect()),
            Given::Nothing => Given::Nothing,
        };
        McpRights::new("me", name, filters, None, Effect::Deny)
    }

    fn check(rights: &McpRights, action: Action, allowed: &[&str], refused: &[&str]) {
        for topic in allowed {
            assert_eq!(rights.refuses(action, topic), None, "{action:?} {topic}");
        }
        for topic in refused {
            assert!(rights.refuses(action, topic).is_some(), "{action:?} {topic}");
        }
    }

    #[test]
    fn a_server_has_its_own_name_and_identifier() {
        let rights = rights(Given::This("demo/calc"), Given::Nothing);
        check(
            &rights,
            Action::Publish,
            &["$mcp-server/capability/me/demo/calc", "$mcp-rpc/c1/me/demo/calc"],
            &[
                "$mcp-server/capability/me/demo",
                "$mcp-server/presence/other/demo/calc",
                "$mcp-server/capability/other/demo/calc",
                "$mcp-rpc/me/s1/demo/calc",
                "$mcp-server/s1/demo/calc",
                "$mcp-client/presence/me",
                "$mcp-other/x",
            ],
        );
        check(
            &rights,
            Action::Subscribe,
            &[
                "$mcp-server/me/demo/calc",
                "$mcp-rpc/c1/me/demo/calc",
                "$mcp-rpc/+/me/demo/calc",
                "$mcp-rpc/+/$any/instance/demo/calc",
                "$mcp-client/presence/+",
                "$mcp-client/capability/c1",
            ],
            &[
                "$mcp-server/me/#",
                "$mcp-server/presence/#",
                "$mcp-rpc/#",
                "$mcp-rpc/c1/other/demo/calc",
                "$mcp-rpc/+/$any/instance/demo/other",
                "$mcp-rpc/+/$any/#",
                "$mcp-client/#",
            ],
        );
        let elsewhere = rights.renamed("$mcp-server/presence/me/old");
        assert_eq!(elsewhere.as_deref(), Some("$mcp-server/presence/me/demo/calc"));
        for topic in ["$mcp-server/presence/me/demo/calc", "$mcp-server/presence/you/old", "a"] {
            assert_eq!(rights.renamed(topic), None, "{topic}");
        }
    }

    #[test]
    fn a_client_reaches_what_matches() {
        let rights = rights(Given::Nothing, Given::This(&["demo/#", "+/calc"]));
        check(
            &rights,
            Action::Publish,
            &[
                "$mcp-server/s1/demo/a/b",
                "$mcp-server/s1/lab/calc",
                "$mcp-rpc/me/s1/demo/a",
                "$mcp-rpc/me/me/discovery",
                "$mcp-rpc/me/$any/instance/demo/a",
                "$mcp-client/presence/me",
            ],
            &[
                "$mcp-rpc/me/$any/instance/lab/other",
                "$mcp-rpc/me/$any/demo/a",
                "$mcp-server/s1/lab/other",
                "$mcp-server/presence/s1/demo/a",
                "$mcp-server/presence/me/demo/a",
                "$mcp-server/capability/s1/demo/a",
                "$mcp-rpc/other/s1/demo/a",
                "$mcp-rpc/me/s1/lab/other",
                "$mcp-client/presence/other",
            ],
        );
        check(
            &rights,
            Action::Subscribe,
            &[
                "$mcp-server/presence/+/demo/#",
                "$mcp-server/presence/s1/lab/calc",
                "$mcp-server/capability/s1/demo/a",
                "$mcp-rpc/me/s1/demo/a",
            ],
            &[
                "$mcp-server/presence/#",
                "$mcp-server/presence/+/#",
                "$mcp-server/+/demo/#",
                "$mcp-rpc/+/s1/demo/a",
                "$mcp-server/#",
            ],
        );
        check(&rights, Action::Receive, &["$mcp-rpc/me/s1/demo/a"], &["$mcp-rpc/o/s1/demo/a"]);
    }

    #[test]
    fn a_server_that_is_called_instance_opens_no_others() {
        let rights = rights(Given::Nothing, Given::This(&["instance/#"]));
        check(
            &rights,
            Action::Publish,
            &["$mcp-rpc/me/s1/instance/a", "$mcp-rpc/me/$any/instance/instance/a"],
            &["$mcp-rpc/me/$any/instance/a", "$mcp-rpc/other/$any/instance/instance/a"],
        );
    }

    #[test]
    fn who_has_nothing_has_its_own_identifier_alone() {
        let nothing = rights(Given::Nothing, Given::Nothing);
        check(&nothing, Action::Subscribe, &["$mcp-rpc/me/me/x"], &["$mcp-server/presence/+/#"]);
        check(&nothing, Action::Retain, &[], &["$mcp-server/presence/me/a", "$mcp-server/s/a"]);
        let all = rights(Given::Everything, Given::This(&["demo/#"]));
        check(&all, Action::Retain, &["$mcp-server/presence/me/a"], &["$mcp-rpc/o/other/a"]);
        for client_id in ["", "a/b", "+", "presence", "capability", "$any"] {
            let it =
                McpRights::new(client_id, Given::Everything, Given::Everything, None, Effect::Deny);
            check(&it, Action::Subscribe, &["$mcp-server/presence/+/#"], &["$mcp-rpc/+/+/#"]);
            check(&it, Action::Publish, &[], &["$mcp-server/s1/a", "$mcp-server/presence/a/b/c"]);
            let its_own = format!("$mcp-rpc/a/{client_id}/instance/b");
            check(&it, Action::Publish, &[], &[&its_own]);
            let its_own = format!("$mcp-server/{client_id}/#");
            check(&it, Action::Subscribe, &[], &[&its_own]);
        }
    }

    #[test]
    fn roles_are_those_of_all_entries_that_match() {
        let role = |server_name: &str, role: &str| McpRole {
            server_name: server_name.into(),
            role: role.into(),
        };
        let roles = vec![role("demo/#", "reader"), role("demo/calc", "adder"), role("#", "all")];
        let with = |otherwise, roles: &[McpRole]| {
            let (all, roles) = (Given::Everything, Some(roles.to_vec()));
            McpRights::new("me", Given::Everything, all, roles, otherwise)
        };
        let rights = with(Effect::Deny, &roles);
        assert_eq!(rights.roles_at("demo/calc"), Some(vec!["reader", "adder", "all"]));
        assert_eq!(rights.roles_at("$odd"), Some(vec!["all"]));
        assert_eq!(with(Effect::Deny, &roles[..2]).roles_at("other"), Some(Vec::new()));
        assert_eq!(with(Effect::Allow, &roles[..2]).roles_at("other"), None);
        assert_eq!(with(Effect::Allow, &[]).told("mcp-server"), []);
        let told = with(Effect::Deny, &roles[1..2]).told("mcp-client");
        let [("MCP-RBAC", text)] = &told[..] else { panic!("{told:?}") };
        let rbac: serde_json::Value = serde_json::from_str(text).expect("is JSON");
        assert_eq!(rbac, json!([{"server_name": "demo/calc", "role_name": "adder"}]));
    }
}
