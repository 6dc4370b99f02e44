//! What `cargo xtask faults` understands.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Options {
    /// The broker's program; without it ours is built, or another's is looked for by its name.
    pub binary: Option<PathBuf>,
    pub broker: Kind,
    /// Without any, all.
    pub experiments: Vec<String>,
    pub count: Option<u32>,
    pub seed: Option<u64>,
    pub short: bool,
}

/// A broker that the experiments know how to start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    #[default]
    AgentMq,
    Mosquitto,
    Nats,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::AgentMq => "agentmq",
            Self::Mosquitto => "mosquitto",
            Self::Nats => "nats",
        }
    }

    pub fn program(self) -> &'static str {
        match self {
            Self::Nats => "nats-server",
            other => other.name(),
        }
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
                "--broker" => {
                    options.broker = match value()?.as_str() {
                        "agentmq" => Kind::AgentMq,
                        "mosquitto" => Kind::Mosquitto,
                        "nats" => Kind::Nats,
                        other => bail!("--broker knows agentmq, mosquitto and nats, not `{other}`"),
                    }
                }
                other => bail!("no option {other}; `cargo xtask help` lists them"),
            }
        }
        Ok(options)
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

pub const OURS: Kind = Kind::AgentMq;

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
}
