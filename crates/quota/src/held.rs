//! What is held until it is dropped: connections, subscriptions, retained messages, queues.

use std::sync::Arc;

use crate::account::{Account, Holder};
use crate::exceeded::Exceeded;
use crate::plan::Quantity;
use crate::usage::Moment;

/// One of the connections of an organisation.
#[derive(Debug)]
pub struct Seat(Arc<Account>);

impl Seat {
    /// One connection more, if there may be one.
    pub fn take(account: Arc<Account>) -> Result<Self, Exceeded> {
        account.sit_down().map(|()| Self(account))
    }

    /// One connection more, which is there already or takes another's place.
    pub fn take_beyond(account: Arc<Account>) -> Self {
        account.usage.hold(Quantity::Connections, 1, u64::MAX);
        Self(account)
    }

    /// Whether it is one of this organisation's.
    pub fn is_of(&self, account: &Arc<Account>) -> bool {
        Arc::ptr_eq(&self.0, account)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.usage.release(Quantity::Connections, 1);
    }
}

/// A session's client: its connection and its subscriptions.
#[derive(Debug)]
pub struct Member {
    holder: Holder,
    subscriptions: u64,
    seat: Option<Seat>,
}

impl Member {
    /// One that has so many subscriptions already, and no connection.
    pub fn new(holder: Holder, subscriptions: usize) -> Self {
        let subscriptions = subscriptions as u64;
        holder.hold_beyond(Quantity::Subscriptions, subscriptions);
        holder.hold_beyond(Quantity::Sessions, 1);
        Self { holder, subscriptions, seat: None }
    }

    /// Who it is.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The account of its organisation.
    pub fn account(&self) -> &Arc<Account> {
        self.holder.account()
    }

    /// Whether it has a connection.
    pub fn sits(&self) -> bool {
        self.seat.is_some()
    }

    /// It has a connection: that one which it has taken, or one that was there before.
    pub fn sit_down(&mut self, seat: Option<Seat>) {
        let taken = seat.filter(|seat| seat.is_of(self.account()));
        if taken.is_some() || self.seat.is_none() {
            self.seat =
                Some(taken.unwrap_or_else(|| Seat::take_beyond(Arc::clone(self.account()))));
        }
    }

    /// It has no connection any more.
    pub fn stand_up(&mut self) {
        self.seat = None;
    }

    /// One subscription more, if there may be one.
    pub fn subscribe(&mut self) -> Result<(), Exceeded> {
        self.holder.hold(Quantity::Subscriptions, 1)?;
        self.subscriptions += 1;
        Ok(())
    }

    /// One subscription less.
    pub fn unsubscribe(&mut self) {
        if self.subscriptions > 0 {
            self.subscriptions -= 1;
            self.holder.release(Quantity::Subscriptions, 1);
        }
    }

    /// Counts one publication, see [`Holder::publish`].
    pub fn publish(&self, bytes: usize, moment: Moment) -> Result<(), Exceeded> {
        self.holder.publish(bytes, moment)
    }

    /// How many bytes more may wait for the client.
    pub fn queue_room(&self) -> usize {
        usize::try_from(self.holder.room(Quantity::QueueBytes)).unwrap_or(usize::MAX)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.holder.release(Quantity::Subscriptions, self.subscriptions);
        self.holder.release(Quantity::Sessions, 1);
    }
}

/// One retained message.
#[derive(Debug)]
pub struct RetainedCharge {
    holder: Holder,
    bytes: u64,
}

impl RetainedCharge {
    /// One of so many bytes, if there may be one.
    pub fn take(holder: &Holder, bytes: usize) -> Result<Self, Exceeded> {
        let bytes = bytes as u64;
        holder.hold(Quantity::RetainedMessages, 1)?;
        if let Err(exceeded) = holder.hold(Quantity::RetainedBytes, bytes) {
            holder.release(Quantity::RetainedMessages, 1);
            return Err(exceeded);
        }
        Ok(Self { holder: holder.clone(), bytes })
    }
}

impl Drop for RetainedCharge {
    fn drop(&mut self) {
        self.holder.release(Quantity::RetainedMessages, 1);
        self.holder.release(Quantity::RetainedBytes, self.bytes);
    }
}

/// The bytes that wait in one queue; nothing more than their sum where no plan bounds them.
#[derive(Debug, Default)]
pub struct Waiting {
    bytes: usize,
    holder: Option<Box<Holder>>,
}

