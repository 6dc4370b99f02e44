//! A running broker: start, reload, drain.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use agentmq_admin::{Admin, AdminError, Mount, Services};
use agentmq_audit::TrailError;
use agentmq_identity::Guarded;
use agentmq_net::{Endpoint, NetError, TlsServer};
use agentmq_router::{Counters, Quotas};
use agentmq_session::MemoryEngine;
use agentmq_shard::{
    Clock, Command, Directory, Mailboxes, ReportBoard, Shard, ShardError, ShardHandle, ShardOptions,
};

use agentmq_store::{OpenError, Writer};

use crate::access_config::{Access, Kept};
use crate::assembly::{bind, placement, shard_count, shared_settings, workers};
use crate::auditing::Auditing;
use crate::day_ledger::DayLedger;
use crate::{Config, ConfigError, InnerDoor, ReloadPlan, data, diff_reloadable, token_chain_file};

/// A broker on threads of its own. Dropping it does not stop it; [`Broker::drain`] and
/// [`Broker::wait`] do.
#[derive(Debug)]
pub struct Broker {
    config: Config,
    access: Guarded,
    kept: Kept,
    services: Services,
    admin: Option<Admin>,
    endpoints: Vec<Endpoint>,
    tls: Vec<TlsServer>,
    shards: Vec<ShardHandle>,
    threads: Vec<ShardThread>,
    /// Waits for the threads in place of [`Broker::wait`].
    watcher: Option<JoinHandle<Result<(), BrokerError>>>,
    board: Arc<ReportBoard>,
    quotas: Arc<Quotas>,
    /// Keeps what organisations have used today; it ends after the shards.
    ledger: LastToEnd<DayLedger>,
    /// Writes what must survive; it ends after the shards.
    writer: LastToEnd<Writer>,
    auditing: Auditing,
}

/// What writes goes on as long as the shards do: whoever drops a broker without waiting for it
/// stops neither.
#[derive(Debug)]
struct LastToEnd<T>(Option<T>);

impl<T> Drop for LastToEnd<T> {
    fn drop(&mut self) {
        std::mem::forget(self.0.take());
    }
}

type ShardThread = JoinHandle<Result<(), ShardError>>;

