//! The brokers that are compared, each a fresh process per measurement.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::results::{MOSQUITTO, OURS};
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
    AgentMq { binary: PathBuf, config: PathBuf },
    Mosquitto { config: PathBuf },
    Other { command: String, port: u16 },
}

/// One that runs; dropping it ends it.
#[derive(Debug)]
pub struct Running {
    pub port: u16,
    pub pid: u32,
    _process: Process,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for their drop")]
enum Process {
    Ours(Broker),
    Other(Group),
}

impl Contender {
    pub fn agentmq(binary: &Path, root: &Path) -> Self {
        let start = Start::AgentMq { binary: binary.to_owned(), config: root.join(AGENTMQ_CONFIG) };
        Self { name: OURS.to_owned(), start }
    }

    pub fn mosquitto(root: &Path) -> Self {
        let start = Start::Mosquitto { config: root.join(MOSQUITTO_CONFIG) };
        Self { name: MOSQUITTO.to_owned(), start }
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

    /// Starts it and waits until it accepts connections. `scratch` is its folder.
    pub fn start(&self, scratch: &Path) -> Result<Running> {
        let (script, port) = match &self.start {
            Start::AgentMq { binary, config } => {
                let config = config.to_str().context("the repository's path is no UTF-8")?;
                let options = ["--config", config];
                let listeners = ["mqtt://127.0.0.1:0"];
                let broker = Broker::start_on(binary, &listeners, &options, scratch)?;
                let (port, pid) = (broker.port("mqtt")?, broker.pid());
                return Ok(Running { port, pid, _process: Process::Ours(broker) });
            }
            Start::Mosquitto { config } => {
                let port = free_port()?;
                (format!("mosquitto -c '{}' -p {port}", config.display()), port)
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
        Ok(Running { port, pid: group.id(), _process: Process::Other(group) })
    }

    /// What it calls itself.
    pub fn version(&self) -> String {
        let (mut command, line) = match &self.start {
            Start::AgentMq { binary, .. } => (Command::new(binary), "version"),
            Start::Mosquitto { .. } => (Command::new("mosquitto"), "-h"),
            Start::Other { command, .. } => {
                let program = command.split(' ').next().unwrap_or_default();
                (Command::new(program), "--version")
            }
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let output = command.arg(line).env("PATH", format!("{path}:/usr/sbin")).output();
        let output = output.map(|output| output.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&output);
        text.lines().next().unwrap_or("unknown").trim().to_owned()
    }
}

fn free_port() -> Result<u16> {
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
pub const MOSQUITTO_CONFIG: &str = "bench/mosquitto.conf";
/// How long a broker may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

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
    fn one_that_ends_at_once_is_an_error() {
        let folder = tempfile::tempdir().expect("folder");
        let port = free_port().expect("port");
        let contender = Contender::parse(&format!("x=false,{port}")).expect("parses");
        assert!(contender.start(folder.path()).is_err());
    }
}