impl Waiting {
    /// Nothing, which counts for nobody.
    pub const NONE: Self = Self { bytes: 0, holder: None };

    /// The sum.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// More wait.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        if let Some(holder) = &self.holder {
            holder.hold_beyond(Quantity::QueueBytes, bytes as u64);
        }
    }

    /// Fewer wait.
    pub fn take(&mut self, bytes: usize) {
        self.bytes -= bytes;
        if let Some(holder) = &self.holder {
            holder.release(Quantity::QueueBytes, bytes as u64);
        }
    }

    /// From now on they count for this client, or for none.
    pub fn belong_to(&mut self, holder: Option<Holder>) {
        self.let_go();
        if let Some(holder) = &holder {
            holder.hold_beyond(Quantity::QueueBytes, self.bytes as u64);
        }
        self.holder = holder.map(Box::new);
    }

    fn let_go(&mut self) {
        if let Some(holder) = self.holder.take() {
            holder.release(Quantity::QueueBytes, self.bytes as u64);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Bounds, Plan};

    fn holder(quantity: Quantity, bound: u64) -> Holder {
        let account = Account::new("acme".into());
        let organization = Bounds::default().with(quantity, bound);
        account.follow(Some(&Plan { name: "p".into(), organization, client: Bounds::default() }));
        Holder::new(Arc::new(account), "a")
    }

    #[test]
    fn a_connection_that_ends_leaves_its_seat() {
        let holder = holder(Quantity::Connections, 1);
        let account = holder.account();
        let seat = Seat::take(Arc::clone(account)).expect("the first");
        let exceeded = Seat::take(Arc::clone(account)).expect_err("the second").to_string();
        assert!(exceeded.ends_with("has its 1 connections already (plan p): close one"));
        let taken_over = Seat::take_beyond(Arc::clone(account));
        drop((seat, taken_over));
        assert_eq!(account.held(Quantity::Connections), 0);
        assert!(Seat::take(Arc::clone(account)).is_ok());
    }

    #[test]
    fn a_member_has_one_seat_whatever_it_has_taken() {
        let (holder, other) = (holder(Quantity::Connections, 9), holder(Quantity::Connections, 9));
        let account = Arc::clone(holder.account());
        let seat = |account: &Arc<Account>| Seat::take(Arc::clone(account)).expect("has room");
        let mut member = Member::new(holder, 0);
        member.sit_down(None);
        member.sit_down(None);
        assert_eq!(account.held(Quantity::Connections), 1);
        member.sit_down(Some(seat(&account)));
        member.sit_down(Some(seat(other.account())));
        assert_eq!(account.held(Quantity::Connections), 1);
        assert_eq!(other.account().held(Quantity::Connections), 0);
        member.stand_up();
        assert!(!member.sits() && account.held(Quantity::Connections) == 0);
    }

    #[test]
    fn a_session_that_ends_leaves_its_subscriptions() {
        let holder = holder(Quantity::Subscriptions, 3);
        let account = Arc::clone(holder.account());
        let mut member = Member::new(holder, 2);
        assert!(member.subscribe().is_ok() && member.subscribe().is_err());
        member.unsubscribe();
        assert_eq!(account.held(Quantity::Subscriptions), 2);
        drop(member);
        assert_eq!(account.held(Quantity::Subscriptions), 0);
    }

    #[test]
    fn a_retained_message_counts_until_it_goes() {
        let holder = holder(Quantity::RetainedBytes, 10);
        let charge = RetainedCharge::take(&holder, 8).expect("has room");
        assert!(RetainedCharge::take(&holder, 3).is_err());
        assert_eq!(holder.account().held(Quantity::RetainedMessages), 1);
        drop(charge);
        assert!(RetainedCharge::take(&holder, 10).is_ok());
    }

    #[test]
    fn what_waits_counts_for_whom_it_waits() {
        let holder = holder(Quantity::QueueBytes, 10);
        let mut waiting = Waiting::default();
        waiting.add(4);
        waiting.belong_to(Some(holder.clone()));
        waiting.add(3);
        let member = Member::new(holder.clone(), 0);
        assert_eq!((waiting.bytes(), member.queue_room()), (7, 3));
        waiting.take(5);
        waiting.belong_to(None);
        assert_eq!(holder.account().held(Quantity::QueueBytes), 0);
        waiting.belong_to(Some(holder.clone()));
        drop(waiting);
        assert_eq!(holder.account().held(Quantity::QueueBytes), 0);
    }
}
