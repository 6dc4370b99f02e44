//! The topics of MQTT.Agent that concern tools (0.1 §1).

use agentmq_topic::{TopicLimits, check_name};

/// What a topic of MQTT.Agent is, below its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentTopic<'a> {
    /// `mcp/servers/{server}/card`: what a tool server says of itself; its will goes there too.
    ServerCard {
        /// The server's name, which its replicas share.
        server: &'a str,
    },
    /// `mcp/tools/{tool}/card`: what a tool takes and gives.
    ToolCard {
        /// The tool's name.
        tool: &'a str,
    },
    /// `mcp/tools/{tool}/call`: calls of a tool.
    ToolCall {
        /// The tool's name.
        tool: &'a str,
    },
}

/// The namespaces whose topics are MQTT.Agent's, such as `a2a/v1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces(Box<[Box<str>]>);

/// Why something is no namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongNamespace(pub String);

impl<'a> AgentTopic<'a> {
    /// Tells what is below a namespace.
    fn below(rest: &'a str) -> Option<Self> {
        let (kind, rest) = rest.strip_prefix("mcp/")?.split_once('/')?;
        let (name, last) = rest.split_once('/')?;
        match (kind, last) {
            _ if name.is_empty() => None,
            ("servers", "card") => Some(Self::ServerCard { server: name }),
            ("tools", "card") => Some(Self::ToolCard { tool: name }),
            ("tools", "call") => Some(Self::ToolCall { tool: name }),
            _ => None,
        }
    }

    /// Whether it is the topic of a card.
    #[must_use]
    pub const fn is_card(self) -> bool {
        matches!(self, Self::ServerCard { .. } | Self::ToolCard { .. })
    }
}

/// The topic that this is below a namespace.
#[must_use]
pub fn card_topic(namespace: &str, of: AgentTopic<'_>) -> String {
    match of {
        AgentTopic::ServerCard { server } => format!("{namespace}/mcp/servers/{server}/card"),
        AgentTopic::ToolCard { tool } | AgentTopic::ToolCall { tool } => {
            format!("{namespace}/mcp/tools/{tool}/card")
        }
    }
}

/// Where calls of a tool go.
#[must_use]
pub fn call_topic(namespace: &str, tool: &str) -> String {
    format!("{namespace}/mcp/tools/{tool}/call")
}

/// The filter by which replicas of a server share the calls of a tool.
#[must_use]
pub fn shared_call_filter(namespace: &str, tool: &str) -> String {
    format!("$share/mcp-tool-{tool}/{}", call_topic(namespace, tool))
}

/// Where the partial results of a call go.
#[must_use]
pub fn stream_topic(namespace: &str, tool: &str, call_id: &str) -> String {
    format!("{namespace}/mcp/tools/{tool}/stream/{call_id}")
}

/// Where a client reads the answers to its calls.
#[must_use]
pub fn responses_topic(namespace: &str, client: &str) -> String {
    format!("{namespace}/mcp/clients/{client}/responses")
}

/// Whether a tool, a server or a client can be called so: its name is one level of a topic.
#[must_use]
pub fn is_level(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(['/', '+', '#', '\0'])
}

/// Bytes of a name, so that a topic with two of them is well within what topics may have.
const LONGEST_NAME: usize = 1024;

impl Namespaces {
    /// From what a configuration says; none: no topic is MQTT.Agent's.
    pub fn new<T: AsRef<str>>(texts: &[T]) -> Result<Self, WrongNamespace> {
        let checked = texts.iter().map(|text| {
            let text = text.as_ref();
            match check_name(text, &TopicLimits::default()) {
                _ if text.starts_with('/') || text.ends_with('/') => {
                    Err(WrongNamespace("no slash at the beginning and at the end".into()))
                }
                Ok(()) => Ok(Box::from(text)),
                Err(error) => Err(WrongNamespace(error.to_string())),
            }
        });
        Ok(Self(checked.collect::<Result<_, _>>()?))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a topic name, or a filter, is below which namespace.
    #[must_use]
    pub fn find<'t>(&self, topic: &'t str) -> Option<(&'t str, AgentTopic<'t>)> {
        self.0.iter().find_map(|namespace| {
            let rest = topic.strip_prefix(&**namespace)?.strip_prefix('/')?;
            Some((topic.get(..namespace.len())?, AgentTopic::below(rest)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(topic: &str) -> Option<AgentTopic<'_>> {
        let namespaces = Namespaces::new(&["a2a/v1", "lab"]).unwrap();
        namespaces.find(topic).map(|(_, found)| found)
    }

    #[test]
    fn topics_are_told_by_their_place() {
        let server = AgentTopic::ServerCard { server: "files" };
        assert_eq!(find("a2a/v1/mcp/servers/files/card"), Some(server));
        assert_eq!(find("lab/mcp/tools/echo/card"), Some(AgentTopic::ToolCard { tool: "echo" }));
        assert_eq!(find("lab/mcp/tools/echo/call"), Some(AgentTopic::ToolCall { tool: "echo" }));
        for other in [
            "a2a/v2/mcp/tools/echo/call",
            "a2a/v1mcp/tools/echo/call",
            "a2a/v1/mcp/tools/echo/call/x",
            "a2a/v1/mcp/tools//call",
            "a2a/v1/mcp/tools/echo",
            "a2a/v1/mcp/servers/files/call",
            "a2a/v1/mcp/clients/me/responses",
            "a2a/v1",
            "",
        ] {
            assert_eq!(find(other), None, "{other}");
        }
    }

    #[test]
    fn a_namespace_is_a_topic_name() {
        for wrong in ["", "a/+", "#", "/a", "a/", "a\0"] {
            assert!(Namespaces::new(&[wrong]).is_err(), "{wrong:?}");
        }
        assert!(Namespaces::new::<&str>(&[]).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn what_is_built_is_found(name in "[^/+#\0]{1,20}", is_tool in any::<bool>()) {
            let of = match is_tool {
                true => AgentTopic::ToolCard { tool: &name },
                false => AgentTopic::ServerCard { server: &name },
            };
            let topic = card_topic("a2a/v1", of);
            let namespaces = Namespaces::new(&["a2a/v1"]).unwrap();
            prop_assert_eq!(namespaces.find(&topic), Some(("a2a/v1", of)));
        }
    }
}
