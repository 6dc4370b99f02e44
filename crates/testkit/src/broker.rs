//! A running `agentmq serve`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agentmq_codec::QoS;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::process_gauges::ProcessGauges;
use crate::raw_client::RawClient;

/// How long a test waits for something that must happen. Only a failing test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary at work in a temporary folder. Dropping it ends it; if the test is failing by then,
/// its log is printed.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    binary: PathBuf,
    listeners: Vec<String>,
    /// Where the HTTP side listens.
    admin: Option<String>,
    log: Arc<Log>,
    /// Closes when the process has ended.
    output: Receiver<String>,
    folder: TempDir,
}

/// What the broker has written to standard error so far.
#[derive(Debug, Default)]
struct Log {
    text: Mutex<(String, bool)>,
    grown: Condvar,
}

impl Broker {
    /// Starts `binary` with this text as its configuration file and waits until it listens.
    pub fn start(binary: impl AsRef<Path>, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self::start_in(binary, config, folder)
    }

    /// Like [`Self::start`] in a folder that the test has prepared. Relative paths in the
    /// configuration start there.
    pub fn start_in(binary: impl AsRef<Path>, config: &str, folder: TempDir) -> Self {
        Self::spawn(Command::new(binary.as_ref()), binary.as_ref(), config, folder)
    }

    /// Like [`Self::start`] with so many open files at most, soft and hard limit alike.
    pub fn start_with_open_files(binary: impl AsRef<Path>, config: &str, count: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\""]).arg(count.to_string());
        shell.arg(binary.as_ref());
        Self::spawn(shell, binary.as_ref(), config, folder)
    }

    fn spawn(mut command: Command, binary: &Path, config: &str, folder: TempDir) -> Self {
        let file = folder.path().join(CONFIG);
        fs::write(&file, config).expect("the configuration can be written");
        command.current_dir(folder.path()).args(["serve", "--json", "--config"]).arg(file);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AGENTMQ_") {
                command.env_remove(name); // the tests' own configuration is all there is
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the broker's binary can be started");
        let log = Log::follow(child.stderr.take().expect("standard error is piped"));
        let output = lines(child.stdout.take().expect("standard output is piped"));
        let binary = binary.to_owned();
        let mut broker =
            Self { child, binary, listeners: Vec::new(), admin: None, log, output, folder };
        let first = match broker.output.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => panic!("the broker did not say that it listens: {error}"),
        };
        broker.listeners =
            listeners(&first).unwrap_or_else(|| panic!("not the event `listening`: {first:?}"));
        let event: Value = serde_json::from_str(&first).unwrap_or_default();
        broker.admin = event["admin"].as_str().map(str::to_owned);
        broker
    }

    /// The port of the first listener with this scheme.
    pub fn port(&self, scheme: &str) -> u16 {
        let prefix = format!("{scheme}://");
        let url = self.listeners.iter().find(|url| url.starts_with(&prefix));
        let url = url.unwrap_or_else(|| panic!("no {scheme} listener: {:?}", self.listeners));
        let authority = url[prefix.len()..].split('/').next().unwrap_or_default();
        let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.unwrap_or_else(|| panic!("no port in {url}"))
    }

    /// The URLs of all listeners, in the order of the configuration, with the real ports.
    pub fn urls(&self) -> &[String] {
        &self.listeners
    }

    /// The address and port of the HTTP side.
    pub fn admin(&self) -> &str {
        let url = self.admin.as_deref().expect("the configuration has an admin.url");
        url.split_once("://").map_or(url, |(_, address)| address)
    }

    /// The folder in which it runs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join(CONFIG)
    }

    /// A client without a CONNECT, over TCP.
    pub fn dial(&self) -> RawClient {
        RawClient::tcp(self.port("mqtt"))
    }

    /// An MQTT 5 client with a clean session, connected over TCP.
    pub fn client(&self, client_id: &str) -> RawClient {
        let mut client = self.dial();
        client.connect(client_id);
        client
    }

    /// Its memory and descriptors.
    pub fn gauges(&self) -> ProcessGauges {
        ProcessGauges::of(self.child.id())
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.rustix_pid(), signal)
            .expect("the process is there until it is waited for");
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Replaces the configuration file and asks for a reload (SIGHUP).
    pub fn reload(&self, config: &str) {
        fs::write(self.config_file(), config).expect("the configuration can be written");
        self.signal(Signal::HUP);
    }

    /// Waits until `$SYS/broker/NAME` holds a number that fits, and returns it. The configuration
    /// should ask for an interval of a second.
    pub fn wait_for_statistic(&self, name: &str, fits: impl Fn(u64) -> bool) -> u64 {
        let mut client = self.client(&format!("statistic-{name}"));
        client.subscribe(&format!("$SYS/broker/{name}"), QoS::AtMostOnce);
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            let received = client.receive();
            let value = std::str::from_utf8(received.publish().payload).ok();
            let value = value.and_then(|text| text.parse().ok()).expect("a number");
            if fits(value) {
                return value;
            }
        }
        panic!("$SYS/broker/{name} did not come to fit");
    }

    /// Ends it as a crash would (SIGKILL), and gives back the folder in which it ran.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
        let nothing = tempfile::tempdir().expect("a temporary folder can be made");
        std::mem::replace(&mut self.folder, nothing)
    }

    /// Kills it and starts it again in the same folder with the same configuration.
    pub fn restart(self) -> Self {
        let binary = self.binary.clone();
        let config = fs::read_to_string(self.config_file()).expect("it was written");
        Self::start_in(binary, &config, self.kill())
    }

    /// Waits until it has ended by itself or by an earlier signal.
    pub fn wait(&mut self) -> ExitStatus {
        loop {
            match self.output.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break, // its standard output is closed
                Err(RecvTimeoutError::Timeout) => panic!("the broker did not end"),
            }
        }
        self.child.wait().expect("a child can be waited for")
    }

    /// Fails if the process is not there any more.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("a child can be asked");
        assert!(ended.is_none(), "the broker ended: {ended:?}");
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().0.clone()
    }

    /// Waits until its log holds `text`, and returns the log. Text that was there before `from`
    /// bytes does not count.
    pub fn wait_for_log(&self, text: &str, from: usize) -> String {
        let guard = self.log.lock();
        let missing = |log: &mut (String, bool)| {
            !log.1 && !log.0.get(from..).is_some_and(|s| s.contains(text))
        };
        let (guard, _) = self
            .log
            .grown
            .wait_timeout_while(guard, PATIENCE, missing)
            .unwrap_or_else(PoisonError::into_inner);
        let found = guard.0.get(from..).is_some_and(|log| log.contains(text));
        assert!(found, "{text:?} did not appear in the log");
        guard.0.clone()
    }

    fn rustix_pid(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid is positive")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            // A test that wants to see it drain has waited for it already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(LOG_TAIL);
            let tail: Vec<&str> = log.lines().skip(skipped).collect();
            // Through the test harness's capture, unlike a write to the real standard error.
            #[expect(clippy::print_stderr, reason = "a failing test shows the broker's log")]
            {
                eprintln!("--- the broker's log, the last {LOG_TAIL} lines:\n{}", tail.join("\n"));
            }
        }
    }
}

