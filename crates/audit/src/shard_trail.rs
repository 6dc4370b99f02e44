//! A shard's end of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentmq_session::{AuditCondition, AuditEvent, AuditStatistics, AuditTrail, Deed, Ticket};

use crate::inbox::{Asker, Batch, Shared};
use crate::refusal_budget::RefusalBudget;
use crate::row::Row;
use crate::wall_time::now;

/// Puts down what clients do.
#[derive(Debug)]
pub struct ShardTrail {
    shared: Arc<Shared>,
    completed: Arc<AtomicU64>,
    place: usize,
    rows: Vec<(u64, Row)>,
    /// The ticket of what is in `rows`.
    ticket: u64,
    refusals: RefusalBudget,
}

impl ShardTrail {
    pub(crate) fn new(shared: Arc<Shared>, completed: Arc<AtomicU64>, place: usize) -> Self {
        let refusals = RefusalBudget::default();
        Self { shared, completed, place, rows: Vec::new(), ticket: 1, refusals }
    }
}

impl AuditTrail for ShardTrail {
    fn condition(&self) -> AuditCondition {
        match self.shared.settings.goes_on {
            true => AuditCondition::Good, // for those who ask: rows are left out
            false => self.shared.condition(),
        }
    }

    fn record(&mut self, event: &AuditEvent<'_>) -> Ticket {
        let settings = &self.shared.settings;
        let is_wanted = match event.deed {
            Deed::Connected { .. } | Deed::Authenticated | Deed::Disconnected { .. } => {
                settings.connections
            }
            Deed::Refused { .. } => settings.refusals,
            Deed::Subscribed { .. } | Deed::Published { .. } => true,
        };
        if !is_wanted {
            return Ticket::default();
        }
        let now = now();
        let is_taken = match event.deed {
            Deed::Refused { .. } => {
                self.shared.condition() == AuditCondition::Good && self.refusals.takes_one(now)
            }
            Deed::Disconnected { .. } => self.shared.condition() != AuditCondition::Failed,
            // Who does such things has looked at the condition: what comes in between waits.
            _ => !settings.goes_on || self.shared.condition() == AuditCondition::Good,
        };
        if !is_taken {
            self.shared.leave_out(1);
            return Ticket::default();
        }
        self.rows.push((now, Row::of(event)));
        Ticket(self.ticket)
    }

    fn submit(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        let rows = std::mem::take(&mut self.rows);
        self.shared.submit(Batch { rows, asker: Asker::Shard(self.place, Ticket(self.ticket)) });
        self.ticket += 1;
    }

    fn completed(&self) -> Ticket {
        Ticket(self.completed.load(Ordering::Acquire))
    }

    fn statistics(&self) -> Option<AuditStatistics> {
        Some(self.shared.statistics())
    }
}
