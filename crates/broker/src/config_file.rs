//! From the text of `agentmq.toml` to settings, with the place of each.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::LISTENERS;
use crate::error::{Findings, quoted};
use crate::key::{Target, fitting};
use crate::shared_config::STRATEGIES;
use crate::suggestion::nearest;
use crate::value::Allowed;
use crate::{Config, ConfigError, ListenerConfig, Place, Problem, ShareStrategy};

/// A configuration in the making.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) config: Config,
    pub(crate) findings: Findings,
    /// Where each key was set last.
    pub(crate) origins: BTreeMap<String, Origin>,
}

/// Where a key was set. Line and column are only counted when somebody is told.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// At this byte of the file.
    File(usize),
    /// By this variable.
    Environment(String),
}

impl Reading {
    /// Reports a broken rule where the key, or else what encloses it, was set.
    pub(crate) fn report(&mut self, key: &str, message: String, text: &str, path: &Path) {
        let mut enclosing = Some(key);
        let origin = loop {
            let Some(name) = enclosing else { break None };
            if let Some(origin) = self.origins.get(name) {
                break Some(origin);
            }
            enclosing = name.rsplit_once('.').map(|(outer, _)| outer);
        };
        let place = || match origin {
            Some(Origin::File(offset)) => Place::in_file(path, text, *offset),
            Some(Origin::Environment(name)) => Place::Environment(name.clone()),
            None => Place::Key(key.to_owned()),
        };
        self.findings.report(place, || message);
    }
}

/// The text of a configuration.
pub(crate) fn read(path: &Path) -> Result<String, ConfigError> {
    read_at_most(path, LONGEST_FILE)
}

/// The text of a file that has at most so many bytes.
pub(crate) fn read_at_most(path: &Path, maximum: usize) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { file: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(maximum as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > maximum {
        return Err(ConfigError::TooLong { file: path.to_owned(), maximum });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        let place = Place::in_file(path, &text, valid);
        let message = "the file is not UTF-8 from here on".to_owned();
        ConfigError::Invalid { problems: vec![Problem { place, message }], omitted: 0 }
    })
}

/// Applies the text of a file to the configuration.
pub(crate) fn apply(text: &str, path: &Path, reading: &mut Reading) {
    let file = File { text, path };
    if text.len() > LONGEST_FILE {
        let message = || format!("the file is longer than {LONGEST_FILE} bytes");
        reading.findings.report(file.place(0), message);
        return;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        reading.findings.report_syntax(path, text, error);
    }
    if errors.is_empty() {
        file.document(document.get_ref(), reading);
    }
}

/// The text that is being read, for origins.
#[derive(Clone, Copy)]
struct File<'a> {
    text: &'a str,
    path: &'a Path,
}

impl<'a> File<'a> {
    fn place(self, offset: usize) -> impl Fn() -> Place + Copy + use<'a> {
        move || Place::in_file(self.path, self.text, offset)
    }

    fn document(self, document: &DeTable<'_>, reading: &mut Reading) {
        for (key, value) in document {
            match key.get_ref().as_ref() {
                "listeners" => self.listeners(value, reading),
                "shared" => self.shared(value, reading),
                _ => {
                    let Reading { config, findings, origins } = reading;
                    Branch { file: self, findings, origins, prefix: "" }
                        .entry("", key, value, config);
                }
            }
        }
    }

    fn listeners(self, value: &Spanned<DeValue<'_>>, reading: &mut Reading) {
        let Reading { config, findings, origins } = reading;
        let place = self.place(value.span().start);
        origins.insert("listeners".into(), Origin::File(value.span().start));
        let Some(items) = value.get_ref().as_array() else {
            findings.report(place, || "listeners are tables: write [[listeners]]".into());
            return;
        };
        config.listeners.clear();
        for (index, item) in items.iter().enumerate().take(LISTENERS + 1) {
            let place = self.place(item.span().start);
            let prefix = format!("listeners.{index}.");
            origins.insert(format!("listeners.{index}"), Origin::File(item.span().start));
            let mut listener = ListenerConfig::default();
            match item.get_ref().as_table() {
                Some(table) => {
                    let mut branch = Branch { file: self, findings, origins, prefix: &prefix };
                    branch.table("", table, &mut listener);
                }
                None => findings.report(place, || {
                    "a listener is a table: write { url = \"mqtt://127.0.0.1:1883\" }".into()
                }),
            }
            config.listeners.push(listener);
        }
    }

    /// `[shared]` has, beside its keys, `groups`, whose names are the author's own.
    fn shared(self, value: &Spanned<DeValue<'_>>, reading: &mut Reading) {
        let Reading { config, findings, origins } = reading;
        let Some(table) = value.get_ref().as_table() else {
            findings.report(self.place(value.span().start), || "write [shared]".into());
            return;
        };
        for (key, value) in table {
            if key.get_ref() != "groups" {
                Branch { file: self, findings, origins, prefix: "" }
                    .entry("shared.", key, value, config);
                continue;
            }
            let Some(groups) = value.get_ref().as_table() else {
                findings.report(self.place(value.span().start), || "write [shared.groups]".into());
                continue;
            };
            for (name, value) in groups {
                let place = self.place(value.span().start);
                let strategy = Allowed::Choice(STRATEGIES)
                    .read(value.get_ref())
                    .and_then(fitting::<ShareStrategy>);
                match strategy {
                    Ok(strategy) => {
                        let name = name.get_ref().to_string();
                        origins.insert(
                            format!("shared.groups.{name}"),
                            Origin::File(value.span().start),
                        );
                        config.shared.groups.insert(name, strategy);
                    }
                    Err(message) => findings.report(place, || message),
                }
            }
        }
    }
}

