//! What `cargo xtask compare` is told.

use anyhow::{Context, Result, bail, ensure};

use super::contender::Contender;
use super::peer::PEERS;
use super::results::{ONE_SHARD, OURS, RELAY, SPREAD};

#[derive(Debug)]
pub struct Options {
    /// Write the results into `docs`.
    pub save: bool,
    /// Cut each measurement short, and measure once.
    pub quick: bool,
    /// Install the peers that are missing.
    pub install: bool,
    /// Only write the page anew from the results file.
    pub page: bool,
    /// Measure how the cost grows instead.
    pub growth: bool,
    /// Measure instead what it costs to acknowledge only what is safe.
    pub safety: bool,
    /// Measure ours also on one shard, and on two with clients spread by force.
    pub shards: bool,
    /// Instead of what each scenario has by itself.
    pub rounds: Option<usize>,
    /// Empty: all.
    pub scenarios: Vec<String>,
    /// Empty: all.
    pub axes: Vec<String>,
    /// Empty: those that are installed.
    pub peers: Vec<String>,
    /// Brokers besides AgentMQ and the peers.
    pub brokers: Vec<Contender>,
}

impl Options {
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            save: false,
            quick: false,
            install: false,
            page: false,
            growth: false,
            safety: false,
            shards: false,
            rounds: None,
            scenarios: vec![],
            axes: vec![],
            peers: vec![],
            brokers: vec![],
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let flag = match argument.as_str() {
                "--save" => Some(&mut options.save),
                "--quick" => Some(&mut options.quick),
                "--install" => Some(&mut options.install),
                "--page" => Some(&mut options.page),
                "--growth" => Some(&mut options.growth),
                "--safety" => Some(&mut options.safety),
                "--shards" => Some(&mut options.shards),
                _ => None,
            };
            if let Some(flag) = flag {
                *flag = true;
                continue;
            }
            let mut value = || rest.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--rounds" => {
                    let rounds = value()?.parse().context("--rounds")?;
                    ensure!((1..=100).contains(&rounds), "--rounds 1 to 100");
                    options.rounds = Some(rounds);
                }
                "--scenario" => options.scenarios.push(value()?.clone()),
                "--axis" => options.axes.push(value()?.clone()),
                "--peer" => options.peers.push(value()?.clone()),
                "--broker" => options.brokers.push(Contender::parse(value()?)?),
                "--at" => options.brokers.push(Contender::parse_at(value()?)?),
                other => {
                    bail!("compare does not know `{other}`; `cargo xtask help` lists what it does")
                }
            }
        }
        options.check()
    }

    fn check(self) -> Result<Self> {
        let part = !self.scenarios.is_empty() || !self.axes.is_empty();
        ensure!(
            !(self.save && part),
            "--save writes whole tables: leave --scenario and --axis away"
        );
        ensure!(self.growth || self.axes.is_empty(), "--axis belongs to --growth");
        ensure!(!self.growth || self.scenarios.is_empty(), "--growth has axes: use --axis");
        let ours = [OURS, ONE_SHARD, SPREAD, RELAY].into_iter();
        let taken: Vec<&str> = ours.chain(PEERS.iter().map(|peer| peer.name)).collect();
        let twice = self.brokers.iter().find(|broker| taken.contains(&broker.name.as_str()));
        if let Some(broker) = twice {
            bail!("{} is a contender already: choose another name", broker.name);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        let options = parse("--rounds 5 --scenario rpc-1 --broker x=y,1 --at z=h:1,2 --peer NATS")
            .expect("parses");
        assert_eq!((options.save, options.rounds), (false, Some(5)));
        assert_eq!(options.scenarios, ["rpc-1"]);
        assert_eq!(options.peers, ["NATS"]);
        let names: Vec<_> = options.brokers.iter().map(|broker| &broker.name).collect();
        assert_eq!(names, ["x", "z"]);
    }

    #[test]
    fn a_quick_run_has_one_round_unless_told() {
        let rounds = |line: &str| parse(line).expect("parses").rounds;
        assert_eq!(rounds("--quick --rounds 2"), Some(2));
        assert_eq!(rounds("--save"), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--rounds",
            "--rounds 0",
            "--fast",
            "--broker Mosquitto=m,1",
            "--broker Relay=m,1",
            "--at x=1,2",
            "--save --scenario rpc-1",
            "--axis filters",
            "--growth --scenario rpc-1",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
