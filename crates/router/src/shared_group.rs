//! Shared subscriptions (MQTT 5 §4.8.2).

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::connection::ConnectionId;
use crate::remote_member::REMOTE;
use crate::settings::ShareStrategy;
use crate::subscribers::Subscriber;

/// All shared groups of the shard, by number and by `$share/NAME/FILTER`.
#[derive(Debug, Default)]
pub(crate) struct SharedGroups {
    groups: HashMap<u32, SharedGroup, foldhash::fast::RandomState>,
    by_text: HashMap<Arc<str>, u32>,
    next: u32,
    hasher: foldhash::fast::RandomState,
}

/// One group: its members in the order they joined, and where its strategy stands.
#[derive(Debug)]
pub(crate) struct SharedGroup {
    pub(crate) text: Arc<str>,
    pub(crate) filter: Box<str>,
    pub(crate) members: Vec<Subscriber>,
    strategy: ShareStrategy,
    turn: usize,
    sticky: Option<u32>,
}

/// A group that a member has left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) group: u32,
    pub(crate) filter: Box<str>,
    /// The member's session survives a crash.
    pub(crate) is_kept: bool,
    /// It was the last; the group is gone.
    pub(crate) is_last: bool,
}

/// What a strategy may look at to choose. What costs something is asked for only by the strategy
/// that needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'a, P, E> {
    pub(crate) topic: &'a str,
    /// The publisher's client identifier.
    pub(crate) publisher: P,
    /// Entropy for [`ShareStrategy::Random`].
    pub(crate) entropy: E,
}

/// A member that can take a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Able {
    pub(crate) standing: Standing,
    /// Messages in flight and in its queue.
    pub(crate) load: usize,
}

/// How soon a member would get a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// At once, on this connection.
    Ready(ConnectionId),
    /// At once, on another shard, which has not told that its window is full.
    Remote,
    /// In line, behind a full window, an outbox that is not read, or a hold.
    Waits,
    /// When its client comes back.
    Absent,
}

impl Standing {
    /// The lower the better.
    fn rank(self) -> u8 {
        match self {
            Self::Ready(_) | Self::Remote => 0,
            Self::Waits => 1,
            Self::Absent => 2,
        }
    }
}

impl SharedGroups {
    pub(crate) fn get(&self, group: u32) -> Option<&SharedGroup> {
        self.groups.get(&group)
    }

    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    /// The text of a group.
    pub(crate) fn text(&self, group: u32) -> Option<&Arc<str>> {
        self.groups.get(&group).map(|group| &group.text)
    }

    /// Whether a session is in the group with this text.
    pub(crate) fn has_member(&self, text: &str, session: u32) -> bool {
        self.member(text, session).is_some()
    }

    /// A session's membership of a group.
    pub(crate) fn member(&self, text: &str, session: u32) -> Option<Subscriber> {
        let group = self.groups.get(&self.find(text)?)?;
        group.members.iter().find(|it| it.session == session).copied()
    }

    /// The groups that a member of another shard is in.
    pub(crate) fn of_member(&self, session: u32) -> Vec<u32> {
        let groups = self.groups.iter();
        let with = groups.filter(|(_, it)| it.members.iter().any(|it| it.session == session));
        with.map(|(&number, _)| number).collect()
    }

