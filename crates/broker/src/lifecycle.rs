//! A running broker: start, reload, drain.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::thread::JoinHandle;

use agentmq_identity::{Authenticator, Open};
use agentmq_net::{Endpoint, NetError, TlsServer};
use agentmq_router::Counters;
use agentmq_session::MemoryEngine;
use agentmq_shard::{Clock, Command, ReportBoard, Shard, ShardError, ShardHandle, ShardOptions};

use crate::assembly::{bind, shared_settings};
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
        let board = Arc::new(ReportBoard::new(1));
        let options = ShardOptions {
            number: 0,
            doors: bound.doors,
            settings: shared_settings(&config),
            authenticator,
            commit: Box::new(MemoryEngine),
            clock: Clock::new(),
            entropy: RandomState::new().hash_one(std::process::id()),
            board: Arc::clone(&board),
            sys_interval_secs: config.sys.interval_secs,
            version: format!("agentmq {}", env!("CARGO_PKG_VERSION")),
        };
        let (handle, thread) = Shard::spawn(options)?;
        let (endpoints, tls) = (bound.endpoints, bound.tls);
        let (shards, threads) = (vec![handle], vec![thread]);
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
        for identity in &self.tls {
            identity.reload()?;
        }
        self.config = plan.effective.clone();
        let settings = shared_settings(&self.config);
        for shard in &self.shards {
            shard.send(Command::Reconfigure(Arc::clone(&settings)));
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
