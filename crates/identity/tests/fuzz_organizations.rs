//! Fuzz target: any two clients, of organisations or of none, any filter of the one and any topic
//! of the other, of a small alphabet. What reaches whom is what would with a broker for each
//! organisation. Runs as a plain test, or under a fuzzer.

use agentmq_identity::{Action, Claims, Principal, seen_by_its_own};
use agentmq_topic::{TopicLimits, check_filter, check_name, matches};

const LEVELS: [&str; 12] =
    ["a", "b", "", "$", "+", "#", "$a2a", "$SYS", "$org", "$org$", "acme", "organizations"];
const ORGANIZATIONS: [&str; 4] = ["acme", "acme2", "$org", "a"];

#[test]
fn each_has_a_broker_of_its_own() {
    let any = bolero::check!().with_type::<(u8, u8, Vec<u8>, Vec<u8>)>();
    any.with_iterations(50_000).for_each(|(first, second, filter, topic)| {
        let (subscriber, publisher) = (client(*first), client(*second));
        let (filter, topic) = (joined(filter), joined(topic));
        let limits = TopicLimits::default();
        if check_filter(&filter, &limits).is_err() || check_name(&topic, &limits).is_err() {
            return;
        }
        let (wanted, published) = (subscriber.mounted(&filter), publisher.mounted(&topic));
        let may = |who: &Principal, action, topic: &str| who.authorize(action, topic).allowed;
        let reaches = may(&subscriber, Action::Subscribe, &wanted)
            && may(&publisher, Action::Publish, &published)
            && matches(&wanted, &published);
        let is_same = first % 5 == second % 5;
        // Who is of none, and without rules, has no topics of organisations.
        let is_of_one =
            |it: &str| ["$org", "$org$"].contains(&it.split('/').next().unwrap_or_default());
        let is_named = !subscriber.is_apart() && (is_of_one(&topic) || is_of_one(&filter));
        let is_system = topic.starts_with("$SYS/") || topic == "$SYS";
        let expected = is_same && !is_named && !is_system && matches(&filter, &topic);
        assert_eq!(
            reaches, expected,
            "{first} {filter} -> {wanted}; {second} {topic} -> {published}"
        );
        if reaches {
            assert!(may(&subscriber, Action::Receive, &published));
            let seen = if subscriber.is_apart() { seen_by_its_own(&published) } else { &published };
            assert_eq!((seen, subscriber.seen(&published)), (&*topic, &*topic));
        } else if subscriber.is_apart() && !is_same && may(&publisher, Action::Publish, &published)
        {
            assert!(!may(&subscriber, Action::Receive, &published), "{published}");
        }
    });
}

/// A client of one of the organisations, or of none.
fn client(number: u8) -> Principal {
    let org = ORGANIZATIONS.get(usize::from(number % 5)).map(|org| (*org).to_owned());
    let client = Principal::verified("c", Claims::of_organization(org));
    client.apart("c").expect("its name is a level")
}

fn joined(levels: &[u8]) -> String {
    let levels: Vec<&str> =
        levels.iter().take(5).map(|byte| LEVELS[usize::from(*byte) % LEVELS.len()]).collect();
    levels.join("/")
}
