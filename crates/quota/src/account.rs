//! The account of one organisation, in which all shards count.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::exceeded::Exceeded;
use crate::plan::{Bounds, BoundsInForce, Plan, Quantity};
use crate::usage::{Counts, Moment, Usage};

/// What an organisation may use and uses.
#[derive(Debug)]
pub struct Account {
    organization: Arc<str>,
    /// The name of its plan; empty while it has none, and its numbers of the day are kept.
    plan: Mutex<Arc<str>>,
    bounds: BoundsInForce,
    client_bounds: BoundsInForce,
    pub(crate) usage: Usage,
    refused: AtomicU64,
    clients: Mutex<Clients>,
}

/// Clients by their identifiers: those that are there, and those that have used something today.
#[derive(Debug)]
struct Clients {
    all: HashMap<Box<str>, Arc<Usage>>,
    /// With as many some are forgotten.
    too_many: usize,
}

impl Default for Clients {
    fn default() -> Self {
        Self { all: HashMap::new(), too_many: REMEMBERED }
    }
}

/// One client of an organisation.
#[derive(Debug, Clone)]
pub struct Holder {
    account: Arc<Account>,
    client: Arc<Usage>,
}

impl Account {
    pub(crate) fn new(organization: Arc<str>) -> Self {
        Self {
            organization,
            plan: Mutex::default(),
            bounds: BoundsInForce::default(),
            client_bounds: BoundsInForce::default(),
            usage: Usage::default(),
            refused: AtomicU64::new(0),
            clients: Mutex::default(),
        }
    }

    /// Another plan, or none, holds from now on.
    pub(crate) fn follow(&self, plan: Option<&Plan>) {
        let none = Bounds::default();
        self.bounds.replace(plan.map_or(&none, |plan| &plan.organization));
        self.client_bounds.replace(plan.map_or(&none, |plan| &plan.client));
        *self.plan_name() = plan.map_or_else(|| "".into(), |plan| Arc::clone(&plan.name));
    }

    /// Whose it is.
    pub fn organization(&self) -> &Arc<str> {
        &self.organization
    }

    /// The name of its plan; empty: it has none.
    pub fn plan(&self) -> Arc<str> {
        Arc::clone(&self.plan_name())
    }

    /// Publications, and their bytes, of a day.
    pub fn of_day(&self, day: u64) -> (u64, u64) {
        self.usage.of_day(day)
    }

    /// What it holds now of a quantity that is no rate.
    pub fn held(&self, quantity: Quantity) -> u64 {
        self.usage.held(quantity)
    }

    /// The bound of a quantity; `None`: there is none.
    pub fn bound(&self, quantity: Quantity) -> Option<u64> {
        Some(self.bounds.get(quantity)).filter(|bound| *bound != Bounds::NONE)
    }

    /// How often a bound has refused something, since the broker started.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether numbers of the day bound single clients.
    pub(crate) fn bounds_clients_by_day(&self) -> bool {
        let quantities = [Quantity::MessagesPerDay, Quantity::BytesPerDay];
        quantities.into_iter().any(|it| self.client_bounds.get(it) != Bounds::NONE)
    }

    /// The client of this identifier.
    pub(crate) fn client(&self, client_id: &str) -> Arc<Usage> {
        let mut clients = self.clients();
        if let Some(client) = clients.all.get(client_id) {
            return Arc::clone(client);
        }
        if clients.all.len() >= clients.too_many {
            clients.forget_half();
        }
        let client = Arc::new(Usage::default());
        clients.all.insert(client_id.into(), Arc::clone(&client));
        client
    }

    /// What clients have used on a day.
    pub(crate) fn clients_of_day(&self, day: u64) -> Vec<(Box<str>, (u64, u64))> {
        let clients = self.clients();
        let used = clients.all.iter().map(|(name, client)| (name.clone(), client.of_day(day)));
        used.filter(|(_, used)| *used != (0, 0)).collect()
    }

    /// Forgets clients that are away and have used nothing on this day.
    pub(crate) fn forget_idle_clients(&self, day: u64) {
        let is_idle = |client: &Arc<Usage>| is_away(client) && client.of_day(day) == (0, 0);
        self.clients().all.retain(|_, client| !is_idle(client));
    }

