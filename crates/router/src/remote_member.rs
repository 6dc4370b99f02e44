//! Shared groups over several shards.
//!
//! A group lives on the shard of its first member. There a member of another shard is a
//! [`RemoteMember`]; here, on the member's shard, the group is an [`AwayGroup`]. The home chooses
//! the member for each message. What the member's session cannot take any more, or does not
//! acknowledge before it goes, returns to the home, which chooses again.
//!
//! Mail between two shards keeps its order: when a message returns because its member has gone,
//! the home knows already that it has.

use std::collections::HashMap;
use std::sync::Arc;

use agentmq_codec::SubscriptionOptions;
use agentmq_session::{Arrival, Message, Ticket};

use crate::places::Place;
use crate::subscribers::Subscriber;

/// Looked into for every message of a group of several shards.
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Numbers from here on name members and groups of other shards; below are this shard's own.
pub(crate) const REMOTE: u32 = 1 << 31;

/// A session as other shards know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionName {
    pub(crate) index: u32,
    /// Tells it from later sessions with the same index.
    pub(crate) generation: u32,
}

/// Mail about shared groups. Groups are named by their text, `$share/NAME/FILTER`.
#[derive(Debug, Clone)]
pub enum GroupMail {
    /// To the home: one more member, or its options have changed. Confirmed like interest.
    Join {
        /// The group.
        text: Arc<str>,
        /// The member.
        member: Membership,
        /// The sender's number for the confirmation.
        ticket: Ticket,
    },
    /// To the home: one member less.
    Leave {
        /// The group.
        text: Arc<str>,
        /// The member.
        session: SessionName,
    },
    /// To the home: a member's client has come (its Maximum Packet Size), or has gone.
    Presence {
        /// The member.
        session: SessionName,
        /// Maximum Packet Size in bytes while it is here.
        present: Option<u32>,
    },
    /// To the home: what waits for a member's client or is unacknowledged. Told only where a
    /// strategy looks at it.
    Load {
        /// The member.
        session: SessionName,
        /// Messages.
        load: usize,
    },
    /// To the home: a member's window is full, or about half empty again.
    Room {
        /// The member.
        session: SessionName,
        /// Whether it can have a message at once.
        has_room: bool,
    },
    /// To the member's shard: this message is for it.
    Deliver {
        /// The group.
        text: Arc<str>,
        /// The member.
        session: SessionName,
        /// The message.
        message: Message,
        /// The QoS 2 PUBLISH that brought it, where that must survive a crash.
        exchange: Option<Arrival>,
        /// The home believes that the client is here; if not, others may be.
        expects_client: bool,
    },
    /// To the member's shard: another member is here, which can have what this one's absent
    /// client has not got.
    Reclaim {
        /// The group.
        text: Arc<str>,
        /// The member.
        session: SessionName,
        /// Also what was sent and not acknowledged.
        sent_too: bool,
    },
    /// To the home: choose another member for this message.
    Return {
        /// The group.
        text: Arc<str>,
        /// The message.
        message: Message,
    },
}

/// A member as its group's home must know it.
#[derive(Debug, Clone, Copy)]
pub struct Membership {
    pub(crate) session: SessionName,
    pub(crate) options: SubscriptionOptions,
    pub(crate) id: u32,
    /// Its session survives a crash.
    pub(crate) is_kept: bool,
    /// Maximum Packet Size of its client; `None` while it is absent.
    pub(crate) present: Option<u32>,
}

impl GroupMail {
    /// Whether a message is in it, which its sender asks to be kept.
    pub(crate) fn carries_message(&self) -> bool {
        matches!(self, Self::Deliver { .. } | Self::Return { .. })
    }

    pub(crate) fn size(&self) -> usize {
        let text = |text: &Arc<str>| text.len();
        size_of::<Self>()
            + match self {
                Self::Join { text: it, .. }
                | Self::Leave { text: it, .. }
                | Self::Reclaim { text: it, .. } => text(it),
                Self::Presence { .. } | Self::Load { .. } | Self::Room { .. } => 0,
                Self::Deliver { message, .. } | Self::Return { message, .. } => message.size(),
            }
    }
}

/// A member on another shard, at its group's home.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RemoteMember {
    pub(crate) place: Place,
    pub(crate) session: SessionName,
    pub(crate) present: Option<u32>,
    /// What it would get now waits for its window.
    pub(crate) is_full: bool,
    /// Groups of this shard that it is in.
    groups: u32,
    /// What it has told of its load, and what it was given since.
    pub(crate) load: usize,
}

/// Members of other shards in this shard's groups, by number.
#[derive(Debug, Default)]
pub(crate) struct RemoteMembers {
    members: Map<u32, RemoteMember>,
    numbers: Map<(Place, SessionName), u32>,
    next: u32,
}

