//! What is compared: brokers, each a fresh process per measurement, and the relay.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::certificate::Certificate;
use super::peer::Peer;
use super::results::{ONE_SHARD, OURS, RELAY, SPREAD};
use super::scenario::Scenario;
use crate::broker::Broker;
use crate::process::Group;

/// A broker that can be started.
#[derive(Debug, Clone)]
pub struct Contender {
    pub name: String,
    start: Start,
}

#[derive(Debug, Clone)]
enum Start {
    AgentMq {
        binary: PathBuf,
        config: PathBuf,
        /// What is appended to the configuration.
        more: &'static str,
        options: &'static [&'static str],
    },
    Relay {
        binary: PathBuf,
    },
    Peer {
        peer: &'static Peer,
        program: PathBuf,
        config: PathBuf,
    },
    Other {
        command: String,
        port: u16,
    },
    /// It runs already and is not ours to end.
    At {
        host: String,
        port: u16,
        pid: u32,
    },
}

/// One that runs; dropping it ends it.
#[derive(Debug)]
pub struct Running {
    pub scheme: &'static str,
    pub host: String,
    pub port: u16,
    pub pid: u32,
    /// The certificate to trust, over TLS.
    pub ca: Option<PathBuf>,
    _process: Process,
    _store: Option<Store>,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for their drop")]
enum Process {
    Ours(Broker),
    Other(Group),
    Foreign,
}

impl Contender {
    pub fn agentmq(binary: &Path, root: &Path) -> Self {
        Self::agentmq_with(OURS, "", binary, root)
    }

    /// Ours on one shard, and on two with clients on each in turn.
    pub fn shards(binary: &Path, root: &Path) -> [Self; 2] {
        let spread = "[threads]\nshards = 2\nplacement = \"spread\"\n";
        [
            Self::agentmq_with(ONE_SHARD, "[threads]\nshards = 1\n", binary, root),
            Self::agentmq_with(SPREAD, spread, binary, root),
        ]
    }

    fn agentmq_with(name: &str, more: &'static str, binary: &Path, root: &Path) -> Self {
        let (binary, config) = (binary.to_owned(), root.join(AGENTMQ_CONFIG));
        let start = Start::AgentMq { binary, config, more, options: &[] };
        Self { name: name.to_owned(), start }
    }

