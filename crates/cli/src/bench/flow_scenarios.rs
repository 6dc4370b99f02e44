//! The scenarios made of flowing messages.

use std::time::{Duration, Instant};

use agentmq_client::{PropertiesBuf, QoS};
use serde_json::Value;

use crate::bench::args::{Common, Target};
use crate::bench::churn::Churn;
use crate::bench::crowd::CrowdArgs;
use crate::bench::engine::Engine;
use crate::bench::filter_spread::FilterSpread;
use crate::bench::fleet::{self, Plan};
use crate::bench::flow::{Flow, Load, Shape};
use crate::bench::process::allow_open_files;
use crate::bench::report::{Latency, Meter, Report};
use crate::bench::wire::Template;
use crate::connection::parse_qos;
use crate::duration;
use crate::failure::Failure;
use crate::output::Output;

/// Flags of every flow.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FlowArgs {
    #[command(flatten)]
    common: Common,
    /// Quality of Service of publications and subscriptions.
    #[arg(long, short = 'q', default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    /// Bytes of payload, at least 24.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Length of the measured interval.
    #[arg(long, default_value = "2s", value_parser = duration::parse)]
    duration: Duration,
    /// Load before it.
    #[arg(long, default_value = "500ms", value_parser = duration::parse)]
    warm_up: Duration,
    /// SUBSCRIBEs per second beside the flow, on other topics, each with its UNSUBSCRIBE.
    #[arg(long, default_value_t = 0.0)]
    churn: f64,
    /// Connect one client more between subscribers and publishers, so that a broker which deals
    /// clients out to its threads in turn puts the two of a pair on different ones.
    #[arg(long)]
    apart: bool,
    /// Over TLS and at QoS 0: open what comes to so many subscribers, with all checks, and only
    /// count what comes to the others. Opening costs as much as sealing costs the broker.
    #[arg(long)]
    opened: Option<usize>,
    #[command(flatten)]
    crowd: CrowdArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PairArgs {
    /// Publishers, each with a subscriber of its own.
    #[arg(long, default_value_t = 50)]
    pairs: usize,
    /// Messages of each publisher under way at once; 1 leaves nothing to batch.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    outstanding: u32,
    #[command(flatten)]
    flow: FlowArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FanOutArgs {
    /// Subscribers to the one publisher.
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Messages under way at once.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    outstanding: u32,
    #[command(flatten)]
    flow: FlowArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FanInArgs {
    /// Publishers to the one subscriber.
    #[arg(long, default_value_t = 100)]
    publishers: usize,
    /// Messages of each publisher under way at once.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    outstanding: u32,
    #[command(flatten)]
    flow: FlowArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SharedArgs {
    /// Publishers.
    #[arg(long, default_value_t = 100)]
    publishers: usize,
    /// Subscribers that share the subscription.
    #[arg(long, default_value_t = 4)]
    subscribers: usize,
    /// Messages of each publisher under way at once.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    outstanding: u32,
    #[command(flatten)]
    flow: FlowArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FiltersArgs {
    /// Filters in all: a third `+/…/#`, a third with a trailing `+`, a third exact.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=MANY))]
    filters: u64,
    /// Clients that hold them.
    #[arg(long, default_value_t = 100)]
    subscribers: usize,
    /// Publishers; the number of filters is rounded up to a multiple of theirs.
    #[arg(long, default_value_t = 50)]
    publishers: usize,
    /// Messages of each publisher under way at once.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    outstanding: u32,
    #[command(flatten)]
    flow: FlowArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PacedArgs {
    /// Publishers, each with a subscriber of its own.
    #[arg(long, default_value_t = 10)]
    pairs: usize,
    /// Messages per second, over all publishers.
    #[arg(long, default_value_t = 10_000.0)]
    rate: f64,
    #[command(flatten)]
    flow: FlowArgs,
}

pub(crate) fn pair(args: &PairArgs, output: &Output) -> Result<(), Failure> {
    let load = Load::Closed { outstanding: args.outstanding };
    let parameters = [("pairs", args.pairs.into()), ("outstanding", args.outstanding.into())];
    let scenario = Scenario { name: "pair", shape: Shape::Pairs, load };
    run(scenario, args.pairs, args.pairs, &parameters, &args.flow, output)
}

pub(crate) fn fan_out(args: &FanOutArgs, output: &Output) -> Result<(), Failure> {
    let load = Load::Closed { outstanding: args.outstanding };
    let subscribers = args.subscribers;
    let parameters =
        [("subscribers", subscribers.into()), ("outstanding", args.outstanding.into())];
    let scenario = Scenario { name: "fan-out", shape: Shape::Everyone { subscribers }, load };
    run(scenario, 1, subscribers, &parameters, &args.flow, output)
}

pub(crate) fn fan_in(args: &FanInArgs, output: &Output) -> Result<(), Failure> {
    let load = Load::Closed { outstanding: args.outstanding };
    let parameters =
        [("publishers", args.publishers.into()), ("outstanding", args.outstanding.into())];
    let scenario = Scenario { name: "fan-in", shape: Shape::Everyone { subscribers: 1 }, load };
    run(scenario, args.publishers, 1, &parameters, &args.flow, output)
}

pub(crate) fn shared(args: &SharedArgs, output: &Output) -> Result<(), Failure> {
    let load = Load::Closed { outstanding: args.outstanding };
    let subscribers = args.subscribers;
    let parameters = [
        ("publishers", args.publishers.into()),
        ("subscribers", subscribers.into()),
        ("outstanding", args.outstanding.into()),
    ];
    let scenario = Scenario { name: "shared", shape: Shape::Shared { subscribers }, load };
    run(scenario, args.publishers, subscribers, &parameters, &args.flow, output)
}

pub(crate) fn filters(args: &FiltersArgs, output: &Output) -> Result<(), Failure> {
    let load = Load::Closed { outstanding: args.outstanding };
    let parameters = [
        ("filters", args.filters.into()),
        ("publishers", args.publishers.into()),
        ("subscribers", args.subscribers.into()),
        ("outstanding", args.outstanding.into()),
    ];
    let publishers = args.publishers.max(1) as u64;
    let shape = Shape::Spread(FilterSpread {
        run: 0, // not known yet
        filters: args.filters.next_multiple_of(publishers),
        subscribers: args.subscribers.max(1) as u64,
        publishers,
    });
    let scenario = Scenario { name: "filters", shape, load };
    run(scenario, args.publishers, args.subscribers, &parameters, &args.flow, output)
}

pub(crate) fn paced(args: &PacedArgs, output: &Output) -> Result<(), Failure> {
    if !(args.rate >= 0.1 && args.rate <= 1e8) {
        return Err(Failure::usage("--rate is out of range", "give 0.1 to 100000000"));
    }
    let load = Load::Paced { rate: args.rate };
    let parameters = [("pairs", args.pairs.into()), ("rate", args.rate.into())];
    let scenario = Scenario { name: "paced", shape: Shape::Pairs, load };
    run(scenario, args.pairs, args.pairs, &parameters, &args.flow, output)
}

struct Scenario {
    name: &'static str,
    shape: Shape,
    load: Load,
}

fn run(
    scenario: Scenario,
    publishers: usize,
    subscribers: usize,
    parameters: &[(&str, Value)],
    args: &FlowArgs,
    output: &Output,
) -> Result<(), Failure> {
    if publishers == 0 || subscribers == 0 {
        return Err(Failure::usage("nothing to do", "give at least 1 of each kind of client"));
    }
    allow_open_files((publishers + subscribers + args.crowd.idle + 2) as u64)?;
    let target = args.common.target()?;
    let mut engine = Engine::new(&target)?;
    let Scenario { name, mut shape, load } = scenario;
    if let Shape::Spread(spread) = &mut shape {
        spread.run = target.run;
    }
    args.crowd.gather(&mut engine, &target, args.common.concurrency, output)?;
    let version = target.hello.version;
    let concurrency = args.common.concurrency;
    let plans: Vec<Plan> =
        (0..subscribers).map(|n| subscriber(&target, shape, n, args.qos)).collect();
    let receivers = fleet::open(&mut engine, version, &plans, concurrency, output)?;
    if args.apart {
        fleet::open(&mut engine, version, &[target.plan("apart", None)], 1, output)?;
    }
    let plans: Vec<Plan> = (0..publishers).map(|n| target.plan(&format!("p{n}"), None)).collect();
    let senders = fleet::open(&mut engine, version, &plans, concurrency, output)?;
    let none = PropertiesBuf::new();
    let templates = (0..publishers)
        .map(|n| {
            let topic = match shape {
                Shape::Spread(spread) => spread.topic(n as u64),
                // What is counted by its length must all be equally long.
                _ if args.opened.is_some() => format!("bench/{:08x}/{n:04}", target.run),
                _ => topic(&target, n),
            };
            Template::new(version, &topic, args.qos, false, &none, args.size)
        })
        .collect();
    let mut report =
        Report { scenario: name, at: target.endpoint.to_string(), ..Report::default() };
    let mut flow = Flow::new(version, target.run, shape, load, args.qos, templates);
    flow.first_subscriber = receivers.connections.start;
    if let Some(opened) = args.opened {
        if args.qos != QoS::AtMostOnce
            || !matches!(shape, Shape::Everyone { .. } | Shape::Shared { .. })
        {
            let what = "--opened needs QoS 0 and subscribers that get the same";
            return Err(Failure::usage(what, "leave it away: everything is then opened"));
        }
        if publishers > 9999 {
            let what = "--opened is for 9999 publishers at most";
            return Err(Failure::usage(what, "give fewer, or leave it away"));
        }
        for connection in receivers.connections.clone().skip(opened) {
            engine.count(connection)?;
        }
        flow.opened = opened;
        report.parameter("opened", opened);
    }
    flow.first_publisher = senders.connections.start;
    flow.window = senders.receive_maximum.min(args.common.window).into();
    if args.churn > 0.0 {
        let plans = [target.plan("churn", None)];
        let one = fleet::open(&mut engine, version, &plans, 1, output)?.connections.start;
        flow.churn = Some(Churn::new(target.hello.clone(), target.run, one, args.churn));
    }
    for (name, value) in parameters {
        report.parameter(name, value.clone());
    }
    report.parameter("qos", args.qos as u8);
    report.parameter("size", args.size);
    report.parameter("mqtt", version.to_string());
    measure(&mut engine, &mut flow, args, &mut report)?;
    flow.stop();
    flow.drain(&mut engine)?;
    let integrity = flow.integrity();
    let (lost, misplaced) = (integrity.lost, integrity.duplicates + integrity.out_of_order);
    report.integrity = Some(integrity);
    let churn_failure = flow.churn.as_ref().and_then(Churn::failure);
    if let Some(churn) = &flow.churn {
        report.parameter("churn", args.churn);
        report.more("subscriptions_changed", churn.done());
    }
    report.print(output)?;
    let whole = flow.counts_are_whole();
    if let Some(failure) = flow.failure.or(churn_failure) {
        return Err(Failure::new(failure));
    }
    if lost == 0 && !whole {
        return Err(Failure::new("what was counted unopened is no whole number of messages"));
    }
    // QoS 0 may lose under load; anything else is a broken promise.
    if misplaced > 0 || (lost > 0 && args.qos != QoS::AtMostOnce) {
        return Err(Failure::new("the broker lost, repeated or reordered messages"));
    }
    Ok(())
}

fn topic(target: &Target, n: usize) -> String {
    format!("bench/{:08x}/{n}", target.run)
}

/// How the subscriber with this number gets ready.
fn subscriber(target: &Target, shape: Shape, n: usize, qos: QoS) -> Plan {
    let name = format!("s{n}");
    let run = target.run;
    let filter = match shape {
        Shape::Pairs => topic(target, n),
        Shape::Everyone { .. } => format!("bench/{run:08x}/+"),
        Shape::Shared { .. } => format!("$share/bench/bench/{run:08x}/+"),
        Shape::Spread(spread) => {
            let (subscribe, subscribes) = spread.subscribe(&target.hello, n as u64, qos);
            return Plan { subscribe, subscribes, ..target.plan(&name, None) };
        }
    };
    target.plan(&name, Some((&filter, qos)))
}

fn measure(
    engine: &mut Engine,
    flow: &mut Flow,
    args: &FlowArgs,
    report: &mut Report,
) -> Result<(), Failure> {
    if matches!(flow.load, Load::Paced { .. }) || flow.churn.is_some() {
        engine.start_timer()?;
    }
    flow.start(&mut engine.io);
    flow.run_until(engine, Instant::now() + args.warm_up)?;
    let meter = Meter::start(args.common.broker_pid)?;
    let (before, since) = (flow.delivered, Instant::now());
    flow.measuring = true;
    flow.run_until(engine, since + args.duration)?;
    flow.measuring = false;
    report.set("deliveries", flow.delivered - before, since.elapsed().as_secs_f64());
    report.latency = Latency::whole(&flow.latency, args.common.histogram);
    meter.stop(report)
}

/// Filters have six digits.
const MANY: u64 = 999_000;