impl RemoteMembers {
    pub(crate) fn get(&self, number: u32) -> Option<&RemoteMember> {
        self.members.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut RemoteMember> {
        self.members.get_mut(&number)
    }

    pub(crate) fn find(&self, place: Place, session: SessionName) -> Option<u32> {
        self.numbers.get(&(place, session)).copied()
    }

    /// The number of a member, known or new.
    pub(crate) fn enter(&mut self, place: Place, member: &Membership) -> u32 {
        let (session, present) = (member.session, member.present);
        let number = match self.find(place, session) {
            Some(number) => number,
            None => {
                let number = REMOTE | self.next;
                self.next = (self.next + 1) % REMOTE;
                self.numbers.insert((place, session), number);
                number
            }
        };
        let new = RemoteMember { place, session, present, is_full: false, groups: 0, load: 0 };
        self.members.entry(number).or_insert(new).present = present;
        number
    }

    /// The member is in one more group.
    pub(crate) fn joined(&mut self, number: u32) {
        if let Some(member) = self.members.get_mut(&number) {
            member.groups += 1;
        }
    }

    /// The member is in one group less; it is forgotten with its last.
    pub(crate) fn left(&mut self, number: u32) {
        let Some(member) = self.members.get_mut(&number) else { return };
        member.groups = member.groups.saturating_sub(1);
        if member.groups == 0 {
            let key = (member.place, member.session);
            self.numbers.remove(&key);
            self.members.remove(&number);
        }
    }
}

/// A group that lives on another shard, on the shard of some of its members.
#[derive(Debug)]
pub(crate) struct AwayGroup {
    pub(crate) text: Arc<str>,
    pub(crate) home: Place,
    members: Vec<Subscriber>,
    /// A sweep has seen it without members.
    is_over: bool,
}

impl AwayGroup {
    /// A session's membership.
    pub(crate) fn member(&self, session: u32) -> Option<Subscriber> {
        self.members.iter().find(|it| it.session == session).copied()
    }
}

/// Groups of other shards that this shard's sessions are in, by number.
#[derive(Debug, Default)]
pub(crate) struct AwayGroups {
    groups: Map<u32, AwayGroup>,
    by_text: Map<Arc<str>, u32>,
    next: u32,
    /// Groups without members, which a sweep is to forget.
    empty: usize,
}

impl AwayGroups {
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether [`Self::sweep`] has anything to do.
    pub(crate) fn needs_sweep(&self) -> bool {
        self.empty > 0
    }

    pub(crate) fn get(&self, number: u32) -> Option<&AwayGroup> {
        self.groups.get(&number)
    }

    /// The number of the group with this text, if a session of this shard is in it.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        let number = *self.by_text.get(text)?;
        self.get(number).filter(|group| !group.members.is_empty()).map(|_| number)
    }

    /// A session joins a group at `home`.
    pub(crate) fn join(&mut self, text: &str, home: Place, member: Subscriber) -> Arc<str> {
        let known = self.by_text.get(text).copied();
        let same = known.filter(|it| self.groups.get(it).is_some_and(|it| it.home == home));
        let number = same.unwrap_or_else(|| {
            let number = REMOTE | self.next;
            self.next = (self.next + 1) % REMOTE;
            let text: Arc<str> = text.into();
            self.by_text.insert(Arc::clone(&text), number);
            let group = AwayGroup { text, home, members: Vec::new(), is_over: false };
            self.groups.insert(number, group);
            self.empty += 1;
            number
        });
        let Some(group) = self.groups.get_mut(&number) else { return text.into() };
        group.is_over = false;
        self.empty -= usize::from(group.members.is_empty());
        match group.members.iter_mut().find(|it| it.session == member.session) {
            Some(known) => *known = member,
            None => group.members.push(member),
        }
        Arc::clone(&group.text)
    }

    /// A session leaves; `None` when it was no member. The group stays for a while: messages that
    /// came through it may still return.
    pub(crate) fn leave(&mut self, text: &str, session: u32) -> Option<(Arc<str>, Place)> {
        let group = self.groups.get_mut(self.by_text.get(text)?)?;
        let at = group.members.iter().position(|it| it.session == session)?;
        group.members.swap_remove(at);
        self.empty += usize::from(group.members.is_empty());
        Some((Arc::clone(&group.text), group.home))
    }

    /// A session's membership in the group with this text, and the group.
    pub(crate) fn membership(&self, text: &str, session: u32) -> Option<(&AwayGroup, Subscriber)> {
        let group = self.get(*self.by_text.get(text)?)?;
        Some((group, group.member(session)?))
    }

    /// Forgets the groups that have been without members since the last sweep.
    pub(crate) fn sweep(&mut self) {
        let (by_text, empty) = (&mut self.by_text, &mut self.empty);
        self.groups.retain(|number, group| {
            let keep = !group.members.is_empty() || !group.is_over;
            group.is_over = group.members.is_empty();
            if !keep && by_text.get(&group.text) == Some(number) {
                by_text.remove(&group.text);
            }
            *empty -= usize::from(!keep);
            keep
        });
    }
}
