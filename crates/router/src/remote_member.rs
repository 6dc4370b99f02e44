//! Members of shared groups that live on another shard than the group.

use agentmq_session::Time;

use crate::places::Place;
use crate::router::Router;

/// Mail about shared groups.
#[derive(Debug, Clone)]
pub enum GroupMail {}

impl GroupMail {
    pub(crate) fn size(&self) -> usize {
        0
    }
}

impl Router {
    pub(crate) fn receive_group(&mut self, _from: Place, _mail: GroupMail, _now: Time) {}

    /// Other shards exist from now on: tells the table that all share which groups are here.
    pub(crate) fn publish_groups(&mut self) {
        let Some(homes) = &self.peers.group_homes else { return };
        for (text, members) in self.groups.sizes() {
            for _ in 0..members {
                homes.join(text, self.peers.own);
            }
        }
    }
}
