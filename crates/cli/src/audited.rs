//! What a command changes of who may do what is in the audit log of the broker, before it is done.

use std::path::Path;

use agentmq_broker::{AuditAppender, AuditFailure, Config, Row};
use serde_json::{Value, json};

use crate::clock::unix_millis;
use crate::commands::config::load;
use crate::failure::Failure;
use crate::output::Output;

/// Puts down that `command` changes what `says` says. Nothing where the configuration keeps no log,
/// or no broker has begun one yet: its first row will have digests of all files.
pub(crate) fn put_down(
    config: &Config,
    command: &str,
    says: Value,
    output: &Output,
) -> Result<(), Failure> {
    let Some(folder) = config.audit_folder() else { return Ok(()) };
    let uid = rustix::process::getuid().as_raw();
    let mut members = serde_json::Map::new();
    members.insert("by".into(), json!(format!("uid {uid}")));
    members.insert("command".into(), json!(command));
    if let Value::Object(says) = says {
        members.extend(says);
    }
    let row = Row::new("change", members);
    let appended = AuditAppender::join(&folder).and_then(|log| {
        log.map_or(Ok(()), |mut log| log.append([(unix_millis(), &row)].into_iter(), true))
    });
    let Err(error) = appended else { return Ok(()) };
    let what = format!("the audit log in {} cannot be written: {error}", folder.display());
    if config.audit.on_failure == AuditFailure::Continue {
        output.note(&format!("{what}; this is not in it"));
        return Ok(());
    }
    let fix = "run this as the user of the broker; nothing was changed";
    Err(Failure::with(crate::failure::Exit::Failed, what, fix))
}

/// The same for a command that need not have a configuration.
pub(crate) fn put_down_at(
    config: Option<&Path>,
    command: &str,
    says: Value,
    output: &Output,
) -> Result<(), Failure> {
    let config = match load(config) {
        Err(_) if config.is_none() => Config::default(),
        loaded => loaded?,
    };
    put_down(&config, command, says, output)
}
