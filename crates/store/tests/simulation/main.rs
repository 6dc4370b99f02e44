//! The broker without threads, sockets and disks: router, session, store and log as they are, on
//! one shard or several with mail between them, on a simulated disk. Clients publish, receive, drop
//! their connections and come back, while the power fails, the process is killed and writes are
//! torn. Everything follows from a seed.
//!
//! After each run the promises are checked: what was acknowledged is delivered, QoS 2 once, in
//! order; retained values are the newest acknowledged ones; a will is sent once.
//!
//! `AGENTMQ_SIMULATE_SEEDS=FROM..TO` chooses seeds; `cargo xtask simulate --seeds N` does that.

mod budget;
mod checker;
mod client;
mod random;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::random::Random;
use crate::world::World;

#[test]
fn promises_hold_for_every_seed() {
    let (from, to) = seeds();
    let mut recalled = 0;
    for seed in from..to {
        let run = catch_unwind(AssertUnwindSafe(|| run(seed)));
        recalled += run.as_ref().copied().unwrap_or_default();
        if let Err(panic) = run {
            let what = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            panic!("seed {seed}: {}", what.unwrap_or_default());
        }
    }
    // In most seeds memory is short, and a start has no message of a queue in it.
    assert!(
        recalled > 5 * (to - from) || to - from < 50,
        "only {recalled} messages were read back"
    );
}

fn run(seed: u64) -> u64 {
    let mut random = Random(seed);
    let mut world = World::new(seed);
    world.begin();
    let steps = 200 + random.below(600);
    for _ in 0..steps {
        world.step(&mut random);
    }
    world.heal();
    world.check();
    world.recalled()
}

fn seeds() -> (u64, u64) {
    let Ok(text) = std::env::var("AGENTMQ_SIMULATE_SEEDS") else { return (0, 200) };
    let (from, to) = text.split_once("..").expect("AGENTMQ_SIMULATE_SEEDS is FROM..TO");
    let number = |text: &str| text.parse().expect("AGENTMQ_SIMULATE_SEEDS holds numbers");
    (number(from), number(to))
}

/// One to three.
fn shards(random: &mut Random) -> u8 {
    1 + random.below(3) as u8
}
