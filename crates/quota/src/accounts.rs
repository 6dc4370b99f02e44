//! All accounts, and who has which plan.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::account::Account;
use crate::plan::Plan;
use crate::usage::Moment;

/// Which organisation has which plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plans {
    /// By organisation.
    pub of: BTreeMap<String, Arc<Plan>>,
    /// For all others; `None`: they have no bounds.
    pub default: Option<Arc<Plan>>,
}

impl Plans {
    fn get(&self, organization: &str) -> Option<&Arc<Plan>> {
        self.of.get(organization).or(self.default.as_ref())
    }

    /// Whether anybody has bounds.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty() && self.default.is_none()
    }
}

/// What an organisation, or a client of one, has published on a day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DayUse {
    /// The organisation.
    pub organization: String,
    /// The client; `None`: all together.
    pub client: Option<String>,
    /// The day of UTC, counted from 1970.
    pub day: u64,
    /// Publications.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// There is no account left for one more organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyOrganizations;

/// All accounts. Shards share one; it is asked when a client comes, not when it publishes.
#[derive(Debug, Default)]
pub struct Accounts {
    plans: RwLock<Plans>,
    all: Mutex<BTreeMap<Arc<str>, Arc<Account>>>,
    /// Milliseconds from 1970 to the start of the broker's clock.
    unix_millis_at_start: AtomicU64,
}

impl Accounts {
    /// Other plans hold from now on.
    pub fn replace(&self, plans: Plans) {
        let mut known = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        for (organization, account) in self.all().iter() {
            account.follow(plans.get(organization).map(|plan| &**plan));
        }
        *known = plans;
    }

