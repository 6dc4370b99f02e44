//! What other shards must keep of the mail that went to them: acknowledgements and records wait
//! until they have it.
//!
//! All that a turn posts has one position. Behind it each place that must keep something of it
//! gets [`Mail::Keep`](crate::Mail::Keep) with that position, and answers when everything that it
//! has recorded for the mail up to there is safe. Where handling the turn's mail has brought about
//! further mail (a shared group whose home has chosen a member elsewhere) the answer waits for that
//! one's answer too.
//!
//! No two shards wait for each other: what an answer waits for left its shard after the mail that
//! is asked about had left the asker's, so a circle would go back in time. That is why each
//! position is answered by itself, and why the question says how much of the mail before it is its
//! turn's: what older mail has brought about, of which nothing had to be kept, may be older than
//! the question.
//!
//! Where nothing survives a crash in any case none of this is asked, and it costs nothing.

use std::collections::VecDeque;

use agentmq_session::{Arrival, SessionKey, Ticket};

use crate::places::{Place, PlaceSet};

/// The order of a shard's mail, how far it is kept, and what waits for that.
#[derive(Debug, Default)]
pub(crate) struct MailGate {
    is_needed: bool,
    /// The newest position.
    drawn: u64,
    /// Who must keep something of what this turn posts.
    asked: PlaceSet,
    /// For each shard the positions that it has not confirmed, ascending.
    open: Vec<VecDeque<u64>>,
    /// All positions up to here are confirmed.
    confirmed: u64,
    /// What is to be recorded when positions are confirmed, ascending.
    deferred: VecDeque<(u64, Deferred)>,
    /// What waited for positions and is being recorded now, ascending.
    deciding: VecDeque<Deciding>,
    debts: Vec<Debts>,
}

