//! When a session loses its connection, and when it ends.

use agentmq_session::{Durable, Ticket, Time};

use crate::connection::{ConnectionId, NO_SESSION};
use crate::group_mail::is_remote;
use crate::mail_gate::Deferred;
use crate::remote_member::SessionName;
use crate::router::Router;
use crate::timers::Due;

impl Router {
    /// Parts a session from its connection. `with_will` says whether the will is to be sent. The
    /// session then waits for its client or ends.
    pub(crate) fn detach(&mut self, id: ConnectionId, with_will: bool, now: Time) {
        let Some(connection) = self.connection_mut(id) else { return };
        let Some(index) = connection.session() else { return };
        connection.session = NO_SESSION;
        self.counters.connections_now -= 1;
        if !with_will {
            self.set_will(index, None);
        }
        self.part(index, now);
    }

    /// A session has no connection any more: its will is due, and it waits for its client or ends.
    pub(crate) fn part(&mut self, index: u32, now: Time) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let dropped = session.disconnect(self.settings.queue_qos0) as u64;
        self.counters.dropped_offline += dropped;
        if !session.is_persistent() {
            self.end_session(index, now);
            return;
        }
        session.expires_at = (session.expiry != u32::MAX).then(|| now.after_secs(session.expiry));
        self.delay_will(index, now);
        self.arm_session(index);
        self.record_terms(index);
        self.tell_presence(index);
        self.leave_to_others(index, now);
    }

    /// Ends a session: its subscriptions go, its will is sent if it still waits, and what it had
    /// not acknowledged of shared groups goes to their other members. Answers the position of the
    /// mail behind which that is recorded; 0 when it is.
    pub(crate) fn end_session(&mut self, index: u32, now: Time) -> Ticket {
        self.disarm_session(index);
        let mut durable = None;
        let posted = self.posted_by(|router| durable = router.take_session(index, now));
        let Some(durable) = durable else { return Ticket::default() };
        // Not before what says where its messages went.
        let position = posted.max(durable.posted).max(self.mail_gate.newest_deferred());
        self.record_after(position, Deferred::Ended(durable.key))
    }

    /// Takes a session away; answers its name where a crash cannot take it.
    fn take_session(&mut self, index: u32, now: Time) -> Option<Box<Durable>> {
        self.send_will(index, now);
        self.clear_mcp_presence(index, now);
        let alone = self.groups_of_its_own(index);
        let has_others = |group| !alone.contains(&group);
        self.recall_shared(index, &mut { usize::MAX }, has_others);
        let mut session = self.sessions.remove(index as usize)?;
        // One that was replaced before a restart is nobody's any more.
        if self.by_client.get(&session.client_id) == Some(&index) {
            self.by_client.remove(&session.client_id);
            self.note_session(&session.client_id, false);
        }
        let name = SessionName { index, generation: session.generation };
        for text in std::mem::take(&mut session.subscriptions) {
            self.remove_subscription(name, &text);
        }
        let mut shared = session.window.take_shared(|_| true);
        shared.extend(session.queue.take_shared(has_others));
        self.reroute(session.key(), shared, now);
        self.end_tool_calls(index, now);
        session.durable
    }

    /// The groups of a session in which nobody else is: what it holds of them ends with it.
    fn groups_of_its_own(&self, index: u32) -> Vec<u32> {
        let subscriptions = self.sessions.get(index as usize).map(|it| it.subscriptions.as_slice());
        let groups = subscriptions.unwrap_or_default().iter().filter_map(|it| self.groups.find(it));
        let is_alone = |group: &u32| {
            let members = self.groups.get(*group).map(|it| it.members.as_slice());
            members.unwrap_or_default().iter().all(|member| member.session == index)
        };
        groups.filter(is_alone).collect()
    }

    /// A deadline of an absent client's session: its will's delay, or its end.
    pub(crate) fn session_due(&mut self, index: u32, generation: u32, now: Time) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        if session.generation != generation || session.connection.is_some() {
            return;
        }
        if session.expires_at.is_some_and(|at| at <= now) {
            self.counters.sessions_expired += 1;
            self.end_session(index, now);
            return;
        }
        self.will_due(index, now);
    }

    fn arm_session(&mut self, index: u32) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        let due = Due::Session(index, session.generation);
        for at in [session.expires_at, session.will_at].into_iter().flatten() {
            self.timers.arm(at, due);
        }
    }

    /// Forgets the deadlines of a session whose client is back, or that ends.
    pub(crate) fn disarm_session(&mut self, index: u32) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let due = Due::Session(index, session.generation);
        for at in [session.expires_at.take(), session.will_at.take()].into_iter().flatten() {
            self.timers.cancel(at, due);
        }
    }

    /// Whether any member's client of a group of this shard is here, or on another shard.
    pub(crate) fn has_present_member(&self, group: u32) -> bool {
        let members = self.groups.get(group).map(|it| it.members.as_slice());
        members.unwrap_or_default().iter().any(|member| {
            if is_remote(member.session) {
                let remote = self.remote_members.get(member.session);
                return remote.is_some_and(|it| it.present.is_some());
            }
            let session = self.sessions.get(member.session as usize);
            session.is_some_and(|it| it.connection.is_some())
        })
    }

    /// An absent member of shared groups leaves what it has not acknowledged to members that are
    /// here, if there are any.
    fn leave_to_others(&mut self, index: u32, now: Time) {
        if self.groups.is_empty() {
            return;
        }
        let Some(session) = self.sessions.get(index as usize) else { return };
        let served: Vec<u32> = session
            .subscriptions
            .iter()
            .filter_map(|text| self.groups.find(text))
            .filter(|&group| self.has_present_member(group))
            .collect();
        if served.is_empty() {
            return;
        }
        let mut portion = self.group_portion();
        let has_more = self.recall_shared(index, &mut portion, |group| served.contains(&group));
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let mut shared = session.window.take_shared(|group| served.contains(&group));
        shared.extend(session.queue.take_shared(|group| served.contains(&group)));
        let key = session.key();
        self.reroute(key, shared, now);
        if has_more {
            served.iter().for_each(|group| self.gather_later(*group, self.recorded, now));
        }
    }
}
