//! The file of organisations, which get tokens from the token service or have a plan: TOML, a table
//! for each.

use std::collections::BTreeMap;
use std::path::Path;

use agentmq_admin::Fetcher;
use agentmq_identity::{
    ClaimMapping, HashedSecret, KeySet, Organization, Organizations, Provider, RemoteKeys,
    TokenRules,
};
use serde::Deserialize;

use crate::access_config::is_url;
use crate::config_file::read_at_most;
use crate::error::Findings;
use crate::plans_config::no_plan;
use crate::plans_file::PlansByName;
use crate::{ConfigError, Place};

/// One table of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    plan: Option<String>,
    secret: Option<String>,
    #[serde(default)]
    providers: Vec<ProviderTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderTable {
    name: String,
    issuer: String,
    audience: String,
    keys: String,
    #[serde(default)]
    claims: BTreeMap<String, String>,
    #[serde(default)]
    gives_rights: bool,
}

/// What the file says.
#[derive(Debug, Default)]
pub(crate) struct OrganizationsFile {
    pub(crate) organizations: Organizations,
    /// The names of their plans.
    pub(crate) plans: BTreeMap<String, String>,
}

impl OrganizationsFile {
    /// Whether anybody may get tokens by it, now or once there is an organisation. A file that
    /// names none with a secret key or an identity provider only says which plans they have.
    pub(crate) fn needs_service(&self) -> bool {
        let gets_tokens = |it: &Organization| it.secret.is_some() || !it.providers.is_empty();
        self.organizations.is_empty() || self.organizations.values().any(gets_tokens)
    }
}

/// The organisations of a file, with the keys of their providers; these are the `plans` there are.
pub(crate) fn load(
    path: &Path,
    fetch: &dyn Fn(&str) -> RemoteKeys,
    plans: &PlansByName,
) -> Result<OrganizationsFile, ConfigError> {
    let text = read_at_most(path, LONGEST_FILE)?;
    let mut findings = Findings::default();
    let tables: BTreeMap<String, toml::Spanned<Table>> = match toml::from_str(&text) {
        Ok(tables) => tables,
        Err(error) => {
            findings.report_syntax(path, &text, &error);
            findings.into_result()?;
            return Ok(OrganizationsFile::default());
        }
    };
    let mut all = OrganizationsFile::default();
    for (name, table) in tables {
        let at = table.span().start;
        let mut report = |message: String| {
            findings.report(|| Place::in_file(path, &text, at), || format!("{name}: {message}"));
        };
        let mut table = table.into_inner();
        match table.plan.take() {
            Some(plan) if !plans.contains_key(&plan) => report(no_plan(&plan, plans)),
            Some(plan) => {
                all.plans.insert(name.clone(), plan);
            }
            None => {}
        }
        match organization(table, fetch) {
            Ok(organization) => {
                all.organizations.insert(name, organization);
            }
            Err(message) => report(message),
        }
    }
    findings.into_result()?;
    Ok(all)
}

fn organization(table: Table, fetch: &dyn Fn(&str) -> RemoteKeys) -> Result<Organization, String> {
    let secret = match table.secret {
        None => None,
        Some(text) => Some(
            HashedSecret::read(&text)
                .ok_or("secret is no hash of a secret key: `agentmq org secret NAME` makes one")?,
        ),
    };
    let mut providers = Vec::with_capacity(table.providers.len());
    for table in table.providers {
        let ProviderTable { name, issuer, audience, keys, claims, gives_rights } = table;
        let mut remote = None;
        let mut own = KeySet::default();
        if is_url(&keys) {
            if let Some(problem) = Fetcher::problem(&keys) {
                return Err(format!("{keys}: {problem}"));
            }
            remote = Some(fetch(&keys));
        } else {
            let text = read_at_most(Path::new(&keys), LONGEST_FILE);
            let text = text.map_err(|error| error.to_string())?;
            own = KeySet::read(&text).map_err(|error| format!("{keys}: {error}"))?;
        }
        let mut mapping = ClaimMapping::default();
        for (claim, member) in &claims {
            if !mapping.set(claim, member) {
                return Err(format!("the provider {name}: there is no claim `{claim}`"));
            }
        }
        let rules = TokenRules {
            issuers: vec![issuer],
            audience,
            claims: mapping,
            ..TokenRules::default()
        };
        if name == "secret_key" {
            return Err("a provider cannot be called secret_key".into());
        }
        providers.push(Provider { name, keys: own, remote, rules, gives_rights });
    }
    Ok(Organization { secret, providers })
}

/// Bytes of a file at most.
const LONGEST_FILE: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_file(text: &str) -> Result<OrganizationsFile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.toml");
        std::fs::write(&path, text).unwrap();
        let fetch = |url: &str| RemoteKeys::new(url.to_owned());
        load(&path, &fetch, &crate::plans_file::built_in()).map_err(|error| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    fn read(text: &str) -> Result<Organizations, String> {
        read_file(text).map(|file| file.organizations)
    }

    #[test]
    fn an_organisation_that_only_has_a_plan_needs_no_service() {
        let file = read_file("[acme]\nplan = 'free'\n[other]\n").unwrap();
        assert_eq!(file.plans.into_iter().collect::<Vec<_>>(), [("acme".into(), "free".into())]);
        for (text, expected) in [
            ("", true),
            ("[acme]\nplan = 'free'\n", false),
            (
                "[[acme.providers]]\nname = 'p'\nissuer = 'i'\naudience = ''\nkeys = 'https://idp/k'",
                true,
            ),
        ] {
            assert_eq!(read_file(text).unwrap().needs_service(), expected, "{text}");
        }
    }

    #[test]
    fn organisations_are_read() {
        let secret = HashedSecret::of("sk_1").to_text();
        let all = read(&format!("[acme]\nsecret = \"{secret}\"\n[other]\n")).unwrap();
        assert_eq!(all["acme"].secret, Some(HashedSecret::of("sk_1")));
        assert_eq!(all["other"].secret, None);
    }

    #[test]
    fn a_provider_gives_rights_if_its_table_says_so() {
        for (line, expected) in [("", false), ("gives_rights = true", true)] {
            let keys = "keys = 'https://idp/keys'";
            let text = format!(
                "[[a.providers]]\nname = 'p'\nissuer = 'i'\naudience = ''\n{keys}\n{line}\n"
            );
            assert_eq!(read(&text).unwrap()["a"].providers[0].gives_rights, expected);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let provider =
            "[[a.providers]]\nname = 'p'\nissuer = 'i'\naudience = ''\nkeys = 'none.json'";
        let by_secret = "[[a.providers]]\nname = 'secret_key'\nissuer = 'i'\naudience = ''\n\
                         keys = 'https://idp/keys'";
        for (text, expected) in [
            ("[acme]\nsecret = 'sk_1'", "o.toml:1:1: acme: secret is no hash of a secret key"),
            ("[acme]\nsecrt = ''", "o.toml:2:1: unknown field `secrt`"),
            ("[acme", "o.toml:1:"),
            (
                "[acme]\nplan = 'fre'",
                "o.toml:1:1: acme: there is no plan `fre` (access.plans); did",
            ),
            (provider, "a: cannot read none.json"),
            (by_secret, "a: a provider cannot be called secret_key"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with("o.toml:") && error.contains(expected), "{text}: {error}");
        }
    }
}
