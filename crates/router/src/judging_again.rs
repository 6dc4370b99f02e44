//! What holds has changed: every session, its client here or not, is asked about again, a portion
//! at a time. Who lost a right loses it where it is, and not when its client comes back.

use agentmq_codec::ReasonCode;
use agentmq_session::Time;

use crate::connection::ConnectionId;
use crate::router::Router;
use crate::timers::Due;

impl Router {
    /// The authenticator answers otherwise from now on.
    pub fn judge_again(&mut self, now: Time) {
        self.timers.arm(now, Due::Judging(0));
    }

    /// Asks about the sessions from this index on, as many as a turn has time for.
    pub(crate) fn judge_from(&mut self, first: u32, now: Time) {
        let next = first.saturating_add(PORTION);
        for index in first..next {
            self.judge_session(index, now);
        }
        if (next as usize) < self.sessions.end() {
            self.timers.arm(now.after_millis(1), Due::Judging(next));
        }
    }

    fn judge_session(&mut self, index: u32, now: Time) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let principal = self.authenticator.remembered(&session.principal, &session.client_id);
        let Some(principal) = principal else { return self.put_out(index, now) };
        match session.connection {
            Some(connection) => self.acts_as(ConnectionId(connection), &principal),
            None => {
                session.principal = principal;
                self.end_forbidden_subscriptions(index);
            }
        }
    }
    /// Ends a session whose client would not be let in any more: at once, with all that waits for
    /// it, and without its will.
    fn put_out(&mut self, index: u32, now: Time) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        session.will = None;
        session.expiry = 0; // ends with its connection
        self.counters.sessions_put_out += 1;
        match session.connection {
            Some(connection) => {
                let id = ConnectionId(connection);
                self.disconnect(id, ReasonCode::NotAuthorized, PUT_OUT, now);
            }
            None => {
                self.end_session(index, now);
            }
        }
    }
}

const PUT_OUT: &str = "access was revoked: ask who runs this server";
/// Sessions of one turn: 100 000 are through in less than half a second.
const PORTION: u32 = 256;