    /// Each group's text and how many members it has.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.by_text.iter().filter_map(|(text, number)| {
            self.groups.get(number).map(|group| (&**text, group.members.len()))
        })
    }

    /// Whether any group has this many members or none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Adds or replaces a member. Returns the group, whether it is a new group, and whether the
    /// member is new.
    pub(crate) fn join(
        &mut self,
        text: &str,
        filter: &str,
        strategy: ShareStrategy,
        member: Subscriber,
    ) -> (u32, bool, bool) {
        if let Some(&number) = self.by_text.get(text)
            && let Some(group) = self.groups.get_mut(&number)
        {
            let known = group.members.iter_mut().find(|it| it.session == member.session);
            let is_new = known.is_none();
            match known {
                Some(known) => *known = member,
                None => group.members.push(member),
            }
            return (number, false, is_new);
        }
        let number = self.next;
        self.next = (self.next + 1) % REMOTE;
        let text: Arc<str> = text.into();
        self.by_text.insert(Arc::clone(&text), number);
        let members = vec![member];
        let filter = filter.into();
        let group = SharedGroup { text, filter, members, strategy, turn: 0, sticky: None };
        self.groups.insert(number, group);
        (number, true, true)
    }

    /// Removes a member; `None` when it was none.
    pub(crate) fn leave(&mut self, text: &str, session: u32) -> Option<Left> {
        let number = *self.by_text.get(text)?;
        let group = self.groups.get_mut(&number)?;
        let at = group.members.iter().position(|it| it.session == session)?;
        let is_kept = group.members.remove(at).is_kept;
        if at < group.turn {
            group.turn -= 1;
        }
        let (filter, is_last) = (group.filter.clone(), group.members.is_empty());
        if is_last {
            self.by_text.remove(text);
            self.groups.remove(&number);
        }
        Some(Left { group: number, filter, is_kept, is_last })
    }

    /// Chooses a member by the group's strategy, of those that `able` does not rule out: one that
    /// gets the message at once before one where it waits, if the strategy lets it, and anybody
    /// who is here before the absent.
    pub(crate) fn choose<'a>(
        &mut self,
        group: u32,
        choice: Choice<'_, impl FnOnce() -> &'a str, impl FnOnce() -> u64>,
        able: impl Fn(&Subscriber) -> Option<Able>,
    ) -> Option<(Subscriber, Standing)> {
        let hasher = &self.hasher;
        let group = self.groups.get_mut(&group)?;
        let members = group.members.as_slice();
        let start = match group.strategy {
            ShareStrategy::RoundRobin => group.turn,
            ShareStrategy::Random => (choice.entropy)() as usize,
            ShareStrategy::HashClient => hasher.hash_one((choice.publisher)()) as usize,
            ShareStrategy::HashTopic => hasher.hash_one(choice.topic) as usize,
            ShareStrategy::Sticky => group
                .sticky
                .and_then(|session| members.iter().position(|it| it.session == session))
                .unwrap_or(0),
            ShareStrategy::LeastInFlight => {
                let able = members.iter().filter_map(|it| able(it).map(|able| (it, able)));
                let least = able.min_by_key(|(_, able)| (able.standing.rank(), able.load));
                return least.map(|(member, able)| (*member, able.standing));
            }
        };
        let good_enough = u8::from(group.strategy.has_affinity()); // the rank of those who wait
        let start = if start < members.len() { start } else { start.checked_rem(members.len())? };
        let (before, from) = members.split_at(start);
        let mut best: Option<(usize, Standing)> = None;
        for (step, member) in from.iter().chain(before).enumerate() {
            let Some(Able { standing, .. }) = able(member) else { continue };
            if best.is_none_or(|(_, other)| standing.rank() < other.rank()) {
                best = Some((step, standing));
                if standing.rank() <= good_enough {
                    break;
                }
            }
        }
        let (step, standing) = best?;
        let at = if step < from.len() { start + step } else { step - from.len() };
        group.turn = at + 1;
        let member = members[at];
        group.sticky = Some(member.session);
        Some((member, standing))
    }
}

#[cfg(test)]
mod tests {
    use agentmq_codec::SubscriptionOptions;

    use super::*;

    fn member(session: u32) -> Subscriber {
        Subscriber { session, options: SubscriptionOptions::default(), id: 0, is_kept: false }
    }

    fn group(strategy: ShareStrategy, members: u32) -> (SharedGroups, u32) {
        let mut groups = SharedGroups::default();
        for session in 0..members {
            groups.join("$share/g/t", "t", strategy, member(session));
        }
        let number = groups.find("$share/g/t").expect("just joined");
        (groups, number)
    }

    /// The choice among members that are all ready; their load is their number.
    fn chosen(groups: &mut SharedGroups, number: u32, topic: &str, able: &[u32]) -> Option<u32> {
        choose(groups, number, topic, |session| {
            able.contains(&session).then_some(Standing::Ready(ConnectionId(session)))
        })
    }

    fn choose(
        groups: &mut SharedGroups,
        number: u32,
        topic: &str,
        standing: impl Fn(u32) -> Option<Standing>,
    ) -> Option<u32> {
        let choice = Choice { topic, publisher: || "p", entropy: || 7 };
        let able = |it: &Subscriber| {
            standing(it.session).map(|standing| Able { standing, load: it.session as usize })
        };
        groups.choose(number, choice, able).map(|(member, _)| member.session)
    }

