//! `agentmq bench`: measures any MQTT broker over plain TCP.
//!
//! One thread, raw sockets, packets encoded beforehand: the generator shares the machine with the
//! broker, so what it does not use the broker has.

mod args;
mod engine;
mod fleet;
mod flow;
mod flow_scenarios;
mod process;
mod report;
mod sequence;
mod wire;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Pairs of one publisher and one subscriber, with a window of messages under way.
    Pair(flow_scenarios::PairArgs),
    /// One publisher, many subscribers.
    FanOut(flow_scenarios::FanOutArgs),
    /// Many publishers, one subscriber.
    FanIn(flow_scenarios::FanInArgs),
    /// Many publishers, a group that shares one subscription.
    Shared(flow_scenarios::SharedArgs),
    /// Pairs at a fixed rate, for latency.
    Paced(flow_scenarios::PacedArgs),
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.scenario {
        Scenario::Pair(args) => flow_scenarios::pair(&args, output),
        Scenario::FanOut(args) => flow_scenarios::fan_out(&args, output),
        Scenario::FanIn(args) => flow_scenarios::fan_in(&args, output),
        Scenario::Shared(args) => flow_scenarios::shared(&args, output),
        Scenario::Paced(args) => flow_scenarios::paced(&args, output),
    }
}
