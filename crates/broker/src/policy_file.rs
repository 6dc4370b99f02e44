//! From the text of a policy file to rules, with the place of everything that is wrong.

use std::io;
use std::path::{Path, PathBuf};

use agentmq_identity::{ClientIdPattern, Effect, McpRules, Policy, Rule};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::ConfigError;
use crate::access_text::{Reading, read};
use crate::config_file::read_at_most;
use crate::error::quoted;
use crate::profiles::{profile, profile_names};

impl crate::AccessConfig {
    /// Reads the policy that it names; `None` when it names none.
    pub fn load_policy(&self) -> Result<Option<Policy>, ConfigError> {
        if self.policy.as_os_str().is_empty() {
            return Ok(None);
        }
        if !self.policy.is_dir() {
            return parse(&read_at_most(&self.policy, LONGEST_FILE)?, &self.policy).map(Some);
        }
        let mut all = Written::default();
        for file in files_of(&self.policy)? {
            let text = read_at_most(&file, LONGEST_FILE)?;
            let mut written = read(&text, &file, Reading::policy)?;
            written.say_where(&file);
            all.add(written);
        }
        Ok(Some(all.policy()))
    }
}

/// The policy in a text; `path` is only its name in messages. A text without rules is an error: it
/// is more likely to be half written than meant to forbid everything.
pub fn parse(text: &str, path: &Path) -> Result<Policy, ConfigError> {
    read(text, path, Reading::policy).map(Written::policy)
}

/// The files that a policy is read from.
pub(crate) fn policy_files(policy: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    if policy.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    if policy.is_dir() { files_of(policy) } else { Ok(vec![policy.to_owned()]) }
}

/// The files of a folder of policies, in the order of their names.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { file: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|it| it == "toml") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(unreadable(io::Error::other("the folder has no *.toml in it")));
    }
    Ok(files)
}

/// What one file says, or several.
#[derive(Debug, Default)]
struct Written {
    rules: Vec<Rule>,
    otherwise: Option<Effect>,
    client_ids: Option<Vec<ClientIdPattern>>,
    mcp: McpRules,
    mcp_otherwise: Option<Effect>,
}

impl Written {
    /// Puts the file's name before those of its rules, which others may use too.
    fn say_where(&mut self, file: &Path) {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        for rule in &mut self.rules {
            rule.name = format!("{stem}: {}", rule.name);
        }
    }

    /// Beside this, what another file says. Where nothing else is said, one that denies is right.
    fn add(&mut self, other: Self) {
        self.rules.extend(other.rules);
        self.otherwise = stricter(self.otherwise, other.otherwise);
        self.mcp_otherwise = stricter(self.mcp_otherwise, other.mcp_otherwise);
        self.mcp.servers.extend(other.mcp.servers);
        self.mcp.clients.extend(other.mcp.clients);
        if let Some(patterns) = other.client_ids {
            self.client_ids.get_or_insert_default().extend(patterns);
        }
    }

    fn policy(self) -> Policy {
        let policy = Policy::new(self.rules, self.otherwise.unwrap_or(Effect::Deny));
        let otherwise = self.mcp_otherwise.unwrap_or(Effect::Deny);
        let policy = policy.with_mcp(McpRules { otherwise, ..self.mcp });
        match self.client_ids {
            Some(patterns) => policy.with_client_ids(patterns),
            None => policy,
        }
    }
}

fn stricter(one: Option<Effect>, other: Option<Effect>) -> Option<Effect> {
    match (one, other) {
        (Some(Effect::Deny), _) | (_, Some(Effect::Deny)) => Some(Effect::Deny),
        (one, another) => one.or(another),
    }
}

/// The rules of a profile's text, which is right: a test reads them all.
fn of_profile(name: &str, text: &str) -> Vec<Rule> {
    let parsed = parse(text, Path::new(name));
    parsed.map(|policy| policy.rules().to_vec()).unwrap_or_default()
}

