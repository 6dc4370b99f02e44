//! The `agentmq` command. This file names the subcommands; each has a file of its own.
#![deny(unsafe_code)]

mod audited;
mod bench;
mod bus_args;
mod certificates;
mod claim_args;
mod clock;
mod commands;
mod connection;
mod context;
mod duration;
mod failure;
mod interruption;
mod json_indent;
mod json_members;
mod listen_args;
mod log_filter;
mod memory;
mod names;
mod output;
mod private_file;
mod progress;
mod time_arg;
mod tool_arguments;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// MQTT broker and tools for AI agents.
#[derive(Debug, Parser)]
#[command(name = "agentmq", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Print JSON: one object per result or message, errors on standard error.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker.
    Serve(commands::serve::Args),
    /// Run a broker for development: loopback, no configuration.
    Dev(commands::serve::DevArgs),
    /// Publish messages.
    Pub(commands::publish::Args),
    /// Subscribe and print what arrives.
    Sub(commands::subscribe::Args),
    /// Send a request and print the answer.
    Req(commands::request::Args),
    /// Answer requests with a text, an echo or a command's output.
    Reply(commands::reply::Args),
    /// Put MCP servers on the bus, and bring those of the bus to MCP hosts.
    Mcp(commands::mcp::Args),
    /// List and call the tools on the bus.
    Tools(commands::tools::Args),
    /// Measure any MQTT broker.
    Bench(bench::Args),
    /// Check, print and explain the broker's configuration.
    Config(commands::config::Args),
    /// Write what a broker needs that others may reach: TLS, keys for tokens, and rules.
    Secure(commands::secure::Args),
    /// Say what of a broker is open, and how to close it.
    Doctor(commands::doctor::Args),
    /// Say what rules of access come to.
    Acl(commands::acl::Args),
    /// Make tokens that let agents in, and look at them.
    Token(commands::token::Args),
    /// Add, list and remove users with passwords.
    User(commands::user::Args),
    /// Add, list and remove organisations whose agents get tokens over HTTP.
    Org(commands::org::Args),
    /// Make, list and renew the keys that sign tokens.
    Keys(commands::keys::Args),
    /// Put out who must not be let in any more.
    Revoke(commands::revoke::Args),
    /// Read the audit log, and check that it is as it was written.
    Audit(commands::audit::Args),
    /// Look at a data directory, and copy it.
    Store(commands::store::Args),
    /// Print every bound of the broker and what happens beyond it.
    Limits(commands::limits::Args),
    /// Manage named broker addresses.
    Ctx(commands::contexts::Args),
    /// Print a completion script for a shell.
    Completion(commands::completion::Args),
    /// Print the version.
    Version,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return wrong_usage(&usage),
    };
    let output = Output::new(cli.json);
    match run(cli.command, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}

/// Prints help, or what is wrong with the command line; as JSON if that is asked for anywhere.
fn wrong_usage(usage: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if !usage.use_stderr() || !json {
        let _ = usage.print();
        return u8::try_from(usage.exit_code()).unwrap_or(Exit::Usage as u8).into();
    }
    // The first paragraph is the cause, the others are hints.
    let text = usage.to_string();
    let (what, hints) = text.split_once("\n\n").unwrap_or((&text, ""));
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let hints = hints.split_whitespace().collect::<Vec<_>>().join(" ");
    let failure = Failure::usage(what.trim(), hints);
    Output::new(true).failure(&failure);
    failure.exit.into()
}

fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => commands::serve::serve(args, output),
        Command::Dev(args) => commands::serve::dev(&args, output),
        Command::Config(args) => commands::config::run(args, output),
        Command::Acl(args) => commands::acl::run(args, output),
        Command::Token(args) => commands::token::run(args, output),
        Command::User(args) => commands::user::run(args, output),
        Command::Org(args) => commands::org::run(args, output),
        Command::Keys(args) => commands::keys::run(args, output),
        Command::Revoke(args) => commands::revoke::run(args, output),
        Command::Secure(args) => commands::secure::run(&args, output),
        Command::Doctor(args) => commands::doctor::run(args, output),
        Command::Audit(args) => commands::audit::run(args, output),
        Command::Store(args) => commands::store::run(args, output),
        Command::Limits(args) => commands::limits::run(&args, output),
        Command::Pub(args) => run_async(commands::publish::run(args, output)),
        Command::Sub(args) => run_async(commands::subscribe::run(args, output)),
        Command::Req(args) => run_async(commands::request::run(args, output)),
        Command::Reply(args) => run_async(commands::reply::run(args, output)),
        Command::Mcp(args) => run_async(commands::mcp::run(args, output)),
        Command::Tools(args) => run_async(commands::tools::run(args, output)),
        Command::Bench(args) => bench::run(args, output),
        Command::Ctx(args) => commands::contexts::run(args, output),
        Command::Completion(args) => commands::completion::run(&args, output),
        Command::Version => commands::version::run(output),
    }
}

/// One thread is enough for a client.
fn run_async(task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the event loop: {error}")))?;
    let ended = runtime.block_on(task);
    // Nobody can end a read of standard input that has begun, and nobody should wait for it.
    runtime.shutdown_background();
    ended
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no connection, 4 refused or not authorized, \
5 timed out or nobody answers";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
