//! Ports for what a test starts, and starts again.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// A port of 127.0.0.1 on which nobody listens. No connection takes it meanwhile, since it lies
/// below those that the system gives to connections and to port 0 (on Linux from 32768 on), and the
/// next call, also of a test beside this one, gives another.
#[must_use]
pub fn free_port() -> u16 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    // Tests that run at a time have neighbouring process ids.
    let start = std::process::id().wrapping_mul(APART);
    let free = (0..PORTS).find_map(|_| {
        let place = start.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = FIRST + place as u16;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
    });
    free.expect("one of thousands of ports is free")
}

const FIRST: u16 = 15_000;
const PORTS: u32 = 12_000;
/// Ports that a test may take before it comes to those of the next.
const APART: u32 = 37;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_and_can_be_used() {
        let listening = [(); 20].map(|()| {
            let port = free_port();
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free")
        });
        assert!(listening.iter().all(|it| it.local_addr().is_ok_and(|at| at.port() < 32_768)));
    }
}
