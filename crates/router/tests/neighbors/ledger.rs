//! A commit engine that keeps what it is told as text, and makes it safe when the test says so.

use std::sync::{Arc, Mutex};

use agentmq_session::{Change, CommitEngine, Condition, SessionKey, Ticket, Time};

/// What one router has recorded.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Mutex<Pages>>);

#[derive(Debug)]
struct Pages {
    number: u8,
    keys: u64,
    lines: Vec<String>,
    ticket: u64,
    has_news: bool,
    completed: u64,
    condition: Condition,
}

#[derive(Debug)]
struct LedgerEngine(Ledger);

impl Ledger {
    pub fn new(number: u8) -> Self {
        let (lines, ticket) = (Vec::new(), 1);
        let (has_news, condition) = (false, Condition::Good);
        let pages = Pages { number, keys: 0, lines, ticket, has_news, completed: 0, condition };
        Self(Arc::new(Mutex::new(pages)))
    }

    pub fn engine(&self) -> Box<dyn CommitEngine> {
        Box::new(LedgerEngine(self.clone()))
    }

    pub fn commit(&self) {
        let mut pages = self.0.lock().unwrap();
        pages.completed = pages.ticket - 1;
    }

    pub fn set_condition(&self, condition: Condition) {
        self.0.lock().unwrap().condition = condition;
    }

    /// How many records begin with this word.
    pub fn count(&self, word: &str) -> usize {
        let pages = self.0.lock().unwrap();
        pages.lines.iter().filter(|line| line.starts_with(word)).count()
    }

    /// The newest record that begins with this word.
    pub fn newest(&self, word: &str) -> String {
        let pages = self.0.lock().unwrap();
        let found = pages.lines.iter().rfind(|line| line.starts_with(word));
        found.cloned().unwrap_or_default()
    }

    /// The newest records, in their order.
    pub fn last(&self, count: usize) -> Vec<String> {
        let pages = self.0.lock().unwrap();
        pages.lines[pages.lines.len() - count..].to_vec()
    }
}

impl CommitEngine for LedgerEngine {
    fn is_durable(&self) -> bool {
        true
    }

    fn condition(&self) -> Condition {
        self.0.0.lock().unwrap().condition
    }

    fn new_key(&mut self) -> SessionKey {
        let mut pages = self.0.0.lock().unwrap();
        pages.keys += 1;
        SessionKey(u64::from(pages.number) * 1000 + pages.keys)
    }

    fn record(&mut self, change: Change<'_>) -> Ticket {
        let mut pages = self.0.0.lock().unwrap();
        pages.lines.push(match change {
            Change::Session(session) => {
                let will = if session.will.is_some() { "with" } else { "without" };
                format!("Session {} {will} will", session.client_id)
            }
            Change::Message(message) => {
                let payload = String::from_utf8_lossy(message.payload);
                let group = message.recipients.iter().find_map(|it| it.group.as_deref());
                format!(
                    "Message {payload} for {} group {group:?} retained {} arrived {} depends {}",
                    message.recipients.len(),
                    message.is_retained,
                    message.arrived.is_some(),
                    message.depends_on.is_some(),
                )
            }
            Change::WillUnderWay(will) => {
                let payload = String::from_utf8_lossy(will.message.payload);
                format!("WillUnderWay {payload} of {}", will.client_id)
            }
            other => format!("{other:?}"),
        });
        pages.has_news = true;
        Ticket(pages.ticket)
    }

    fn submit(&mut self, _: Time) {
        let mut pages = self.0.0.lock().unwrap();
        pages.ticket += u64::from(std::mem::take(&mut pages.has_news));
    }

    fn completed(&self) -> Ticket {
        Ticket(self.0.0.lock().unwrap().completed)
    }
}