    #[test]
    fn round_robin_skips_those_who_cannot() {
        let (mut groups, number) = group(ShareStrategy::RoundRobin, 3);
        let turns: Vec<_> = (0..4).map(|_| chosen(&mut groups, number, "t", &[0, 2])).collect();
        assert_eq!(turns, [Some(0), Some(2), Some(0), Some(2)]);
        assert_eq!(chosen(&mut groups, number, "t", &[]), None);
    }

    /// Member 0 is absent, 1 waits for its window, 2 is ready.
    fn mixed(session: u32) -> Option<Standing> {
        let ready = Standing::Ready(ConnectionId(2));
        [Standing::Absent, Standing::Waits, ready].get(session as usize).copied()
    }

    #[test]
    fn who_is_ready_comes_before_who_waits_and_the_absent_come_last() {
        use ShareStrategy as S;
        for strategy in [S::RoundRobin, S::Random, S::LeastInFlight] {
            let (mut groups, number) = group(strategy, 3);
            for _ in 0..4 {
                assert_eq!(choose(&mut groups, number, "t", mixed), Some(2), "{strategy:?}");
            }
            let not_ready = |session| mixed(session).filter(|it| it.rank() > 0);
            assert_eq!(choose(&mut groups, number, "t", not_ready), Some(1), "{strategy:?}");
            let absent = |session| mixed(session).filter(|it| it.rank() > 1);
            assert_eq!(choose(&mut groups, number, "t", absent), Some(0), "{strategy:?}");
        }
    }

    #[test]
    fn affinity_waits_for_its_member_unless_that_is_absent() {
        use ShareStrategy as S;
        for strategy in [S::Sticky, S::HashClient, S::HashTopic] {
            let (mut groups, number) = group(strategy, 3);
            let ready = |session| Some(Standing::Ready(ConnectionId(session)));
            let first = choose(&mut groups, number, "t", ready);
            let others = |other| move |it| if Some(it) == first { Some(other) } else { ready(it) };
            assert_eq!(choose(&mut groups, number, "t", others(Standing::Waits)), first);
            assert_ne!(choose(&mut groups, number, "t", others(Standing::Absent)), first);
        }
    }

    #[test]
    fn nobody_is_asked_for_what_the_strategy_does_not_need() {
        let (mut groups, number) = group(ShareStrategy::RoundRobin, 2);
        let choice = Choice {
            topic: "t",
            publisher: || panic!("a publisher is for hash_client"),
            entropy: || panic!("entropy is for random"),
        };
        let able = |_: &Subscriber| Some(Able { standing: Standing::Remote, load: 0 });
        assert!(groups.choose(number, choice, able).is_some());
    }

    #[test]
    fn sticky_stays_until_its_member_goes() {
        let (mut groups, number) = group(ShareStrategy::Sticky, 3);
        assert_eq!(chosen(&mut groups, number, "t", &[1, 2]), Some(1));
        assert_eq!(chosen(&mut groups, number, "t", &[0, 1, 2]), Some(1));
        groups.leave("$share/g/t", 1);
        assert_eq!(chosen(&mut groups, number, "t", &[0, 2]), Some(0));
    }

    #[test]
    fn hash_topic_keeps_a_topic_with_its_member() {
        let (mut groups, number) = group(ShareStrategy::HashTopic, 4);
        let all = [0, 1, 2, 3];
        for topic in ["a", "b", "c"] {
            let first = chosen(&mut groups, number, topic, &all);
            assert_eq!(chosen(&mut groups, number, topic, &all), first);
        }
    }

    #[test]
    fn least_in_flight_takes_the_lowest_load() {
        let (mut groups, number) = group(ShareStrategy::LeastInFlight, 3);
        assert_eq!(chosen(&mut groups, number, "t", &[1, 2]), Some(1));
    }

    #[test]
    fn the_last_member_takes_the_group_along() {
        let (mut groups, number) = group(ShareStrategy::RoundRobin, 1);
        assert_eq!(groups.leave("$share/g/t", 9), None);
        let left = Left { group: number, filter: "t".into(), is_kept: false, is_last: true };
        assert_eq!(groups.leave("$share/g/t", 0), Some(left));
        assert!(groups.is_empty());
    }
}