/// A record that would make others forget what only mail under way still says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deferred {
    /// A client's QoS 2 PUBLISH has arrived, or a will.
    Arrived(Arrival),
    /// A session is over.
    Ended(SessionKey),
    /// A delivery went to another member of its group.
    Dropped(SessionKey, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Deciding {
    ticket: Ticket,
    position: u64,
    /// What has arrived with it.
    exchange: Option<Arrival>,
}

/// What another shard is owed.
#[derive(Debug, Default)]
struct Debts {
    /// Pieces of mail that have come from it.
    pieces: u64,
    /// All that was recorded for its mail is safe with this ticket.
    recorded: Ticket,
    /// Which piece of its mail has brought about further mail in which own position: ascending, the
    /// newest piece for each position. Those that its last question was about are not here.
    needs: VecDeque<(u64, u64)>,
    owed: VecDeque<Owed>,
}

/// An answer.
#[derive(Debug)]
struct Owed {
    theirs: u64,
    recorded: Ticket,
    needs: Vec<u64>,
}

impl MailGate {
    pub(crate) fn new(is_needed: bool) -> Self {
        Self { is_needed, ..Self::default() }
    }

    /// A place must keep something of what this turn posts; answers the turn's position.
    pub(crate) fn ask(&mut self, place: Place) -> Option<Ticket> {
        if !self.is_needed {
            return None;
        }
        if self.asked.is_empty() {
            self.drawn += 1;
        }
        if !self.asked.has(place) {
            self.asked = self.asked.with(place);
            let drawn = self.drawn;
            if let Some(open) = at(&mut self.open, place) {
                open.push_back(drawn);
            }
        }
        Some(Ticket(self.drawn))
    }

    /// Ends the turn: who is to be asked, and with which position.
    pub(crate) fn take_asked(&mut self) -> (PlaceSet, Ticket) {
        (std::mem::take(&mut self.asked), Ticket(self.drawn))
    }

    /// A place has kept its part of the positions from `first` to `last`.
    pub(crate) fn confirm(&mut self, place: Place, first: Ticket, last: Ticket) {
        if let Some(open) = at(&mut self.open, place) {
            open.retain(|position| !(first.0..=last.0).contains(position));
        }
        let oldest = self.open.iter().filter_map(VecDeque::front).min();
        self.confirmed = oldest.map_or(self.drawn, |oldest| oldest - 1);
    }

    /// Up to where everything is kept elsewhere.
    pub(crate) fn confirmed(&self) -> Ticket {
        Ticket(self.confirmed)
    }

    /// Up to where everything is kept elsewhere, and what waited for that is recorded here.
    pub(crate) fn passed(&self) -> Ticket {
        let deciding = self.deciding.front().map_or(u64::MAX, |it| it.position - 1);
        Ticket(self.confirmed.min(deciding))
    }

    /// Something is to be recorded when a position is confirmed; answers the position, which is
    /// not before that of what waits already.
    pub(crate) fn defer(&mut self, position: Ticket, deferred: Deferred) -> Ticket {
        let position = position.max(self.newest_deferred());
        self.deferred.push_back((position.0, deferred));
        position
    }

    /// The position behind which everything is recorded that waits now; 0 when nothing does.
    pub(crate) fn newest_deferred(&self) -> Ticket {
        self.deferred.back().map_or(Ticket(0), |(position, _)| Ticket(*position))
    }

    /// The next that is to be recorded now, with its position.
    pub(crate) fn pop_deferred(&mut self) -> Option<(Ticket, Deferred)> {
        let confirmed = self.confirmed;
        let (position, deferred) = self.deferred.pop_front_if(|(it, _)| *it <= confirmed)?;
        Some((Ticket(position), deferred))
    }

    /// What waited is recorded, with this ticket.
    pub(crate) fn decide(&mut self, position: Ticket, ticket: Ticket, deferred: Deferred) {
        let exchange = match deferred {
            Deferred::Arrived(exchange) => Some(exchange),
            _ => None,
        };
        self.deciding.push_back(Deciding { ticket, position: position.0, exchange });
    }

    /// The next that is safe, and what has arrived with it.
    pub(crate) fn pop_decided(&mut self, completed: Ticket) -> Option<Option<Arrival>> {
        Some(self.deciding.pop_front_if(|it| it.ticket <= completed)?.exchange)
    }

    /// Mail comes from a place.
    pub(crate) fn count_piece(&mut self, from: Place) {
        if self.is_needed
            && let Some(debts) = at(&mut self.debts, from)
        {
            debts.pieces += 1;
        }
    }

    /// What handling mail from a place has recorded and posted.
    pub(crate) fn note(&mut self, from: Place, recorded: Ticket, posted: Ticket) {
        if !self.is_needed || (recorded.max(posted) == Ticket(0)) {
            return;
        }
        let confirmed = self.confirmed;
        let Some(debts) = at(&mut self.debts, from) else { return };
        debts.recorded = debts.recorded.max(recorded);
        if posted <= Ticket(confirmed) {
            return;
        }
        let (piece, own) = (debts.pieces, posted.0);
        match debts.needs.back_mut().filter(|(_, newest)| *newest == own) {
            Some((newest_piece, _)) => *newest_piece = piece,
            None => {
                // Whoever asks about nothing leaves no more here than is open.
                while debts.needs.pop_front_if(|(_, own)| *own <= confirmed).is_some() {}
                debts.needs.push_back((piece, own));
            }
        }
    }

    /// A place asks whether its mail up to a position is kept; the last `pieces` before the
    /// question are that turn's.
    pub(crate) fn owe(&mut self, to: Place, theirs: Ticket, pieces: u32) {
        let Some(debts) = at(&mut self.debts, to) else { return };
        let before = debts.pieces.saturating_sub(u64::from(pieces) + 1); // and the question
        let needs = debts.needs.drain(..).filter(|(piece, _)| *piece > before);
        let needs = needs.map(|(_, own)| own).collect();
        debts.owed.push_back(Owed { theirs: theirs.0, recorded: debts.recorded, needs });
    }

    /// The next answer that is due: to whom, and from which of its positions to which. Answers that
    /// are due together are one.
    pub(crate) fn pop_owed(&mut self, completed: Ticket) -> Option<(Place, Ticket, Ticket)> {
        let open = &self.open;
        let is_open = |own: &u64| open.iter().any(|open| open.binary_search(own).is_ok());
        let is_due = |owed: &Owed| owed.recorded <= completed && !owed.needs.iter().any(is_open);
        for (number, debts) in self.debts.iter_mut().enumerate() {
            let Some(at) = debts.owed.iter().position(is_due) else { continue };
            let count = debts.owed.iter().skip(at).take_while(|owed| is_due(owed)).count();
            let mut due = debts.owed.drain(at..at + count).map(|owed| owed.theirs);
            let first = due.next()?;
            let last = due.next_back().unwrap_or(first);
            return Some((Place(number as u8), Ticket(first), Ticket(last)));
        }
        None
    }
}

/// A place's entry, which is made when it is needed.
fn at<T: Default>(list: &mut Vec<T>, place: Place) -> Option<&mut T> {
    let number = usize::from(place.0);
    if list.len() <= number {
        list.resize_with(number + 1, T::default);
    }
    list.get_mut(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Place = Place(1);
    const B: Place = Place(2);

    fn asked(gate: &mut MailGate, places: &[Place]) -> Ticket {
        for place in places {
            gate.ask(*place).unwrap();
        }
        let (set, position) = gate.take_asked();
        assert_eq!(set.iter().collect::<Vec<_>>(), places);
        position
    }

    #[test]
    fn a_position_is_passed_when_all_that_were_asked_have_kept_it_and_all_before() {
        let mut gate = MailGate::new(true);
        let first = asked(&mut gate, &[A, B]);
        let second = asked(&mut gate, &[B]);
        let third = asked(&mut gate, &[A]);
        assert_eq!(gate.passed(), Ticket(0));
        gate.confirm(B, first, second);
        assert_eq!(gate.passed(), Ticket(0));
        gate.confirm(A, third, third);
        assert_eq!(gate.passed(), Ticket(0), "the first is open");
        gate.confirm(A, first, first);
        assert_eq!(gate.passed(), third);
    }

    #[test]
    fn nothing_is_asked_where_nothing_survives() {
        let mut gate = MailGate::new(false);
        assert_eq!(gate.ask(A), None);
        gate.note(A, Ticket(1), Ticket(1));
        assert!(gate.take_asked().0.is_empty() && gate.debts.is_empty());
    }

    #[test]
    fn an_exchange_holds_its_position_until_it_is_recorded() {
        let mut gate = MailGate::new(true);
        let exchange = (SessionKey(7), 9);
        let position = asked(&mut gate, &[A]);
        gate.defer(position, Deferred::Arrived(exchange));
        assert_eq!(gate.pop_deferred(), None);
        gate.confirm(A, position, position);
        let (position, deferred) = gate.pop_deferred().unwrap();
        gate.decide(position, Ticket(5), deferred);
        assert!(gate.passed() < position);
        assert_eq!(gate.pop_decided(Ticket(4)), None);
        assert_eq!(gate.pop_decided(Ticket(5)), Some(Some(exchange)));
        assert_eq!(gate.passed(), position);
    }

    #[test]
    fn what_is_deferred_is_recorded_in_its_order() {
        let mut gate = MailGate::new(true);
        let first = asked(&mut gate, &[A]);
        let second = asked(&mut gate, &[B]);
        let (ended, dropped) = (SessionKey(1), Deferred::Dropped(SessionKey(1), 7));
        assert_eq!(gate.defer(second, dropped), second);
        assert_eq!(gate.defer(first, Deferred::Ended(ended)), second, "behind what waits already");
        gate.confirm(A, first, first);
        assert_eq!(gate.pop_deferred(), None);
        gate.confirm(B, second, second);
        assert_eq!(gate.pop_deferred(), Some((second, dropped)));
        assert_eq!(gate.pop_deferred(), Some((second, Deferred::Ended(ended))));
        assert_eq!(gate.newest_deferred(), Ticket(0));
    }

    /// A piece of mail comes, and handling it has recorded and posted this.
    fn comes(gate: &mut MailGate, from: Place, recorded: u64, posted: Ticket) {
        gate.count_piece(from);
        gate.note(from, Ticket(recorded), posted);
    }

    /// A question comes, about so many pieces.
    fn owe(gate: &mut MailGate, to: Place, theirs: Ticket, pieces: u32) {
        gate.count_piece(to);
        gate.owe(to, theirs, pieces);
    }

    #[test]
    fn an_answer_waits_for_its_commit_and_for_what_it_has_brought_about() {
        let mut gate = MailGate::new(true);
        owe(&mut gate, A, Ticket(1), 0);
        comes(&mut gate, A, 3, Ticket(0));
        owe(&mut gate, A, Ticket(2), 1);
        let own = asked(&mut gate, &[B]);
        comes(&mut gate, A, 0, own);
        comes(&mut gate, A, 3, own);
        owe(&mut gate, A, Ticket(4), 2);
        comes(&mut gate, A, 3, Ticket(0));
        owe(&mut gate, A, Ticket(5), 1);
        assert_eq!(gate.pop_owed(Ticket(2)), Some((A, Ticket(1), Ticket(1))), "nothing recorded");
        assert_eq!(gate.pop_owed(Ticket(2)), None);
        assert_eq!(gate.pop_owed(Ticket(3)), Some((A, Ticket(2), Ticket(2))));
        assert_eq!(gate.pop_owed(Ticket(3)), Some((A, Ticket(5), Ticket(5))), "4 waits for B");
        gate.confirm(B, own, own);
        assert_eq!(gate.pop_owed(Ticket(3)), Some((A, Ticket(4), Ticket(4))));
        assert_eq!(gate.pop_owed(Ticket(9)), None);
    }

    #[test]
    fn answers_that_are_due_together_are_one() {
        let mut gate = MailGate::new(true);
        comes(&mut gate, A, 1, Ticket(0));
        for theirs in [3, 4, 9] {
            owe(&mut gate, A, Ticket(theirs), 0);
        }
        assert_eq!(gate.pop_owed(Ticket(1)), Some((A, Ticket(3), Ticket(9))));
        assert_eq!(gate.pop_owed(Ticket(1)), None);
    }

    #[test]
    fn two_shards_that_forward_to_each_other_do_not_wait_in_a_circle() {
        let (mut a, mut b) = (MailGate::new(true), MailGate::new(true));
        // Each posts, gets the other's, and forwards what came of it.
        let (from_a, from_b) = (asked(&mut a, &[B]), asked(&mut b, &[A]));
        let forwarded_by_a = asked(&mut a, &[B]);
        comes(&mut a, B, 0, forwarded_by_a);
        owe(&mut a, B, from_b, 1);
        let forwarded_by_b = asked(&mut b, &[A]);
        comes(&mut b, A, 0, forwarded_by_b);
        owe(&mut b, A, from_a, 1);
        assert_eq!((a.pop_owed(Ticket(0)), b.pop_owed(Ticket(0))), (None, None));
        comes(&mut a, B, 0, Ticket(0));
        owe(&mut a, B, forwarded_by_b, 1);
        comes(&mut b, A, 0, Ticket(0));
        owe(&mut b, A, forwarded_by_a, 1);
        // What was forwarded came to rest: these answers wait for nothing.
        let (_, first, last) = a.pop_owed(Ticket(0)).unwrap();
        b.confirm(A, first, last);
        let (_, first, last) = b.pop_owed(Ticket(0)).unwrap();
        assert_eq!((first, last), (from_a, forwarded_by_a));
        a.confirm(B, first, last);
        assert_eq!(a.passed(), forwarded_by_a);
        let (_, first, last) = a.pop_owed(Ticket(0)).unwrap();
        b.confirm(A, first, last);
        assert_eq!(b.passed(), forwarded_by_b);
    }

    #[test]
    fn nor_for_what_mail_has_brought_about_that_nobody_asks_about() {
        let (mut a, mut b) = (MailGate::new(true), MailGate::new(true));
        // Each gets mail of which nothing is to be kept, and forwards it so that it is asked about.
        let (from_a, from_b) = (asked(&mut a, &[B]), asked(&mut b, &[A]));
        comes(&mut a, B, 0, from_a);
        comes(&mut b, A, 0, from_b);
        comes(&mut a, B, 0, Ticket(0));
        owe(&mut a, B, from_b, 1);
        comes(&mut b, A, 0, Ticket(0));
        owe(&mut b, A, from_a, 1);
        assert_eq!(a.pop_owed(Ticket(0)), Some((B, from_b, from_b)));
        assert_eq!(b.pop_owed(Ticket(0)), Some((A, from_a, from_a)));
    }

    #[test]
    fn mail_that_nobody_asks_about_leaves_nothing_for_ever() {
        let mut gate = MailGate::new(true);
        for _ in 0..100 {
            let own = asked(&mut gate, &[B]);
            comes(&mut gate, A, 0, own);
            gate.confirm(B, own, own);
        }
        assert!(gate.debts[1].needs.len() <= 1);
    }
}
