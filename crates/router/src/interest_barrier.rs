//! Acknowledgements that wait until other shards know what they promise: nothing published after
//! a SUBACK may be missed.

use std::collections::VecDeque;

use agentmq_session::Ticket;

use crate::connection::ConnectionId;
use crate::places::Place;

/// The order of announcements, and how far it has been confirmed. Like the commit engine it
/// hands out tickets: an acknowledgement may leave when all up to its ticket are confirmed. That
/// is more than it needs (announcements of others that are under way), but these take one round
/// trip too.
#[derive(Debug, Default)]
pub(crate) struct InterestBarrier {
    drawn: u64,
    /// All up to here are confirmed.
    confirmed: u64,
    /// All announcements up to here are confirmed, whatever the memberships between them.
    announced: u64,
    /// For each shard the announcements that it has not confirmed, ascending.
    open: Vec<VecDeque<u64>>,
    /// Memberships that have not been confirmed, ascending.
    joining: VecDeque<u64>,
    waiting: VecDeque<Waiting>,
    /// Confirmations that this shard owes to others, each once an own ticket is confirmed.
    owed: VecDeque<Owed>,
}

/// A confirmation of another shard's membership, which waits for announcements of this shard. Not
/// for its memberships: an announcement is confirmed at once, but two shards whose clients join
/// each other's groups would wait for each other for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owed {
    own: Ticket,
    to: Place,
    theirs: Ticket,
}

/// A connection with an acknowledgement that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) ticket: Ticket,
    pub(crate) connection: ConnectionId,
    pub(crate) generation: u32,
}

impl InterestBarrier {
    /// The ticket of the newest announcement.
    pub(crate) fn newest(&self) -> Ticket {
        Ticket(self.drawn)
    }

    /// The newest ticket that is confirmed with all before it.
    pub(crate) fn confirmed(&self) -> Ticket {
        Ticket(self.confirmed)
    }

    /// A new announcement; [`Self::asks`] says of whom.
    pub(crate) fn draw(&mut self) -> Ticket {
        self.drawn += 1;
        self.settle();
        Ticket(self.drawn)
    }

    /// The newest announcement needs this shard's confirmation.
    pub(crate) fn asks(&mut self, place: Place) {
        let at = usize::from(place.0);
        if self.open.len() <= at {
            self.open.resize_with(at + 1, VecDeque::new);
        }
        if let Some(open) = self.open.get_mut(at) {
            open.push_back(self.drawn);
        }
        self.settle();
    }

    /// A membership that the group's home is to confirm.
    pub(crate) fn draw_join(&mut self) -> Ticket {
        self.drawn += 1;
        self.joining.push_back(self.drawn);
        self.settle();
        Ticket(self.drawn)
    }

    /// A shard has confirmed a ticket: mostly its oldest.
    pub(crate) fn confirm(&mut self, place: Place, ticket: Ticket) {
        let announced = self.open.get_mut(usize::from(place.0));
        for open in announced.into_iter().chain([&mut self.joining]) {
            if let Some(at) = open.iter().position(|&it| it == ticket.0) {
                open.remove(at);
            }
        }
        self.settle();
    }

    /// Another shard is owed a confirmation once all announcements made so far are confirmed.
    pub(crate) fn owe(&mut self, to: Place, theirs: Ticket) {
        self.owed.push_back(Owed { own: self.newest(), to, theirs });
    }

    /// The next confirmation that is due.
    pub(crate) fn pop_owed(&mut self) -> Option<(Place, Ticket)> {
        let announced = self.announced;
        let owed = self.owed.pop_front_if(|owed| owed.own.0 <= announced)?;
        Some((owed.to, owed.theirs))
    }

    pub(crate) fn wait(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }

    /// The next connection whose wait is over.
    pub(crate) fn pop(&mut self) -> Option<Waiting> {
        let confirmed = self.confirmed;
        self.waiting.pop_front_if(|waiting| waiting.ticket.0 <= confirmed)
    }

    fn settle(&mut self) {
        let oldest = self.open.iter().filter_map(|open| open.front()).min();
        self.announced = oldest.map_or(self.drawn, |oldest| oldest - 1);
        let joining = self.joining.front().map_or(self.drawn, |oldest| oldest - 1);
        self.confirmed = self.announced.min(joining);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_confirmed_when_everybody_asked_has_answered() {
        let mut barrier = InterestBarrier::default();
        let (a, b) = (Place(1), Place(2));
        let first = barrier.draw();
        barrier.asks(a);
        barrier.asks(b);
        barrier.owe(b, Ticket(9));
        let second = barrier.draw();
        barrier.asks(b);
        let waiting = Waiting { ticket: second, connection: ConnectionId(4), generation: 1 };
        barrier.wait(waiting);
        barrier.confirm(b, first);
        assert_eq!(barrier.pop_owed(), None);
        assert_eq!(barrier.confirmed(), Ticket(0));
        barrier.confirm(a, first);
        assert_eq!(barrier.confirmed(), first);
        assert_eq!(barrier.pop_owed(), Some((b, Ticket(9))));
        assert_eq!(barrier.pop(), None);
        barrier.confirm(b, second);
        assert_eq!(barrier.confirmed(), second);
        assert_eq!(barrier.pop(), Some(waiting));
    }

    #[test]
    fn a_debt_does_not_wait_for_memberships() {
        let mut barrier = InterestBarrier::default();
        let a = Place(1);
        let joined = barrier.draw_join();
        let announced = barrier.draw();
        barrier.asks(a);
        barrier.owe(a, Ticket(9));
        assert_eq!(barrier.pop_owed(), None);
        barrier.confirm(a, announced);
        assert_eq!(barrier.pop_owed(), Some((a, Ticket(9))));
        assert_eq!(barrier.confirmed(), Ticket(0));
        barrier.confirm(a, joined);
        assert_eq!(barrier.confirmed(), announced);
    }

    #[test]
    fn an_announcement_to_nobody_is_confirmed_at_once() {
        let mut barrier = InterestBarrier::default();
        let ticket = barrier.draw();
        assert_eq!(barrier.confirmed(), ticket);
    }
}
