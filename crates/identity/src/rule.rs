//! One rule of a policy: whom it speaks of, which topics, and whether it allows or denies.

use std::fmt;

use agentmq_codec::QoS;
use agentmq_topic::{TopicError, TopicLimits, check_filter};

use crate::about::About;
use crate::claims::{self, Claims};

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effect {
    /// May.
    Allow,
    /// May not, whatever another rule allows.
    #[default]
    Deny,
}

/// A rule. The default denies everybody both actions on no topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What logs and Reason Strings call it.
    pub name: String,
    /// What it says.
    pub effect: Effect,
    /// Of publishing, wills included.
    pub publish: bool,
    /// Of publishing messages that are retained, too. One that denies to publish denies both.
    pub retain: bool,
    /// The highest QoS that it allows, to publish and to be granted.
    pub max_qos: QoS,
    /// Of subscribing.
    pub subscribe: bool,
    /// Of which topics.
    pub topics: Vec<Pattern>,
    /// Of these texts alone, and not of what they match: to forbid a subscription to `#`, say, and
    /// not every subscription.
    pub literal: bool,
    /// Of subscriptions without wildcards only: to allow them to who knows a topic's name, which
    /// nobody can guess.
    pub exact: bool,
    /// Who is refused by it is not told why.
    pub silent: bool,
    /// Of whom.
    pub about: About,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            name: String::new(),
            effect: Effect::Deny,
            publish: true,
            retain: true,
            max_qos: QoS::ExactlyOnce,
            subscribe: true,
            topics: Vec::new(),
            literal: false,
            exact: false,
            silent: false,
            about: About::default(),
        }
    }
}

impl Rule {
    /// Whether it comes to something else for one client than for another.
    pub(crate) fn is_personal(&self) -> bool {
        !self.about.is_everybody() || self.topics.iter().any(|it| it.has_placeholders)
    }
}

/// Whom rules are about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Subject<'a> {
    /// The client identifier.
    pub(crate) client_id: &'a str,
    /// The name of the principal, if it has one.
    pub(crate) user: Option<&'a str>,
    /// What it has proved.
    pub(crate) claims: Option<&'a Claims>,
}

/// A topic filter in which whole levels may be placeholders, such as `{agent_id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    has_placeholders: bool,
}

/// What a level of a pattern may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placeholder {
    ClientId,
    User,
    AgentId,
    ToolId,
    ServerId,
    UserId,
    OrgId,
}

