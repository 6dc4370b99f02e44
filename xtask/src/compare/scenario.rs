//! What is measured: each scenario is one call of the load generator, `agentmq bench`.

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: String,
    /// For a reader, in a few words.
    pub about: String,
    /// Arguments of `agentmq bench`.
    pub arguments: Vec<String>,
    /// True if nothing flows: only memory is compared.
    pub idle: bool,
    /// True if it needs what only MQTT 5 has.
    pub mqtt5: bool,
    /// True if sessions must outlive their connections.
    pub sessions: bool,
    /// True if it runs over TLS, which concerns ours only.
    pub tls: bool,
    /// True if a relay without MQTT logic can do it too.
    pub relay: bool,
    /// How often it is measured, if nothing else is said.
    pub rounds: usize,
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

/// The same, each as short as still says something.
pub fn quick(open_files: usize) -> Vec<Scenario> {
    let mut scenarios = all(open_files.min(QUICK_FILES));
    scenarios.iter_mut().for_each(Scenario::shorten);
    scenarios
}

/// What several shards are compared in over TLS, where a delivery costs the broker most.
pub fn over_tls(quick: bool) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = OVER_TLS
        .iter()
        .map(|(name, about, arguments)| Scenario::new(name, about, arguments))
        .map(|scenario| Scenario { tls: true, relay: false, ..scenario })
        .collect();
    if quick {
        scenarios.iter_mut().for_each(Scenario::shorten);
    }
    scenarios
}

impl Scenario {
    pub fn new(name: &str, about: &str, arguments: &str) -> Self {
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        // Shared subscriptions and response topics came with version 5.
        let mqtt5 = matches!(arguments[0].as_str(), "rpc" | "shared");
        let has = |option: &str| arguments.iter().any(|argument| argument == option);
        let sessions = arguments[0] == "offline" || has("--away");
        // Its bytes flow one way, from one publisher to each subscriber.
        let one_way = matches!(arguments[0].as_str(), "pair" | "fan-out" | "paced");
        let qos0 = arguments.windows(2).any(|pair| pair == ["--qos", "0"]);
        let alone = !has("--churn") && !has("--idle") && !has("--away");
        let relay = one_way && qos0 && alone;
        let (name, about) = (name.to_owned(), about.to_owned());
        let idle = name == IDLE;
        // One pause of the machine decides what percentiles a short run has.
        let rounds = match () {
            () if arguments[0] == "paced" => 20,
            () if has("--live") => 7,
            () => 3,
        };
        Self { name, about, arguments, idle, mqtt5, sessions, tls: false, relay, rounds }
    }

    /// Has it run once, and for a shorter time, if it runs for a given time at all.
    pub fn shorten(&mut self) {
        self.rounds = 1;
        if self.timed() {
            let short = ["--duration", "800ms", "--warm-up", "300ms"];
            self.arguments.extend(short.map(str::to_owned));
        }
    }

    /// True if its messages go from one client to another one each.
    pub fn has_pairs(&self) -> bool {
        matches!(self.arguments[0].as_str(), "pair" | "paced")
    }

    /// True if it runs for a given time and not until it is done.
    fn timed(&self) -> bool {
        !matches!(self.arguments[0].as_str(), "retained" | "offline" | "connect" | "idle")
    }
}

/// As many as the limit allows with a tenth to spare, but not more than 18 000: a client address
/// has 28 000 ports, and those of the run before are not all free again.
pub fn connections(open_files: usize) -> usize {
    (open_files.saturating_sub(open_files / 10)).min(18_000)
}

/// Gives 4500 connections.
const QUICK_FILES: usize = 5000;

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
        "fanout-q0-16k",
        "one publisher, 1000 subscribers, 4 messages under way, 16 KiB, QoS 0",
        "fan-out --subscribers 1000 --outstanding 4 --qos 0 --size 16384",
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
        "subs100k",
        "100 000 filters of 100 clients: a third +/…/#, a third …/+, a third exact; each message \
         matches one",
        "filters --filters 100000 --subscribers 100 --publishers 50 --outstanding 100 --qos 0 \
         --size 64",
    ),
    (
        "churn",
        "as p2p-q0-64, while 1000 SUBSCRIBE and UNSUBSCRIBE a second concern other topics",
        "pair --pairs 50 --outstanding 100 --qos 0 --size 64 --churn 1000",
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
        "retained-live",
        "the same twenty times, beside 2000 messages a second of others",
        "retained --topics 100000 --size 64 --subscribers 20 --live 2000",
    ),
    (
        "offline50k",
        "a subscriber that returns gets 50 000 queued messages, QoS 1",
        "offline --messages 50000 --qos 1 --size 64",
    ),
];

/// Every message is checked at some of the subscribers and counted at the others: opening them all
/// would cost the load generator what sealing them costs the broker.
const OVER_TLS: &[(&str, &str, &str)] = &[
    (
        "tls-fanout-q0",
        "over TLS: one publisher, 1000 subscribers, QoS 0",
        "fan-out --subscribers 1000 --opened 10 --outstanding 100 --qos 0 --size 64",
    ),
    (
        "tls-fanout-1k",
        "over TLS: one publisher, 1000 subscribers, 20 messages under way, 1 KiB, QoS 0",
        "fan-out --subscribers 1000 --opened 10 --outstanding 20 --qos 0 --size 1024",
    ),
    (
        "tls-shared-q0",
        "over TLS: 100 publishers, 4 subscribers that share one subscription, QoS 0",
        "shared --publishers 100 --subscribers 4 --opened 1 --outstanding 100 --qos 0 --size 64",
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

    #[test]
    fn who_can_do_what_follows_from_the_arguments() {
        let names = |fits: fn(&Scenario) -> bool| -> Vec<String> {
            let fitting = all(20_000).into_iter().filter(fits);
            fitting.map(|scenario| scenario.name).collect()
        };
        assert_eq!(names(|scenario| scenario.mqtt5), ["shared-q1", "rpc-1", "rpc-100-q1"]);
        let relayed = [
            "p2p-q0-64",
            "p2p-q0-1x500",
            "p2p-q0-1k",
            "p2p-q0-16k",
            "fanout-q0",
            "fanout-q0-16k",
            "paced10k-q0",
        ];
        assert_eq!(names(|scenario| scenario.relay), relayed);
    }

    #[test]
    fn a_quick_run_has_the_same_rows() {
        let (all, quick) = (all(20_000), quick(20_000));
        assert_eq!(all.len(), quick.len());
        for (long, short) in all.iter().zip(&quick) {
            assert_eq!(long.name, short.name);
            let shortened = short.arguments.iter().any(|argument| argument == "--duration");
            assert_eq!(shortened, long.timed(), "{}", long.name);
        }
        let connect = quick.iter().find(|scenario| scenario.name == "connect").expect("is one");
        assert_eq!(connect.arguments.last().map(String::as_str), Some("4500"));
    }
}
