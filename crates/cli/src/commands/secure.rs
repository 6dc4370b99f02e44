//! `agentmq secure`: from an open broker to one with TLS, tokens and rules, in one step.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use serde_json::json;

use crate::certificates;
use crate::clock::unix_secs;
use crate::commands::keys;
use crate::failure::Failure;
use crate::output::Output;
use crate::private_file;

/// Write what a broker needs that others may reach: TLS, keys for tokens, and rules.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name or address that the broker is reached by; may repeat.
    #[arg(long, value_name = "NAME", default_values = ["localhost", "127.0.0.1"])]
    host: Vec<String>,
    /// The folder to write into.
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let folder = &args.folder;
    if let Some(there) = FILES.iter().find(|file| folder.join(file).exists()) {
        let what = format!("{} is there already", folder.join(there).display());
        return Err(Failure::usage(what, format!("nothing was written: {FIX}")));
    }
    let year = 1970 + (unix_secs() / 31_556_952) as i32;
    let made = certificates::make(&args.host, year)
        .map_err(|error| Failure::usage(format!("no certificate: {error}"), "correct --host"))?;
    // Others may read certificates there, whatever the umask says, and not exchange them.
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o755)
        .create(folder.join("tls"))
        .map_err(|error| Failure::new(format!("cannot make {}: {error}", folder.display())))?;
    let keys = keys::new_file()?;
    for (file, text) in FILES.iter().zip([
        CONFIG,
        POLICY,
        &keys,
        &made.ca,
        &made.ca_key,
        &made.server,
        &made.server_key,
    ]) {
        private_file::create(&folder.join(file), text, FIX)?;
    }
    // Clients are to read it, whoever runs them.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let readable = std::fs::Permissions::from_mode(0o644);
        let _ = std::fs::set_permissions(folder.join("tls/ca.pem"), readable);
    }
    let host = args.host.first().map_or("localhost", String::as_str);
    output.note("next, in this folder:");
    output.note("  agentmq serve");
    output.note("  export AGENTMQ_PASSWORD=$(agentmq token create --agent scout)");
    output
        .note(&format!("  agentmq sub --url mqtts://{host} --ca tls/ca.pem 'agents/scout/inbox'"));
    let line = format!("wrote {}", FILES.join(", "));
    output.result(&line, &json!({ "folder": folder, "files": FILES }))
}

const FIX: &str = "move it away, or give another --folder";

const FILES: [&str; 7] = [
    "agentmq.toml",
    "policy.toml",
    "keys.json",
    "tls/ca.pem",
    "tls/ca.key",
    "tls/server.pem",
    "tls/server.key",
];

const CONFIG: &str = include_str!("../secure/agentmq.toml");
const POLICY: &str = include_str!("../secure/policy.toml");
