//! An audit log whose time the test tells.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use agentmq_session::{AuditCondition, AuditEvent, AuditTrail, Deed, Ticket};

/// What was put down, in short. Nothing is safe before the test says so, unless it never waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diary {
    rows: Rc<RefCell<Vec<String>>>,
    drawn: Rc<Cell<u64>>,
    safe: Rc<Cell<u64>>,
    waits: Rc<Cell<bool>>,
    condition: Rc<Cell<AuditCondition>>,
}

impl Diary {
    /// The rows since this was last asked.
    pub(crate) fn rows(&self) -> Vec<String> {
        self.rows.take()
    }

    /// Whether rows wait for [`Self::all_safe`].
    pub(crate) fn set_waiting(&self, waits: bool) {
        self.waits.set(waits);
    }

    pub(crate) fn set_condition(&self, condition: AuditCondition) {
        self.condition.set(condition);
    }

    /// All rows so far are safe.
    pub(crate) fn all_safe(&self) {
        self.safe.set(self.drawn.get());
    }
}

impl AuditTrail for Diary {
    fn condition(&self) -> AuditCondition {
        self.condition.get()
    }

    fn record(&mut self, event: &AuditEvent<'_>) -> Ticket {
        let what = match event.deed {
            Deed::Connected { .. } => "connect".to_owned(),
            Deed::Authenticated => "authenticate".to_owned(),
            Deed::Disconnected { reason, .. } => format!("disconnect {:02x}", reason as u8),
            Deed::Subscribed { filter, .. } => format!("subscribe {filter}"),
            Deed::Published { topic, bytes, is_will: true, .. } => format!("will {topic} {bytes}"),
            Deed::Published { topic, bytes, .. } => format!("publish {topic} {bytes}"),
            Deed::Refused { attempt, topic, reason, .. } => {
                format!("refused {} {topic} {:02x}", attempt.name(), reason as u8)
            }
        };
        let name = event.principal.name().unwrap_or("nobody");
        self.rows.borrow_mut().push(format!("{} {name} {what}", event.client_id));
        self.drawn.set(self.drawn.get() + 1);
        if !self.waits.get() {
            self.all_safe();
        }
        Ticket(self.drawn.get())
    }

    fn completed(&self) -> Ticket {
        Ticket(self.safe.get())
    }
}
