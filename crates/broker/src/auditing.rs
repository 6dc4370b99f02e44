//! The audit log of a running broker: who writes it, and what it is told of the broker itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentmq_audit::{Row, Trail, TrailError, Waker, Writer, digest};
use agentmq_router::Place;
use agentmq_session::{AuditTrail, NoAudit};
use agentmq_shard::Mailboxes;
use serde_json::{Map, Value, json};

use crate::policy_file::policy_files;
use crate::{AccessConfig, BrokerError, Config, ReloadPlan};

/// The log of a broker.
#[derive(Debug)]
pub(crate) struct Auditing {
    pub(crate) trail: Trail,
    /// The shards' ends, the last shard's last.
    ends: Vec<Box<dyn AuditTrail + Send>>,
    writer: Option<Writer>,
}

impl Auditing {
    /// Opens the log, if the configuration asks for one.
    pub(crate) fn start(
        config: &Config,
        mailboxes: &Arc<Mailboxes>,
        shards: usize,
    ) -> Result<Self, BrokerError> {
        let Some(settings) = config.audit_settings() else {
            return Ok(Self { trail: Trail::NONE, ends: Vec::new(), writer: None });
        };
        let wakers = (0..shards).map(|number| -> Waker {
            let (mailboxes, place) = (Arc::clone(mailboxes), Place(number as u8));
            Box::new(move || mailboxes.wake(place))
        });
        let folder = settings.folder.clone();
        let goes_on = settings.goes_on;
        let (trail, ends, writer) = match Trail::start(settings, wakers.collect()) {
            Err(error) if goes_on => {
                let folder = folder.display();
                tracing::error!(%error, "there is no audit log: {folder} cannot be used");
                return Ok(Self { trail: Trail::NONE, ends: Vec::new(), writer: None });
            }
            started => started.map_err(|source| BrokerError::Audit { folder, source })?,
        };
        let ends = ends.into_iter().map(|end| -> Box<dyn AuditTrail + Send> { Box::new(end) });
        Ok(Self { trail, ends: ends.collect(), writer: Some(writer) })
    }

    /// The end of the last shard that has none yet.
    pub(crate) fn take_end(&mut self) -> Box<dyn AuditTrail + Send> {
        self.ends.pop().unwrap_or_else(|| Box::new(NoAudit))
    }

    /// The broker starts, and serves nobody yet.
    pub(crate) fn tell_start(&self, config: &Config) -> Result<(), TrailError> {
        let says = members([
            ("version", json!(env!("CARGO_PKG_VERSION"))),
            ("files", Value::Object(files(config))),
        ]);
        self.trail.append(Row::new("start", says))
    }

    /// Other settings or files will hold.
    pub(crate) fn tell_reload(&self, plan: &ReloadPlan) -> Result<(), TrailError> {
        let keys = |changes: &[crate::Change]| -> Value {
            changes.iter().map(|change| change.key.as_str()).collect()
        };
        let says = members([
            ("applied", keys(&plan.applied)),
            ("waiting", keys(&plan.waiting)),
            ("files", Value::Object(files(&plan.effective))),
        ]);
        self.trail.append(Row::new("reload", says))
    }

    /// They do not hold after all.
    pub(crate) fn tell_no_reload(&self, why: &str) {
        let says = members([("undone", json!(true)), ("why", json!(why))]);
        let _ = self.trail.append(Row::new("reload", says)); // the log of the broker says it, too
    }

    /// The broker has ended: nothing follows.
    pub(crate) fn end(&mut self) {
        let _ = self.trail.append(Row::new("stop", Map::new())); // its end says it as well
        drop(self.writer.take());
    }
}

impl Drop for Auditing {
    /// Who drops a broker without waiting for it stops neither shards nor log.
    fn drop(&mut self) {
        std::mem::forget(self.writer.take());
    }
}

/// The files that say who may do what, with digests of what is in them.
fn files(config: &Config) -> Map<String, Value> {
    let access = &config.access;
    let AccessConfig { users, revocations, plans, .. } = access;
    let named = [users, revocations, plans, &access.service.organizations];
    let keys = access.tokens.keys.iter().map(Path::new);
    let all = named.into_iter().map(PathBuf::as_path).chain(keys).map(Path::to_path_buf);
    let all = all.chain(policy_files(&access.policy).unwrap_or_default());
    let read = all.filter_map(|path| {
        let contents = fs::read(&path).ok()?;
        Some((path.display().to_string(), json!(digest(&contents))))
    });
    read.collect()
}

fn members<const N: usize>(all: [(&str, Value); N]) -> Map<String, Value> {
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
