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
    /// For each shard the tickets that it has not confirmed, ascending.
    open: Vec<VecDeque<u64>>,
    waiting: VecDeque<Waiting>,
    /// Confirmations that this shard owes to others, each once an own ticket is confirmed.
    owed: VecDeque<(Ticket, Place, Ticket)>,
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

    /// A new announcement to one shard only.
    pub(crate) fn draw_for(&mut self, place: Place) -> Ticket {
        let ticket = self.draw();
        self.asks(place);
        ticket
    }

    /// A shard has confirmed a ticket: mostly its oldest.
    pub(crate) fn confirm(&mut self, place: Place, ticket: Ticket) {
        if let Some(open) = self.open.get_mut(usize::from(place.0))
            && let Some(at) = open.iter().position(|&it| it == ticket.0)
        {
            open.remove(at);
        }
        self.settle();
    }

    /// Another shard is owed a confirmation once the own ticket is confirmed.
    pub(crate) fn owe(&mut self, own: Ticket, to: Place, theirs: Ticket) {
        self.owed.push_back((own, to, theirs));
    }

    /// The next confirmation that is due.
    pub(crate) fn pop_owed(&mut self) -> Option<(Place, Ticket)> {
        let confirmed = self.confirmed;
        let (_, to, theirs) = self.owed.pop_front_if(|(own, ..)| own.0 <= confirmed)?;
        Some((to, theirs))
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
        self.confirmed = oldest.map_or(self.drawn, |oldest| oldest - 1);
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
        let second = barrier.draw();
        barrier.asks(b);
        let waiting = Waiting { ticket: second, connection: ConnectionId(4), generation: 1 };
        barrier.wait(waiting);
        barrier.owe(first, b, Ticket(9));
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
    fn an_announcement_to_nobody_is_confirmed_at_once() {
        let mut barrier = InterestBarrier::default();
        let ticket = barrier.draw();
        assert_eq!(barrier.confirmed(), ticket);
    }
}
