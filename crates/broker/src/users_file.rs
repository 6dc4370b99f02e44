//! The file of users, which `agentmq user` writes and a broker reads: TOML, a table for each.

use std::path::Path;

use agentmq_identity::{CLAIM_NAMES, Claims, HashedPassword, ScramVerifier, User, Users};
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::ConfigError;
use crate::access_text::{Reading, read};

/// The users in a text; `path` is only its name in messages.
pub fn parse(text: &str, path: &Path) -> Result<Users, ConfigError> {
    read(text, path, Reading::users)
}

/// The text that [`parse`] reads.
#[must_use]
pub fn print(users: &Users) -> String {
    let mut text =
        "# Users of an AgentMQ broker (access.users). `agentmq user` writes this file: what \
                    you change stays, comments do not.\n"
            .to_owned();
    for (name, user) in users {
        let mut table = toml::Table::new();
        let password = user.password.as_ref().map(|it| it.as_str().to_owned());
        let scram = user.scram.as_ref().map(ScramVerifier::to_text);
        for (key, value) in [(PASSWORD, password), (SCRAM, scram)] {
            table.extend(value.map(|value| (key.to_owned(), toml::Value::String(value))));
        }
        for (claim, value) in user.claims.to_object() {
            table.extend(toml::Value::try_from(value).ok().map(|value| (claim, value)));
        }
        let mut outer = toml::Table::new();
        outer.insert(name.clone(), toml::Value::Table(table));
        text.push('\n');
        text.push_str(&outer.to_string());
    }
    text
}

impl Reading<'_> {
    fn users(&mut self, document: &DeTable<'_>) -> Users {
        let mut users = Users::new();
        for (name, value) in document {
            let at = value.span().start;
            let Some(table) = value.get_ref().as_table() else {
                self.report(at, "a user is a table: write [NAME]".into());
                continue;
            };
            if let Some(user) = self.user(at, table) {
                users.insert(name.get_ref().to_string(), user);
            }
        }
        users
    }

    fn user(&mut self, at: usize, table: &DeTable<'_>) -> Option<User> {
        let (mut user, mut claims) = (User::default(), Map::new());
        for (key, value) in table {
            let (name, start) = (key.get_ref().as_ref(), value.span().start);
            if !CLAIM_NAMES.contains(&name) && ![PASSWORD, SCRAM].contains(&name) {
                let known = [&CLAIM_NAMES[..], &[PASSWORD, SCRAM]].concat();
                self.unknown(key.span().start, name, &known);
                continue;
            }
            let Some(json) = json(value.get_ref()) else {
                self.report(start, format!("{name} is no text, list or table"));
                continue;
            };
            let text = json.as_str().unwrap_or_default();
            match name {
                PASSWORD => match HashedPassword::read(text) {
                    Ok(password) => user.password = Some(password),
                    Err(error) => self.report(start, format!("{name}: {error}")),
                },
                SCRAM => match ScramVerifier::read(text) {
                    Ok(scram) => user.scram = Some(scram),
                    Err(error) => self.report(start, format!("{name}: {error}")),
                },
                claim => {
                    claims.insert(claim.to_owned(), json);
                }
            }
        }
        match Claims::read(&claims) {
            Ok(claims) => Some(User { claims, ..user }),
            Err(error) => {
                self.report(at, error.to_string());
                None
            }
        }
    }
}

/// A value as JSON has it; `None` for numbers and dates, which no claim is.
fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| json(item.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let member = |(key, value): (&toml::Spanned<_>, &toml::Spanned<_>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                Some((key.to_string(), json(value.get_ref())?))
            };
            Value::Object(table.iter().map(member).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

const PASSWORD: &str = "password";
const SCRAM: &str = "scram";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Users, String> {
        parse(text, Path::new("u.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let claims = serde_json::json!({
            "agent_id": "scout", "tool_id": ["a"], "acl": { "publish": ["a/#"] }
        });
        let user = User {
            password: HashedPassword::new(b"secret", &[1; 16]),
            scram: Some(ScramVerifier::new(b"secret", &[2; 16])),
            claims: Claims::read(claims.as_object().unwrap()).unwrap(),
        };
        let users =
            Users::from([("scout".to_owned(), user), ("a \"b\".c\n".to_owned(), User::default())]);
        assert_eq!(read(&print(&users)), Ok(users));
        assert_eq!(read(""), Ok(Users::new()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, expected) in [
            ("scout = 1", "u.toml:1:9: a user is a table: write [NAME]"),
            ("[scout]\npassword = 'secret'", "u.toml:2:12: password: it is no Argon2 hash"),
            ("[scout]\nscram = 'secret'", "u.toml:2:9: scram: it is no SCRAM-SHA-256 verifier"),
            ("[scout]\npasword = ''", "u.toml:2:1: `pasword` is not known here; did you mean"),
            ("[scout]\nagent_id = ''", "u.toml:1:1: the claim `agent_id` is empty"),
            ("[scout]\nagent_id = 7", "u.toml:2:12: agent_id is no text, list or table"),
            ("[scout", "u.toml:1:"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
