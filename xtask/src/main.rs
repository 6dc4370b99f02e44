//! The project's own tasks: `cargo xtask NAME`.
//!
//! Everything that needs more than one cargo command lives here, in Rust, so that a laptop and CI
//! do the same. The program knows the workspace only from outside (`cargo metadata`, files, the
//! built binary): it imports no crate of ours.

#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "a program has no public interface: `pub` means «of the file»")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks")]

mod bench;
mod broker;
mod compare;
mod conformance;
mod faults;
mod lock_file;
mod process;
mod profile;
mod run;
mod sbom;
mod simulate;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<ExitCode> {
    let Some((task, rest)) = arguments.split_first() else {
        print!("{USAGE}");
        return Ok(ExitCode::FAILURE);
    };
    if matches!(task.as_str(), "help" | "-h" | "--help") || asks_for_help(task, rest) {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    process::end_children_on_interrupt()?;
    let workspace = || Workspace::discover();
    match task.as_str() {
        "run" => run::run(&workspace()?, rest),
        "test" => test::run(&workspace()?, rest),
        "tidy" => tidy::run(&workspace()?, rest),
        "conformance" => conformance::run(&workspace()?, rest),
        "bench" => bench::run(&workspace()?, rest),
        "compare" => compare::run(&workspace()?, rest),
        "profile" => profile::run(&workspace()?, rest),
        "faults" => faults::run(&workspace()?, rest),
        "sbom" => sbom::run(&workspace()?, rest),
        "simulate" => simulate::run(&workspace()?, rest),
        other => bail!("no task named `{other}`; `cargo xtask help` lists them"),
    }
}

/// `run` hands its arguments to the broker, which has a help of its own.
fn asks_for_help(task: &str, rest: &[String]) -> bool {
    task != "run" && rest.iter().any(|argument| matches!(argument.as_str(), "-h" | "--help"))
}

const USAGE: &str = "\
cargo xtask TASK

  run [ARGUMENTS]       build the broker and start it for development (`agentmq dev ARGUMENTS`)
  test                  install what the tests need and run all of them
       --list             name the steps
       --only STEP        run this step (may be repeated)
  tidy                  check what the compiler cannot: edges, licences, names, lengths, words
       --fix              write the files that one rule copies (clippy.toml of sans-I/O crates)
  conformance           run a public MQTT suite against the broker
       --suite DIR        a checkout of the suite
       --suite-kind KIND  `paho` (default) or `gmqtt`
       --at HOST:PORT     a broker that runs already; without it ours is started
       --only NAME        tests whose name contains NAME
       --timeout SECONDS  limit of one test (default 60)
  bench                 count the instructions of the hot paths, beside the committed baseline
       --save             make what was counted the new baseline
  compare               measure the running broker beside others
       --save             write docs/benchmarks.md and .json, or with --growth docs/growth.md
       --quick            one round of short measurements
       --rounds N         rounds of each scenario (default 3, of `paced` 20, of
                          `retained-live` 7); reported are medians
       --scenario NAME    measure this scenario (may be repeated)
       --peer NAME        beside this peer (may be repeated); without it beside all installed ones
       --install          install the peers that are missing, below the target folder
       --broker NAME=COMMAND,PORT
                          measure this broker too (may be repeated)
       --at NAME=HOST:PORT,PID
                          and this one, which runs already on this machine
       --shards           measure AgentMQ also on one shard, and on two with clients on each in
                          turn; over TLS too, which needs openssl
       --growth           measure instead how the cost of a message grows, of AgentMQ, of each
                          --peer and each --broker
       --axis NAME        along this axis (may be repeated)
       --safety           measure instead what it costs to acknowledge only what is on the disk,
                          beside NATS; with --save it writes docs/safety.md
       --page             only write docs/benchmarks.md anew from docs/benchmarks.json
  faults                hurt a running broker and ask for all that it has acknowledged
       --experiment NAME  only this one (may be repeated)
       --count N          rounds of each (default: each has its own)
       --seed S           where chance begins (default 1)
       --short            a few rounds of each
       --broker KIND      `agentmq` (default), `agentmq-os`, `mosquitto`, `nats` or `nats-default`
       --binary PATH      this program; without it ours is built, another's is looked for
       --resume           run the next part of the long campaign and keep its books; what is not
                          committed is refused
       --minutes N        so long at most (default 20)
       --ledger FILE      the books (default: faults/ledger.jsonl in the target folder)
       --report           print the campaign's tables for docs/reliability.md
       --syscalls         count the system calls of AgentMQ, Mosquitto and nats-server, and the
                          publications that they acknowledge
  sbom FILE             write what the binary is made of, as a CycloneDX document
  simulate              run the broker on a simulated disk, with crashes, and check its promises
       --seeds N          so many seeds (default 1000)
       --from SEED        from this one on (default 0)
  profile               say where the broker's CPU time goes and which system calls it makes
       --save             write the generated part of docs/performance.md
       --scenario NAME    profile this scenario of `compare` (may be repeated)
";
