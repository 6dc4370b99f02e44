//! Threads that do for shards what takes long: to hash a password, say. So few that a flood of
//! logins takes neither all cores nor all memory.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use agentmq_codec::ReasonCode;
use agentmq_identity::{Outcome, Refusal, Work};

use crate::command::{Command, ShardHandle};

/// The door to the threads, which start with the first work and end when all doors are closed.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Workers(Arc<Owner>);

/// Ends the threads when it goes.
#[derive(Debug)]
struct Owner {
    threads: usize,
    desk: Arc<Desk>,
}

/// Where work waits.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that were started.
    started: usize,
    is_closed: bool,
}

/// Work, and who gets what comes out.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) work: Box<dyn Work>,
    pub(crate) shard: ShardHandle,
    pub(crate) conn: usize,
    pub(crate) generation: u32,
}

/// What came out of the work of a connection.
#[derive(Debug)]
pub struct Verdict {
    pub(crate) conn: usize,
    pub(crate) generation: u32,
    pub(crate) outcome: Outcome,
}

impl Workers {
    /// So many threads at most.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self(Arc::new(Owner { threads: threads.max(1), desk: Arc::default() }))
    }

    /// Has some work done; false when as much as may is `waiting` already, or there is no thread.
    pub(crate) fn give(&self, job: Job, waiting: usize) -> bool {
        let Owner { threads, desk } = &*self.0;
        let mut state = desk.state();
        if state.started < *threads {
            let (desk, name) = (Arc::clone(desk), format!("worker-{}", state.started));
            match std::thread::Builder::new().name(name).spawn(move || desk.work_off()) {
                Ok(_) => state.started += 1, // it ends with the owner
                Err(error) => tracing::error!(%error, "no thread for a login; see ulimit -u"),
            }
        }
        if state.started == 0 || state.jobs.len() >= waiting {
            return false;
        }
        state.jobs.push_back(job);
        drop(state);
        desk.changed.notify_one();
        true
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.desk.state().is_closed = true;
        self.desk.changed.notify_all();
    }
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work_off(&self) {
        while let Some(Job { work, shard, conn, generation }) = self.next() {
            let outcome = catch_unwind(AssertUnwindSafe(|| work.run())).unwrap_or_else(|_| {
                tracing::error!("an authentication has panicked: a defect");
                Outcome::Refused(Refusal {
                    reason: ReasonCode::ServerUnavailable,
                    why: "the server has failed to authenticate: its log says why".into(),
                })
            });
            shard.send(Command::Verdict(Verdict { conn, generation, outcome }));
        }
    }

    /// The next work; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
