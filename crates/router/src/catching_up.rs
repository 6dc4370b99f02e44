//! Clients for whom something waits: what the shard asks about them, and when their queues go on.

use agentmq_session::Time;

use crate::connection::ConnectionId;
use crate::router::Router;

impl Router {
    /// A session's queue, if anything is in it, can go on: the shard resumes it, when other packets
    /// that have arrived do not wait for that any more.
    pub(crate) fn drain_later(&mut self, index: u32) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        if session.queue.is_empty() && !session.window.is_owing() {
            return;
        }
        let id = session.connection.map(ConnectionId);
        if let Some(connection) = id.and_then(|id| self.dirty_connection(id)) {
            connection.has_more = true;
        }
    }

    /// Whether something waits for the client in its queue, until it acknowledges or until there is
    /// room in its outbox; or much of that is not acknowledged yet.
    pub fn is_catching_up(&mut self, id: ConnectionId) -> bool {
        let connection = self.connections.get_mut(id.0 as usize).and_then(Option::as_mut);
        let Some(connection) = connection else { return false };
        let session = connection.session().and_then(|it| self.sessions.get(it as usize));
        let (waits, open) =
            session.map_or((false, 0), |it| (!it.queue.is_empty(), it.window.open_count()));
        connection.catches_up = waits || connection.catches_up && open > FEW;
        connection.catches_up
    }

    /// Lets a queue that had to stop fill its outbox up to `portion` bytes.
    pub fn resume_queue(&mut self, id: ConnectionId, portion: usize, now: Time) {
        let connection = self.connection_mut(id).filter(|it| it.has_more);
        let Some(connection) = connection else { return };
        connection.has_more = false;
        if let Some(session) = connection.session() {
            self.drain(session, portion, now);
        }
    }
}

/// Messages whose acknowledgements hold up nobody, all at once.
const FEW: u16 = 128;
