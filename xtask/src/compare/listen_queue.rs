//! Connections that the kernel turned away because a listener's queue was full.

use std::fs;

/// How many since the machine started, over all listeners. The client of each sends its SYN again
/// after a second, which no latency of the broker would explain.
pub fn dropped() -> Option<u64> {
    parse(&fs::read_to_string("/proc/net/netstat").ok()?)
}

/// A line of names, and below it one of values.
fn parse(netstat: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(name, _)| *name == "ListenDrops")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_by_its_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPPureAcks\n\
                    TcpExt: 1 2 30 4\nIpExt: ListenDrops\nIpExt: 5\n";
        assert_eq!(parse(text), Some(30));
        assert_eq!(parse("IpExt: ListenDrops\nIpExt: 5\n"), None);
    }
}