impl Log {
    fn follow(mut from: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = from.read(&mut buffer).unwrap_or(0);
                let mut text = writer.lock();
                text.0.push_str(&String::from_utf8_lossy(&buffer[..read]));
                text.1 = read == 0;
                writer.grown.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        log
    }

    /// The text, and whether it is complete.
    fn lock(&self) -> MutexGuard<'_, (String, bool)> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines as they come; the channel closes at the end of the stream.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = sender.send(line); // goes on reading, so that the broker never has to wait
        }
    });
    receiver
}

/// `{"event":"listening","listeners":[{"url":"mqtt://127.0.0.1:40001"},…],"pid":…}`
fn listeners(line: &str) -> Option<Vec<String>> {
    let value: Value = serde_json::from_str(line).ok()?;
    if value["event"] != "listening" {
        return None;
    }
    let urls = value["listeners"].as_array()?.iter();
    urls.map(|listener| listener["url"].as_str().map(str::to_owned)).collect()
}

const CONFIG: &str = "agentmq.toml";
const LOG_TAIL: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_listeners() {
        let line = r#"{"event":"listening","listeners":[{"url":"mqtt://127.0.0.1:1"}],"pid":7}"#;
        assert_eq!(listeners(line), Some(vec!["mqtt://127.0.0.1:1".to_owned()]));
        for wrong in ["", "error: no", "{}", r#"{"event":"listening"}"#] {
            assert_eq!(listeners(wrong), None, "{wrong}");
        }
    }
}
