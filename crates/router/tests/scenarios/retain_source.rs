//! A retained message is served while its author may retain it (S12).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentmq_identity::{
    Authenticator, Credentials, Effect, Guarded, InForce, Open, Outcome, Pattern, Policy, Presence,
    Principal, Revocation, Revocations, Revoked, Rule,
};

use crate::harness::{Broker, Client};

/// Everything is allowed, but nobody publishes to topics of these.
fn all_but(denied: &[&str]) -> Policy {
    let rule = |effect, topics: &[&str], subscribe| {
        let topics = topics.iter().map(|it| Pattern::parse(it).expect("a pattern")).collect();
        Rule { name: "r".to_owned(), effect, topics, subscribe, ..Rule::default() }
    };
    let rules = vec![rule(Effect::Allow, &["#"], true), rule(Effect::Deny, denied, false)];
    Policy::new(rules, Effect::Deny)
}

struct World {
    broker: Broker,
    guarded: Guarded,
    authenticator: Arc<dyn Authenticator>,
}

impl World {
    fn new(authenticator: Arc<dyn Authenticator>) -> Self {
        let guarded = Guarded::new(InForce::new(Arc::clone(&authenticator), Some(all_but(&[]))));
        Self { broker: Broker::guarded(guarded.clone()), guarded, authenticator }
    }

    fn holds(&self, policy: Option<Policy>, revoked: Option<Revoked>) {
        let revoked = revoked.map(|of| Revocation { of, made_until: None, ends: None });
        let revocations = Revocations(revoked.into_iter().collect());
        let in_force = InForce::new(Arc::clone(&self.authenticator), policy);
        self.guarded.replace(InForce { revocations, ..in_force });
        self.broker.judge_again();
    }

    /// What a new subscriber gets, in the order of topics.
    fn served(&self, filter: &str) -> Vec<String> {
        let reader = self.broker.connect("reader");
        reader.subscribe(filter, 1);
        let payloads = reader.payloads();
        reader.disconnect();
        payloads
    }

    fn author(&self, name: &'static str) -> Client {
        self.broker.client(name).username(name).connect()
    }
}

#[test]
fn who_has_lost_the_right_is_not_heard_any_more() {
    let world = World::new(Arc::new(Open));
    let (scout, boss) = (world.author("scout"), world.author("boss"));
    scout.retain("cards/scout", "from scout");
    scout.retain("cards/other", "from scout, too");
    boss.retain("cards/third", "from boss");
    let all = ["from scout, too", "from scout", "from boss"];
    assert_eq!(world.served("cards/#"), all);
    scout.disconnect();
    // Whoever may not publish there himself does not lose what another has published there.
    world.holds(Some(all_but(&["cards/{user}"])), None);
    assert_eq!(world.served("cards/#"), ["from scout, too", "from boss"]);
    assert_eq!(world.broker.counters().retained_withheld, 1);
    assert_eq!(world.broker.counters().retained_now, 3, "it is kept");
    world.holds(Some(all_but(&[])), None);
    assert_eq!(world.served("cards/#"), all, "the right is back");
    let allow = |topics: &str, retain| {
        let topics = vec![Pattern::parse(topics).expect("a pattern")];
        Rule { effect: Effect::Allow, topics, retain, ..Rule::default() }
    };
    let rules = ["cards/other", "cards/third"].map(|topic| allow(topic, true));
    let rules = rules.into_iter().chain([allow("#", false)]).collect();
    world.holds(Some(Policy::new(rules, Effect::Deny)), None);
    let served = world.served("cards/#");
    assert_eq!(served, ["from scout, too", "from boss"], "he may publish, but not retain");
}

#[test]
fn who_is_revoked_is_not_heard_any_more_until_another_speaks() {
    let world = World::new(Arc::new(Open));
    world.author("scout").retain("a", "from scout");
    world.broker.client("nameless").connect().retain("b", "from nobody");
    let will = world.broker.client("willed").username("willed").will("c", "a will").will_retain();
    will.connect().vanish();
    assert_eq!(world.served("#"), ["from scout", "from nobody", "a will"]);
    for (client_id, rest) in [
        ("scout", ["from nobody", "a will"]),
        ("nameless", ["from scout", "a will"]),
        ("willed", ["from scout", "from nobody"]),
    ] {
        world.holds(Some(all_but(&[])), Some(Revoked::ClientId(client_id.into())));
        assert_eq!(world.served("#"), rest, "{client_id}");
    }
    world.holds(None, Some(Revoked::ClientId("scout".into())));
    assert_eq!(world.served("a"), [""; 0], "also where there are no rules");
    world.author("boss").retain("a", "from boss");
    assert_eq!(world.served("a"), ["from boss"]);
}

/// Who had no name when there were no rules is nobody who could be asked about.
#[test]
fn what_nobody_has_published_is_served_and_so_is_everything_where_the_check_is_off() {
    let world = World::new(Arc::new(Open));
    world.author("scout").retain("a", "from scout");
    world.holds(None, None);
    world.broker.connect("early").retain("b", "early");
    world.holds(Some(all_but(&["#"])), None);
    assert_eq!(world.served("#"), ["early"]);
    world.broker.reconfigure(|settings| settings.check_retain_source = false);
    assert_eq!(world.served("#"), ["from scout", "early"]);
}

/// Lets everybody in, and counts how often it is asked who somebody is by now.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl Authenticator for Counting {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        Open.authenticate(credentials)
    }

    fn remembered(&self, principal: &Principal, _: &Presence<'_>) -> Option<Principal> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(principal.clone())
    }
}

#[test]
fn an_author_is_asked_about_once_and_again_after_a_minute() {
    let counting = Arc::new(Counting::default());
    let world = World::new(Arc::<Counting>::clone(&counting));
    let scout = world.author("scout");
    for number in 0..300 {
        scout.retain(&format!("t/{number}"), "x");
    }
    world.broker.connect("early").disconnect();
    let asked = || counting.0.swap(0, Ordering::Relaxed);
    asked();
    for expected in [1, 0, 0] {
        assert_eq!(world.served("t/#").len(), 300);
        assert_eq!(asked(), expected);
    }
    world.broker.sleep(61);
    assert_eq!(world.served("t/#").len(), 300);
    assert_eq!(asked(), 1);
}

/// Others get their turn while many messages are passed over.
#[test]
fn many_messages_that_are_not_served_stop_nobody() {
    let world = World::new(Arc::new(Open));
    let scout = world.author("scout");
    for number in 0..5_000 {
        scout.retain(&format!("t/{number}"), "x");
    }
    world.author("boss").retain("t/last", "served");
    world.holds(Some(all_but(&["t/+"])), None);
    assert_eq!(world.served("t/#"), [""; 0]);
    assert_eq!(world.broker.counters().retained_withheld, 5_001);
}
