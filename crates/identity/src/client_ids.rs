//! Which client identifiers somebody may use. Whoever comes first to one has it as long as his
//! session lasts, and without a rule he could come first to another's.

use std::fmt;

use crate::rule::{Placeholder, Subject};

/// What the identifiers begin with that the server assigns. They cannot be guessed, and so they are
/// nobody else's.
pub const ASSIGNED: &str = "auto-";

/// A client identifier in which `{agent_id}` and other names of who uses it are put in; with `*` at
/// its end, whatever begins so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdPattern {
    text: String,
    pieces: Vec<Piece>,
    is_beginning: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name(Placeholder),
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientIdPatternError {
    /// Something in braces that is not known.
    #[error("`{0}` is not one of {list}", list = Placeholder::list())]
    Placeholder(String),
    /// A star elsewhere than at the end.
    #[error("`*` stands at the end only")]
    Star,
    /// It is empty.
    #[error("it is empty; identifiers that the server assigns are always allowed")]
    Empty,
}

impl fmt::Display for ClientIdPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl ClientIdPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, ClientIdPatternError> {
        if text.is_empty() {
            return Err(ClientIdPatternError::Empty);
        }
        let (body, is_beginning) = match text.strip_suffix('*') {
            Some(body) => (body, true),
            None => (text, false),
        };
        if body.contains('*') {
            return Err(ClientIdPatternError::Star);
        }
        let mut pieces = Vec::new();
        let mut rest = body;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            let end = from.find('}').map_or(from.len(), |end| end + 1);
            let (name, after) = from.split_at(end);
            let placeholder = Placeholder::of(name).filter(|it| *it != Placeholder::ClientId);
            let unknown = || ClientIdPatternError::Placeholder(name.to_owned());
            pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
            pieces.push(Piece::Name(placeholder.ok_or_else(unknown)?));
            rest = after;
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
        Ok(Self { text: text.to_owned(), pieces, is_beginning })
    }

    /// Whether the subject's client identifier is one of these. Who does not have a name that is in
    /// it has none of them.
    pub(crate) fn is_of(&self, subject: &Subject<'_>) -> bool {
        let tools = subject.claims.map_or(&[][..], |claims| &claims.tool_ids);
        let names_tools = self.pieces.contains(&Piece::Name(Placeholder::ToolId));
        match names_tools {
            true => tools.iter().any(|tool| self.fits(subject, Some(tool))),
            false => self.fits(subject, None),
        }
    }

    fn fits<'a>(&'a self, subject: &Subject<'a>, tool: Option<&'a str>) -> bool {
        let mut rest = subject.client_id;
        for piece in &self.pieces {
            let expected = match piece {
                Piece::Text(text) => Some(text.as_str()),
                Piece::Name(name) => name.value(subject, tool).filter(|name| !name.is_empty()),
            };
            match expected.and_then(|expected| rest.strip_prefix(expected)) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        self.is_beginning || rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claims;

    fn fits(pattern: &str, client_id: &str) -> bool {
        let claims = Claims {
            agent_id: Some("scout".into()),
            tool_ids: vec!["echo".into(), "sum".into()],
            ..Claims::default()
        };
        let subject = Subject { client_id, user: Some("sub"), claims: Some(&claims) };
        ClientIdPattern::parse(pattern).expect("is one").is_of(&subject)
    }

    #[test]
    fn names_are_put_in_as_they_are() {
        for (pattern, client_id, expected) in [
            ("{agent_id}", "scout", true),
            ("{agent_id}", "scout2", false),
            ("{agent_id}", "", false),
            ("{agent_id}:*", "scout:7", true),
            ("{agent_id}:*", "scout", false),
            ("{agent_id}:*", "ranger:7", false),
            ("x-{user}-{agent_id}-*", "x-sub-scout-", true),
            ("{tool_id}", "sum", true),
            ("{tool_id}", "other", false),
            ("{server_id}*", "anything", false),
            ("fixed", "fixed", true),
            ("*", "anything", true),
        ] {
            assert_eq!(fits(pattern, client_id), expected, "{pattern} {client_id}");
        }
        // A name is no pattern, whatever is in it.
        let claims = Claims { agent_id: Some("*".into()), ..Claims::default() };
        let subject = Subject { client_id: "other", user: None, claims: Some(&claims) };
        assert!(!ClientIdPattern::parse("{agent_id}").expect("is one").is_of(&subject));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, expected) in [
            ("", "it is empty"),
            ("a*b", "`*` stands at the end only"),
            ("{agent}", "`{agent}` is not one of"),
            ("{client_id}", "`{client_id}` is not one of"),
            ("{agent_id", "`{agent_id` is not one of"),
        ] {
            let error = ClientIdPattern::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
