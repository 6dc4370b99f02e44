//! Opening many connections, and holding them idle.

use std::io;
use std::time::{Duration, Instant};

use crate::bench::args::Common;
use crate::bench::engine::{Engine, Handler, Io};
use crate::bench::fleet::{self, Plan};
use crate::bench::process::allow_open_files;
use crate::bench::report::{Latency, Meter, Report};
use crate::duration;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Connections; --concurrency of them are opened at once.
    #[arg(long, short = 'n', default_value_t = 5000)]
    connections: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct IdleArgs {
    /// How long to hold them.
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    hold: Duration,
    #[command(flatten)]
    open: Args,
}

/// Measures the opening.
pub(crate) fn storm(args: &Args, output: &Output) -> Result<(), Failure> {
    let (_engine, report) = open(args, "connect", output)?;
    report.print(output)
}

/// Measures what idle connections cost.
pub(crate) fn idle(args: &IdleArgs, output: &Output) -> Result<(), Failure> {
    let (mut engine, opened) = open(&args.open, "idle", output)?;
    let meter = Meter::start(args.open.common.broker_pid)?;
    let since = Instant::now();
    let mut idle = Idle { closed: 0 };
    while let Some(left) = args.hold.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
        engine.turn(left, &mut idle)?;
    }
    let mut report = Report { scenario: "idle", latency: None, ..opened };
    report.more("opened_per_second", report.per_second as u64);
    report.set("connections", args.open.connections as u64 - idle.closed, 0.0);
    report.seconds = since.elapsed().as_secs_f64();
    meter.stop(&mut report)?;
    if let Some(cost) = &mut report.broker {
        // Connections are held, not done: a quotient would be meaningless.
        cost.per_cpu_second = None;
    }
    report.print(output)?;
    match idle.closed {
        0 => Ok(()),
        closed => Err(Failure::new(format!("the broker closed {closed} idle connections"))),
    }
}

fn open(args: &Args, scenario: &'static str, output: &Output) -> Result<(Engine, Report), Failure> {
    allow_open_files(args.connections as u64)?;
    let target = args.common.target()?;
    let mut engine = Engine::new(&target)?;
    let plans: Vec<Plan> =
        (0..args.connections).map(|n| target.plan(&n.to_string(), None)).collect();
    let mut report = Report { scenario, at: target.endpoint.to_string(), ..Report::default() };
    report.parameter("connections", args.connections);
    report.parameter("concurrency", args.common.concurrency);
    let meter = Meter::start(args.common.broker_pid)?;
    let since = Instant::now();
    let version = target.hello.version;
    let fleet = fleet::open(&mut engine, version, &plans, args.common.concurrency, output)?;
    report.set("connections", args.connections as u64, since.elapsed().as_secs_f64());
    report.latency = Latency::of(&fleet.latency);
    meter.stop(&mut report)?;
    if let (Some(cost), Some(before)) = (&report.broker, meter.rss_kib()) {
        let grown = cost.rss_kib.saturating_sub(before) * 1024;
        report.more("resident_bytes_per_connection", grown / (args.connections as u64).max(1));
    }
    Ok((engine, report))
}

struct Idle {
    closed: u64,
}

impl Handler for Idle {
    fn packet(&mut self, _io: &mut Io, _connection: usize, _first: u8, _body: &[u8]) {}

    fn closed(&mut self, _io: &mut Io, _connection: usize, _why: &io::Error) {
        self.closed += 1;
    }
}