/// Why a broker cannot start or has ended early.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The configuration breaks a rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] OpenError),
    /// The audit log cannot be used.
    #[error(
        "the audit log in {} cannot be used: {source}; let this process read and write there \
         (`agentmq audit verify` looks at it), or set audit.enabled = false", folder.display()
    )]
    Audit {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The audit log cannot be written.
    #[error(transparent)]
    Unaudited(#[from] TrailError),
    /// An event loop failed.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The file of refreshed tokens cannot be used.
    #[error("token-chains.jsonl in data_dir cannot be used: {0}")]
    TokenChains(io::Error),
    /// The file of what organisations have used today cannot be read.
    #[error("quotas.jsonl in data_dir cannot be used: {0}")]
    Quotas(io::Error),
    /// The HTTP side cannot be started.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The system gave no thread.
    #[error("cannot start a thread: {0}; check the limit on them (ulimit -u)")]
    Thread(#[from] io::Error),
    /// A shard's thread panicked.
    #[error("a shard ended with a panic; the log says where")]
    Panicked,
}

impl Broker {
    /// Binds every listener and starts serving. All listeners accept when it returns.
    pub fn start(config: Config) -> Result<Self, BrokerError> {
        Self::start_with(config, |_| None)
    }

    /// The same, with a path on the HTTP side that somebody else answers, who is a client of the
    /// broker by the door that `mount` gets.
    pub fn start_with(
        config: Config,
        mount: impl FnOnce(InnerDoor) -> Option<Mount>,
    ) -> Result<Self, BrokerError> {
        config.validate()?;
        let kept = Kept::default();
        let Access { in_force, service, plans } = config.load_access(&kept)?;
        let access = Guarded::new(in_force);
        let services = Services::default();
        services.replace(service);
        let bound = bind(&config)?;
        let count = shard_count(&config);
        let clock = Clock::new();
        let mut opened = data::open(&config, clock.now())?;
        if opened.is_some() {
            token_chain_file::take_up(&config.data_dir, &kept.chains)
                .map_err(BrokerError::TokenChains)?;
        }
        let counting = DayLedger::start(&config, clock, plans);
        let (ledger, quotas) = counting.map_err(BrokerError::Quotas)?;
        let board = Arc::new(ReportBoard::new(count));
        let directory = Arc::new(Directory::new(count));
        let mailboxes = Arc::new(Mailboxes::new(count));
        let mut auditing = Auditing::start(&config, &mailboxes, count)?;
        auditing.tell_start(&config)?;
        let inner_door = InnerDoor::behind(config.listeners.len());
        let admin = config.admin.options(&services, &auditing.trail, || mount(inner_door.clone()));
        let admin = admin.map(Admin::start).transpose()?;
        let settings = shared_settings(&config);
        let mut survivors = opened.as_mut().map(data::take_restored);
        let (writer, mut engines) = data::start(opened, &mailboxes, count)?;
        let workers = workers(&config);
        let mut doors = Some(bound.doors);
        let (mut shards, mut threads) = (Vec::new(), Vec::new());
        // Shard 0 last: nobody is let in before there is somebody to take him over.
        for number in (0..count).rev() {
            let (sessions, retained, wills) =
                survivors.take_if(|_| number == 0).unwrap_or_default();
            let options = ShardOptions {
                number,
                doors: doors.take_if(|_| number == 0).unwrap_or_default(),
                settings: Arc::clone(&settings),
                authenticator: Arc::new(access.clone()),
                quotas: Arc::clone(&quotas),
                commit: engines.pop().unwrap_or_else(|| Box::new(MemoryEngine)),
                audit: auditing.take_end(),
                sessions,
                retained,
                wills,
                clock,
                entropy: RandomState::new().hash_one((std::process::id(), number)),
                board: Arc::clone(&board),
                sys_interval_secs: config.sys.interval_secs,
                version: format!("agentmq {}", env!("CARGO_PKG_VERSION")),
                directory: Arc::clone(&directory),
                mailboxes: Arc::clone(&mailboxes),
                placement: placement(&config),
                workers: workers.clone(),
            };
            match Shard::spawn(options) {
                Ok((handle, thread)) => {
                    if number == 0 {
                        inner_door.open(&handle);
                    }
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
        let (watcher, ledger, writer) = (None, LastToEnd(Some(ledger)), LastToEnd(writer));
        Ok(Self {
            config,
            access,
            kept,
            services,
            admin,
            endpoints,
            tls,
            shards,
            threads,
            watcher,
            board,
            quotas,
            ledger,
            writer,
            auditing,
        })
    }

    /// Where it listens, with the ports that were bound.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Where its HTTP side listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// The configuration in effect.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All shards' counters, at most a second old.
    pub fn counters(&self) -> Counters {
        self.board.total()
    }

    /// Takes over what can be changed while running, and reads policy, key and TLS files again.
    /// Returns what was applied and what waits for a restart. Nothing changes when anything is
    /// wrong.
    pub fn reload(&mut self, new: &Config) -> Result<ReloadPlan, BrokerError> {
        new.validate()?;
        let plan = diff_reloadable(&self.config, new);
        let Access { in_force, service, plans } = plan.effective.load_access(&self.kept)?;
        self.auditing.tell_reload(&plan)?;
        if let Err(error) = TlsServer::reload_all(&self.tls) {
            self.auditing.tell_no_reload(&error.to_string());
            return Err(error.into());
        }
        self.access.replace(in_force);
        self.quotas.accounts.replace(plans);
        if let Some(ledger) = &self.ledger.0 {
            ledger.look_again();
        }
        self.services.replace(service);
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

    /// Calls `tell` when every shard has ended: after a drain, or by a failure, which
    /// [`Broker::wait`] tells. Waits for that on a thread of its own.
    pub fn when_ended(&mut self, tell: impl FnOnce() + Send + 'static) -> Result<(), BrokerError> {
        let threads = std::mem::take(&mut self.threads);
        let watch = move || {
            let ended = join(threads);
            tell();
            ended
        };
        self.watcher = Some(Builder::new().name("watcher".into()).spawn(watch)?);
        Ok(())
    }

    /// Waits until every shard has ended.
    pub fn wait(mut self) -> Result<(), BrokerError> {
        let ended = match self.watcher {
            Some(watcher) => watcher.join().map_err(|_| BrokerError::Panicked)?,
            None => join(self.threads),
        };
        drop(self.ledger.0.take());
        drop(self.writer.0.take());
        drop(self.admin.take()); // nobody changes anything any more
        self.auditing.end();
        ended
    }
}

/// Waits for all threads; tells the first failure. If one fails, all end.
fn join(threads: Vec<ShardThread>) -> Result<(), BrokerError> {
    let ends = threads.into_iter().map(|thread| thread.join().map_err(|_| BrokerError::Panicked));
    let ends: Vec<_> = ends.collect();
    ends.into_iter().try_for_each(|end| Ok(end??))
}
