//! The file of who is not let in any more, which `agentmq revoke` writes: TOML, an entry for each.

use std::path::Path;

use agentmq_identity::{Revocation, Revocations, Revoked};
use serde::{Deserialize, Serialize};

use crate::error::Findings;
use crate::{ConfigError, Place};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    revoked: Vec<toml::Spanned<Entry>>,
}

/// One entry. It names one whom it is about.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    token: Option<String>,
    name: Option<String>,
    agent: Option<String>,
    server: Option<String>,
    user: Option<String>,
    org: Option<String>,
    client_id: Option<String>,
    address: Option<std::net::IpAddr>,
    made_until: Option<u64>,
    ends: Option<u64>,
}

/// The revocations in a text; `path` is only its name in messages.
pub fn parse(text: &str, path: &Path) -> Result<Revocations, ConfigError> {
    let mut findings = Findings::default();
    let document = toml::from_str::<Document>(text).unwrap_or_else(|error| {
        findings.report_syntax(path, text, &error);
        Document::default()
    });
    let mut all = Revocations::default();
    for entry in document.revoked {
        let at = entry.span().start;
        let Entry { made_until, ends, .. } = *entry.get_ref();
        match entry.into_inner().of() {
            Some(of) => all.0.push(Revocation { of, made_until, ends }),
            None => {
                let why = "an entry names one of token, name, agent, server, user, org, \
                           client_id and address";
                findings.report(|| Place::in_file(path, text, at), || why.to_owned());
            }
        }
    }
    findings.into_result()?;
    Ok(all)
}

/// The text that [`parse`] reads.
#[must_use]
pub fn print(revocations: &Revocations) -> String {
    let mut text =
        "# Who is not let in any more (access.revocations). `agentmq revoke` writes this \
                    file.\n"
            .to_owned();
    for revocation in &revocations.0 {
        let Revocation { of, made_until, ends } = revocation;
        let mut entry = Entry { made_until: *made_until, ends: *ends, ..Entry::default() };
        match of {
            Revoked::Token(id) => entry.token = Some(id.clone()),
            Revoked::Name(name) => entry.name = Some(name.clone()),
            Revoked::Agent(name) => entry.agent = Some(name.clone()),
            Revoked::Server(name) => entry.server = Some(name.clone()),
            Revoked::User(name) => entry.user = Some(name.clone()),
            Revoked::Organization(name) => entry.org = Some(name.clone()),
            Revoked::ClientId(id) => entry.client_id = Some(id.clone()),
            Revoked::Address(address) => entry.address = Some(*address),
        }
        let table = toml::to_string(&entry).unwrap_or_default();
        text.push_str(&format!("\n[[revoked]]\n{table}"));
    }
    text
}

impl Entry {
    /// Whom it is about; `None` when it names nobody, or several.
    fn of(self) -> Option<Revoked> {
        let mut named = [
            self.token.map(Revoked::Token),
            self.name.map(Revoked::Name),
            self.agent.map(Revoked::Agent),
            self.server.map(Revoked::Server),
            self.user.map(Revoked::User),
            self.org.map(Revoked::Organization),
            self.client_id.map(Revoked::ClientId),
            self.address.map(Revoked::Address),
        ]
        .into_iter()
        .flatten();
        let first = named.next();
        first.filter(|_| named.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Revocations, String> {
        parse(text, Path::new("r.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let of = [
            Revoked::Token("j".into()),
            Revoked::Name("a \"b\"".into()),
            Revoked::Agent("a".into()),
            Revoked::Server("s".into()),
            Revoked::User("u".into()),
            Revoked::Organization("o".into()),
            Revoked::ClientId("c".into()),
            Revoked::Address([10, 0, 0, 1].into()),
        ];
        let made = |of| Revocation { of, made_until: Some(7), ends: None };
        let mut all = Revocations(of.map(made).into());
        let (of, ends) = (Revoked::Agent("b".into()), Some(9));
        all.0.push(Revocation { of, made_until: None, ends });
        assert_eq!(read(&print(&all)), Ok(all));
        assert_eq!(read(""), Ok(Revocations::default()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let names_one = "r.toml:1:1: an entry names one of";
        for (text, expected) in [
            ("[[revoked]]\nmade_until = 1", names_one),
            ("[[revoked]]\nagent = 'a'\norg = 'b'", names_one),
            ("[[revoked]]\nagnet = 'a'", "r.toml:2:1: unknown field `agnet`"),
            ("[[revoked]]\naddress = 'a'", "r.toml:2:11: "),
            ("revoked = 1", "r.toml:1:11: "),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