    /// Ours with each kind of durability, its data in the scratch folder.
    pub fn durabilities(binary: &Path, root: &Path) -> Vec<Self> {
        let options: [(&str, &'static [&'static str]); 3] = [
            ("AgentMQ, fsync", &["--data", "data", "--durability", "fsync"]),
            ("AgentMQ, os", &["--data", "data", "--durability", "os"]),
            ("AgentMQ, memory", &[]),
        ];
        let with = |(name, options): (&str, &'static [&'static str])| {
            let (binary, config) = (binary.to_owned(), root.join(AGENTMQ_CONFIG));
            let start = Start::AgentMq { binary, config, more: "", options };
            Self { name: name.to_owned(), start }
        };
        options.into_iter().map(with).collect()
    }

    /// One that a command starts, on a port.
    pub fn command(name: &str, command: String, port: u16) -> Self {
        Self { name: name.to_owned(), start: Start::Other { command, port } }
    }

    /// The load generator's relay, which has no MQTT logic.
    pub fn relay(binary: &Path) -> Self {
        Self { name: RELAY.to_owned(), start: Start::Relay { binary: binary.to_owned() } }
    }

    /// One that is installed below the folder `peers` or on the search path.
    pub fn peer(peer: &'static Peer, peers: &Path, root: &Path) -> Result<Self> {
        let program = peer.installed(peers).with_context(|| format!("{} is gone", peer.name))?;
        let start = Start::Peer { peer, program, config: root.join(peer.config) };
        Ok(Self { name: peer.name.to_owned(), start })
    }

    /// `NAME=COMMAND,PORT`: the command stays in the foreground and listens on that port.
    pub fn parse(text: &str) -> Result<Self> {
        let parts = text.split_once('=').and_then(|(name, rest)| {
            let (command, port) = rest.rsplit_once(',')?;
            Some((name.to_owned(), command.to_owned(), port.parse().ok()?))
        });
        let (name, command, port) = parts.context("--broker NAME=COMMAND,PORT")?;
        Ok(Self { name, start: Start::Other { command, port } })
    }

    /// `NAME=HOST:PORT,PID`: it runs already on this machine, and is not restarted.
    pub fn parse_at(text: &str) -> Result<Self> {
        let parts = text.split_once('=').and_then(|(name, rest)| {
            let (address, pid) = rest.rsplit_once(',')?;
            let (host, port) = address.rsplit_once(':')?;
            let (port, pid) = (port.parse().ok()?, pid.parse().ok()?);
            Some((name.to_owned(), Start::At { host: host.to_owned(), port, pid }))
        });
        let (name, start) = parts.context("--at NAME=HOST:PORT,PID")?;
        Ok(Self { name, start })
    }

    /// Why it has no figure in this scenario; `None` if it can have one.
    pub fn lacks(&self, scenario: &Scenario) -> Option<&'static str> {
        match &self.start {
            Start::Relay { .. } if !scenario.relay => Some("needs MQTT logic"),
            Start::AgentMq { .. } => None,
            _ if scenario.tls => Some("compares our shards"),
            Start::Peer { peer, .. } => peer.lacks(scenario),
            _ => None,
        }
    }

    /// The file in the repository that configures it, if it is a peer.
    pub fn config(&self) -> Option<&'static str> {
        match &self.start {
            Start::Peer { peer, .. } => Some(peer.config),
            _ => None,
        }
    }

    /// What the load generator must be told to speak to it.
    pub fn generator_arguments(&self, scenario: &Scenario) -> &'static [&'static str] {
        match &self.start {
            Start::Peer { peer, .. } if !peer.speaks5(scenario) => &["-V", "3.1.1"],
            // With an even number of pairs both clients of each would meet on one shard.
            Start::AgentMq { .. } if self.name == SPREAD && scenario.has_pairs() => &["--apart"],
            _ => &[],
        }
    }

    /// Starts it for a scenario and waits until it accepts connections. `scratch` is its folder.
    pub fn start(&self, scenario: &Scenario, scratch: &Path) -> Result<Running> {
        let mut store = None;
        let (script, port) = match &self.start {
            Start::AgentMq { binary, config, more, options: extra } => {
                let text = std::fs::read_to_string(config).context("read our configuration")?;
                let certificate = scenario.tls.then(|| Certificate::issue(scratch)).transpose()?;
                let text = match &certificate {
                    Some(certificate) => certificate.secure(&text)?,
                    None => text,
                };
                let filled = scratch.join("broker.toml");
                std::fs::write(&filled, text + "\n" + more).context("write our configuration")?;
                let config = filled.to_str().context("the target folder's path is no UTF-8")?;
                let mut options = vec!["--config", config];
                options.extend(*extra);
                let (scheme, listeners) = match &certificate {
                    Some(_) => ("mqtts", &[][..]), // the one in the file
                    None => ("mqtt", &["mqtt://127.0.0.1:0"][..]),
                };
                let broker = Broker::start_on(binary, listeners, &options, scratch)?;
                let (port, pid) = (broker.port(scheme)?, broker.pid());
                let (host, _process) = (LOOPBACK.to_owned(), Process::Ours(broker));
                let ca = certificate.map(|it| it.certificate);
                return Ok(Running { scheme, host, port, pid, ca, _process, _store: None });
            }
            Start::At { host, port, pid } => {
                let (host, port, pid) = (host.clone(), *port, *pid);
                let _process = Process::Foreign;
                return Ok(Running {
                    scheme: "mqtt",
                    host,
                    port,
                    pid,
                    ca: None,
                    _process,
                    _store: None,
                });
            }
            Start::Relay { binary } => {
                let port = free_port()?;
                (format!("'{}' bench relay --port {port}", binary.display()), port)
            }
            Start::Peer { peer, program, config } => {
                let (port, folder) = (free_port()?, Store::create(scratch)?);
                let text = std::fs::read_to_string(config).context("read its configuration")?;
                let filled = scratch.join(config.file_name().context("a file has a name")?);
                let text = text.replace("{port}", &port.to_string());
                let text = text.replace("{folder}", &folder.0.display().to_string());
                let protocol = if peer.speaks5(scenario) { "v5" } else { "v4" };
                let text = text.replace("{protocol}", protocol);
                std::fs::write(&filled, text).context("write its configuration")?;
                store = Some(folder);
                (peer.command(program, &filled, port), port)
            }
            Start::Other { command, port } => (command.clone(), *port),
        };
        let log = std::fs::File::create(scratch.join("broker.log"))?;
        // The load generator and AgentMQ raise their own limit. A server's program may be where
        // the search path of a user does not lead.
        let script =
            format!("ulimit -n \"$(ulimit -Hn)\"; PATH=\"$PATH:/usr/sbin\"; exec {script}");
        let mut group = Group::spawn(
            Command::new("sh")
                .args(["-c", &script])
                .current_dir(scratch)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log),
        )?;
        wait_for(&mut group, port).with_context(|| format!("start {}", self.name))?;
        let (host, pid) = (LOOPBACK.to_owned(), group.id());
        let _process = Process::Other(group);
        Ok(Running { scheme: "mqtt", host, port, pid, ca: None, _process, _store: store })
    }

    /// What it calls itself.
    pub fn version(&self) -> String {
        let with = |program: &Path, argument: &str| {
            let mut command = Command::new(program);
            command.arg(argument);
            command
        };
        let mut command = match &self.start {
            Start::AgentMq { binary, .. } => with(binary, "version"),
            Start::Relay { .. } => return "part of agentmq".to_owned(),
            Start::Peer { peer, program, .. } => peer.version_command(program),
            Start::Other { command, .. } => {
                with(Path::new(command.split(' ').next().unwrap_or_default()), "--version")
            }
            Start::At { .. } => return "unknown, ran already".to_owned(),
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let output = command.env("PATH", format!("{path}:/usr/sbin")).output();
        let output = output.map(|output| output.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&output);
        text.lines().next().unwrap_or("unknown").trim().to_owned()
    }
}

