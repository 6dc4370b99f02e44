//! Topics that begin with `$`: their first level says whose they are, and nobody publishes below
//! one that means nothing here.

use agentmq_codec::ReasonCode;
use agentmq_topic::ReplyTopic;

use crate::handle_connect::Refused;
use crate::settings::Settings;

/// First levels with `$` that clients publish below, unless the settings say others: those of A2A
/// and of MCP over MQTT, and of answers.
pub const DOLLAR_PREFIXES: [&str; 5] =
    ["$a2a", "$mcp-client", "$mcp-rpc", "$mcp-server", ReplyTopic::PREFIX];

/// Why there is no way for messages of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// Its name exceeds a limit.
    Limit,
    /// It begins with a `$` that means nothing here.
    Prefix,
}

impl NoRoute {
    /// What a client is told who publishes there.
    pub(crate) fn refusal(self, settings: &Settings) -> Refused {
        let why = match self {
            Self::Limit => BEYOND_LIMIT.into(),
            Self::Prefix => settings.known_prefixes().into(),
        };
        (ReasonCode::TopicNameInvalid, why)
    }
}

impl Settings {
    /// Whether a topic begins with no `$`, or with one that means something here. What may be
    /// published below `$SYS` is no question of this: only the broker does.
    pub(crate) fn knows_prefix(&self, topic: &str) -> bool {
        !topic.starts_with('$') || self.is_known(topic)
    }

    #[cold]
    fn is_known(&self, topic: &str) -> bool {
        let first = topic.split('/').next().unwrap_or_default();
        let is_it = |known: &str| known == first || known == ANY;
        first == "$SYS" || self.dollar_prefixes.iter().any(|known| is_it(known))
    }

    fn known_prefixes(&self) -> String {
        if self.dollar_prefixes.is_empty() {
            return "no topics that begin with $ are known here: use a name without $".to_owned();
        }
        let known = self.dollar_prefixes.join(", ");
        format!("of topics that begin with $ only these are known here: {known}")
    }
}

/// Stands for every prefix.
const ANY: &str = "*";
pub(crate) const BEYOND_LIMIT: &str =
    "topic name exceeds topic_levels or topic_bytes; `agentmq limits` shows them";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_whole_first_level() {
        let usual = Settings::default();
        for topic in ["a", "a/$x", "/$x", "$a2a", "$a2a/v1/request/o/u/a", "$mcp-rpc/a", "$SYS/a"] {
            assert!(usual.knows_prefix(topic), "{topic}");
        }
        for topic in ["$", "$/", "$x", "$a2", "$a2ab/c", "$A2A/v1", "$mcp-", "$share/g/a", "$*/a"] {
            assert!(!usual.knows_prefix(topic), "{topic}");
            let dollar_prefixes = vec![ANY.into()];
            assert!(Settings { dollar_prefixes, ..Settings::default() }.knows_prefix(topic));
        }
        let none = Settings { dollar_prefixes: Vec::new(), ..Settings::default() };
        assert!(!none.knows_prefix("$a2a/v1") && none.knows_prefix("a2a/v1"));
        assert!(!none.known_prefixes().contains("only"));
    }
}
