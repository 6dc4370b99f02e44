//! Clients that are only there: idle connections, and sessions whose clients are away.

use agentmq_client::QoS;

use crate::bench::args::Target;
use crate::bench::engine::Engine;
use crate::bench::fleet::{self, Plan};
use crate::failure::Failure;
use crate::output::Output;

/// Whom the broker has to remember beside those whose messages flow.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct CrowdArgs {
    /// Idle connections beside the flow, each with a subscription that nothing matches.
    #[arg(long, default_value_t = 0)]
    pub(crate) idle: usize,
    /// Sessions of absent clients beside the flow, each with a subscription that nothing matches.
    /// The broker may forget them after an hour.
    #[arg(long, default_value_t = 0)]
    away: usize,
}

impl CrowdArgs {
    /// Brings them there.
    pub(crate) fn gather(
        &self,
        engine: &mut Engine,
        target: &Target,
        concurrency: usize,
        output: &Output,
    ) -> Result<(), Failure> {
        let version = target.hello.version;
        let filter = |kind: &str, n: usize| format!("bench/{:08x}/{kind}/{n}", target.run);
        let mut first = 0;
        while first < self.away {
            let last = self.away.min(first + PORTION);
            let plans: Vec<Plan> = (first..last)
                .map(|n| Plan {
                    // Before version 5 "start anew" would also mean "ends with the connection".
                    connect: target.hello.connect(
                        &target.client_id(&format!("a{n}")),
                        version.is_v5(),
                        true,
                    ),
                    subscribe: target.hello.subscribe(&filter("away", n), QoS::AtLeastOnce),
                    subscribes: 1,
                })
                .collect();
            let fleet = fleet::open(engine, version, &plans, concurrency, output)?;
            fleet::leave(engine, fleet.connections, version)?;
            first = last;
        }
        let plans: Vec<Plan> = (0..self.idle)
            .map(|n| target.plan(&format!("i{n}"), Some((&filter("idle", n), QoS::AtMostOnce))))
            .collect();
        fleet::open(engine, version, &plans, concurrency, output)?;
        Ok(())
    }
}

/// Absent clients that are connected at once until they leave.
const PORTION: usize = 500;
