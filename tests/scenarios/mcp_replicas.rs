//! `agentmq mcp expose --replicas`: several processes of one program.

use std::collections::BTreeSet;
use std::time::Instant;

use agentmq_testkit::{Broker, PATIENCE};
use rustix::process::{Pid, Signal, kill_process};

use crate::mcp_program::{Lines, fixture, url};
use crate::program::printed;

fn expose(broker: &Broker, more: &[&str]) -> Lines {
    let (url, program) = (url(broker), fixture());
    let mut arguments = vec!["mcp", "expose", "--json", "--url", &url, "--name", "calc"];
    arguments.extend(["--replicas", "2", "--id", "calc", "--"]);
    arguments.extend(program.iter().map(String::as_str));
    arguments.extend(more);
    Lines::start(&arguments)
}

fn who(broker: &Broker) -> String {
    printed(broker.folder(), &["tools", "call", "calc/whoami", "--url", &url(broker)])
}

/// The processes that have answered until both have.
fn both(broker: &Broker) -> BTreeSet<String> {
    let give_up = Instant::now() + PATIENCE;
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        assert!(Instant::now() < give_up, "only {seen:?} answer");
        seen.insert(who(broker));
    }
    seen
}

#[test]
fn replicas_share_a_name_and_nothing_else() {
    let broker = crate::broker("");
    let trace = broker.folder().join("trace");
    let mut exposed = expose(&broker, &["--trace", trace.to_str().unwrap()]);
    let mut ids = BTreeSet::new();
    while ids.len() < 2 {
        let online = exposed.wait_for("online", |line| line["event"] == "online");
        assert_eq!(online["server"], "calc");
        ids.insert(online["id"].as_str().unwrap().to_owned());
    }
    assert!(ids.iter().eq(["calc:1", "calc:2"]), "{ids:?}");
    let processes = both(&broker);

    let lost = processes.first().unwrap();
    kill_process(Pid::from_raw(lost.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    let offline = exposed.wait_for("offline", |line| line["event"] == "offline");
    let again = exposed.wait_for("online again", |line| line["event"] == "online");
    assert_eq!(offline["id"], again["id"], "the other one is not touched");
    let now = both(&broker);
    assert!(now.contains(processes.last().unwrap()) && !now.contains(lost), "{now:?}");

    exposed.signal(Signal::INT);
    assert!(exposed.end().success());
    let ended = std::fs::read_to_string(&trace).unwrap();
    assert_eq!(ended.lines().filter(|line| *line == "ended").count(), 2, "{ended}");
}