/// One table whose keys are known.
struct Branch<'a, 'f> {
    file: File<'f>,
    findings: &'a mut Findings,
    origins: &'a mut BTreeMap<String, Origin>,
    /// What stands before the target's own key names in `origins`.
    prefix: &'a str,
}

impl Branch<'_, '_> {
    fn table<T: Target>(&mut self, path: &str, table: &DeTable<'_>, target: &mut T) {
        for (key, value) in table {
            self.entry(path, key, value, target);
        }
    }

    /// One key of the table at `path`, which is empty or ends with a dot. Descends only into
    /// tables that some key lies in, so the depth is that of the keys.
    fn entry<T: Target>(
        &mut self,
        path: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        target: &mut T,
    ) {
        if self.findings.is_full() {
            self.findings.report(|| Place::Key(String::new()), String::new);
            return;
        }
        let own = key.get_ref().as_ref();
        let name = format!("{path}{own}");
        // A key with a dot in quotes is not the path that it looks like.
        let known = !own.contains('.');
        if let Some(allowed) = T::allowed(&name).filter(|_| known) {
            let place = self.file.place(value.span().start);
            let set = allowed.read(value.get_ref()).and_then(|value| target.set(&name, value));
            match set {
                Ok(()) => {
                    let origin = Origin::File(value.span().start);
                    self.origins.insert(format!("{}{name}", self.prefix), origin);
                }
                Err(message) => self.findings.report(place, || format!("{name}: {message}")),
            }
            return;
        }
        let inner = format!("{name}.");
        if known && T::names().iter().any(|key| key.starts_with(&inner)) {
            let place = self.file.place(value.span().start);
            match value.get_ref().as_table() {
                Some(table) => {
                    let origin = Origin::File(value.span().start);
                    self.origins.insert(format!("{}{name}", self.prefix), origin);
                    self.table(&inner, table, target);
                }
                None => {
                    self.findings.report(place, || format!("{name} is a table: write [{name}]"))
                }
            }
            return;
        }
        let place = self.file.place(key.span().start);
        let in_listener = !self.prefix.is_empty();
        self.findings.report(place, || unknown::<T>(path, own, in_listener));
    }
}

/// The message about a key that nobody knows.
fn unknown<T: Target>(path: &str, own: &str, in_listener: bool) -> String {
    let name = format!("{path}{own}");
    let names = T::names();
    let siblings = names.iter().filter_map(|known| {
        let rest = known.strip_prefix(path)?;
        Some(rest.split_once('.').map_or(rest, |(section, _)| section))
    });
    let more: &[&str] = match path {
        "" if !in_listener => &["listeners"],
        "shared." => &["groups"],
        _ => &[],
    };
    let near = nearest(own, siblings.chain(more.iter().copied()))
        .map(|sibling| format!("{path}{sibling}"))
        // The right name in the wrong table.
        .or_else(|| {
            let leaf = |known: &&String| known.rsplit('.').next() == Some(own);
            names.iter().find(leaf).cloned()
        });
    let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let place = if in_listener { " of a listener" } else { "" };
    format!("unknown key {}{place}{near}", quoted(&name))
}