    /// Counts one refusal and says what it is about.
    fn refuse(&self, quantity: Quantity, is_of_client: bool, moment: Option<Moment>) -> Exceeded {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let bounds = if is_of_client { &self.client_bounds } else { &self.bounds };
        Exceeded {
            quantity,
            bound: bounds.get(quantity),
            organization: (!is_of_client).then(|| Arc::clone(&self.organization)),
            plan: self.plan(),
            again: moment.and_then(|moment| moment.next(quantity)),
        }
    }

    /// Holds one connection more.
    pub(crate) fn sit_down(&self) -> Result<(), Exceeded> {
        let quantity = Quantity::Connections;
        if self.usage.hold(quantity, 1, self.bounds.get(quantity)) {
            return Ok(());
        }
        Err(self.refuse(quantity, false, None))
    }

    /// Whether there may be one more session. It is held by its [`Member`](crate::Member).
    pub fn check_sessions(&self) -> Result<(), Exceeded> {
        let quantity = Quantity::Sessions;
        if self.usage.held(quantity) < self.bounds.get(quantity) {
            return Ok(());
        }
        Err(self.refuse(quantity, false, None))
    }

    // A name and a table that a panic left half done are still whole.
    fn plan_name(&self) -> MutexGuard<'_, Arc<str>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder {
    /// The client of an organisation that is called so.
    pub fn new(account: Arc<Account>, client_id: &str) -> Self {
        let client = account.client(client_id);
        Self { account, client }
    }

    /// The organisation's account.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Counts one publication with so many bytes of payload, for the client and its organisation;
    /// or for neither, because it exceeds a bound.
    pub fn publish(&self, bytes: usize, moment: Moment) -> Result<(), Exceeded> {
        let Self { account, client } = self;
        let bytes = bytes as u64;
        let of_client = client.publish(&account.client_bounds, bytes, moment, Counts::BoundsOnly);
        of_client.map_err(|quantity| account.refuse(quantity, true, Some(moment)))?;
        account.usage.publish(&account.bounds, bytes, moment, Counts::TheDay).map_err(|quantity| {
            client.take_back(&account.client_bounds, bytes, moment, Counts::BoundsOnly);
            account.refuse(quantity, false, Some(moment))
        })
    }

    /// Holds an amount more, of client and organisation.
    pub(crate) fn hold(&self, quantity: Quantity, amount: u64) -> Result<(), Exceeded> {
        let Self { account, client } = self;
        if !client.hold(quantity, amount, account.client_bounds.get(quantity)) {
            return Err(account.refuse(quantity, true, None));
        }
        if !account.usage.hold(quantity, amount, account.bounds.get(quantity)) {
            client.release(quantity, amount);
            return Err(account.refuse(quantity, false, None));
        }
        Ok(())
    }

    /// Holds an amount more, whatever the bound is: it is there already.
    pub(crate) fn hold_beyond(&self, quantity: Quantity, amount: u64) {
        self.client.hold(quantity, amount, Bounds::NONE);
        self.account.usage.hold(quantity, amount, Bounds::NONE);
    }

    /// Lets an amount go.
    pub(crate) fn release(&self, quantity: Quantity, amount: u64) {
        self.client.release(quantity, amount);
        self.account.usage.release(quantity, amount);
    }

    /// How much more may be held of a quantity. Another shard may be quicker to take it.
    pub(crate) fn room(&self, quantity: Quantity) -> u64 {
        let Self { account, client } = self;
        let of_client = account.client_bounds.get(quantity).saturating_sub(client.held(quantity));
        let of_all = account.bounds.get(quantity).saturating_sub(account.usage.held(quantity));
        of_client.min(of_all)
    }
}

/// Whether no session has it.
fn is_away(client: &Arc<Usage>) -> bool {
    Arc::strong_count(client) == 1
}

