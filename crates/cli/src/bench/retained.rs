//! Storing retained messages and reading them all at once.

use agentmq_client::{PropertiesBuf, QoS};

use crate::bench::args::{Common, Target};
use crate::bench::engine::Engine;
use crate::bench::feed::{Collect, Feed};
use crate::bench::fleet::{self, Plan};
use crate::bench::live::{Live, LiveArgs};
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
    /// New subscribers, one after the other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    subscribers: u32,
    #[command(flatten)]
    live: LiveArgs,
    /// Subscribe to `#` instead of the run's own topics.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let target = args.common.target()?;
    let (version, run) = (target.hello.version, target.run);
    let mut engine = Engine::new(&target)?;
    let fleet = fleet::open(&mut engine, version, &[target.plan("p", None)], 1, output)?;
    let publisher = fleet.connections;
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
    let mut feed = Feed::new(publisher.clone(), args.qos, window, args.topics, run, stamped);
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

    let live = Live::start_as(&args.live, &target, args.common.histogram, output)?;
    deliver(args, &target, &mut engine, live.as_ref(), &mut report, output)?;
    if let Some(live) = live {
        live.end(&mut report)?;
    }
    if !args.keep {
        let empty = |n| Template::empty_retained(version, &topic(n), args.qos);
        let mut feed = Feed::new(publisher, args.qos, window, args.topics, run, empty);
        feed.run(&mut engine, output, "removing")?;
    }
    report.print(output)?;
    let lost = report.integrity.map_or(0, |integrity| integrity.lost);
    if lost > 0 {
        return Err(Failure::new(format!("{lost} retained messages did not come")));
    }
    Ok(())
}

/// Has the subscribers collect everything, one after the other.
fn deliver(
    args: &Args,
    target: &Target,
    engine: &mut Engine,
    live: Option<&Live>,
    report: &mut Report,
    output: &Output,
) -> Result<(), Failure> {
    let (version, run) = (target.hello.version, target.run);
    let filter = if args.all { "#".to_owned() } else { format!("bench/{run:08x}/#") };
    let plans: Vec<Plan> =
        (0..args.subscribers).map(|n| target.plan(&format!("s{n}"), None)).collect();
    let subscribers = fleet::open(engine, version, &plans, plans.len(), output)?.connections;
    let (mut seconds, mut integrity) = (0.0, Integrity::default());
    let meter = Meter::start(args.common.broker_pid)?;
    for subscriber in subscribers {
        engine.io.out(subscriber).extend(target.hello.subscribe(&filter, args.qos));
        let mut collect = Collect::new(version, run, subscriber, args.topics);
        if let Some(live) = live {
            live.disturbed(true);
        }
        seconds += collect.run(engine)?;
        if let Some(live) = live {
            live.disturbed(false);
        }
        integrity.sent += args.topics;
        integrity.expected += args.topics;
        integrity.received += collect.sequences.unique;
        // The standard orders messages within a topic only.
        integrity.duplicates += collect.sequences.duplicates;
        engine.close(subscriber);
    }
    integrity.lost = integrity.expected.saturating_sub(integrity.received);
    report.set("deliveries", integrity.received, seconds);
    report.integrity = Some(integrity);
    meter.stop(report)
}
