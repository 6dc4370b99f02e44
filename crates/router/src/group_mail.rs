//! What shards tell each other about shared groups; see [`crate::remote_member`].

use std::sync::Arc;

use agentmq_session::{Message, Ticket, Time};

use crate::bundle::{Chosen, is_small};
use crate::connection::ConnectionId;
use crate::fan_out::Delivered;
use crate::mail::Mail;
use crate::overlapping_subscriptions::Grant;
use crate::places::Place;
use crate::remote_member::{GroupMail, Membership, REMOTE, SessionName};
use crate::router::Router;
use crate::source::Source;
use crate::subscribers::Subscriber;

impl Router {
    pub(crate) fn receive_group(&mut self, from: Place, mail: GroupMail, now: Time) {
        match mail {
            GroupMail::Join { text, member, ticket } => {
                self.remote_joins(from, &text, &member, ticket, now);
            }
            GroupMail::Leave { text, session } => self.remote_leaves(from, &text, session),
            GroupMail::Presence { session, present } => {
                self.remote_presence(from, session, present, now);
            }
            GroupMail::Load { session, load } => {
                let number = self.remote_members.find(from, session);
                if let Some(member) = number.and_then(|it| self.remote_members.get_mut(it)) {
                    member.load = load;
                }
            }
            GroupMail::Room { session, has_room } => {
                let number = self.remote_members.find(from, session);
                if let Some(member) = number.and_then(|it| self.remote_members.get_mut(it)) {
                    member.is_full = !has_room;
                }
            }
            GroupMail::Deliver { text, session, message, exchange, expects_client } => {
                let member = Chosen { session, expects_client };
                let mut source = Source { arrived: exchange, ..Source::of(&message, now) };
                let group = (&text, self.away_groups.find(&text));
                self.deliver_away(from, group, member, &mut source);
            }
            GroupMail::Reclaim { text, session, sent_too } => {
                self.reclaimed(&text, session, sent_too, now);
            }
            GroupMail::Return { text, message } => {
                if let Some(group) = self.groups.find(&text) {
                    self.reroute_one(&message, group, now);
                }
            }
        }
    }

    /// Other shards exist from now on: tells the table that all share which groups are here.
    pub(crate) fn publish_groups(&mut self) {
        let Some(homes) = &self.peers.group_homes else { return };
        for (text, members) in self.groups.sizes() {
            for _ in 0..members {
                homes.join(text, self.peers.own);
            }
        }
    }

    /// The home of a group that a session here joins or is in: `None` for this shard.
    pub(crate) fn join_home(&self, text: &str, session: u32) -> Option<Place> {
        if self.peers.is_alone() {
            return None;
        }
        if let Some((group, _)) = self.away_groups.membership(text, session) {
            return Some(group.home);
        }
        if self.groups.has_member(text, session) {
            return None;
        }
        let homes = self.peers.group_homes.as_ref()?;
        let home = homes.join(text, self.peers.own);
        (home != self.peers.own).then_some(home)
    }

    /// One member less in the table that all shards share.
    pub(crate) fn leave_home(&self, text: &str) {
        if let Some(homes) = self.peers.group_homes.as_ref()
            && !self.peers.is_alone()
        {
            homes.leave(text);
        }
    }

    /// A session of this shard joins a group of another.
    pub(crate) fn join_away(&mut self, text: &str, home: Place, member: Subscriber) {
        let is_new = self.away_groups.membership(text, member.session).is_none();
        let Some(session) = self.name_of(member.session) else { return };
        let present = self.presence(member.session);
        let text = self.away_groups.join(text, home, member);
        if let Some(session) = self.sessions.get_mut(member.session as usize) {
            session.is_known_full = false; // this home does not know
        }
        if is_new {
            self.subscriptions.count_member(true);
        }
        let ticket = self.peers.barrier.draw_join();
        let Subscriber { options, id, is_kept, .. } = member;
        let member = Membership { session, options, id, is_kept, present };
        self.post_group(home, GroupMail::Join { text, member, ticket });
    }

    /// A session of this shard leaves a group of another; false when it is in none of this text.
    pub(crate) fn leave_away(&mut self, text: &str, session: SessionName) -> bool {
        let Some((text, home)) = self.away_groups.leave(text, session.index) else { return false };
        self.subscriptions.count_member(false);
        self.leave_home(&text);
        self.post_group(home, GroupMail::Leave { text, session });
        true
    }