impl Placeholder {
    const ALL: [(&'static str, Self); 7] = [
        ("{client_id}", Self::ClientId),
        ("{user}", Self::User),
        ("{agent_id}", Self::AgentId),
        ("{tool_id}", Self::ToolId),
        ("{server_id}", Self::ServerId),
        ("{user_id}", Self::UserId),
        ("{org_id}", Self::OrgId),
    ];

    /// All of them, to be told.
    pub(crate) fn list() -> String {
        Self::ALL.map(|(text, _)| format!("`{text}`")).join(", ")
    }

    /// What a text in braces stands for.
    pub(crate) fn of(level: &str) -> Option<Self> {
        Self::ALL.iter().find(|(text, _)| *text == level).map(|(_, placeholder)| *placeholder)
    }

    /// What it stands for; `tool` is the one of the subject's tools that is looked at.
    pub(crate) fn value<'a>(self, subject: &Subject<'a>, tool: Option<&'a str>) -> Option<&'a str> {
        match self {
            Self::ClientId => Some(subject.client_id),
            Self::User => subject.user,
            Self::AgentId => subject.claims?.agent_id.as_deref(),
            Self::ToolId => tool,
            Self::ServerId => subject.claims?.server_id.as_deref(),
            Self::UserId => subject.claims?.user_id.as_deref(),
            Self::OrgId => subject.claims?.org_id.as_deref(),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is no topic filter.
    #[error("{0}")]
    Filter(#[from] TopicError),
    /// Something in braces that is not known, or not a whole level.
    #[error("`{0}`: a placeholder is a whole level, and one of {list}", list = Placeholder::list())]
    Placeholder(String),
    /// Rules are about what is in a shared subscription.
    #[error("write the filter without `$share/NAME/`: a rule holds for shared subscriptions too")]
    Shared,
}

impl Pattern {
    /// Checks a pattern. Subscriptions are judged by their inner filter, so it has no `$share/`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_filter(text, &TopicLimits::default())?;
        if text.starts_with("$share/") {
            return Err(PatternError::Shared);
        }
        let mut has_placeholders = false;
        for level in text.split('/').filter(|level| level.contains(['{', '}'])) {
            if Placeholder::of(level).is_none() {
                return Err(PatternError::Placeholder(level.to_owned()));
            }
            has_placeholders = true;
        }
        Ok(Self { text: text.to_owned(), has_placeholders })
    }

    /// The filters that it stands for: one for each of the subject's tools where it names them.
    /// None when the subject has no such name, or one that could not be one level of a topic.
    pub(crate) fn filters_for(&self, subject: &Subject<'_>) -> Vec<String> {
        if !self.has_placeholders {
            return vec![self.text.clone()];
        }
        if !self.names_tools() {
            return self.filter_for(subject, None).into_iter().collect();
        }
        let tools = subject.claims.map_or(&[][..], |claims| &claims.tool_ids);
        tools.iter().filter_map(|tool| self.filter_for(subject, Some(tool))).collect()
    }

    fn names_tools(&self) -> bool {
        self.text.split('/').any(|level| Placeholder::of(level) == Some(Placeholder::ToolId))
    }

    /// How many filters it may come to for who has these claims, and their bytes. A name that is
    /// not among the claims counts as the longest that there may be.
    pub(crate) fn size_for(&self, claims: &Claims) -> (usize, usize) {
        if !self.names_tools() {
            return (1, self.bytes_for(claims, None));
        }
        let bytes = claims.tool_ids.iter().map(|tool| self.bytes_for(claims, Some(tool)));
        (claims.tool_ids.len(), bytes.sum())
    }

    fn bytes_for(&self, claims: &Claims, tool: Option<&str>) -> usize {
        let subject = Subject { claims: Some(claims), ..Subject::default() };
        let bytes = |level: &str| match Placeholder::of(level) {
            None => level.len(),
            Some(Placeholder::ClientId) => usize::from(u16::MAX),
            Some(Placeholder::User) => claims::LONGEST,
            Some(known) => known.value(&subject, tool).map_or(0, str::len),
        };
        self.text.split('/').map(|level| bytes(level) + 1).sum()
    }

    fn filter_for<'a>(&'a self, subject: &Subject<'a>, tool: Option<&'a str>) -> Option<String> {
        let mut levels = Vec::new();
        for level in self.text.split('/') {
            let Some(placeholder) = Placeholder::of(level) else {
                levels.push(level);
                continue;
            };
            let name = placeholder.value(subject, tool)?;
            // As the first level it could make the topic one of the broker's own.
            if !is_level(name) || levels.is_empty() && name.starts_with('$') {
                return None;
            }
            levels.push(name);
        }
        Some(levels.join("/"))
    }
}

/// Whether a name is one level of a topic. Wildcards in it would open others' topics, and a `/`
/// would move them.
pub(crate) fn is_level(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '+', '#', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_one_literal_level() {
        let pattern = Pattern::parse("agents/{client_id}/{user}/#").expect("is one");
        let filters = |client_id, user| {
            pattern.filters_for(&Subject { client_id, user, ..Subject::default() })
        };
        assert_eq!(filters("a", Some("b")), ["agents/a/b/#"]);
        let first = Pattern::parse("{client_id}/#").expect("is one");
        let own = Subject { client_id: "$SYS", ..Subject::default() };
        assert!(first.filters_for(&own).is_empty(), "the broker's own topics");
        for name in ["", "+", "#", "a/b", "a#", "a\0"] {
            assert!(filters(name, Some("b")).is_empty(), "{name:?}");
            assert!(filters("a", Some(name)).is_empty(), "{name:?}");
        }
        assert!(filters("a", None).is_empty());
        for name in [".*", "a|b", "%c", "${x}", "{user}", "\u{feff}", "é"] {
            assert_eq!(filters(name, Some("b")), [format!("agents/{name}/b/#")], "as it is");
        }
    }

    #[test]
    fn claims_are_put_in_and_each_tool_has_a_filter() {
        let claims = Claims {
            agent_id: Some("scout".into()),
            tool_ids: ["echo", "a/b", "sum"].map(String::from).into(),
            org_id: Some("acme".into()),
            ..Claims::default()
        };
        let subject = Subject { client_id: "c", user: None, claims: Some(&claims) };
        let filters = |text| Pattern::parse(text).expect("is one").filters_for(&subject);
        assert_eq!(filters("{org_id}/agents/{agent_id}/#"), ["acme/agents/scout/#"]);
        assert_eq!(filters("t/{tool_id}/{tool_id}"), ["t/echo/echo", "t/sum/sum"]);
        for missing in ["a/{server_id}", "a/{user_id}", "a/{user}/{tool_id}"] {
            assert!(filters(missing).is_empty(), "{missing}");
        }
        let nobody = Subject { client_id: "c", ..Subject::default() };
        let tools = Pattern::parse("t/{tool_id}").expect("is one");
        assert!(tools.filters_for(&nobody).is_empty());
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, expected) in [
            ("a/{agent}/b", "`{agent}`: a placeholder is a whole level"),
            ("a/x{user}", "`x{user}`: a placeholder is a whole level"),
            ("$share/g/a", "write the filter without `$share/NAME/`"),
        ] {
            let error = Pattern::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        for text in ["", "a/#/b", "a+"] {
            assert!(matches!(Pattern::parse(text), Err(PatternError::Filter(_))), "{text}");
        }
    }
}
