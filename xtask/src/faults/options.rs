//! What `cargo xtask faults` understands.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Options {
    pub what: What,
    /// The broker's program; without it ours is built, or another's is looked for by its name.
    pub binary: Option<PathBuf>,
    pub broker: Kind,
    /// Without any, all.
    pub experiments: Vec<String>,
    pub count: Option<u32>,
    pub seed: Option<u64>,
    pub short: bool,
    /// How long a part of the campaign takes at most.
    pub minutes: Option<u32>,
    /// Where the campaign's ledger is.
    pub ledger: Option<PathBuf>,
}

/// What is wanted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Experiments, as they are named.
    #[default]
    Experiments,
    /// A part of the long campaign.
    Resume,
    /// The campaign's tables.
    Report,
    /// The system calls of brokers, counted.
    Syscalls,
}

/// A broker that the experiments know how to start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    #[default]
    AgentMq,
    /// Ours with `durability = "os"`.
    AgentMqOs,
    Mosquitto,
    /// Synced before it acknowledges.
    Nats,
    /// Synced every two minutes.
    NatsDefault,
}

impl Kind {
    fn named(name: &str) -> Result<Self> {
        let found = KINDS.iter().find(|(known, _, _)| *known == name);
        let known = || KINDS.map(|(known, _, _)| known).join(", ");
        found
            .map(|(_, kind, _)| *kind)
            .with_context(|| format!("--broker knows {}, not `{name}`", known()))
    }

    fn row(self) -> (&'static str, Self, &'static str) {
        KINDS.into_iter().find(|(_, kind, _)| *kind == self).unwrap_or(KINDS[0])
    }

    fn name(self) -> &'static str {
        self.row().0
    }

    /// The program to look for.
    pub fn program(self) -> &'static str {
        self.row().2
    }

    /// Whether it is what this repository holds.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::AgentMq | Self::AgentMqOs)
    }
}

impl Options {
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let mut value =
                || rest.next().with_context(|| format!("{option} wants something behind it"));
            let number = |text: &str| {
                text.parse::<u64>().with_context(|| format!("{option} {text}: not a number"))
            };
            match option.as_str() {
                "--experiment" => options.experiments.push(value()?.clone()),
                "--count" => {
                    let count = number(value()?)?;
                    options.count = Some(u32::try_from(count).context("--count is too large")?);
                }
                "--seed" => options.seed = Some(number(value()?)?),
                "--short" => options.short = true,
                "--binary" => options.binary = Some(value()?.into()),
                "--broker" => options.broker = Kind::named(value()?)?,
                "--resume" => options.what = What::Resume,
                "--report" => options.what = What::Report,
                "--syscalls" => options.what = What::Syscalls,
                "--minutes" => {
                    let minutes = number(value()?)?;
                    options.minutes = Some(u32::try_from(minutes).context("--minutes is large")?);
                }
                "--ledger" => options.ledger = Some(value()?.into()),
                other => bail!("no option {other}; `cargo xtask help` lists them"),
            }
        }
        options.check()?;
        Ok(options)
    }

    /// What the campaign's plan decides must not be asked for.
    fn check(&self) -> Result<()> {
        let is_campaign = matches!(self.what, What::Resume | What::Report);
        let is_about_it = self.minutes.is_some() || self.ledger.is_some();
        ensure!(is_campaign || !is_about_it, "--minutes and --ledger go with --resume or --report");
        let is_open = self.experiments.is_empty()
            && self.count.is_none()
            && self.seed.is_none()
            && !self.short
            && self.broker == Kind::default();
        ensure!(
            is_open || self.what == What::Experiments,
            "--resume, --report and --syscalls have a plan of their own (--resume: \
             xtask/src/faults/plan.rs), and take no experiment, count, seed or broker"
        );
        Ok(())
    }

    /// The same for the program that runs the experiments.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec!["--broker".to_owned(), self.broker.name().to_owned()];
        for experiment in &self.experiments {
            words.extend(["--experiment".to_owned(), experiment.clone()]);
        }
        if let Some(count) = self.count {
            words.extend(["--count".to_owned(), count.to_string()]);
        }
        if let Some(seed) = self.seed {
            words.extend(["--seed".to_owned(), seed.to_string()]);
        }
        if self.short {
            words.push("--short".to_owned());
        }
        words
    }
}

/// Name, kind and program.
const KINDS: [(&str, Kind, &str); 5] = [
    ("agentmq", Kind::AgentMq, "agentmq"),
    ("agentmq-os", Kind::AgentMqOs, "agentmq"),
    ("mosquitto", Kind::Mosquitto, "mosquitto"),
    ("nats", Kind::Nats, "nats-server"),
    ("nats-default", Kind::NatsDefault, "nats-server"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Options> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn what_was_asked_for_is_handed_on() {
        let words = "--experiment a --experiment b --count 3 --seed 4 --short --broker nats";
        let mut handed_on = parse(words).expect("parses").words();
        handed_on.rotate_left(2); // the broker is named first
        assert_eq!(handed_on.join(" "), words);
        assert_eq!(parse("").expect("parses").words(), ["--broker", "agentmq"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for words in ["--count", "--count many", "--seed -1", "--broker other", "kill-loop"] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn the_campaign_goes_by_its_plan() {
        let options = parse("--resume --minutes 5 --ledger a/b").expect("parses");
        let wanted = (What::Resume, Some(5), Some("a/b".into()));
        assert_eq!((options.what, options.minutes, options.ledger), wanted);
        assert_eq!(parse("--report").expect("parses").what, What::Report);
        for words in ["--resume --count 3", "--syscalls --broker nats", "--minutes 5"] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn every_broker_has_a_row() {
        for (name, kind, program) in KINDS {
            assert_eq!((kind.name(), kind.program()), (name, program));
        }
        assert_eq!(Kind::default().name(), "agentmq");
    }
}
