//! Taking what absent members of a shared group hold for those who are here: a portion at a time,
//! as far as it must be read back from the log.

use agentmq_session::{Condition, Ticket, Time};

use crate::group_mail::is_remote;
use crate::router::Router;
use crate::timers::Due;

impl Router {
    /// Takes what absent members of a group hold for those who are here.
    pub(crate) fn gather(&mut self, group: Option<u32>, now: Time) {
        let Some(group) = group else { return };
        let Some(members) = self.groups.get(group).map(|it| it.members.clone()) else { return };
        let (mut moved, mut bytes, mut has_more) = (Vec::new(), self.group_portion(), false);
        for member in members {
            if is_remote(member.session) {
                let remote = self.remote_members.get(member.session);
                if remote.is_some_and(|it| it.present.is_none()) {
                    self.reclaim(group, member.session, false);
                }
                continue;
            }
            let session = self.sessions.get(member.session as usize);
            if session.is_none_or(|it| it.connection.is_some()) {
                continue;
            }
            has_more |= self.recall_shared(member.session, &mut bytes, |it| it == group);
            if let Some(other) = self.sessions.get_mut(member.session as usize) {
                moved.push((other.key(), other.queue.take_shared(|it| it == group)));
            }
        }
        for (session, deliveries) in moved {
            self.reroute(session, deliveries, now);
        }
        if has_more {
            self.gather_later(group, self.recorded, now);
        }
    }

    /// There is more to gather, when what was recorded up to here is safe and has left memory.
    pub(crate) fn gather_later(&mut self, group: u32, recorded: Ticket, now: Time) {
        if !self.gathering.contains(&group) {
            self.gathering.push(group);
            self.timers.arm(now.after_millis(SOON_MS), Due::Gather(group, recorded));
        }
    }

    /// Goes on with gathering.
    pub(crate) fn gather_due(&mut self, group: u32, recorded: Ticket, now: Time) {
        self.gathering.retain(|it| *it != group);
        (self.recorded, self.posted) = Default::default();
        if recorded > self.commit.completed() {
            // With a disk that has failed, what waits stays where it is.
            if self.commit.condition() != Condition::Failed {
                self.gather_later(group, recorded, now);
            }
        } else if self.has_present_member(group) {
            self.gather(Some(group), now);
        }
    }
}

/// Milliseconds between two portions: a turn of its own for each.
const SOON_MS: u64 = 5;
