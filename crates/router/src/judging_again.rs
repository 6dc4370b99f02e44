//! What holds has changed: every session, its client here or not, is asked about again, a portion
//! at a time. Who lost a right loses it where it is, and not when its client comes back.

use agentmq_codec::ReasonCode;
use agentmq_identity::{Presence, Principal, own_client_id};
use agentmq_session::{Session, Time};

use crate::connection::{Connection, ConnectionId};
use crate::router::Router;
use crate::timers::Due;

impl Router {
    /// The authenticator answers otherwise from now on.
    pub fn judge_again(&mut self, now: Time) {
        self.retain_source.begin_round(now);
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

    /// Asks about the session of a connection.
    pub(crate) fn judge_connection(&mut self, id: ConnectionId, now: Time) {
        let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
        if let Some(index) = connection.and_then(Connection::session) {
            self.judge_session(index, now);
        }
    }

    fn judge_session(&mut self, index: u32, now: Time) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        let connection = session.connection;
        let Some(principal) = self.remembered(session) else {
            return self.put_out(index, PUT_OUT, now);
        };
        if !session.principal.is_same(&principal) {
            // What the session has was for the one before.
            return self.put_out(index, ANOTHER, now);
        }
        if !is_called_so(&principal, &session.client_id) {
            return self.put_elsewhere_out(index, now);
        }
        if is_renamed(session, &principal) {
            return self.put_out(index, RENAMED, now);
        }
        if let Some(connection) = connection {
            return self.acts_as(ConnectionId(connection), &principal);
        }
        if let Some(session) = self.sessions.get_mut(index as usize) {
            session.principal = principal;
        }
        self.settle(index);
        self.end_forbidden_subscriptions(index);
    }

    /// As whom a session goes on; `None`: he would not be let in now.
    pub(crate) fn remembered(&self, session: &Session) -> Option<Principal> {
        let id = session.connection.map(|id| id as usize);
        let connection = id.and_then(|id| self.connections.get(id)?.as_ref());
        let presence = Presence {
            client_id: own_client_id(&session.client_id),
            source: connection.and_then(|it| it.source),
            // Who is away is asked when he comes.
            may_be_anonymous: connection.is_none_or(|it| self.settings.lets_anonymous_in(it.door)),
        };
        self.authenticator.remembered(&session.principal, &presence)
    }

    /// Ends a session whose client is called otherwise from now on, and whose topics are elsewhere.
    pub(crate) fn put_elsewhere_out(&mut self, index: u32, now: Time) {
        self.put_out(index, ELSEWHERE, now);
    }

    /// Ends a session whose client would not be let in any more: at once, with all that waits for
    /// it, and without its will.
    fn put_out(&mut self, index: u32, why: &str, now: Time) {
        self.set_will(index, None);
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        session.expiry = 0; // ends with its connection
        self.counters.sessions_put_out += 1;
        match session.connection {
            Some(connection) => {
                let id = ConnectionId(connection);
                self.disconnect(id, ReasonCode::NotAuthorized, why, now);
            }
            None => {
                self.end_session(index, now);
            }
        }
    }
}

/// Whether it is in the broker what a client of this one is called now: organisations may be kept
/// apart otherwise than before.
pub(crate) fn is_called_so(principal: &Principal, client_id: &str) -> bool {
    *principal.mounted_client_id(own_client_id(client_id)) == *client_id
}

/// Whether a server of MCP over MQTT is there under a name that is not its own any more.
pub(crate) fn is_renamed(session: &Session, principal: &Principal) -> bool {
    let name = |it: &Principal| it.mcp().and_then(|mcp| mcp.server_name()).map(str::to_owned);
    session.has_mcp_presence && name(&session.principal) != name(principal)
}

const ANOTHER: &str = "name or organisation are others from now on: connect again";
const ELSEWHERE: &str = "organisations are kept apart from now on, or no longer: connect again";
pub(crate) const RENAMED: &str = "the server has another name from now on: connect again";
const PUT_OUT: &str = "access was revoked: ask who runs this server";
/// Sessions of one turn: 100 000 are through in less than half a second.
const PORTION: u32 = 256;
