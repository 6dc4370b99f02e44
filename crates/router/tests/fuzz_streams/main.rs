//! Any streams of packets on two connections of one router: nothing panics, every bound holds,
//! and what each client receives is what the standard lets a server send it.

#[path = "../scenarios/harness/authenticators.rs"]
mod authenticators;
#[allow(dead_code)] // other tests complete single tickets
#[path = "../scenarios/harness/engine.rs"]
mod engine;
#[path = "../../../codec/tests/packet_writer/mod.rs"]
mod packet_writer;
mod receiver;
mod steps;
mod world;

use std::ops::RangeInclusive;

use packet_writer::Entropy;
use world::World;

#[test]
fn fuzz_streams() {
    // Without a length of its own an input has 32 bytes on average: three packets.
    let streams = bolero::produce::<Vec<u8>>().with().len(LENGTH);
    bolero::check!().with_generator(streams).with_iterations(ITERATIONS).for_each(
        |input: &Vec<u8>| {
            let mut entropy = Entropy::hostile(input);
            let mut world = World::new(entropy.u8());
            while !entropy.rest().is_empty() {
                steps::step(&mut world, &mut entropy);
            }
            world.end();
        },
    );
}

const ITERATIONS: usize = 500;
/// In bytes; a step takes some eight.
const LENGTH: RangeInclusive<usize> = 0..=1_000;
