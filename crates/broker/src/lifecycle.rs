//! A running broker: start, reload, drain.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::thread::JoinHandle;

use agentmq_identity::{Authenticator, Open};
use agentmq_net::{Endpoint, NetError, TlsServer};
use agentmq_router::Counters;
use agentmq_session::MemoryEngine;
use agentmq_shard::{
    Clock, Command, Directory, Mailboxes, ReportBoard, Shard, ShardError, ShardHandle, ShardOptions,
};

use crate::assembly::{bind, placement, shard_count, shared_settings};
use crate::{Config, ConfigError, ReloadPlan, diff_reloadable};

/// A broker on threads of its own. Dropping it does not stop it; [`Broker::drain`] and
/// [`Broker::wait`] do.
#[derive(Debug)]
pub struct Broker {
    config: Config,
    endpoints: Vec<Endpoint>,
    tls: Vec<TlsServer>,
    shards: Vec<ShardHandle>,
    threads: Vec<JoinHandle<Result<(), ShardError>>>,
    board: Arc<ReportBoard>,
}

/// Why a broker cannot start or has ended early.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The configuration breaks a rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Net(#[from] NetError),
    /// An event loop failed.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// A shard's thread panicked.
    #[error("a shard ended with a panic; the log says where")]
    Panicked,
}

impl Broker {
    /// Binds every listener and starts serving. All listeners accept when it returns.
    pub fn start(config: Config) -> Result<Self, BrokerError> {
        Self::start_with(config, Arc::new(Open))
    }

    /// Like [`Broker::start`], with an authenticator.
    pub fn start_with(
        config: Config,
        authenticator: Arc<dyn Authenticator>,
    ) -> Result<Self, BrokerError> {
        config.validate()?;
        let bound = bind(&config)?;
        let count = shard_count(&config);
        let board = Arc::new(ReportBoard::new(count));
        let directory = Arc::new(Directory::new(count));
        let mailboxes = Arc::new(Mailboxes::new(count));
        let (clock, settings) = (Clock::new(), shared_settings(&config));
        let mut doors = Some(bound.doors);
        let (mut shards, mut threads) = (Vec::new(), Vec::new());
        // Shard 0 last: nobody is let in before there is somebody to take him over.
        for number in (0..count).rev() {
            let options = ShardOptions {
                number,
                doors: doors.take_if(|_| number == 0).unwrap_or_default(),
                settings: Arc::clone(&settings),
                authenticator: Arc::clone(&authenticator),
                commit: Box::new(MemoryEngine),
                clock,
                entropy: RandomState::new().hash_one((std::process::id(), number)),
                board: Arc::clone(&board),
                sys_interval_secs: config.sys.interval_secs,
                version: format!("agentmq {}", env!("CARGO_PKG_VERSION")),
                directory: Arc::clone(&directory),
                mailboxes: Arc::clone(&mailboxes),
                placement: placement(&config),
            };
            match Shard::spawn(options) {
                Ok((handle, thread)) => {
                    shards.push(handle);
                    threads.push(thread);
                }
                Err(error) => {
                    shards.iter().for_each(|shard: &ShardHandle| shard.send(Command::Drain));
                    return Err(error.into());
                }
            }
        }
        let (endpoints, tls) = (bound.endpoints, bound.tls);
        Ok(Self { config, endpoints, tls, shards, threads, board })
    }

    /// Where it listens, with the ports that were bound.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The configuration in effect.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All shards' counters, at most a second old.
    pub fn counters(&self) -> Counters {
        self.board.total()
    }

    /// Takes over what can be changed while running, and reads the TLS files again. Returns what
    /// was applied and what waits for a restart. Nothing changes when anything is wrong.
    pub fn reload(&mut self, new: &Config) -> Result<ReloadPlan, BrokerError> {
        new.validate()?;
        let plan = diff_reloadable(&self.config, new);
        TlsServer::reload_all(&self.tls)?;
        self.config = plan.effective.clone();
        let settings = shared_settings(&self.config);
        let sys_interval_secs = self.config.sys.interval_secs;
        for shard in &self.shards {
            let settings = Arc::clone(&settings);
            shard.send(Command::Reconfigure { settings, sys_interval_secs });
        }
        Ok(plan)
    }

    /// Tells every client that the server shuts down and ends; [`Broker::wait`] waits for it.
    pub fn drain(&self) {
        for shard in &self.shards {
            shard.send(Command::Drain);
        }
    }

    /// Whether a shard has ended: after a drain, or by a failure that [`Broker::wait`] tells.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits until every shard has ended.
    pub fn wait(self) -> Result<(), BrokerError> {
        for thread in self.threads {
            thread.join().map_err(|_| BrokerError::Panicked)??;
        }
        Ok(())
    }
}
