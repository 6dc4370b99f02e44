//! Verdicts that take long: whoever drives the router has the work done elsewhere and brings what
//! came out. Until then the connection is not read.

use agentmq_codec::Connect;
use agentmq_identity::{Outcome, Work};
use agentmq_session::Time;

use crate::connection::{ConnectionId, Phase, property_limits};
use crate::router::Router;

/// Work for somebody else, and the connection that waits for it.
#[derive(Debug)]
pub struct WorkOf {
    /// Who waits.
    pub connection: ConnectionId,
    /// What is to be done.
    pub work: Box<dyn Work>,
}

impl Router {
    /// The work that has come up since this was last asked.
    pub fn take_work(&mut self) -> Vec<WorkOf> {
        std::mem::take(&mut self.work)
    }

    /// Whether a connection waits for a verdict: then nothing of it is to be handled.
    pub fn awaits_verdict(&self, id: ConnectionId) -> bool {
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        connection.and_then(|it| it.auth.as_ref()).is_some_and(|state| state.awaits_verdict)
    }

    /// The client identifier of a CONNECT that is not decided yet, if it names one.
    pub fn undecided(&self, id: ConnectionId) -> Option<String> {
        let connection = self.connections.get(id.0 as usize)?.as_ref()?;
        if connection.phase != Phase::Authenticating {
            return None;
        }
        let body = connection.auth.as_ref()?.connect.as_ref()?;
        let connect = Connect::decode(body, &property_limits(&self.settings.limits)).ok()?;
        Some(connect.client_id.to_owned()).filter(|it| !it.is_empty())
    }

    /// What came out of a connection's work. The caller knows that it is still the same
    /// connection.
    pub fn verdict(&mut self, id: ConnectionId, outcome: Outcome, now: Time) {
        (self.recorded, self.posted, self.audited) = Default::default();
        let Some(state) = self.connection_mut(id).and_then(|it| it.auth.as_mut()) else { return };
        if !std::mem::take(&mut state.awaits_verdict) {
            return;
        }
        let waiting = state.connect.take();
        if self.is_closing(id) {
            return;
        }
        match waiting {
            Some(body) => self.go_on_with_connect(id, body, outcome, now),
            None => self.reauthenticated(id, outcome, now),
        }
        // What holds may have changed while the outcome was on its way.
        self.judge_connection(id, now);
    }

    pub(crate) fn await_verdict(&mut self, id: ConnectionId, work: Box<dyn Work>) {
        let Some(state) = self.connection_mut(id).and_then(|it| it.auth.as_mut()) else { return };
        state.awaits_verdict = true;
        self.work.push(WorkOf { connection: id, work });
    }
}
