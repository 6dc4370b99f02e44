//! Storing retained messages and reading them all at once.

use agentmq_client::{PropertiesBuf, QoS};

use crate::bench::args::Common;
use crate::bench::engine::Engine;
use crate::bench::feed::{Collect, Feed};
use crate::bench::fleet;
use crate::bench::report::{Integrity, Meter, Report};
use crate::bench::wire::Template;
use crate::connection::parse_qos;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topics, each with one retained message.
    #[arg(long, default_value_t = 100_000)]
    topics: u64,
    /// Quality of Service of publications and of the subscription.
    #[arg(long, short = 'q', default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    /// Bytes of payload, at least 24.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Leave the messages in the broker.
    #[arg(long)]
    keep: bool,
    /// Subscribe to `#` instead of the run's own topics.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let target = args.common.target()?;
    let (version, run) = (target.hello.version, target.run);
    let mut engine = Engine::new(&target.endpoint)?;
    let plans = [target.plan("p", None), target.plan("s", None)];
    let fleet = fleet::open(&mut engine, version, &plans, 2, output)?;
    let (publisher, subscriber) = (fleet.connections.start, fleet.connections.start + 1);
    let topic = |n: u64| format!("bench/{run:08x}/{}/{n}", n % 100);
    let none = PropertiesBuf::new();
    let window = u64::from(fleet.receive_maximum.min(args.common.window));
    let stamped = |n| Template::new(version, &topic(n), args.qos, true, &none, args.size);
    let mut report =
        Report { scenario: "retained", at: target.endpoint.to_string(), ..Report::default() };
    report.parameter("topics", args.topics);
    report.parameter("qos", args.qos as u8);
    report.parameter("size", args.size);

    let store = Meter::start(args.common.broker_pid)?;
    let feed = Feed::new(publisher, args.qos, window, args.topics, run, stamped);
    let seconds = feed.run(&mut engine, output, "storing")?;
    let mut stored = Report::default();
    stored.set("messages", args.topics, seconds);
    store.stop(&mut stored)?;
    report.more("stored_per_second", stored.per_second as u64);
    if let (Some(cost), Some(before)) = (&stored.broker, store.rss_kib()) {
        report.more("stored_per_cpu_second", cost.per_cpu_second.unwrap_or_default() as u64);
        let grown = cost.rss_kib.saturating_sub(before) * 1024;
        report.more("resident_bytes_per_message", grown / args.topics.max(1));
    }

    let filter = if args.all { "#".to_owned() } else { format!("bench/{run:08x}/#") };
    let meter = Meter::start(args.common.broker_pid)?;
    engine.io.out(subscriber).extend(target.hello.subscribe(&filter, args.qos));
    let mut collect = Collect::new(version, run, subscriber, args.topics);
    let seconds = collect.run(&mut engine)?;
    report.set("deliveries", collect.sequences.unique, seconds);
    meter.stop(&mut report)?;
    let lost = args.topics - collect.sequences.unique.min(args.topics);
    report.integrity = Some(Integrity {
        sent: args.topics,
        expected: args.topics,
        received: collect.sequences.unique,
        lost,
        duplicates: collect.sequences.duplicates,
        // The standard orders messages within a topic only.
        ..Integrity::default()
    });
    if !args.keep {
        engine.close(subscriber);
        let empty = |n| Template::empty_retained(version, &topic(n), args.qos);
        let feed = Feed::new(publisher, args.qos, window, args.topics, run, empty);
        feed.run(&mut engine, output, "removing")?;
    }
    report.print(output)?;
    if lost > 0 {
        return Err(Failure::new(format!("{lost} retained messages did not come")));
    }
    Ok(())
}
