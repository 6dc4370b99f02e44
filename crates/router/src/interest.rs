//! Which shards want what, and the messages that go there.

use std::sync::Arc;

use agentmq_codec::QoS;
use agentmq_session::{Ticket, Time};

use crate::bundle::is_small;
use crate::interest_barrier::Waiting;
use crate::mail::{Mail, Published, Stamp};
use crate::places::Place;
use crate::route::Route;
use crate::router::Router;
use crate::source::Source;
use crate::subscriptions::Wanted;
use crate::timers::Due;

impl Router {
    /// Tells every other shard that a filter has its first receiver here, or the first whose
    /// session survives a crash, or has lost its last.
    pub(crate) fn announce(&mut self, filter: &str, wanted: Wanted) {
        if self.peers.is_alone() {
            return;
        }
        let filter: Arc<str> = filter.into();
        let mut ticket = Ticket::default();
        if wanted != Wanted::Not {
            ticket = self.peers.barrier.draw();
            for place in self.peers.active.iter() {
                self.peers.barrier.asks(place);
            }
        }
        self.peers.post_all(|| Mail::Interest { filter: Arc::clone(&filter), wanted, ticket });
    }

    /// Posts a message to each place that wants it, or, when it is retained, to every place.
    pub(crate) fn post_publish(
        &mut self,
        source: &mut Source<'_>,
        route: &Route,
        retained: Option<Stamp>,
    ) {
        let places = if retained.is_some() { self.peers.active } else { route.places };
        if places.is_empty() {
            return;
        }
        let (qos, exchange) = (source.qos, source.arrived);
        // Who does not keep it is not asked, but that may change while it is on its way: whoever
        // keeps it then must know of the exchange, and it waits for him.
        let is_asked = |place| route.keeping.has(place) || exchange.is_some();
        if retained.is_none() && is_small(source) && !self.settings.any_hash_client() {
            for place in places.iter() {
                if is_asked(place) {
                    self.must_keep(place, qos);
                }
                self.peers.push(place, |bundle| bundle.push(source));
            }
            return;
        }
        let publisher = source.publisher.filter(|_| self.settings.any_hash_client());
        let publisher = publisher
            .and_then(|session| self.sessions.get(session as usize))
            .map(|session| Arc::clone(&session.client_id));
        let author = source.author.clone().filter(|_| retained.is_some());
        let message = source.message();
        for place in places.iter() {
            if retained.is_some() && place == Place(0) {
                self.must_keep(place, QoS::AtLeastOnce); // it records what is retained
            } else if is_asked(place) {
                self.must_keep(place, qos);
            }
            let (message, publisher) = (message.clone(), publisher.clone());
            let (exchange, author) = (exchange.map(Box::new), author.clone());
            let published = Published { message, retained, author, publisher, exchange };
            self.peers.post(place, Mail::Publish(published));
        }
    }

    /// A message that another shard has accepted: retained here too, and delivered.
    pub(crate) fn deliver_published(&mut self, published: &Published, now: Time) {
        let Published { message, retained, author, publisher, exchange } = published;
        let is_newest =
            retained.is_some_and(|it| self.retained.replicate(message, it, author.clone(), now));
        let mut source = Source::of(message, now);
        source.author = author.clone();
        source.publisher_id = publisher.as_deref();
        source.arrived = exchange.as_deref().copied();
        if let Ok(route) = self.route(source.topic) {
            self.fan_out(&mut source, &route);
        }
        self.record_message(&source, is_newest);
    }

    /// Lets a connection wait for the announcements made so far, if any is not confirmed.
    pub(crate) fn await_interest(&mut self, connection: crate::ConnectionId) -> Ticket {
        let ticket = self.peers.barrier.newest();
        if ticket > self.peers.barrier.confirmed()
            && let Some(generation) = self.connection_mut(connection).map(|it| it.generation)
        {
            self.peers.barrier.wait(Waiting { ticket, connection, generation });
        }
        ticket
    }

    /// Confirms to other shards what depends on announcements of this one.
    pub(crate) fn pay_confirmations(&mut self) {
        while let Some((place, ticket)) = self.peers.barrier.pop_owed() {
            self.peers.post(place, Mail::Confirm(ticket));
        }
    }

    /// Sends the acknowledgements that waited for interest, and starts the retained messages
    /// behind them.
    pub(crate) fn barrier_moved(&mut self, now: Time) {
        self.pay_confirmations();
        let passed = self.passed();
        while let Some(waiting) = self.peers.barrier.pop() {
            let id = waiting.connection;
            let is_same =
                self.connection_mut(id).is_some_and(|it| it.generation == waiting.generation);
            if !is_same {
                continue;
            }
            if self.release_acks(id, passed) && !self.waiting.contains(&id) {
                self.waiting.push(id); // the rest waits for its commit
            }
            let Some(index) = self.connection_mut(id).and_then(|it| it.session()) else { continue };
            let due = now.after_millis(u64::from(self.settings.retained_gap_ms));
            let Some(session) = self.sessions.get_mut(index as usize) else { continue };
            if !session.queue.has_cursor() {
                continue;
            }
            for cursor in session.queue.cursors_mut() {
                if cursor.interest == waiting.ticket {
                    cursor.due = due;
                }
            }
            self.timers.arm(due, Due::Drain(index, session.generation));
        }
    }
}
