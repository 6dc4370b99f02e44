//! Traffic that goes on beside a scenario, to see how much that one delays others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agentmq_client::{PropertiesBuf, QoS};
use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

use crate::bench::args::Target;
use crate::bench::engine::Engine;
use crate::bench::fleet;
use crate::bench::flow::{Flow, Load, Shape};
use crate::bench::report::{Latency, LiveLatency, Report, histogram};
use crate::bench::wire::Template;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct LiveArgs {
    /// Messages per second of a pair that goes on meanwhile, to see how long they are delayed.
    #[arg(long, default_value_t = 0.0)]
    live: f64,
    /// Let the pair go through another broker, on this port: what it is delayed there is the
    /// machine's doing.
    #[arg(long, value_name = "PORT")]
    live_port: Option<u16>,
}

/// One pair at a fixed rate, in a thread and on sockets of its own: in the scenario's own loop its
/// messages would wait behind the scenario's.
#[derive(Debug)]
pub(crate) struct Live {
    rate: f64,
    phase: Arc<AtomicU8>,
    thread: JoinHandle<Result<LiveLatency, Failure>>,
}

impl Live {
    /// Starts what is asked for, if anything is, and returns after the quiet phase. Each latency
    /// that was seen is reported if the `whole` is wanted.
    pub(crate) fn start_as(
        args: &LiveArgs,
        target: &Target,
        whole: bool,
        output: &Output,
    ) -> Result<Option<Self>, Failure> {
        let mut target = target.clone();
        if let Some(port) = args.live_port {
            target.endpoint.port = port;
        }
        (args.live > 0.0).then(|| Self::start(&target, args.live, whole, output)).transpose()
    }

    fn start(target: &Target, rate: f64, whole: bool, output: &Output) -> Result<Self, Failure> {
        let (version, qos) = (target.hello.version, QoS::AtMostOnce);
        let mut engine = Engine::new(target)?;
        let topic = format!("live/{:08x}", target.run);
        let plans = [target.plan("ls", Some((&topic, qos))), target.plan("lp", None)];
        let fleet = fleet::open(&mut engine, version, &plans, 2, output)?;
        let template = Template::new(version, &topic, qos, false, &PropertiesBuf::new(), 64);
        let load = Load::Paced { rate };
        let mut flow = Flow::new(version, target.run, Shape::Pairs, load, qos, vec![template]);
        flow.first_subscriber = fleet.connections.start;
        flow.first_publisher = fleet.connections.start + 1;
        engine.start_timer()?;
        flow.start(&mut engine.io);
        flow.run_until(&mut engine, Instant::now() + WARM_UP)?;
        flow.measuring = true;
        flow.run_until(&mut engine, Instant::now() + QUIET)?;
        let quiet = Latency::whole(&flow.latency, whole);
        flow.latency = histogram();
        flow.measuring = false;
        let phase = Arc::new(AtomicU8::new(PAUSED));
        let seen = Arc::clone(&phase);
        let thread = std::thread::spawn(move || {
            go_first();
            while seen.load(Ordering::Relaxed) != ENDED && flow.failure.is_none() {
                flow.measuring = seen.load(Ordering::Relaxed) == BUSY;
                flow.run_until(&mut engine, Instant::now() + SLICE)?;
            }
            flow.stop();
            flow.drain(&mut engine)?;
            let integrity = flow.integrity();
            match flow.failure {
                Some(failure) => Err(Failure::new(failure)),
                None if integrity.lost + integrity.duplicates + integrity.out_of_order > 0 => {
                    Err(Failure::new(format!("live messages suffered: {integrity:?}")))
                }
                None => Ok(LiveLatency { quiet, busy: Latency::whole(&flow.latency, whole) }),
            }
        });
        Ok(Self { rate, phase, thread })
    }

    /// Says whether the disturbance is on.
    pub(crate) fn disturbed(&self, now: bool) {
        self.phase.store(if now { BUSY } else { PAUSED }, Ordering::Relaxed);
    }

    /// Ends it, and tells what it saw.
    pub(crate) fn end(self, report: &mut Report) -> Result<(), Failure> {
        self.phase.store(ENDED, Ordering::Relaxed);
        let latency = self.thread.join();
        let latency = latency.map_err(|_| Failure::new("the live traffic's thread panicked"))??;
        report.parameter("live", self.rate);
        report.live = Some(latency);
        Ok(())
    }
}

/// Has the system run this thread as soon as it wakes, if it lets us (as root, or with
/// CAP_SYS_NICE): beside a broker and a scenario that keep two cores busy it would otherwise wait
/// for milliseconds, and that is nothing that the broker could change.
fn go_first() {
    let Ok(lowest) = ThreadPriorityValue::try_from(1) else { return };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let priority = ThreadPriority::Crossplatform(lowest);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), priority, policy) {
        tracing::info!(?error, "the live messages may wait for a core");
    }
}

const PAUSED: u8 = 0;
const BUSY: u8 = 1;
const ENDED: u8 = 2;

/// Load before anything is measured.
const WARM_UP: Duration = Duration::from_millis(300);

/// How long the undisturbed latency is measured.
const QUIET: Duration = Duration::from_secs(1);

/// The phase is looked at so often.
const SLICE: Duration = Duration::from_millis(1);
