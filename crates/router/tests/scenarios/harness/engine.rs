//! Commit engines whose time the test tells.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use agentmq_session::{
    Change, CommitEngine, Message, QueueMemory, Recall, Recalled, SessionKey, Ticket,
};

/// Every ticket is a new one, and none is complete before the test says so.
#[derive(Debug, Clone, Default)]
pub(crate) struct DelayedEngine {
    drawn: Rc<Cell<u64>>,
    completed: Rc<Cell<u64>>,
}

impl DelayedEngine {
    /// Completes the next `count` tickets.
    pub(crate) fn complete(&self, count: u64) {
        self.completed.set((self.completed.get() + count).min(self.drawn.get()));
    }

    /// Completes every ticket drawn so far.
    pub(crate) fn complete_all(&self) {
        self.completed.set(self.drawn.get());
    }
}

impl CommitEngine for DelayedEngine {
    fn draw(&mut self, _: Ticket) -> Ticket {
        self.drawn.set(self.drawn.get() + 1);
        Ticket(self.drawn.get())
    }

    fn completed(&self) -> Ticket {
        Ticket(self.completed.get())
    }
}

/// Everything survives at once, and can be read back; not while the test says that it is busy.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShelfEngine {
    messages: Vec<(u64, Message)>,
    memory: Arc<QueueMemory>,
    keys: u64,
    recorded: u64,
    is_busy: Rc<Cell<bool>>,
}

impl ShelfEngine {
    pub(crate) fn set_busy(&self, is_busy: bool) {
        self.is_busy.set(is_busy);
    }
}

impl CommitEngine for ShelfEngine {
    fn is_durable(&self) -> bool {
        true
    }

    fn new_key(&mut self) -> SessionKey {
        self.keys += 1;
        SessionKey(self.keys)
    }

    fn record(&mut self, change: Change<'_>) -> Ticket {
        if let Change::Message(it) = change {
            let message = Message::plain(it.topic, it.payload, it.qos, it.retain);
            self.messages.extend(it.recipients.iter().map(|to| (to.ordinal, message.clone())));
        }
        self.recorded += 1;
        Ticket(self.recorded)
    }

    fn completed(&self) -> Ticket {
        Ticket(self.recorded)
    }

    fn queue_memory(&self) -> Option<&Arc<QueueMemory>> {
        Some(&self.memory)
    }

    fn try_recall(&mut self, key: SessionKey, ordinals: &[u64]) -> Option<Vec<Recall>> {
        (!self.is_busy.get()).then(|| self.recall(key, ordinals))
    }

    fn recall(&mut self, _: SessionKey, ordinals: &[u64]) -> Vec<Recall> {
        assert!(!self.is_busy.get(), "the shard would wait");
        let find = |ordinal: &u64| self.messages.iter().find(|(it, _)| it == ordinal);
        let recall = |ordinal| match find(ordinal).cloned() {
            Some((_, message)) => {
                let qos = message.qos();
                let recalled = Recalled { message, qos, retain: false, ids: None };
                Recall::Message(Box::new(recalled))
            }
            None => Recall::Gone,
        };
        ordinals.iter().map(recall).collect()
    }
}
