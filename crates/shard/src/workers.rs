//! Threads that do for shards what takes long. To hash a password there are so few that a flood of
//! logins takes neither all cores nor all memory; what only waits for others has more, of its own.
//! Clients of different networks take turns, so that nobody waits for all the logins of another.

use core::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use agentmq_codec::ReasonCode;
use agentmq_identity::{Outcome, Refusal, Work, network};

use crate::command::{Command, ShardHandle};
use crate::fair_queue::FairQueue;

/// The door to the threads, which start when there is work and end when all doors are closed.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Workers(Arc<Owner>);

/// Ends the threads when it goes.
#[derive(Debug)]
struct Owner {
    computing: Pool,
    waiting: Pool,
}

/// Threads for one kind of work.
#[derive(Debug)]
struct Pool {
    name: &'static str,
    /// At most.
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
    /// By the network that their clients come from.
    jobs: FairQueue<Option<IpAddr>, Job>,
    /// Threads that were started.
    started: usize,
    /// Those of them that have nothing to do.
    idle: usize,
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
    /// So many threads at most for what computes.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let computing = Pool::new("worker", threads.max(1));
        Self(Arc::new(Owner { computing, waiting: Pool::new("asker", ASKERS) }))
    }

    /// Has some work done for a client that comes from there. Answers work that is not done: this,
    /// when there is no thread, or that of who has the most, when as much of its kind as may is
    /// `waiting` already.
    pub(crate) fn give(&self, from: Option<IpAddr>, job: Job, waiting: usize) -> Option<Job> {
        let pool = if job.work.waits() { &self.0.waiting } else { &self.0.computing };
        pool.give(from.map(network), job, waiting)
    }
}

impl Pool {
    fn new(name: &'static str, threads: usize) -> Self {
        Self { name, threads, desk: Arc::default() }
    }

    fn give(&self, from: Option<IpAddr>, job: Job, waiting: usize) -> Option<Job> {
        let Self { name, threads, desk } = self;
        let mut state = desk.state();
        if state.started < *threads && state.idle <= state.jobs.len() {
            let (desk, name) = (Arc::clone(desk), format!("{name}-{}", state.started));
            match std::thread::Builder::new().name(name).spawn(move || desk.work_off()) {
                Ok(_) => state.started += 1, // it ends with the owner
                Err(error) => tracing::error!(%error, "no thread for a login; see ulimit -u"),
            }
        }
        if state.started == 0 {
            return Some(job);
        }
        let refused = state.jobs.push(from, job, waiting);
        drop(state);
        desk.changed.notify_one();
        refused
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        for pool in [&self.computing, &self.waiting] {
            pool.desk.state().is_closed = true;
            pool.desk.changed.notify_all();
        }
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
            if let Some(job) = state.jobs.pop() {
                return Some(job);
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

/// Threads for work that waits for others: what is asked of another server at once, at most.
const ASKERS: usize = 32;
