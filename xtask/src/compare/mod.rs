//! `cargo xtask compare`: the running broker beside others, and beside bytes without MQTT.

mod certificate;
pub mod contender;
mod growth;
mod listen_queue;
pub mod measure;
mod options;
mod page;
mod peer;
mod percentiles;
pub mod results;
mod safety;
pub mod scenario;
pub mod surroundings;
pub mod table;
mod target;
mod verdict;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};

use self::contender::Contender;
use self::measure::Plan;
use self::options::Options;
use self::results::Results;
use self::scenario::Scenario;
use crate::workspace::Workspace;

pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    if options.page {
        page::save(&Results::load(&workspace.root)?, &workspace.root)?;
        println!("written: {}", page::PATH);
        return Ok(ExitCode::SUCCESS);
    }
    let kept = match (options.growth, options.safety) {
        (true, _) => grow(workspace, &options)?,
        (_, true) => safety::run(workspace, &options)?,
        _ => compare(workspace, &options)?,
    };
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures, prints, perhaps saves. Returns whether every promise was kept.
fn compare(workspace: &Workspace, options: &Options) -> Result<bool> {
    let files = surroundings::open_files()?;
    let mut scenarios = if options.quick { scenario::quick(files) } else { scenario::all(files) };
    if options.shards {
        scenarios.extend(scenario::over_tls(options.quick));
    }
    if !options.scenarios.is_empty() {
        for name in &options.scenarios {
            let known = scenarios.iter().any(|scenario| &scenario.name == name);
            ensure!(known, "no scenario is called {name} (those over TLS need --shards)");
        }
        scenarios.retain(|scenario| options.scenarios.contains(&scenario.name));
    }
    let results = measured(workspace, options, &scenarios, true)?;
    println!("\n{}", table::terminal(&results));
    for judged in target::judge(&results) {
        println!("{}", judged.line());
    }
    let problems = verdict::problems(&results, &scenarios);
    for problem in &problems {
        println!("NOT KEPT: {problem}");
    }
    if options.save {
        results.save(&workspace.root)?;
        page::save(&results, &workspace.root)?;
        println!("written: {}, {}", results::PATH, page::PATH);
    }
    Ok(problems.is_empty())
}

/// Measures how cost grows, prints, perhaps saves. Returns whether everything could be measured.
fn grow(workspace: &Workspace, options: &Options) -> Result<bool> {
    let mut axes = growth::axes(surroundings::open_files()?, &options.axes)?;
    if options.quick {
        axes.iter_mut().flat_map(|axis| &mut axis.scenarios).for_each(Scenario::shorten);
    }
    let scenarios: Vec<Scenario> = axes.iter().flat_map(|axis| axis.scenarios.clone()).collect();
    let results = measured(workspace, options, &scenarios, false)?;
    println!("\n{}", growth::tables(&results, &axes));
    if options.save {
        growth::save(&results, &axes, &workspace.root)?;
        println!("written: {}", growth::PATH);
    }
    Ok(results.scenarios.iter().all(|row| row.absent.is_empty()))
}

/// Starts each contender for each scenario and round. Peers and the relay take part if `all`.
fn measured(
    workspace: &Workspace,
    options: &Options,
    scenarios: &[Scenario],
    all: bool,
) -> Result<Results> {
    let folder = workspace.scratch("peers")?;
    let peers = match all || !options.peers.is_empty() {
        true => peer::choose(&options.peers, options.install, &folder)?,
        false => Vec::new(),
    };
    let binary = workspace.build_agentmq()?;
    let root: &Path = &workspace.root;
    let mut contenders = vec![Contender::agentmq(&binary, root)];
    if options.shards {
        contenders.extend(Contender::shards(&binary, root));
    }
    for peer in peers {
        contenders.push(Contender::peer(peer, &folder, root)?);
    }
    contenders.extend(options.brokers.iter().cloned());
    if all {
        contenders.push(Contender::relay(&binary));
    }
    let mut scenarios = scenarios.to_vec();
    for scenario in &mut scenarios {
        scenario.rounds = options.rounds.unwrap_or(scenario.rounds);
    }
    let quick = options.quick;
    let plan = Plan { binary: &binary, scenarios: &scenarios, contenders: &contenders, quick };
    measure::run(workspace, &plan)
}
