//! What safety costs: messages to a client that is away, acknowledged by brokers that keep them on
//! a disk, beside the disk alone.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::contender::Contender;
use super::options::Options;
use super::peer::{self, PEERS};
use super::scenario::Scenario;
use super::table::{short, table};
use super::{measure, surroundings};
use crate::workspace::Workspace;

/// Figures of one run, by name.
type Figures = BTreeMap<&'static str, f64>;

/// Measures, prints, perhaps saves. Returns whether everything could be measured.
pub fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let (surroundings, scratch) =
        (surroundings::observe(&workspace.root)?, workspace.scratch("safety")?);
    let binary = workspace.build_agentmq()?;
    let mut contenders = Contender::durabilities(&binary, &workspace.root);
    let idle = Contender::agentmq(&binary, &workspace.root);
    let peers = workspace.scratch("peers")?;
    peer::choose(&["NATS".to_owned()], options.install, &peers)?;
    let nats = PEERS.iter().find(|peer| peer.name == "NATS").context("NATS is a peer")?;
    let program = nats.installed(&peers).context("NATS is installed")?;
    for (name, more) in [("NATS", ""), ("NATS, synced always", "sync_interval: always")] {
        contenders.push(on_disk(name, &program, more, &scratch)?);
    }
    let mut measured: BTreeMap<(&str, String), Vec<Figures>> = BTreeMap::new();
    let mut alone = Vec::new();
    let mut is_whole = true;
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 3 });
    for round in 0..rounds {
        alone.push(disk_alone(&scratch)?);
        for Load { name: load, arguments, is_long } in LOADS {
            for contender in &contenders {
                let is_nats = contender.name.starts_with("NATS");
                if is_nats && *is_long {
                    continue; // minutes, where it syncs always
                }
                let version = if is_nats { " -V 3.1.1" } else { "" };
                let scenario = Scenario::new(load, "", &format!("{arguments}{version}"));
                fs::remove_dir_all(scratch.join("data")).or_else(absent)?;
                let mut figures = one(&binary, &scenario, contender, &scratch);
                if let (true, Ok(figures)) = (*is_long, &mut figures) {
                    let both = [contender, &idle];
                    figures.insert(ELSEWHERE, elsewhere(&binary, &scenario, both, &scratch)?);
                }
                let label = format!("{}/{} {load}", round + 1, rounds);
                match figures {
                    Ok(figures) => {
                        println!("{label} {:<20} {figures:.0?}", contender.name);
                        let key = (*load, contender.name.clone());
                        measured.entry(key).or_default().push(figures);
                    }
                    Err(error) => {
                        is_whole = false;
                        println!("{label} {:<20} FAILED: {error:#}", contender.name);
                    }
                }
            }
        }
    }
    let names: Vec<&str> = contenders.iter().map(|it| it.name.as_str()).collect();
    let page = page(&measured, &names, &mut alone);
    println!("\n{page}");
    if options.save {
        let text = format!("{HEAD}\n{surroundings}; {rounds} rounds, medians.\n\n{page}");
        fs::write(workspace.root.join(PATH), text.trim_end().to_owned() + "\n").context(PATH)?;
        println!("written: {PATH}");
    }
    Ok(is_whole)
}

fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// nats-server with its store where ours is.
fn on_disk(name: &str, program: &Path, more: &str, scratch: &Path) -> Result<Contender> {
    let port = super::contender::free_port()?;
    let file = scratch.join(format!("{}.conf", name.replace([' ', ','], "-")));
    let text = format!(
        "server_name: compare\nlisten: \"127.0.0.1:-1\"\n\
         jetstream: {{ store_dir: \"data\"\n max_file_store: 8GB\n {more} }}\n\
         mqtt: {{ listen: \"127.0.0.1:{port}\"\n max_ack_pending: 20000 }}\n"
    );
    fs::write(&file, text).context("write the configuration of NATS")?;
    let command = format!("'{}' -c '{}'", program.display(), file.display());
    Ok(Contender::command(name, command, port))
}

fn one(
    binary: &Path,
    scenario: &Scenario,
    contender: &Contender,
    scratch: &Path,
) -> Result<Figures> {
    let broker = contender.start(scenario, scratch)?;
    let (_, output) = measure::load(binary, scenario, contender, &broker, scratch)?;
    drop(broker);
    let report = measure::report(&output)?;
    let more = |name: &str| report["more"][name].as_f64().with_context(|| name.to_owned());
    anyhow::ensure!(report["integrity"]["lost"] == 0, "messages were lost");
    let mut figures = BTreeMap::from([
        ("acknowledged a second", more("queued_per_second")?),
        ("a CPU-second", more("queued_per_cpu_second").unwrap_or_default()),
        ("p50, µs", more("acknowledged_p50_us")?),
        ("p99, µs", more("acknowledged_p99_us")?),
        ("drained a CPU-second", report["broker"]["per_cpu_second"].as_f64().unwrap_or_default()),
    ]);
    let live = |when: &str| report["live"][when]["p99_us"].as_f64();
    if let Some((quiet, busy)) = live("quiet").zip(live("busy")) {
        figures.extend([("others' p99 before, µs", quiet), ("beside it, µs", busy)]);
        figures.insert("times", busy / quiet);
    }
    Ok(figures)
}

