//! Queueing for a client that is away, and draining when it returns.

use agentmq_client::{PropertiesBuf, QoS};

use crate::bench::args::Common;
use crate::bench::engine::Engine;
use crate::bench::feed::{Collect, Feed};
use crate::bench::fleet::{self, Plan};
use crate::bench::live::{Live, LiveArgs};
use crate::bench::report::{Integrity, Latency, Meter, Report};
use crate::bench::wire::Template;
use crate::connection::parse_qos;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Messages queued.
    #[arg(long, default_value_t = 50_000)]
    messages: u64,
    /// Quality of Service: 1 or 2.
    #[arg(long, short = 'q', default_value = "1", value_parser = parse_qos)]
    qos: QoS,
    /// Publishers, each with a window of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    publishers: u32,
    /// Bytes of payload, at least 24.
    #[arg(long, default_value_t = 64)]
    size: usize,
    #[command(flatten)]
    live: LiveArgs,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    if args.qos == QoS::AtMostOnce {
        return Err(Failure::usage("QoS 0 is not queued", "give --qos 1 or 2"));
    }
    let target = args.common.target()?;
    let (version, run) = (target.hello.version, target.run);
    let mut engine = Engine::new(&target)?;
    let topic = format!("bench/{run:08x}/offline");
    let id = target.client_id("s");
    // Before version 5 "start anew" would also mean "ends with the connection"; the id is new.
    let sleeper = Plan {
        connect: target.hello.connect(&id, version.is_v5(), true),
        subscribe: target.hello.subscribe(&topic, args.qos),
        subscribes: 1,
    };
    let subscriber = fleet::open(&mut engine, version, &[sleeper], 1, output)?.connections.start;
    let publishers: Vec<Plan> =
        (0..args.publishers).map(|n| target.plan(&format!("p{n}"), None)).collect();
    let fleet = fleet::open(&mut engine, version, &publishers, publishers.len(), output)?;
    fleet::leave(&mut engine, subscriber..subscriber + 1, version)?;

    let mut report =
        Report { scenario: "offline", at: target.endpoint.to_string(), ..Report::default() };
    report.parameter("messages", args.messages);
    report.parameter("qos", args.qos as u8);
    report.parameter("size", args.size);
    let meter = Meter::start(args.common.broker_pid)?;
    let template =
        Template::new(version, &topic, args.qos, false, &PropertiesBuf::new(), args.size);
    let window = u64::from(fleet.receive_maximum.min(args.common.window));
    let mut feed =
        Feed::new(fleet.connections, args.qos, window, args.messages, run, |_| template.clone());
    let seconds = feed.run(&mut engine, output, "queueing")?;
    let mut queued = Report::default();
    queued.set("messages", args.messages, seconds);
    meter.stop(&mut queued)?;
    report.more("queued_per_second", queued.per_second as u64);
    if let Some(latency) = Latency::of(&feed.latency) {
        report.more("acknowledged_p50_us", latency.p50_us);
        report.more("acknowledged_p99_us", latency.p99_us);
    }
    if let (Some(cost), Some(before)) = (&queued.broker, meter.rss_kib()) {
        report.more("queued_per_cpu_second", cost.per_cpu_second.unwrap_or_default() as u64);
        let grown = cost.rss_kib.saturating_sub(before) * 1024;
        report.more("resident_bytes_per_message", grown / args.messages.max(1));
    }

    let live = Live::start_as(&args.live, &target, args.common.histogram, output)?;
    let meter = Meter::start(args.common.broker_pid)?;
    live.iter().for_each(|live| live.disturbed(true));
    let subscriber = engine.connect()?;
    engine.io.out(subscriber).extend(target.hello.connect(&id, false, true));
    let mut collect = Collect::new(version, run, subscriber, args.messages);
    let seconds = collect.run(&mut engine)?;
    live.iter().for_each(|live| live.disturbed(false));
    report.set("deliveries", collect.sequences.unique, seconds);
    meter.stop(&mut report)?;
    if let Some(live) = live {
        live.end(&mut report)?;
    }
    let lost = args.messages - collect.sequences.unique.min(args.messages);
    report.integrity = Some(Integrity {
        sent: args.messages,
        expected: args.messages,
        received: collect.sequences.unique,
        lost,
        duplicates: collect.sequences.duplicates,
        out_of_order: collect.sequences.out_of_order,
        ..Integrity::default()
    });
    report.more("session_present", collect.session_present);
    engine.close(subscriber);
    // Leaves no session behind.
    let connect = target.hello.connect(&id, true, false);
    let last = Plan { connect, subscribe: Vec::new(), subscribes: 0 };
    fleet::open(&mut engine, version, &[last], 1, output)?;
    report.print(output)?;
    if lost + collect.sequences.out_of_order > 0 {
        return Err(Failure::new("the broker lost or reordered queued messages"));
    }
    Ok(())
}
