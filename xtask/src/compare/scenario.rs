//! What is measured: each scenario is one call of the load generator, `agentmq bench`.

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: &'static str,
    /// For a reader, in a few words.
    pub about: &'static str,
    /// Arguments of `agentmq bench`.
    pub arguments: Vec<String>,
    /// True if nothing flows: only memory is compared.
    pub idle: bool,
}

/// All scenarios, where a process may have so many files open.
pub fn all(open_files: usize) -> Vec<Scenario> {
    let connections = connections(open_files);
    FLOWS
        .iter()
        .map(|(name, about, arguments)| Scenario::new(name, about, arguments))
        .chain(MANY.iter().map(|(name, about, arguments)| {
            let arguments = format!("{arguments} --connections {connections}");
            Scenario::new(name, about, &arguments)
        }))
        .collect()
}

impl Scenario {
    fn new(name: &'static str, about: &'static str, arguments: &str) -> Self {
        let arguments = arguments.split(' ').map(str::to_owned).collect();
        Self { name, about, arguments, idle: name == IDLE }
    }
}

/// As many as the limit allows with a tenth to spare, but not more than 18 000: a client address
/// has 28 000 ports, and those of the run before are not all free again.
fn connections(open_files: usize) -> usize {
    (open_files.saturating_sub(open_files / 10)).min(18_000)
}

const IDLE: &str = "idle";

/// Name, meaning, arguments.
const FLOWS: &[(&str, &str, &str)] = &[
    (
        "p2p-q0-64",
        "50 pairs, 100 messages each under way, 64 bytes, QoS 0",
        "pair --pairs 50 --outstanding 100 --qos 0 --size 64",
    ),
    (
        "p2p-q0-1x500",
        "500 pairs, one message each under way: nothing to batch",
        "pair --pairs 500 --outstanding 1 --qos 0 --size 64",
    ),
    (
        "p2p-q1-64",
        "50 pairs, 100 messages each under way, 64 bytes, QoS 1",
        "pair --pairs 50 --outstanding 100 --qos 1 --size 64",
    ),
    (
        "p2p-q2-64",
        "50 pairs, 100 messages each under way, 64 bytes, QoS 2",
        "pair --pairs 50 --outstanding 100 --qos 2 --size 64",
    ),
    (
        "p2p-q0-1k",
        "50 pairs, 100 messages each under way, 1 KiB, QoS 0",
        "pair --pairs 50 --outstanding 100 --qos 0 --size 1024",
    ),
    (
        "p2p-q0-16k",
        "50 pairs, 100 messages each under way, 16 KiB, QoS 0",
        "pair --pairs 50 --outstanding 100 --qos 0 --size 16384",
    ),
    (
        "fanout-q0",
        "one publisher, 1000 subscribers, QoS 0",
        "fan-out --subscribers 1000 --outstanding 100 --qos 0 --size 64",
    ),
    (
        "fanout-q1",
        "one publisher, 1000 subscribers, QoS 1",
        "fan-out --subscribers 1000 --outstanding 100 --qos 1 --size 64",
    ),
    (
        "fanin-q0",
        "100 publishers, one subscriber, QoS 0",
        "fan-in --publishers 100 --outstanding 100 --qos 0 --size 64",
    ),
    (
        "shared-q1",
        "100 publishers, 4 subscribers that share one subscription, QoS 1",
        "shared --publishers 100 --subscribers 4 --outstanding 100 --qos 1 --size 64",
    ),
    (
        "paced10k-q0",
        "10 pairs, 10 000 messages a second in all whatever arrives, QoS 0",
        "paced --pairs 10 --rate 10000 --qos 0 --size 64",
    ),
    (
        "paced10k-q1",
        "10 pairs, 10 000 messages a second in all whatever arrives, QoS 1",
        "paced --pairs 10 --rate 10000 --qos 1 --size 64",
    ),
    (
        "rpc-1",
        "one caller, one call under way, QoS 0; a call is two deliveries",
        "rpc --callers 1 --qos 0 --size 64",
    ),
    (
        "rpc-100-q1",
        "100 callers, one call each under way, QoS 1; a call is two deliveries",
        "rpc --callers 100 --qos 1 --size 64",
    ),
    (
        "retained100k",
        "a new subscriber gets 100 000 retained messages",
        "retained --topics 100000 --size 64",
    ),
    (
        "offline50k",
        "a subscriber that returns gets 50 000 queued messages, QoS 1",
        "offline --messages 50000 --qos 1 --size 64",
    ),
];

/// The same for many connections; their number is added.
const MANY: &[(&str, &str, &str)] = &[
    ("connect", "connections opened, 64 at once", "connect --concurrency 64"),
    (IDLE, "the same connections, held without traffic", "idle --concurrency 64 --hold 1s"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_connections_follows_the_limit() {
        assert_eq!(connections(1024), 922);
        assert_eq!(connections(20_000), 18_000);
        assert_eq!(connections(1_048_576), 18_000);
    }

    #[test]
    fn one_scenario_is_idle() {
        let idle: Vec<_> = all(20_000).into_iter().filter(|scenario| scenario.idle).collect();
        let [idle] = idle.as_slice() else { panic!("{idle:?}") };
        assert_eq!(idle.arguments.last().map(String::as_str), Some("18000"));
    }
}