/// p99 of the others in microseconds where they go through `idle`, a broker that has nothing else
/// to do: what the machine does to them while it is busy with the same load.
fn elsewhere(
    binary: &Path,
    scenario: &Scenario,
    [contender, idle]: [&Contender; 2],
    scratch: &Path,
) -> Result<f64> {
    fs::remove_dir_all(scratch.join("data")).or_else(absent)?;
    let (broker, idle) = (contender.start(scenario, scratch)?, idle.start(scenario, scratch)?);
    let mut scenario = scenario.clone();
    scenario.arguments.extend(["--live-port".to_owned(), idle.port.to_string()]);
    let (_, output) = measure::load(binary, &scenario, contender, &broker, scratch)?;
    let report = measure::report(&output)?;
    report["live"]["busy"]["p99_us"].as_f64().context("no messages beside it")
}

/// Microseconds of a write of one message's size and its `fdatasync`, without any broker.
fn disk_alone(scratch: &Path) -> Result<f64> {
    let path = scratch.join("alone");
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(true).write(true).open(&path)?;
    file.set_len(1 << 24)?;
    file.write_all_at(&vec![1; 1 << 24], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for number in 0..1000 {
        let started = Instant::now();
        file.write_all_at(&[2; 160], number * 160)?;
        file.sync_data()?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(&path)?;
    Ok(median(&mut times))
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn page(
    measured: &BTreeMap<(&str, String), Vec<Figures>>,
    names: &[&str],
    alone: &mut [f64],
) -> String {
    let mut text = String::new();
    for Load { name: load, arguments, .. } in LOADS {
        let runs = |name: &str| measured.get(&(*load, name.to_owned()));
        let has = |figure: &str| {
            let all = names.iter().filter_map(|name| runs(name)).flatten();
            all.into_iter().any(|run| run.contains_key(figure))
        };
        let told: Vec<&str> = FIGURES.iter().copied().filter(|it| has(it)).collect();
        let mut heads = vec![String::new()];
        heads.extend(told.iter().map(|&it| it.to_owned()));
        let rows = names.iter().filter(|name| runs(name).is_some()).map(|&name| {
            let runs = runs(name);
            let mut cells = vec![name.to_owned()];
            cells.extend(told.iter().map(|figure| {
                let runs = runs.map(Vec::as_slice).unwrap_or_default();
                let mut all: Vec<f64> =
                    runs.iter().filter_map(|it| it.get(figure).copied()).collect();
                if all.is_empty() { "–".to_owned() } else { short(median(&mut all)) }
            }));
            cells
        });
        let table = table(&heads, rows);
        text += &format!("## {load}\n\n`agentmq bench {arguments}`\n\n{table}\n");
    }
    let alone = median(alone);
    text + &format!("A write of 160 bytes and its `fdatasync` alone: {alone:.0} µs (median).\n")
}

const HEAD: &str = "# What safety costs\n\nGenerated by `cargo xtask compare --safety --save`: \
    QoS 1 messages of 64 bytes to a persistent session whose client is away, each acknowledged \
    when the broker has done what it promises: with `fsync` it is on the disk, with `os` the \
    system has it. NATS by default syncs every two minutes. All stores lie on the same disk.\n";

pub const PATH: &str = "docs/safety.md";

const FIGURES: &[&str] = &[
    "acknowledged a second",
    "a CPU-second",
    "p50, µs",
    "p99, µs",
    "drained a CPU-second",
    "others' p99 before, µs",
    "beside it, µs",
    "times",
    ELSEWHERE,
];
/// See [`elsewhere`].
const ELSEWHERE: &str = "through an idle broker, µs";

struct Load {
    name: &'static str,
    arguments: &'static str,
    /// For ours only.
    is_long: bool,
}

const LOADS: &[Load] = &[
    Load {
        name: "8 publishers, 100 messages each under way",
        arguments: "offline --messages 50000 --publishers 8 --window 100 --qos 1 --size 64",
        is_long: false,
    },
    Load {
        name: "1 publisher, 1 message under way",
        arguments: "offline --messages 1000 --publishers 1 --window 1 --qos 1 --size 64",
        is_long: false,
    },
    Load {
        name: "A million messages, drained beside 2000 a second of others",
        arguments: "offline --messages 1000000 --publishers 8 --window 100 --qos 1 --size 64 \
                    --live 2000",
        is_long: true,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_medians_and_what_is_missing_is_a_dash() {
        let load = LOADS[0].name;
        let run = |rate| BTreeMap::from([("acknowledged a second", rate)]);
        let key = |name: &str| (load, name.to_owned());
        let measured = BTreeMap::from([(key("a"), vec![run(3e6), run(1e6), run(2e6)])]);
        let page = page(&measured, &["a", "b"], &mut [70.0, 60.0, 90.0]);
        assert!(page.contains("| a | 2.00 M |"), "{page}");
        assert!(!page.contains("| b |") && !page.contains("p99"), "not measured: {page}");
        assert!(page.contains("alone: 70 µs"), "{page}");
    }
}
