//! A running broker as the tasks need it: on ports of the system's choice, in a scratch folder.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{self, Group};

/// `agentmq serve` in a process group of its own; dropping it ends it.
#[derive(Debug)]
pub struct Broker {
    group: Group,
    /// Scheme and port, as the broker reported them.
    listeners: Vec<(String, u16)>,
}

impl Broker {
    /// Starts `binary` with a TCP and a WebSocket listener on loopback and waits until it listens.
    ///
    /// Its folder is `scratch`, where it also leaves `broker.log`.
    pub fn start(binary: &Path, options: &[&str], scratch: &Path) -> Result<Self> {
        let listeners = ["mqtt://127.0.0.1:0", "ws://127.0.0.1:0/mqtt"];
        Self::start_on(binary, &listeners, options, scratch)
    }

    /// The same with listeners of the caller's choice.
    pub fn start_on(
        binary: &Path,
        listeners: &[&str],
        options: &[&str],
        scratch: &Path,
    ) -> Result<Self> {
        let log_path = scratch.join("broker.log");
        let log = File::create(&log_path).context("create the broker's log")?;
        let mut command = Command::new(binary);
        // The broker would read settings from them, and refuses what it does not know.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AGENTMQ_") {
                command.env_remove(name);
            }
        }
        let mut group = Group::spawn(
            command
                .current_dir(scratch)
                .args(["serve", "--json"])
                .args(listeners.iter().flat_map(|url| ["--listen", url]))
                .args(options)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(log),
        )?;
        let output = group.child().and_then(|child| child.stdout.take());
        let mut output = BufReader::new(output.context("the broker's output was just piped")?);
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = output.read_line(&mut line).map(|_| line);
            let _ = tell.send(read);
            // Whatever follows is thrown away, so that the broker never waits for a reader.
            let _ = std::io::copy(&mut output, &mut std::io::sink());
        });
        let first = match told.recv_timeout(PATIENCE) {
            Ok(line) => line.context("read the broker's first line")?,
            Err(_) => bail!("the broker said nothing within {PATIENCE:?}"),
        };
        let listeners = parse_listening(&first).with_context(|| {
            let log = std::fs::read_to_string(&log_path).unwrap_or_default();
            format!("the broker's first line is {first:?}\n{}", process::last_lines(&log, 20))
        })?;
        Ok(Self { group, listeners })
    }

    /// The port of the first listener with this scheme.
    pub fn port(&self, scheme: &str) -> Result<u16> {
        let listener = self.listeners.iter().find(|(listed, _)| listed == scheme);
        listener.map(|(_, port)| *port).with_context(|| format!("the broker has no {scheme}://"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.group.id()
    }

    /// Its exit status if it is no longer there.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.group.child()?.try_wait().ok().flatten()
    }

    /// Asks it to end; one that does not is an error.
    pub fn stop(mut self) -> Result<()> {
        match self.group.terminate(PATIENCE)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the broker ended with {status} when asked to stop"),
            None => bail!("the broker did not stop within {PATIENCE:?}"),
        }
    }
}

/// `{"event":"listening","listeners":[{"url":"mqtt://127.0.0.1:40001"},…],"pid":…}`
fn parse_listening(line: &str) -> Result<Vec<(String, u16)>> {
    let value: Value = serde_json::from_str(line).context("not JSON")?;
    if value["event"] != "listening" {
        bail!("not the event `listening`");
    }
    let listed = value["listeners"].as_array().context("no listeners")?;
    let listeners: Option<Vec<(String, u16)>> = listed
        .iter()
        .map(|listener| {
            let (scheme, rest) = listener["url"].as_str()?.split_once("://")?;
            let authority = rest.split('/').next()?;
            let (_, port) = authority.rsplit_once(':')?;
            Some((scheme.to_owned(), port.parse().ok()?))
        })
        .collect();
    listeners.context("a listener without a port in its url")
}

/// How long a broker may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Starts a script in place of the broker: the shell takes `serve`, which would be the broker's
    /// first argument, for the script's name.
    fn start(folder: &Path, script: &str) -> Result<Broker> {
        std::fs::write(folder.join("serve"), script)?;
        Broker::start(Path::new("/bin/sh"), &[], folder)
    }

    /// A broker that says it listens on ports 1 and 2, and does nothing more.
    pub fn stand_in(folder: &Path) -> Result<Broker> {
        start(folder, &format!("echo '{LISTENING}'; exec sleep 600"))
    }

    const LISTENING: &str = "{\"event\":\"listening\",\"listeners\":[\
        {\"url\":\"mqtt://127.0.0.1:1\"},{\"url\":\"ws://127.0.0.1:2/mqtt\"}],\"pid\":7}";

    #[test]
    fn a_broker_that_ends_as_asked_is_fine() {
        let script = format!("trap 'exit 0' TERM; echo '{LISTENING}'; while :; do sleep 0.1; done");
        let folder = tempfile::tempdir().expect("folder");
        let mut broker = start(folder.path(), &script).expect("starts");
        assert_eq!(broker.port("ws").expect("has one"), 2);
        assert!(broker.port("wss").is_err());
        assert!(broker.ended().is_none());
        broker.stop().expect("ends");
    }

    #[test]
    fn a_broker_that_dies_of_the_signal_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let broker = stand_in(folder.path()).expect("starts");
        assert!(broker.stop().is_err());
    }

    #[test]
    fn a_broker_that_does_not_start_is_an_error_with_its_log() {
        let folder = tempfile::tempdir().expect("folder");
        let error = start(folder.path(), "echo 'no such file' >&2; exit 1");
        let error = format!("{:#}", error.expect_err("fails"));
        assert!(error.contains("no such file"), "{error}");
    }

    #[test]
    fn the_first_line_names_the_ports() {
        let line = r#"{"event":"listening","listeners":[{"url":"mqtt://127.0.0.1:40001"},
            {"url":"ws://[::1]:40002/mqtt"}],"pid":7}"#;
        let expected = [("mqtt".to_owned(), 40001), ("ws".to_owned(), 40002)];
        assert_eq!(parse_listening(line).expect("parses"), expected);
    }

    #[test]
    fn another_first_line_is_an_error() {
        for line in ["", "error: no", "{}", r#"{"event":"listening"}"#] {
            assert!(parse_listening(line).is_err(), "{line}");
        }
    }
}