/// A new folder for what a broker stores, in memory where the system offers that: what others keep
/// in memory must not be compared with a disk. Dropping it removes it.
#[derive(Debug)]
struct Store(PathBuf);

impl Store {
    fn create(scratch: &Path) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory } else { scratch };
        let folder = parent.join(format!("agentmq-compare-{}", std::process::id()));
        // What a run that was killed has left.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

#[expect(clippy::disallowed_methods, reason = "that another's port opens is no event to wait for")]
fn wait_for(group: &mut Group, port: u16) -> Result<()> {
    let since = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if let Some(status) = group.child().and_then(|child| child.try_wait().ok().flatten()) {
            bail!("it ended: {status}");
        }
        if since.elapsed() > PATIENCE {
            bail!("nothing listens on port {port} after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub const AGENTMQ_CONFIG: &str = "bench/broker.toml";
const LOOPBACK: &str = "127.0.0.1";
/// How long a broker may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Scenario {
        Scenario::new("x", "", "pair")
    }

    #[test]
    fn another_broker_is_a_name_a_command_and_a_port() {
        let contender = Contender::parse("x=run --a=b,c,1883").expect("parses");
        assert_eq!(contender.name, "x");
        let Start::Other { command, port } = contender.start else { panic!("{contender:?}") };
        assert_eq!((command.as_str(), port), ("run --a=b,c", 1883));
        for text in ["x", "x=y", "x=y,z", "x=y,70000"] {
            assert!(Contender::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_ours_is_measured_over_tls() {
        let [plain, secure] = [any(), Scenario { tls: true, ..any() }];
        let relay = Contender::relay(Path::new("agentmq"));
        assert_eq!(
            (relay.lacks(&Scenario { relay: true, ..plain }), relay.lacks(&secure).is_some()),
            (None, true)
        );
        let ours = Contender::agentmq(Path::new("agentmq"), Path::new("."));
        assert_eq!(ours.lacks(&secure), None);
    }

    #[test]
    fn the_clients_of_a_pair_are_put_apart_where_shards_take_turns() {
        let [one, spread] = Contender::shards(Path::new("agentmq"), Path::new("."));
        assert_eq!(one.generator_arguments(&any()), [""; 0]);
        assert_eq!(spread.generator_arguments(&any()), ["--apart"]);
        let fan_out = Scenario::new("x", "", "fan-out");
        assert_eq!(spread.generator_arguments(&fan_out), [""; 0]);
    }

    #[test]
    fn one_that_runs_already_is_a_name_an_address_and_a_process() {
        let contender = Contender::parse_at("x=host:1883,77").expect("parses");
        let running = contender.start(&any(), Path::new("/nowhere")).expect("runs already");
        assert_eq!((running.host.as_str(), running.port, running.pid), ("host", 1883, 77));
        for text in ["x", "x=h:1", "x=h,1", "x=h:y,1", "x=h:1,y"] {
            assert!(Contender::parse_at(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_that_ends_at_once_is_an_error() {
        let folder = tempfile::tempdir().expect("folder");
        let port = free_port().expect("port");
        let contender = Contender::parse(&format!("x=false,{port}")).expect("parses");
        assert!(contender.start(&any(), folder.path()).is_err());
    }

    #[test]
    fn a_store_is_empty_and_leaves_nothing() {
        let scratch = tempfile::tempdir().expect("folder");
        let store = Store::create(scratch.path()).expect("creates");
        let folder = store.0.clone();
        std::fs::write(folder.join("x"), "").expect("writes");
        let again = Store::create(scratch.path()).expect("creates");
        assert!(!folder.join("x").exists());
        drop(again);
        assert!(!folder.exists());
    }
}