impl Clients {
    /// Forgets those of the absent clients that have used the least: a client identifier costs
    /// nothing, and who makes up many must not make the broker forget who has reached his bound.
    fn forget_half(&mut self) {
        let away = self.all.values().filter(|client| is_away(client));
        let mut sums: Vec<u64> = away.map(|client| client.latest_messages()).collect();
        let middle = sums.len() / 2;
        if !sums.is_empty() {
            let (_, median, _) = sums.select_nth_unstable(middle);
            let (median, mut left) = (*median, middle + 1);
            self.all.retain(|_, client| {
                let goes = left > 0 && is_away(client) && client.latest_messages() <= median;
                left -= usize::from(goes);
                !goes
            });
        }
        // Those that are there are as many as their sessions; they are not looked at each time.
        self.too_many = REMEMBERED.max(2 * self.all.len());
    }
}

/// Clients of an organisation that are remembered although they are away, at most.
const REMEMBERED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment { millis: 0, unix_millis: 1_795_737_600_000 };

    fn account(organization: Bounds, client: Bounds) -> Arc<Account> {
        let account = Account::new("acme".into());
        account.follow(Some(&Plan { name: "small".into(), organization, client }));
        Arc::new(account)
    }

    fn bound(quantity: Quantity, bound: u64) -> Bounds {
        Bounds::default().with(quantity, bound)
    }

    #[test]
    fn clients_share_what_their_organisation_has() {
        let account = account(bound(Quantity::MessagesPerDay, 3), Bounds::default());
        let [a, b] = ["a", "b"].map(|name| Holder::new(Arc::clone(&account), name));
        assert!(a.publish(10, NOW).is_ok() && b.publish(10, NOW).is_ok());
        assert!(a.publish(10, NOW).is_ok());
        let exceeded = b.publish(10, NOW).expect_err("the fourth");
        assert_eq!((exceeded.bound, exceeded.again), (3, Some(1_795_824_000)));
        assert_eq!((account.of_day(NOW.day()), account.refused()), ((3, 30), 1));
    }

    #[test]
    fn a_client_that_has_reached_its_own_bound_takes_nothing_from_others() {
        let account = account(Bounds::default(), bound(Quantity::MessagesPerDay, 1));
        let [a, b] = ["a", "b"].map(|name| Holder::new(Arc::clone(&account), name));
        assert!(a.publish(1, NOW).is_ok());
        assert_eq!(a.publish(1, NOW).expect_err("the second").organization, None);
        assert!(b.publish(1, NOW).is_ok());
        drop(a);
        account.forget_idle_clients(NOW.day());
        let again = Holder::new(Arc::clone(&account), "a");
        assert!(again.publish(1, NOW).is_err(), "who comes again is the same one");
        drop(again);
        account.forget_idle_clients(NOW.day() + 1);
        assert_eq!(account.clients().all.len(), 1, "the other one is there");
    }

    #[test]
    fn what_the_organisation_refuses_is_not_counted_for_the_client() {
        let account = account(bound(Quantity::BytesPerDay, 5), bound(Quantity::MessagesPerDay, 2));
        let client = Holder::new(account, "a");
        assert!(client.publish(9, NOW).is_err() && client.publish(9, NOW).is_err());
        assert!(client.publish(1, NOW).is_ok() && client.publish(1, NOW).is_ok());
    }

    #[test]
    fn a_plan_that_changes_holds_at_once() {
        let account = account(bound(Quantity::MessagesPerDay, 1), Bounds::default());
        let client = Holder::new(Arc::clone(&account), "a");
        assert!(client.publish(1, NOW).is_ok() && client.publish(1, NOW).is_err());
        account.follow(None);
        assert!(client.publish(1, NOW).is_ok());
        assert_eq!(&*account.plan(), "");
    }

    #[test]
    fn who_has_used_most_is_remembered_longest() {
        let account = account(Bounds::default(), bound(Quantity::MessagesPerDay, 5));
        let busy = Holder::new(Arc::clone(&account), "busy");
        while busy.publish(1, NOW).is_ok() {}
        drop(busy);
        for number in 0..3 * REMEMBERED {
            let made_up = Holder::new(Arc::clone(&account), &number.to_string());
            assert!(made_up.publish(1, NOW).is_ok());
        }
        assert!(account.clients().all.len() <= REMEMBERED);
        assert!(Holder::new(account, "busy").publish(1, NOW).is_err());
    }
}
