//! What the log promises, on the simulated disk and on a real one.

mod crashes;
mod damage;
mod full_disk;
mod harness;
mod real_disk;
