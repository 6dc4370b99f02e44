//! `[audit]`: the audit log.

use std::path::PathBuf;

use agentmq_audit::{Bounds, Settings};

use crate::access_config::filter_problems;
use crate::value::choices;
use crate::{Config, Durability};

/// `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// Whether it says who comes and goes.
    pub connections: bool,
    /// Whether it says what is refused.
    pub refusals: bool,
    /// Filters of topics of which it says who publishes and subscribes there.
    pub topics: Vec<String>,
    /// Bytes of all its files.
    pub max_bytes: u64,
    /// What happens while it cannot be written.
    pub on_failure: AuditFailure,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            connections: true,
            refusals: true,
            topics: Vec::new(),
            max_bytes: 256 * 1024 * 1024,
            on_failure: AuditFailure::Refuse,
        }
    }
}

/// What happens while the audit log cannot be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditFailure {
    /// What must be in it is refused.
    #[default]
    Refuse,
    /// Everything goes on, and it says afterwards how many rows it lacks.
    Continue,
}

choices!(AuditFailure { "refuse" => Refuse, "continue" => Continue });

impl AuditConfig {
    /// Every rule that is broken, as key and message.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        filter_problems("audit.topics", &self.topics)
    }
}

impl Config {
    /// The folder of the audit log; `None`: there is none. With durability "memory" nothing is
    /// written.
    #[must_use]
    pub fn audit_folder(&self) -> Option<PathBuf> {
        let is_kept = self.audit.enabled && self.durability != Durability::Memory;
        is_kept.then(|| self.data_dir.join("audit"))
    }

    /// How the audit log is kept.
    pub(crate) fn audit_settings(&self) -> Option<Settings> {
        Some(Settings {
            folder: self.audit_folder()?,
            bounds: Bounds::of(self.audit.max_bytes),
            syncs: self.durability == Durability::Fsync,
            goes_on: self.audit.on_failure == AuditFailure::Continue,
            connections: self.audit.connections,
            refusals: self.audit.refusals,
        })
    }
}
