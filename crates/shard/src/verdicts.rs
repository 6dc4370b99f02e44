//! Connections whose authentication takes long: they are not read until the verdict has come.

use agentmq_codec::ReasonCode;
use agentmq_identity::{Outcome, Refusal};
use agentmq_router::{ConnectionId, WorkOf};
use agentmq_session::Time;

use crate::command::Command;
use crate::deadlines::Deadline;
use crate::shard::Shard;
use crate::workers::{Job, Verdict};

impl Shard {
    /// Gives the workers what has come up.
    pub(crate) fn hand_out_work(&mut self) {
        for WorkOf { connection, work } in self.router.take_work() {
            let conn = connection.0 as usize;
            let Some(client) = self.conns.get(conn) else { continue };
            let generation = client.generation;
            let from = client.link.peer().address.map(|address| address.ip());
            let (shard, waiting) = (self.own.clone(), self.settings.limits.waiting_logins);
            let job = Job { work, shard, conn, generation };
            if let Some(Job { shard, conn, generation, .. }) =
                self.workers.give(from, job, waiting as usize)
            {
                // Its client may be on another shard.
                let outcome = Outcome::Refused(Refusal {
                    reason: ReasonCode::ServerBusy,
                    why: "too many logins wait for their verdict: try again in a minute".into(),
                });
                shard.send(Command::Verdict(Verdict { conn, generation, outcome }));
            }
        }
    }

    /// A verdict has come. The connection may have gone meanwhile.
    pub(crate) fn verdict(&mut self, verdict: Verdict) {
        let Verdict { conn, generation, outcome } = verdict;
        let id = ConnectionId(conn as u32);
        if self.conns.get(conn).is_none_or(|it| it.generation != generation) {
            return;
        }
        let now = self.now;
        let done = self.guarded("a verdict", |router, _| router.verdict(id, outcome, now));
        if done.is_none() {
            return self.drop_conn(conn);
        }
        self.note_decided(conn);
        self.hand_out_work();
        self.log_refusals();
        // It has read nothing since: what came behind its CONNECT is next.
        self.resume(Deadline { at: Time::NEVER, conn, generation });
    }
}
