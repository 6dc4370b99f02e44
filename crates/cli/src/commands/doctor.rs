//! `agentmq doctor`: what of a broker is open, and how to close it.

use std::path::{Path, PathBuf};

use agentmq_broker::Config;
use serde_json::json;

use crate::commands::config::load;
use crate::commands::serve::config_failure;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Say what of a broker is open, and how to close it. Exit code 4: something is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configuration file; without it ./agentmq.toml is read if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// One thing that was looked at.
struct Finding {
    /// What it is about.
    what: &'static str,
    /// What to do; `None`: it is well.
    advice: Option<String>,
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let config = load(args.config.as_deref())?;
    config.access.check().map_err(config_failure)?;
    let findings = findings(&config);
    let mut open = 0;
    for Finding { what, advice } in &findings {
        let (mark, text) = match advice {
            None => ("ok  ", String::new()),
            Some(advice) => ("open", format!(": {advice}")),
        };
        open += usize::from(advice.is_some());
        let object = json!({ "check": what, "open": advice.is_some(), "advice": advice });
        output.result(&format!("{mark} {what}{text}"), &object)?;
    }
    if open == 0 {
        return Ok(());
    }
    let what = format!("{open} of {} are open", findings.len());
    Err(Failure::with(Exit::Refused, what, "`agentmq secure` writes a configuration without them"))
}

fn findings(config: &Config) -> Vec<Finding> {
    let access = &config.access;
    let advise = |what, is_open: bool, advice: &str| Finding {
        what,
        advice: is_open.then(|| advice.to_owned()),
    };
    let mut findings = vec![
        advise(
            "clients prove who they are",
            !access.authenticates(),
            "everybody who reaches the broker comes in: set access.tokens.keys or access.users",
        ),
        advise(
            "rules say who may do what",
            access.policy.as_os_str().is_empty(),
            "everybody may do everything: set access.policy",
        ),
        advise(
            "access can be revoked",
            access.authenticates() && access.revocations.as_os_str().is_empty(),
            "a stolen token is good until it expires: set access.revocations",
        ),
        advise(
            "nobody comes in without credentials",
            config.listeners.iter().any(|listener| listener.allow_anonymous),
            "remove allow_anonymous from the listeners",
        ),
    ];
    let notices = config.notices();
    let in_the_clear = notices.iter().find(|notice| notice.contains("on the way"));
    findings.push(Finding { what: "secrets travel encrypted", advice: in_the_clear.cloned() });
    let readable = secret_files(config).into_iter().find(|file| is_readable_by_others(file));
    findings.push(Finding {
        what: "secret files are the broker's own",
        advice: readable.map(|file| format!("others may read {0}: chmod 600 {0}", file.display())),
    });
    findings
}

fn secret_files(config: &Config) -> Vec<PathBuf> {
    let access = &config.access;
    let mut files: Vec<PathBuf> = access.tokens.keys.iter().map(PathBuf::from).collect();
    files.extend([access.users.clone(), access.service.organizations.clone()]);
    files.extend(config.listeners.iter().filter_map(|it| it.tls.as_ref()).map(|it| it.key.clone()));
    files.push(config.admin.key.clone());
    files.retain(|file| !file.as_os_str().is_empty());
    files
}

#[cfg(unix)]
fn is_readable_by_others(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_readable_by_others(_: &Path) -> bool {
    false
}