    /// A session's client has come or gone: tells the homes of its groups.
    pub(crate) fn tell_presence(&mut self, index: u32) {
        if self.away_groups.is_empty() {
            return;
        }
        let present = self.presence(index);
        if let Some(session) = self.sessions.get_mut(index as usize) {
            session.is_known_full = false; // the homes take that from this mail
        }
        let Some(session) = self.name_of(index) else { return };
        for home in self.away_homes(index) {
            self.post_group(home, GroupMail::Presence { session, present });
        }
    }

    /// A session has acknowledged something, or got it: tells the homes of its groups on other
    /// shards what they want to know.
    pub(crate) fn tell_homes(&mut self, index: u32) {
        if !self.away_groups.is_empty() {
            self.tell_load(index);
            self.tell_room(index);
        }
    }

    /// How much a session has left, where a strategy looks at it.
    fn tell_load(&mut self, index: u32) {
        if !self.settings.any_least_in_flight() {
            return;
        }
        let Some(name) = self.name_of(index) else { return };
        let Some(session) = self.sessions.get(index as usize) else { return };
        let load = usize::from(session.window.open_count()) + session.queue.len();
        for home in self.away_homes(index) {
            self.post_group(home, GroupMail::Load { session: name, load });
        }
    }

    /// A session's window has filled up, or has emptied: tells the homes of its groups, which
    /// choose others as long as it is full. Half empty is soon enough: a window at its brim would
    /// cause mail with every message.
    fn tell_room(&mut self, index: u32) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let (room, maximum) =
            (session.window.room(session.receive_maximum), session.receive_maximum);
        let has_room = if session.is_known_full { room >= maximum.div_ceil(2) } else { room > 0 };
        if has_room != session.is_known_full {
            return; // that is what they know
        }
        session.is_known_full = !has_room;
        let Some(session) = self.name_of(index) else { return };
        for home in self.away_homes(index) {
            self.post_group(home, GroupMail::Room { session, has_room });
        }
    }

    /// The homes of the groups of other shards that a session is in.
    fn away_homes(&self, index: u32) -> Vec<Place> {
        let Some(session) = self.sessions.get(index as usize) else { return Vec::new() };
        let groups = &self.away_groups;
        let away = session.subscriptions.iter().filter_map(|text| groups.get(groups.find(text)?));
        let mut homes: Vec<Place> = away.map(|group| group.home).collect();
        homes.sort_unstable();
        homes.dedup();
        homes
    }

    /// Sends a message of an away group back to its home.
    pub(crate) fn send_back(&mut self, group: u32, message: Message) {
        let Some(group) = self.away_groups.get(group) else { return };
        let (text, home) = (Arc::clone(&group.text), group.home);
        self.must_keep(home, message.qos());
        self.post_group(home, GroupMail::Return { text, message });
    }

    /// Gives a message to a member on another shard.
    pub(crate) fn deliver_remote(
        &mut self,
        source: &mut Source<'_>,
        group: u32,
        number: u32,
    ) -> Delivered {
        let tells_load = self.settings.any_least_in_flight();
        let Some(member) = self.remote_members.get_mut(number) else { return Delivered::Nobody };
        member.load += usize::from(tells_load);
        let (place, session, expects_client) =
            (member.place, member.session, member.present.is_some());
        self.must_keep(place, source.qos);
        let Some(text) = self.groups.text(group) else { return Delivered::Nobody };
        if is_small(source) {
            let chosen = Chosen { session, expects_client };
            self.peers.push(place, |bundle| bundle.push_for(source, text, chosen));
            return Delivered::Taken;
        }
        let text = Arc::clone(text);
        let message = source.message().clone();
        let exchange = source.arrived;
        let mail = GroupMail::Deliver { text, session, message, exchange, expects_client };
        self.post_group(place, mail);
        Delivered::Taken
    }

    /// Asks the shard of an absent remote member for what it holds of a group.
    pub(crate) fn reclaim(&mut self, group: u32, number: u32, sent_too: bool) {
        let Some(text) = self.groups.text(group).map(Arc::clone) else { return };
        let Some(member) = self.remote_members.get(number) else { return };
        let (place, session) = (member.place, member.session);
        self.post_group(place, GroupMail::Reclaim { text, session, sent_too });
    }

    fn remote_joins(
        &mut self,
        from: Place,
        text: &str,
        member: &Membership,
        ticket: Ticket,
        now: Time,
    ) {
        let number = self.remote_members.enter(from, member);
        let Membership { options, id, is_kept, .. } = *member;
        let subscriber = Subscriber { session: number, options, id, is_kept };
        if self.join_group(text, subscriber) {
            self.remote_members.joined(number);
        }
        // A group that is new here (its last member has left meanwhile) is announced: the answer
        // waits until everybody knows.
        self.peers.barrier.owe(from, ticket);
        self.pay_confirmations();
        if member.present.is_some() {
            self.gather(self.groups.find(text), now);
        }
    }

    fn remote_leaves(&mut self, from: Place, text: &str, session: SessionName) {
        let Some(number) = self.remote_members.find(from, session) else { return };
        if self.leave_group(text, number) {
            self.remote_members.left(number);
        }
    }

    fn remote_presence(
        &mut self,
        from: Place,
        session: SessionName,
        present: Option<u32>,
        now: Time,
    ) {
        let Some(number) = self.remote_members.find(from, session) else { return };
        if let Some(member) = self.remote_members.get_mut(number) {
            member.present = present;
            member.is_full = false;
        }
        for group in self.groups.of_member(number) {
            if present.is_some() {
                self.gather(Some(group), now);
            } else if self.has_present_member(group) {
                self.reclaim(group, number, true);
            }
        }
    }

    /// A message that a group's home has chosen a session of this shard for. The group has a number
    /// here if any session of this shard is in it.
    pub(crate) fn deliver_away(
        &mut self,
        from: Place,
        (text, number): (&Arc<str>, Option<u32>),
        member: Chosen,
        source: &mut Source<'_>,
    ) {
        let subscription =
            number.and_then(|group| Some((group, self.away_subscription(group, member.session)?)));
        let Some((group, subscriber)) = subscription.filter(|(_, subscriber)| {
            !member.expects_client || self.presence(subscriber.session).is_some()
        }) else {
            let (text, message) = (Arc::clone(text), source.message().clone());
            self.must_keep(from, source.qos);
            return self.post_group(from, GroupMail::Return { text, message });
        };
        let grant = Grant::of(std::iter::once(&subscriber));
        source.is_tool_call = self.is_tool_call(source.topic);
        self.begin_message();
        source.is_for_one = true;
        let terms = source.terms(&grant, Some(group));
        self.deliver(source, subscriber.session, &terms);
        self.record_message(source, false);
        self.tell_homes(subscriber.session);
    }

    /// The session that a home means, as a member of an away group.
    fn away_subscription(&self, group: u32, name: SessionName) -> Option<Subscriber> {
        let session = self.sessions.get(name.index as usize)?;
        let is_same = session.generation == name.generation;
        self.away_groups.get(group)?.member(name.index).filter(|_| is_same)
    }

    /// The home has other members for what an absent member holds.
    fn reclaimed(&mut self, text: &str, name: SessionName, sent_too: bool, now: Time) {
        let Some(group) = self.away_groups.find(text) else { return };
        let Some(session) = self.sessions.get_mut(name.index as usize) else { return };
        if session.generation != name.generation || session.connection.is_some() {
            return;
        }
        self.recall_shared(name.index, &mut { usize::MAX }, |it| it == group);
        let Some(session) = self.sessions.get_mut(name.index as usize) else { return };
        let mut shared = Vec::new();
        if sent_too {
            shared = session.window.take_shared(|it| it == group);
        }
        shared.extend(session.queue.take_shared(|it| it == group));
        let key = session.key();
        self.reroute(key, shared, now);
    }

    fn name_of(&self, index: u32) -> Option<SessionName> {
        let generation = self.sessions.get(index as usize)?.generation;
        Some(SessionName { index, generation })
    }

    /// The Maximum Packet Size of a session's client, if it is here.
    fn presence(&self, index: u32) -> Option<u32> {
        let connection = ConnectionId(self.sessions.get(index as usize)?.connection?);
        self.connections.get(connection.0 as usize)?.as_ref().map(|it| it.max_packet)
    }

    fn post_group(&mut self, to: Place, mail: GroupMail) {
        self.peers.post(to, Mail::Group(Box::new(mail)));
    }
}

/// Whether a member's or a group's number is another shard's.
pub(crate) const fn is_remote(number: u32) -> bool {
    number & REMOTE != 0
}
