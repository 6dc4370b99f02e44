//! How much of what waits may be in memory: little or nothing in two thirds of the seeds, so that
//! it is read back from the log, while this is cleaned and the power fails.

use agentmq_session::Limits;

use crate::random::Random;

pub(crate) fn limits(seed: u64) -> Limits {
    let mut limits = Limits::default();
    match Random(seed ^ 0xB0DE).below(6) {
        0 | 1 => limits.durable_queue_memory = 0,
        2 => limits.durable_queue_memory = 700,
        3 => limits.queue_memory = 2_000,
        _ => {}
    }
    limits
}