/// Bytes of a file at most.
const LONGEST_FILE: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;

    fn error(text: &str) -> String {
        Config::parse(text, Path::new("a.toml"), &Environment::new())
            .expect_err("is wrong")
            .to_string()
    }

    #[test]
    fn unknown_keys_are_told_with_what_was_meant() {
        for (text, expected) in [
            ("lisener = 1", "a.toml:1:1: unknown key `lisener`; did you mean `listeners`?"),
            (
                "[sesion]\nhold_on_resume_ms = 1",
                "a.toml:1:2: unknown key `sesion`; did you mean `session`?",
            ),
            (
                "[limits]\n  paket_bytes = 1",
                "a.toml:2:3: unknown key `limits.paket_bytes`; did you mean `limits.packet_bytes`?",
            ),
            (
                "packet_bytes = 1",
                "a.toml:1:1: unknown key `packet_bytes`; did you mean `limits.packet_bytes`?",
            ),
            (
                "[[listeners]]\nurl = 'mqtt://127.0.0.1'\ntls.certificate = 'a'",
                "a.toml:3:5: unknown key `tls.certificate` of a listener",
            ),
            (
                "[[listeners]]\nurl = 'mqtt://127.0.0.1'\nallow_anonymus = true",
                "a.toml:3:1: unknown key `allow_anonymus` of a listener; did you mean \
                 `allow_anonymous`?",
            ),
            (
                "shared.group.a = 'sticky'",
                "a.toml:1:8: unknown key `shared.group`; did you mean `shared.groups`?",
            ),
            ("'log.level' = 'info'", "a.toml:1:1: unknown key `log.level`"),
            ("xyzzyx = 1", "a.toml:1:1: unknown key `xyzzyx`"),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn wrong_types_and_ranges_are_told_with_what_is_allowed() {
        for (text, expected) in [
            (
                "threads.shards = 'four'",
                "a.toml:1:18: threads.shards: write a whole number from 0 to 64 instead of a text",
            ),
            ("log = 1", "a.toml:1:7: log is a table: write [log]"),
            (
                "log.level = {}",
                "a.toml:1:13: log.level: write one of \"error\", \"warn\", \"info\", \
                 \"debug\", \"trace\" instead of a table",
            ),
            (
                "limits.topic_levels = 65536",
                "a.toml:1:23: limits.topic_levels: 65536 is out of range: write a whole \
                 number from 1 to 65535",
            ),
            ("shared = 1", "a.toml:1:10: write [shared]"),
            ("shared.groups = 1", "a.toml:1:17: write [shared.groups]"),
            ("listeners = 1", "a.toml:1:13: listeners are tables: write [[listeners]]"),
            (
                "listeners = ['mqtt://127.0.0.1']",
                "a.toml:1:14: a listener is a table: write { url = \"mqtt://127.0.0.1:1883\" }",
            ),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once_in_one_line_each() {
        let text = error("z = 1\nb = 2\n[limits]\nconnections = 0");
        let places: Vec<_> = text.lines().map(|line| &line[..8]).collect();
        assert_eq!(places, ["a.toml:1", "a.toml:2", "a.toml:4"], "{text}");
        assert!(error("[a]\n[a]").lines().all(|line| line.starts_with("a.toml:2:")));
    }

    #[test]
    fn a_long_or_deep_file_is_refused_in_good_order() {
        assert!(error(&" ".repeat(LONGEST_FILE + 1)).contains("longer than"));
        assert!(error(&format!("a = {}", "[".repeat(100_000))).starts_with("a.toml:1:"));
        assert!(error(&format!("{}a = 1", "a.".repeat(100_000))).starts_with("a.toml:1:"));
        assert!(error(&format!("[{}a]", "a.".repeat(100_000))).starts_with("a.toml:1:"));
        let many: String = (0..50_000).map(|index| format!("key_{index} = 1\n")).collect();
        assert!(error(&many).ends_with("and 49950 more"));
        let groups: String = (0..50_000).map(|index| format!("g{index} = 'x'\n")).collect();
        assert!(error(&format!("[shared.groups]\n{groups}")).ends_with("and 49950 more"));
    }
}