impl Reading<'_> {
    fn policy(&mut self, document: &DeTable<'_>) -> Written {
        let (mut written, mut rules) = (Written::default(), None);
        for (key, value) in document {
            match key.get_ref().as_ref() {
                "otherwise" => written.otherwise = Some(self.effect("otherwise", value)),
                "client_ids" => written.client_ids = Some(self.client_ids(value)),
                "profiles" => written.rules.extend(self.profiles(value)),
                "rules" => rules = Some(value),
                "mcp_servers" => written.mcp.servers = self.mcp_servers(value),
                "mcp_clients" => written.mcp.clients = self.mcp_clients(value),
                "mcp_otherwise" => {
                    written.mcp_otherwise = Some(self.effect("mcp_otherwise", value));
                }
                other => self.unknown(key.span().start, other, TOP_KEYS),
            }
        }
        if let Some(value) = rules {
            let items = self.tables("rules", value);
            let items = items.iter().enumerate();
            written.rules.extend(items.filter_map(|(index, item)| self.rule(index, item)));
        }
        if written.rules.is_empty() && written.mcp.is_empty() && self.is_right() {
            let at = rules.map_or(0, |value| value.span().start);
            let why = "there are no rules: write [[rules]] or profiles = [\"mqtt-agent\"], or do \
                       not set access.policy";
            self.report(at, why.into());
        }
        written
    }

    /// The tables of an array of them.
    pub(crate) fn tables<'v, 't>(
        &mut self,
        key: &str,
        value: &'v Spanned<DeValue<'t>>,
    ) -> &'v [Spanned<DeValue<'t>>] {
        let Some(items) = value.get_ref().as_array() else {
            self.report(value.span().start, format!("{key} are tables: write [[{key}]]"));
            return &[];
        };
        items
    }

    pub(crate) fn client_ids(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<ClientIdPattern> {
        let mut patterns = Vec::new();
        for text in self.list("client_ids", value) {
            match ClientIdPattern::parse(&text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => {
                    self.report(value.span().start, format!("{}: {error}", quoted(&text)));
                }
            }
        }
        patterns
    }

    /// The rules of profiles that come with the broker.
    fn profiles(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<Rule> {
        let mut rules = Vec::new();
        for name in self.list("profiles", value) {
            match profile(&name) {
                Some(text) => rules.extend(of_profile(&name, text)),
                None => {
                    let known = profile_names().collect::<Vec<_>>().join(", ");
                    let why = format!("there is no profile {}: {known}", quoted(&name));
                    self.report(value.span().start, why);
                }
            }
        }
        rules
    }
}

/// Bytes of a file at most: more than a hundred thousand rules.
const LONGEST_FILE: usize = 16 * 1024 * 1024;
const TOP_KEYS: &[&str] = &[
    "client_ids",
    "otherwise",
    "profiles",
    "rules",
    "mcp_servers",
    "mcp_clients",
    "mcp_otherwise",
];

#[cfg(test)]
mod tests {
    use agentmq_codec::QoS;
    use agentmq_identity::{Action, Principal};

    use super::*;

    fn policy(text: &str) -> Result<Policy, String> {
        parse(text, Path::new("p.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_are_read() {
        let policy = policy(
            "otherwise = 'deny'\n[[rules]]\nname = 'own'\neffect = 'allow'\n\
             topics = ['agents/{client_id}/#', 'news']\nusers = ['scout']\n\
             [[rules]]\neffect = 'deny'\nactions = ['publish']\ntopics = ['news']\n",
        )
        .expect("is right");
        let scout = Principal::named("scout").under(&policy, "a");
        assert!(scout.authorize(Action::Publish, "agents/a/b").allowed);
        assert!(scout.authorize(Action::Subscribe, "news").allowed);
        let refused = scout.authorize(Action::Publish, "news");
        assert_eq!((refused.rule, refused.reason), ("2", "rule `2` denies news"));
        assert!(!scout.authorize(Action::Publish, "agents/b/c").allowed);
    }

    #[test]
    fn the_highest_qos_is_two_unless_a_rule_says_another() {
        let highest = |rest: &str| {
            let rules = format!("[[rules]]\neffect = 'allow'\ntopics = ['#']\n{rest}");
            policy(&rules).expect("is right").rules()[0].max_qos
        };
        assert_eq!(highest(""), QoS::ExactlyOnce);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            assert_eq!(highest(&format!("max_qos = {}", qos as u8)), qos);
        }
    }

    #[test]
    fn rules_of_mcp_are_read() {
        let policy = policy(
            "otherwise = 'allow'\nmcp_otherwise = 'allow'\n\
             [[mcp_servers]]\nclient_ids = ['calc-*']\nserver_name = '{user}/calc'\n\
             [[mcp_clients]]\nusers = ['scout']\nserver_name_filters = ['acme/#']\n\
             rbac = [{ server_name = 'acme/+', role_name = 'reader' }]\n",
        )
        .expect("is right");
        let scout = |client_id| Principal::named("scout").under(&policy, client_id);
        let server = scout("calc-1");
        let server = server.mcp().expect("is spoken of");
        assert_eq!(server.server_name(), Some("scout/calc"));
        assert_eq!(server.roles_at("acme/calc"), Some(vec!["reader"]));
        assert_eq!(server.roles_at("other"), None, "mcp_otherwise");
        assert_eq!(scout("other").mcp().expect("is spoken of").server_name(), None);
        assert!(Principal::named("other").under(&policy, "other").mcp().is_none());
    }

    #[test]
    fn a_folder_is_all_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let load = || {
            let policy = folder.path().to_owned();
            crate::AccessConfig { policy, ..Default::default() }.load_policy()
        };
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert!(load().unwrap_err().to_string().contains("the folder has no *.toml in it"));
        let rule = |effect: &str, topic: &str| {
            format!("[[rules]]\neffect = '{effect}'\ntopics = ['{topic}']\n")
        };
        let ids = |id: &str| format!("client_ids = ['{id}']\n");
        write("10-all.toml", &format!("{}otherwise = 'allow'\n{}", ids("a"), rule("deny", "x")));
        write("20-team.toml", &format!("{}{}", ids("{user}"), rule("allow", "team/{user}")));
        write("20-team.toml.orig", "what an editor leaves");
        let policy = load().unwrap().expect("rules");
        let decide = |topic| {
            let scout = Principal::named("scout").under(&policy, "scout");
            let decision = scout.authorize(Action::Publish, topic);
            (decision.allowed, decision.rule.to_owned())
        };
        assert_eq!(decide("x"), (false, "10-all: 1".into()));
        assert_eq!(decide("team/scout"), (true, "20-team: 1".into()));
        assert!(decide("y").0 && Principal::named("scout").may_be(&policy, "scout"));
        write("30.toml", &format!("otherwise = 'deny'\n{}", rule("deny", "z")));
        assert_eq!(load().unwrap().expect("rules").otherwise(), Effect::Deny);
        write("40.toml", "rules = 1");
        assert!(load().unwrap_err().to_string().contains("40.toml:1:9: rules are tables"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, expected) in [
            ("", "p.toml:1:1: there are no rules"),
            ("# nothing\r\n", "p.toml:1:1: there are no rules"),
            ("rules = []", "p.toml:1:9: there are no rules"),
            ("\u{feff}", "p.toml:1:1: there are no rules"),
            ("rules = 1", "p.toml:1:9: rules are tables: write [[rules]]"),
            ("rules = [1]", "p.toml:1:10: a rule is a table"),
            ("profiles = ['mqtt']", "p.toml:1:12: there is no profile `mqtt`: mqtt-agent, mcp"),
            (
                "[[rules]]\neffect = 'deny'\ntopics = ['#']\nretain = false",
                "p.toml:4:10: retain = false narrows what a rule allows: this one denies",
            ),
            (
                "[[rules]]\nmax_qos = 1\neffect = 'deny'\ntopics = ['#']",
                "p.toml:2:11: max_qos = 1 narrows what a rule allows: this one denies",
            ),
            (
                "[[rules]]\neffect = 'allow'\ntopics = ['#']\nmax_qos = 3",
                "p.toml:4:11: max_qos: 3 is out of range: write a whole number from 0 to 2",
            ),
            (
                "[[rules]]\neffect = 'deny'\ntopics = ['#']\nmax_qos = -1",
                "p.toml:4:11: max_qos: -1 is out of range: write a whole number from 0 to 2",
            ),
            (
                "[[rules]]\neffect = 'allow'\ntopics = ['#']\nmax_qos = '1'",
                "p.toml:4:11: max_qos: write a whole number from 0 to 2 instead of a text",
            ),
            (
                "[[rules]]\neffect = 'allow'\ntopics = ['#']\nmaxqos = 1",
                "p.toml:4:1: `maxqos` is not known here; did you mean `max_qos`?",
            ),
            ("client_ids = ['{agent}']", "p.toml:1:14: `{agent}`: `{agent}` is not one of"),
            ("rule = 1", "p.toml:1:1: `rule` is not known here; did you mean `rules`?"),
            ("[[rules]]\neffect = 'allow'", "p.toml:1:1: the rule has no topics"),
            ("[[rules]]\ntopics = ['#']", "p.toml:1:1: the rule has no effect"),
            ("[[rules]]\neffect = 'allow'\ntopics = []", "p.toml:3:10: topics: the list is empty"),
            (
                "[[rules]]\neffect = 'alow'\ntopics = ['#']",
                "p.toml:2:10: effect: `alow` is not known: write one of \"allow\", \"deny\"; did \
                 you mean \"allow\"?",
            ),
            (
                "[[rules]]\neffect = 'allow'\ntopics = ['a/{agent}']",
                "p.toml:3:10: `a/{agent}`: `{agent}`: a placeholder is a whole level, and one of",
            ),
            (
                "[[rules]]\neffect = 'allow'\nactions = ['subscibe']\ntopics = ['#']",
                "p.toml:3:11: `subscibe` is not known here; did you mean `subscribe`?",
            ),
            (
                "[[rules]]\neffect = 'deny'\ntopic = ['#']\ntopics = ['#']",
                "p.toml:3:1: `topic` is not known here; did you mean `topics`?",
            ),
            ("[[rules]", "p.toml:1:9: "),
            ("mcp_servers = 1", "p.toml:1:15: mcp_servers are tables: write [[mcp_servers]]"),
            ("mcp_clients = [1]", "p.toml:1:16: a rule is a table: write [[mcp_clients]]"),
            ("[[mcp_servers]]\nusers = ['a']", "p.toml:1:1: the rule has no server_name"),
            ("[[mcp_clients]]\nusers = ['a']", "p.toml:1:1: the rule gives nothing: write"),
            (
                "[[mcp_servers]]\nserver_name = 'a/+'",
                "p.toml:2:15: server_name: `a/+`: may not contain + or #",
            ),
            (
                "[[mcp_clients]]\nserver_name_filters = ['a/{org}']",
                "p.toml:2:23: server_name_filters: `a/{org}`: `{org}`: a placeholder is a whole",
            ),
            (
                "[[mcp_clients]]\nrbac = ['reader']",
                "p.toml:2:9: a role is a table: { server_name = \"a/#\", role_name = \"reader\" }",
            ),
            (
                "[[mcp_clients]]\nrbac = [{ server_name = '#' }]",
                "p.toml:2:9: the role has no role_name",
            ),
            (
                "[[mcp_clients]]\nrbac = [{ server_nam = '#', role_name = 'a' }]",
                "p.toml:2:11: `server_nam` is not known here; did you mean `server_name`?",
            ),
            (
                "[[mcp_servers]]\nserver_name = 'a'\nuser = ['b']",
                "p.toml:3:1: `user` is not known here; did you mean `users`?",
            ),
        ] {
            let error = policy(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
