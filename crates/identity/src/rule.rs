//! One rule of a policy: whom it speaks of, which topics, and whether it allows or denies.

use std::fmt;

use agentmq_topic::{TopicError, TopicLimits, check_filter};

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
    /// Of subscribing.
    pub subscribe: bool,
    /// Of which topics.
    pub topics: Vec<Pattern>,
    /// Of these texts alone, and not of what they match: to forbid a subscription to `#`, say, and
    /// not every subscription.
    pub literal: bool,
    /// Who is refused by it is not told why.
    pub silent: bool,
    /// Of which users; `None`: of everybody, also without a name.
    pub users: Option<Vec<String>>,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            name: String::new(),
            effect: Effect::Deny,
            publish: true,
            subscribe: true,
            topics: Vec::new(),
            literal: false,
            silent: false,
            users: None,
        }
    }
}

impl Rule {
    /// Whether it comes to something else for one client than for another.
    pub(crate) fn is_personal(&self) -> bool {
        self.users.is_some() || self.topics.iter().any(|it| it.has_placeholders)
    }

    pub(crate) fn is_about(&self, subject: &Subject<'_>) -> bool {
        let Some(users) = &self.users else { return true };
        subject.user.is_some_and(|user| users.iter().any(|known| known == user))
    }
}

/// Whom rules are about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Subject<'a> {
    /// The client identifier.
    pub(crate) client_id: &'a str,
    /// The name of the principal, if it has one.
    pub(crate) user: Option<&'a str>,
}

/// A topic filter in which whole levels may be placeholders: `{client_id}` or `{user}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    has_placeholders: bool,
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
    #[error("`{0}`: a placeholder is a whole level, `{{client_id}}` or `{{user}}`")]
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
            if level != CLIENT_ID && level != USER {
                return Err(PatternError::Placeholder(level.to_owned()));
            }
            has_placeholders = true;
        }
        Ok(Self { text: text.to_owned(), has_placeholders })
    }

    /// The filter that it stands for; `None` when the subject has no such name, or one that could
    /// not be one level of a topic: then it stands for no topic at all.
    pub(crate) fn filter_for(&self, subject: &Subject<'_>) -> Option<String> {
        if !self.has_placeholders {
            return Some(self.text.clone());
        }
        let mut levels = Vec::new();
        for level in self.text.split('/') {
            let name = match level {
                CLIENT_ID => subject.client_id,
                USER => subject.user?,
                level => {
                    levels.push(level);
                    continue;
                }
            };
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
fn is_level(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '+', '#', '\0'])
}

const CLIENT_ID: &str = "{client_id}";
const USER: &str = "{user}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_one_literal_level() {
        let pattern = Pattern::parse("agents/{client_id}/{user}/#").expect("is one");
        let filter = |client_id, user| pattern.filter_for(&Subject { client_id, user });
        assert_eq!(filter("a", Some("b")).as_deref(), Some("agents/a/b/#"));
        let first = Pattern::parse("{client_id}/#").expect("is one");
        let own = Subject { client_id: "$SYS", user: None };
        assert_eq!(first.filter_for(&own), None, "the broker's own topics");
        for name in ["", "+", "#", "a/b", "a#", "a\0"] {
            assert_eq!(filter(name, Some("b")), None, "{name:?}");
            assert_eq!(filter("a", Some(name)), None, "{name:?}");
        }
        assert_eq!(filter("a", None), None);
        for name in [".*", "a|b", "%c", "${x}", "{user}", "\u{feff}", "é"] {
            assert_eq!(filter(name, Some("b")), Some(format!("agents/{name}/b/#")), "as it is");
        }
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
