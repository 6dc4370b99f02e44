//! Waiting for what other shards must keep, and answering others who wait for this one: what
//! [`MailGate`](crate::mail_gate::MailGate) counts, in deeds. The reasons are in
//! `docs/decisions/0011-durable-mail.md`.

use std::sync::Arc;

use agentmq_codec::QoS;
use agentmq_session::{Arrival, Change, Ticket, Time};

use crate::mail::Mail;
use crate::mail_gate::Deferred;
use crate::places::Place;
use crate::router::Router;

impl Router {
    /// Mail that is being posted to a place carries a message that must not be lost there.
    pub(crate) fn must_keep(&mut self, place: Place, qos: QoS) {
        if qos > QoS::AtMostOnce
            && let Some(position) = self.mail_gate.ask(place)
        {
            self.posted = position;
        }
    }

    /// Asks those who must keep something of this turn's mail, behind that mail.
    pub(crate) fn ask_for_keeping(&mut self) {
        let (places, position) = self.mail_gate.take_asked();
        for place in places.iter() {
            let pieces = self.peers.pieces_for(place);
            self.peers.post(place, Mail::Keep { position, pieces });
        }
    }

    /// Runs `work`, and answers the position of the mail that it has posted; 0 for none.
    pub(crate) fn posted_by(&mut self, work: impl FnOnce(&mut Self)) -> Ticket {
        let before = std::mem::take(&mut self.posted);
        work(self);
        let posted = self.posted;
        self.posted = posted.max(before);
        posted
    }

    /// Handles a piece of mail, or one message of it, and notes what of it the sender will ask for.
    pub(crate) fn handle_mail(&mut self, from: Place, work: impl FnOnce(&mut Self)) {
        (self.recorded, self.posted) = Default::default();
        work(self);
        self.mail_gate.note(from, self.recorded, self.posted);
    }

    /// Records something when mail up to `position` is kept elsewhere. Answers the position behind
    /// which it is; 0 when it is recorded.
    pub(crate) fn record_after(&mut self, position: Ticket, deferred: Deferred) -> Ticket {
        if position <= self.mail_gate.confirmed() {
            self.record_deferred(deferred);
            return Ticket::default();
        }
        self.mail_gate.defer(position, deferred)
    }

    fn record_deferred(&mut self, deferred: Deferred) {
        match deferred {
            Deferred::Arrived((session, packet_id)) => {
                self.record(Change::Arrived { session, packet_id });
            }
            Deferred::Ended(session) => self.record(Change::Ended(session)),
            Deferred::Dropped(session, ordinal) => {
                self.record(Change::Dropped { session, ordinal });
            }
        }
    }

    /// A place has kept what it must of the mail from `first` to `last`.
    pub(crate) fn kept(&mut self, by: Place, first: Ticket, last: Ticket, now: Time) {
        self.mail_gate.confirm(by, first, last);
        while let Some((position, deferred)) = self.mail_gate.pop_deferred() {
            self.record_deferred(deferred);
            self.mail_gate.decide(position, self.recorded, deferred);
        }
        self.gates_moved(now);
    }

    /// Tells others what is kept here of their mail.
    pub(crate) fn pay_debts(&mut self) {
        let completed = self.commit.completed();
        while let Some((place, first, last)) = self.mail_gate.pop_owed(completed) {
            self.peers.post(place, Mail::Kept { first, last });
        }
    }

    /// Tells everybody which QoS 2 publications have arrived for good.
    pub(crate) fn tell_arrivals(&mut self, completed: Ticket) {
        let mut arrived = Vec::new();
        while let Some(exchange) = self.mail_gate.pop_decided(completed) {
            arrived.extend(exchange);
        }
        arrived.iter().for_each(|exchange| self.undecided.decide(*exchange));
        if !arrived.is_empty() {
            let arrived: Arc<[Arrival]> = arrived.into();
            self.peers.post_all(|| Mail::Arrived(Arc::clone(&arrived)));
        }
    }

    /// QoS 2 publications from elsewhere have arrived: whoever waits for them gets them.
    pub(crate) fn have_arrived(&mut self, exchanges: &[Arrival], now: Time) {
        exchanges.iter().for_each(|exchange| self.undecided.decide(*exchange));
        self.send_held(self.commit.completed(), now);
    }
}