    /// Whether anybody has bounds.
    pub fn has_plans(&self) -> bool {
        !self.plans.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The time of day has been looked at: it may have been set since.
    pub fn set_clock(&self, moment: Moment) {
        let at_start = moment.unix_millis.saturating_sub(moment.millis);
        self.unix_millis_at_start.store(at_start, Ordering::Relaxed);
    }

    /// A point of the broker's clock, and the time of day then.
    pub fn moment(&self, millis: u64) -> Moment {
        let at_start = self.unix_millis_at_start.load(Ordering::Relaxed);
        Moment { millis, unix_millis: at_start.saturating_add(millis) }
    }

    /// The account of an organisation; `None`: it has no bounds.
    pub fn of(&self, organization: &str) -> Result<Option<Arc<Account>>, TooManyOrganizations> {
        let plans = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        let Some(plan) = plans.get(organization) else { return Ok(None) };
        let mut all = self.all();
        if let Some(account) = all.get(organization) {
            return Ok(Some(Arc::clone(account)));
        }
        let account = open(&mut all, organization).ok_or(TooManyOrganizations)?;
        account.follow(Some(plan));
        Ok(Some(account))
    }

    /// The first accounts that have a plan, by name.
    pub fn first(&self, count: usize) -> Vec<Arc<Account>> {
        let all = self.all();
        let planned = all.values().filter(|account| !account.plan().is_empty());
        planned.take(count).cloned().collect()
    }

    /// What was published today: all that must outlive the broker.
    pub fn of_today(&self, moment: Moment) -> Vec<DayUse> {
        let day = moment.day();
        let mut found = Vec::new();
        for account in self.all().values() {
            let mut note = |client: Option<String>, (messages, bytes)| {
                let organization = account.organization().to_string();
                found.push(DayUse { organization, client, day, messages, bytes });
            };
            let used = account.of_day(day);
            if used != (0, 0) {
                note(None, used);
            }
            if account.bounds_clients_by_day() {
                let mut clients = account.clients_of_day(day);
                clients.sort_unstable();
                clients.into_iter().for_each(|(client, used)| note(Some(client.into()), used));
            }
        }
        found
    }

    /// Goes on with what an earlier run has counted today. A day that is over does not matter.
    pub fn take_up(&self, uses: Vec<DayUse>, moment: Moment) {
        for DayUse { organization, client, day, messages, bytes } in uses {
            // The time of day may have been set back over a midnight.
            if day != moment.day() && day != moment.day() + 1 {
                continue;
            }
            let Some(account) = open(&mut self.all(), &organization) else { return };
            match client {
                None => account.usage.take_up(day, messages, bytes),
                Some(client) => account.client(&client).take_up(day, messages, bytes),
            }
        }
    }

    /// Forgets who is away and has published nothing today: organisations and clients. One that
    /// has stays, with a plan or without: who comes again has used what he has used.
    pub fn forget_idle(&self, moment: Moment) {
        let day = moment.day();
        self.all().retain(|_, account| {
            account.forget_idle_clients(day);
            Arc::strong_count(account) > 1 || account.of_day(day) != (0, 0)
        });
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Account>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The account of an organisation, a new one if need be and if there is room.
fn open(all: &mut BTreeMap<Arc<str>, Arc<Account>>, organization: &str) -> Option<Arc<Account>> {
    if let Some(account) = all.get(organization) {
        return Some(Arc::clone(account));
    }
    if all.len() >= ORGANIZATIONS {
        return None;
    }
    let name: Arc<str> = organization.into();
    let account = Arc::new(Account::new(Arc::clone(&name)));
    all.insert(name, Arc::clone(&account));
    Some(account)
}

/// Organisations with an account at most: those with clients here, and those that have published
/// today. Clients of one more are refused.
const ORGANIZATIONS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Holder;
    use crate::plan::{Bounds, Quantity};

    const NOW: Moment = Moment { millis: 5_000, unix_millis: 1_795_737_600_000 };

    fn plan(bound: u64) -> Arc<Plan> {
        let organization = Bounds::default().with(Quantity::MessagesPerDay, bound);
        let client = organization.clone();
        Arc::new(Plan { name: "p".into(), organization, client })
    }

    fn plans(of: &[(&str, u64)]) -> Plans {
        let of = of.iter().map(|(name, bound)| ((*name).to_owned(), plan(*bound))).collect();
        Plans { of, default: None }
    }

    fn holder(accounts: &Accounts, organization: &str) -> Option<Holder> {
        Some(Holder::new(accounts.of(organization).expect("has room")?, "a"))
    }

    #[test]
    fn who_has_no_plan_has_no_account() {
        let accounts = Accounts::default();
        assert!(!accounts.has_plans() && holder(&accounts, "acme").is_none());
        accounts.replace(plans(&[("acme", 1)]));
        assert!(holder(&accounts, "acme").is_some() && holder(&accounts, "other").is_none());
        accounts.replace(Plans { of: BTreeMap::new(), default: Some(plan(1)) });
        assert!(holder(&accounts, "other").is_some());
    }

    #[test]
    fn an_organisation_that_is_deleted_and_made_again_has_used_what_it_has_used() {
        let accounts = Accounts::default();
        accounts.replace(plans(&[("acme", 1)]));
        assert!(holder(&accounts, "acme").expect("a plan").publish(1, NOW).is_ok());
        accounts.replace(Plans::default());
        accounts.forget_idle(NOW);
        assert!(accounts.first(9).is_empty(), "it is not shown");
        accounts.replace(plans(&[("acme", 1)]));
        assert!(holder(&accounts, "acme").expect("a plan").publish(1, NOW).is_err());
        let tomorrow = Moment { unix_millis: NOW.unix_millis + 86_400_000, ..NOW };
        accounts.forget_idle(tomorrow);
        assert!(accounts.all().is_empty());
    }

    #[test]
    fn numbers_of_the_day_outlive_the_broker() {
        let accounts = Accounts::default();
        accounts.replace(plans(&[("acme", 2), ("other", 2)]));
        assert!(holder(&accounts, "acme").expect("a plan").publish(7, NOW).is_ok());
        let uses = accounts.of_today(NOW);
        assert_eq!(uses.len(), 2, "the organisation and its client: {uses:?}");
        let later = |unix_millis| {
            let accounts = Accounts::default();
            let moment = Moment { millis: 0, unix_millis };
            accounts.take_up(uses.clone(), moment);
            accounts.replace(plans(&[("acme", 2), ("other", 2)]));
            let acme = holder(&accounts, "acme").expect("a plan");
            (0..3).filter(|_| acme.publish(1, moment).is_ok()).count()
        };
        assert_eq!(later(NOW.unix_millis + 1), 1);
        assert_eq!(later(NOW.unix_millis - 1), 1, "the clock was set back over a midnight");
        assert_eq!(later(NOW.unix_millis + 86_400_000), 2);
    }

    #[test]
    fn the_time_of_day_follows_its_clock() {
        let accounts = Accounts::default();
        accounts.set_clock(NOW);
        let later = accounts.moment(NOW.millis + 10);
        assert_eq!(later.unix_millis, NOW.unix_millis + 10);
    }

    #[test]
    fn there_are_so_many_accounts_and_no_more() {
        let accounts = Accounts::default();
        accounts.replace(Plans { of: BTreeMap::new(), default: Some(plan(1)) });
        for number in 0..ORGANIZATIONS {
            assert!(accounts.of(&number.to_string()).is_ok());
        }
        assert_eq!(accounts.of("one more").err(), Some(TooManyOrganizations));
        accounts.forget_idle(NOW);
        assert!(accounts.of("one more").is_ok());
    }
}
