//! `agentmq bench`: measures any MQTT broker over plain TCP, or over TLS.
//!
//! One thread, raw sockets, packets encoded beforehand: the generator shares the machine with the
//! broker, so what it does not use the broker has.

mod args;
mod churn;
mod connections;
mod crowd;
mod engine;
mod feed;
mod filter_spread;
mod fleet;
mod flow;
mod flow_scenarios;
mod greeting;
mod live;
mod offline;
mod process;
mod record_count;
mod relay;
mod report;
mod retained;
mod rpc;
mod sequence;
mod timer;
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
    /// Very many filters, each message matching one.
    Filters(flow_scenarios::FiltersArgs),
    /// Pairs at a fixed rate, for latency.
    Paced(flow_scenarios::PacedArgs),
    /// Request and response with a response topic and correlation data.
    Rpc(rpc::Args),
    /// Open many connections.
    Connect(connections::Args),
    /// Hold many idle connections.
    Idle(connections::IdleArgs),
    /// Store retained messages and read them all.
    Retained(retained::Args),
    /// Queue messages for a client that is away and drain them.
    Offline(offline::Args),
    /// Relay bytes without any MQTT: the ceiling for what brokers are measured by.
    #[command(hide = true)]
    Relay(relay::Args),
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.scenario {
        Scenario::Pair(args) => flow_scenarios::pair(&args, output),
        Scenario::FanOut(args) => flow_scenarios::fan_out(&args, output),
        Scenario::FanIn(args) => flow_scenarios::fan_in(&args, output),
        Scenario::Shared(args) => flow_scenarios::shared(&args, output),
        Scenario::Filters(args) => flow_scenarios::filters(&args, output),
        Scenario::Paced(args) => flow_scenarios::paced(&args, output),
        Scenario::Rpc(args) => rpc::run(&args, output),
        Scenario::Connect(args) => connections::storm(&args, output),
        Scenario::Idle(args) => connections::idle(&args, output),
        Scenario::Retained(args) => retained::run(&args, output),
        Scenario::Offline(args) => offline::run(&args, output),
        Scenario::Relay(args) => relay::run(&args, output),
    }
}
