//! After a panic: what it may have left half done is put right, so that it costs the connection
//! that it happened on and nobody else.

use agentmq_session::Time;

use crate::connection::{ConnectionId, NO_SESSION, Phase};
use crate::router::Router;

impl Router {
    /// The work on a packet, a deadline or a piece of mail has ended in a panic. Whoever drives the
    /// router closes the connection; this makes sessions and connections agree again. It looks at
    /// all of them: a panic is a defect, and rare.
    pub fn recover(&mut self, now: Time) {
        self.counters.panics += 1;
        let parted: Vec<u32> = self
            .sessions
            .iter()
            .map(|(index, _)| index as u32)
            .filter(|&index| self.is_half_parted(index))
            .collect();
        for index in parted {
            self.part(index, now);
        }
        // Nobody has been told of a message that was on its way: what was not sent is not.
        for (index, recipient) in std::mem::take(&mut self.recipients) {
            if let Some(session) = self.sessions.get_mut(index as usize) {
                session.window.withdraw(recipient.packet_id);
            }
        }
        let mut halves = Vec::new();
        let mut connected = 0;
        self.waiting.clear();
        for (number, slot) in self.connections.iter().enumerate() {
            let Some(connection) = slot else { continue };
            let id = ConnectionId(number as u32);
            if !connection.acks.is_empty() {
                self.waiting.push(id); // the list may be lost with the work that had taken it
            }
            match connection.session() {
                Some(index) if self.serves(id, index) => connected += 1,
                Some(_) => halves.push(id),
                None => {}
            }
        }
        self.counters.connections_now = connected;
        for id in halves {
            if let Some(connection) = self.dirty_connection(id) {
                connection.session = NO_SESSION;
                connection.phase = Phase::Closing;
            }
        }
    }

    /// Whether a session has lost its connection, or never quite got it, without having been told.
    fn is_half_parted(&self, index: u32) -> bool {
        let Some(session) = self.sessions.get(index as usize) else { return false };
        match session.connection {
            Some(number) => {
                let slot = self.connections.get(number as usize).and_then(Option::as_ref);
                slot.is_none_or(|connection| connection.session() != Some(index))
            }
            None if session.is_persistent() => {
                session.expiry != u32::MAX && session.expires_at.is_none()
            }
            None => true,
        }
    }

    fn serves(&self, id: ConnectionId, index: u32) -> bool {
        let session = self.sessions.get(index as usize);
        session.is_some_and(|session| session.connection == Some(id.0))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::Arc;

    use agentmq_codec::{Connect, QoS};
    use agentmq_identity::Open;
    use agentmq_session::{
        CommitEngine, Delivery, Durable, Keep, MemoryEngine, Message, Recipient, SessionKey, Ticket,
    };

    use super::*;
    use crate::settings::Settings;

    fn router() -> Router {
        router_with(Box::new(MemoryEngine))
    }

    fn router_with(engine: Box<dyn CommitEngine>) -> Router {
        Router::new(Arc::new(Settings::default()), Arc::new(Open), engine, 1)
    }

    /// Draws ticket 1 for everything, and completes it when told.
    #[derive(Debug, Default)]
    struct Slow(Rc<Cell<u64>>);

    impl CommitEngine for Slow {
        fn draw(&mut self, _: Ticket) -> Ticket {
            Ticket(1)
        }

        fn completed(&self) -> Ticket {
            Ticket(self.0.get())
        }
    }

    fn connect(router: &mut Router, number: u32, client_id: &str) {
        let mut bytes = Vec::new();
        Connect { client_id, clean_start: true, ..Connect::default() }.encode(&mut bytes);
        router.packet(ConnectionId(number), bytes[0], &bytes[2..], Time::ZERO);
    }

    #[test]
    fn a_session_that_never_got_its_connection_goes() {
        let mut router = router();
        connect(&mut router, 0, "half");
        connect(&mut router, 1, "whole");
        // As after a panic between the two halves of an attachment.
        router.connections.get_mut(0).unwrap().as_mut().unwrap().session = NO_SESSION;
        router.counters.connections_now = 7;
        router.recover(Time::ZERO);
        router.closed(ConnectionId(0), Time::ZERO);
        assert!(router.session("half").is_none());
        assert!(router.session("whole").is_some());
        let counters = router.counters();
        assert_eq!((counters.connections_now, counters.panics), (1, 1));
        // The number serves somebody else, who gets nothing of the session before.
        connect(&mut router, 0, "next");
        assert_eq!(router.session("next").unwrap().connection, Some(0));
        assert_eq!(router.counters().sessions_now, 2);
    }

    #[test]
    fn a_connection_whose_session_has_left_it_is_closed() {
        let mut router = router();
        connect(&mut router, 0, "half");
        let index = router.by_client["half"];
        router.sessions[index as usize].connection = None;
        router.recover(Time::ZERO);
        assert!(router.is_closing(ConnectionId(0)));
        assert!(router.session("half").is_none());
        assert_eq!(router.counters().connections_now, 0);
        router.closed(ConnectionId(0), Time::ZERO);
        assert_eq!(router.counters().connections_now, 0);
    }

    #[test]
    fn acknowledgements_that_wait_are_not_forgotten() {
        let engine = Slow::default();
        let completed = Rc::clone(&engine.0);
        let mut router = router_with(Box::new(engine));
        let id = ConnectionId(0);
        connect(&mut router, 0, "publisher");
        router.packet(id, 0x32, &[0, 1, b't', 0, 1], Time::ZERO);
        let before = router.outbox(id).unwrap().len();
        // As after a panic in the release of somebody else's.
        router.waiting.clear();
        router.recover(Time::ZERO);
        completed.set(1);
        router.committed(Time::ZERO);
        assert_eq!(router.outbox(id).unwrap().len(), before + 4, "PUBACK");
    }

    #[test]
    fn recipients_of_a_message_that_panicked_do_not_get_the_next_one() {
        let mut router = router();
        connect(&mut router, 0, "lasting");
        let index = router.by_client["lasting"];
        let session = &mut router.sessions[index as usize];
        let (key, exchanges) = (SessionKey(1), Ticket::default());
        session.durable =
            Some(Box::new(Durable { key, next_ordinal: 1, exchanges, posted: exchanges }));
        let qos = QoS::ExactlyOnce;
        let message = Message::plain("t", b"", qos, false);
        let delivery = Delivery { message, qos, retain: false, ids: None, group: None, ordinal: 1 };
        let packet_id = session.begin(qos, || Keep::Shared(delivery), true);
        assert_eq!(session.window.open_count(), 1);
        let recipient = Recipient {
            session: key,
            ordinal: 1,
            packet_id,
            qos,
            retain: false,
            ids: None,
            group: None,
        };
        router.recipients.push((index, recipient));
        router.recover(Time::ZERO);
        assert!(router.recipients.is_empty());
        assert_eq!(router.session("lasting").unwrap().window.open_count(), 0, "it is not sent");
    }

    #[test]
    fn a_session_that_waits_for_its_client_gets_its_deadline() {
        let mut router = router();
        connect(&mut router, 0, "lasting");
        let index = router.by_client["lasting"] as usize;
        router.sessions[index].expiry = 60;
        router.sessions[index].connection = None;
        *router.connections.get_mut(0).unwrap() = None;
        router.recover(Time::ZERO);
        assert!(router.session("lasting").is_some());
        router.tick(Time::ZERO.after_secs(61));
        assert!(router.session("lasting").is_none());
    }
}
