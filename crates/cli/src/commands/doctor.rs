//! `agentmq doctor`: what of a broker is open, and how to close it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use agentmq_broker::{Action, Config, Policy, Principal};
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
    config.check_access().map_err(config_failure)?;
    let policy = config.access.load_policy().map_err(config_failure)?;
    let file = args.config.unwrap_or_else(|| PathBuf::from("agentmq.toml"));
    let mut findings = findings(&config);
    findings.push(Finding {
        what: "the rules are narrower than everything",
        advice: policy.as_ref().and_then(too_wide),
    });
    findings.extend(findings_of_files(&config, file));
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
        advise(
            "the audit log says who did what",
            config.audit_folder().is_none(),
            "nobody can tell afterwards: set audit.enabled, and durability to fsync",
        ),
    ];
    let notices = config.notices();
    let in_the_clear = notices.iter().find(|notice| notice.contains("on the way"));
    findings.push(Finding { what: "secrets travel encrypted", advice: in_the_clear.cloned() });
    findings
}

/// What everybody may do, although there are rules, if it is everything.
fn too_wide(policy: &Policy) -> Option<String> {
    let everybody = Principal::ANONYMOUS.under(policy, "");
    // The second one is for rules that forbid the first one by its text.
    let asked = [(Action::Subscribe, "#"), (Action::Subscribe, "+/#"), (Action::Publish, PROBE)];
    asked.into_iter().find_map(|(action, topic)| {
        let decision = everybody.authorize(action, topic);
        let what = match action {
            Action::Publish => "publish to any topic",
            _ => "subscribe to all topics",
        };
        let rule = decision.rule;
        let advice = || format!("rule `{rule}` lets everybody {what}: name topics, or who may");
        decision.allowed.then(advice)
    })
}

fn findings_of_files(config: &Config, file: PathBuf) -> [Finding; 3] {
    let readable = secret_files(config).into_iter().find(|file| is_readable_by_others(file));
    let writable = files(config, file).iter().find_map(|file| writable_by_others(file));
    let problems = config.tls_problems();
    [
        Finding {
            what: "secret files are the broker's own",
            advice: readable
                .map(|file| format!("others may read {0}: chmod 600 {0}", file.display())),
        },
        Finding {
            what: "others change no file of the broker",
            advice: writable
                .map(|path| format!("others may write to {0}: chmod go-w {0}", path.display())),
        },
        Finding {
            what: "certificates and keys can be used",
            advice: problems
                .into_iter()
                .next()
                .map(|why| format!("the broker does not start: {why}")),
        },
    ]
}

/// Every file that says who is let in, and who may do what.
fn files(config: &Config, file: PathBuf) -> Vec<PathBuf> {
    let access = &config.access;
    let mut files = vec![file, access.policy.clone(), access.revocations.clone()];
    files.extend([access.tokens.ca.clone(), access.plans.clone()]);
    for tls in config.listeners.iter().filter_map(|it| it.tls.as_ref()) {
        files.push(tls.cert.clone());
        files.extend(tls.client_ca.clone());
    }
    files.push(config.admin.cert.clone());
    files.extend(secret_files(config));
    files
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

fn is_readable_by_others(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// What of a file and the folders around it others may write to. In a folder such as /tmp everybody
/// keeps what is his.
fn writable_by_others(file: &Path) -> Option<PathBuf> {
    let path = file.canonicalize().ok()?;
    let is_open = |path: &&Path| {
        std::fs::metadata(path).is_ok_and(|metadata| {
            let mode = metadata.permissions().mode();
            mode & 0o022 != 0 && !(metadata.is_dir() && mode & STICKY != 0)
        })
    };
    path.ancestors().find(is_open).map(Path::to_owned)
}

const STICKY: u32 = 0o1000;
/// A topic that no rule is about by its name.
const PROBE: &str = "b19c7a44/0e2f5d63";
