//! When acknowledgements leave: at once, or when the gates open that they wait for.

use agentmq_session::{Condition, Gates, PendingAck, Ticket, Time};

use crate::connection::{Connection, ConnectionId, Phase};
use crate::router::Router;

impl Router {
    /// Releases an acknowledgement when what the packet at hand has recorded is safe.
    pub(crate) fn acknowledge(&mut self, id: ConnectionId, ack: PendingAck) {
        self.acknowledge_at(id, Ticket::default(), ack);
    }

    /// Like [`Self::acknowledge`], and waits for the confirmation of announced interest too.
    /// Returns the ticket.
    pub(crate) fn acknowledge_at(
        &mut self,
        id: ConnectionId,
        interest: Ticket,
        ack: PendingAck,
    ) -> Ticket {
        let recorded = self.recorded.max(self.exchanges_of(id, &ack));
        let mail = self.arrivals_of(id, &ack);
        let (commit, audit) = (self.commit.draw(recorded), self.audited);
        let gates = Gates { commit, interest, mail, audit };
        let passed = self.passed();
        if let Some(connection) = self.dirty_connection(id) {
            let Connection { acks, outbox, version, .. } = connection;
            let waited = !acks.is_empty();
            let is_sent = acks.push(gates, ack, passed, *version, outbox);
            self.counters.packets_sent += u64::from(is_sent);
            // One that waits for interest only is released by that.
            if !waited && !(Gates { interest: Ticket::default(), ..gates }).are_open(passed) {
                self.waiting.push(id);
            }
        }
        gates.commit
    }

    /// What an acknowledgement of a QoS 2 exchange says must be safe, even if an earlier connection
    /// has brought it about.
    fn exchanges_of(&self, id: ConnectionId, ack: &PendingAck) -> Ticket {
        if ack.is_of_qos2() {
            let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
            let session = connection.and_then(|it| self.sessions.get(it.session()? as usize));
            let durable = session.and_then(|it| it.durable.as_ref());
            return durable.map(|durable| durable.exchanges).unwrap_or_default();
        }
        Ticket::default()
    }

    /// What other shards must have kept, when this says that a PUBLISH has been received, even if
    /// an earlier connection has received it.
    fn arrivals_of(&self, id: ConnectionId, ack: &PendingAck) -> Ticket {
        if !ack.is_of_publish() {
            return Ticket::default();
        }
        let mut posted = self.posted;
        if ack.is_of_qos2() {
            let connection = self.connections.get(id.0 as usize).and_then(Option::as_ref);
            let session = connection.and_then(|it| self.sessions.get(it.session()? as usize));
            let durable = session.and_then(|it| it.durable.as_ref());
            posted = posted.max(durable.map(|durable| durable.posted).unwrap_or_default());
        }
        posted
    }

    /// Sends what waited for tickets, if more of them are complete.
    pub fn committed(&mut self, now: Time) {
        let Gates { commit, audit, .. } = self.released;
        if (self.commit.completed(), self.audit.completed()) == (commit, audit) {
            return self.look_at_shut();
        }
        self.gates_moved(now);
    }

    /// Something is safe, here or on another shard: sends what waited for it.
    pub(crate) fn gates_moved(&mut self, now: Time) {
        let completed = self.commit.completed();
        self.tell_arrivals(completed);
        self.send_held(completed, now);
        self.let_go(completed);
        self.pay_debts();
        self.look_at_shut();
        // Not beyond what was looked at above: what comes meanwhile is seen the next time.
        let passed = Gates { commit: completed, ..self.passed() };
        if passed == self.released {
            return;
        }
        self.released = passed;
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|&id| self.release_acks(id, passed));
        self.waiting = waiting;
    }

    /// Connections that may not write yet are looked at again.
    fn look_at_shut(&mut self) {
        for id in std::mem::take(&mut self.shut) {
            self.dirty_connection(id);
        }
    }

    /// Sends the acknowledgements of a connection whose gates are open; true when more wait.
    pub(crate) fn release_acks(&mut self, id: ConnectionId, passed: Gates) -> bool {
        if self.connection_mut(id).is_none_or(|it| it.acks.is_empty()) {
            return false;
        }
        let Some(connection) = self.dirty_connection(id) else { return false };
        let Connection { acks, outbox, version, phase, session, .. } = connection;
        if !matches!(phase, Phase::Connected | Phase::HalfClosed) {
            acks.clear(); // nothing follows a DISCONNECT [MQTT-3.14.4-1]
            return false;
        }
        let waited = acks.len();
        acks.release(passed, *version, outbox);
        let (left, session) = (acks.len(), *session);
        self.drain_later(session); // retained messages may have waited for their SUBACK
        self.counters.packets_sent += (waited - left) as u64;
        left > 0
    }

    /// How far things have come, for what nobody can wait for any more: after the end of the store
    /// nothing will be safe.
    pub(crate) fn passed_at_last(&self) -> Gates {
        match self.commit.condition() {
            Condition::Failed => Gates { commit: Ticket(u64::MAX), ..self.passed() },
            Condition::Good | Condition::Full => self.passed(),
        }
    }

    /// How far acknowledgements may go.
    pub(crate) fn passed(&self) -> Gates {
        Gates {
            commit: self.commit.completed(),
            interest: self.peers.barrier.confirmed(),
            mail: self.mail_gate.passed(),
            audit: self.audit.completed(),
        }
    }
}
