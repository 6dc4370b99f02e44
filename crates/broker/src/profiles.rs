//! Policies that come with the broker: the rules of the protocols that agents speak.

/// The text of a profile.
#[must_use]
pub fn profile(name: &str) -> Option<&'static str> {
    PROFILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of all profiles.
pub fn profile_names() -> impl Iterator<Item = &'static str> {
    PROFILES.iter().map(|(name, _)| *name)
}

const PROFILES: &[(&str, &str)] = &[
    ("mqtt-agent", include_str!("../profiles/mqtt-agent.toml")),
    ("mcp", include_str!("../profiles/mcp.toml")),
    ("a2a", include_str!("../profiles/a2a.toml")),
    ("open-dev", include_str!("../profiles/open-dev.toml")),
    ("deny", include_str!("../profiles/deny.toml")),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use agentmq_identity::{Action, Claims, Policy, Principal};
    use serde_json::{Value, json};

    use super::*;
    use crate::parse_policy;

    fn policy(name: &str) -> Policy {
        parse_policy(&format!("profiles = [\"{name}\"]"), Path::new("p.toml")).unwrap()
    }

    fn client(policy: &Policy, claims: &Value) -> Principal {
        let claims = Claims::read(claims.as_object().unwrap()).unwrap();
        Principal::verified("name", claims).under(policy, "client")
    }

    fn check(principal: &Principal, action: Action, allowed: &[&str], denied: &[&str]) {
        for topic in allowed {
            let decision = principal.authorize(action, topic);
            assert!(decision.allowed, "{topic}: {decision:?}");
        }
        for topic in denied {
            let decision = principal.authorize(action, topic);
            assert!(!decision.allowed, "{topic}: {decision:?}");
        }
    }

    #[test]
    fn every_profile_is_a_policy() {
        for name in profile_names() {
            assert!(!policy(name).rules().is_empty(), "{name}");
        }
        assert!(profile("other").is_none());
    }

    #[test]
    fn mqtt_agent_binds_topics_to_claims() {
        let policy = policy("mqtt-agent");
        let agent = client(&policy, &json!({ "agent_id": "a" }));
        check(
            &agent,
            Action::Subscribe,
            &[
                "a2a/v1/mcp/clients/a/responses",
                "a2a/v1/mcp/tools/echo/stream/call_1",
                "a2a/v1/mcp/tools/+/card",
                "a2a/v1/tasks/a/inbox",
                "a2a/v1/tasks/7/result",
                "response/client",
                "$SYS/clients/client/expiring",
            ],
            &[
                "a2a/v1/mcp/clients/b/responses",
                "a2a/v1/mcp/clients/+/responses",
                "a2a/v1/mcp/tools/echo/stream/+",
                "a2a/v1/mcp/tools/echo/call",
                "a2a/v1/tasks/b/inbox",
                "a2a/v1/tasks/+/result",
                "response/other",
                "a2a/#",
                "#",
            ],
        );
        check(
            &agent,
            Action::Publish,
            &["a2a/v1/mcp/tools/echo/call", "a2a/v1/agents/a/card", "a2a/v1/tasks/b/inbox"],
            &[
                "a2a/v1/mcp/tools/echo/card",
                "a2a/v1/mcp/servers/s/card",
                "a2a/v1/mcp/clients/b/responses",
                "a2a/v1/agents/b/card",
                "a2a/v1/agents/b/status",
            ],
        );
        let server = client(&policy, &json!({ "server_id": "s", "tool_id": ["echo", "sum"] }));
        check(
            &server,
            Action::Publish,
            &[
                "a2a/v1/mcp/servers/s/card",
                "a2a/v1/mcp/tools/sum/card",
                "a2a/v1/mcp/tools/echo/stream/1",
                "a2a/v1/mcp/clients/a/responses",
            ],
            &["a2a/v1/mcp/servers/t/card", "a2a/v1/mcp/tools/other/card", "a2a/v1/tasks/a/inbox"],
        );
        check(
            &server,
            Action::Subscribe,
            &["a2a/v1/mcp/tools/echo/call"],
            &["a2a/v1/mcp/tools/+/call", "a2a/v1/mcp/tools/other/call"],
        );
        let stranger = Principal::named("a").under(&policy, "client");
        check(
            &stranger,
            Action::Subscribe,
            &["response/client"],
            &["a2a/v1/mcp/clients/a/responses", "a2a/v1/mcp/tools/+/card"],
        );
    }

    #[test]
    fn a2a_keeps_agents_and_organisations_apart() {
        let policy = policy("a2a");
        let agent = client(&policy, &json!({ "agent_id": "a", "org_id": "o" }));
        check(
            &agent,
            Action::Publish,
            &["$a2a/v1/discovery/o/u/a", "$a2a/v1/request/o/u/b", "$a2a/v1/reply/o/u/b/1"],
            &["$a2a/v1/discovery/o/u/b", "$a2a/v1/request/p/u/b", "$a2a/v1/event/o/u/b"],
        );
        check(
            &agent,
            Action::Subscribe,
            &["$a2a/v1/discovery/o/u/+", "$a2a/v1/request/o/u/a", "$a2a/v1/reply/o/u/a/#"],
            &["$a2a/v1/discovery/#", "$a2a/v1/request/o/u/b", "$a2a/v1/reply/o/u/b/#", "#"],
        );
        let nobody = client(&policy, &json!({ "agent_id": "a" }));
        check(&nobody, Action::Subscribe, &[], &["$a2a/v1/discovery/o/u/+"]);
    }

    #[test]
    fn the_numbers_of_an_organisation_are_its_own() {
        for name in ["mqtt-agent", "a2a", "mcp"] {
            let policy = policy(name);
            let agent = client(&policy, &json!({ "agent_id": "a", "org_id": "o" }));
            check(
                &agent,
                Action::Subscribe,
                &["$SYS/organizations/o/#", "$SYS/organizations/o/messages/today"],
                &[
                    "$SYS/organizations/p/#",
                    "$SYS/organizations/p/messages/today",
                    "$SYS/organizations/+/plan",
                    "$SYS/organizations/#",
                    "$SYS/#",
                ],
            );
            check(&agent, Action::Publish, &[], &["$SYS/organizations/o/plan"]);
            for claims in [json!({ "agent_id": "a" }), json!({ "agent_id": "a", "org_id": "+" })] {
                let nobody = client(&policy, &claims);
                check(&nobody, Action::Subscribe, &[], &["$SYS/organizations/o/plan"]);
            }
        }
    }

    #[test]
    fn mcp_binds_topics_to_client_identifiers() {
        let policy = policy("mcp");
        let server = client(&policy, &json!({ "server_id": "s" }));
        check(
            &server,
            Action::Publish,
            &["$mcp-server/presence/client/a/b", "$mcp-rpc/x/client/a/b"],
            &["$mcp-server/presence/other/a/b", "$mcp-server/x/a/b", "$mcp-rpc/x/other/a/b"],
        );
        check(
            &server,
            Action::Subscribe,
            &["$mcp-rpc/+/client/a", "$mcp-rpc/+/$any/instance/s", "$mcp-rpc/+/$any/instance/s/b"],
            &["$mcp-rpc/+/$any/instance/a", "$mcp-rpc/+/$any/#", "$mcp-rpc/+/+/s", "$mcp-rpc/#"],
        );
        let agent = client(&policy, &json!({ "agent_id": "a" }));
        check(
            &agent,
            Action::Publish,
            &["$mcp-server/s/a/b", "$mcp-rpc/client/s/a/b", "$mcp-rpc/client/$any/instance/a/b"],
            &[
                "$mcp-server/presence/client/a/b",
                "$mcp-rpc/other/s/a/b",
                "$mcp-rpc/other/$any/instance/a",
            ],
        );
        check(&agent, Action::Publish, &["$mcp-client/presence/client"], &[]);
        check(
            &agent,
            Action::Subscribe,
            &["$mcp-server/presence/+/a/#", "$mcp-rpc/client/s/a/b"],
            &["$mcp-rpc/+/s/a/b", "$mcp-server/client/a"],
        );
    }
}
