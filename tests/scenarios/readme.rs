//! The README's commands do what it says. Comments before its `sh` blocks tell how: `skip` is not
//! run, `background` goes on while the next ones run, and those of `secure` and `install` run by
//! themselves. Those of `tools` want a server in Python: `tests/foreign/examples.py` runs them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use agentmq_testkit::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn every_command_exists() {
    let blocks = blocks();
    assert!(blocks.len() >= 5, "the README has its examples: {blocks:?}");
    for (_, command) in &blocks {
        for line in command.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["export", _, subcommand, ..] | ["agentmq", subcommand, ..] => {
                    let help = Command::new(crate::BINARY).args([subcommand, "--help"]).output();
                    assert!(help.unwrap().status.success(), "`{line}`: no such subcommand");
                }
                ["cargo", "xtask", task, ..] => {
                    let tasks = std::fs::read_to_string(root().join("xtask/src/main.rs")).unwrap();
                    assert!(tasks.contains(&format!("\"{task}\"")), "`{line}`: no such task");
                }
                ["cargo", "install", ..] => {
                    let folder = root().join(words.last().unwrap());
                    assert!(folder.join("Cargo.toml").exists(), "`{line}`: no such package");
                }
                ["mosquitto_sub" | "mosquitto_pub" | "python3", ..] => {} // other people's
                other => panic!("the README has a command that no test knows: {other:?}"),
            }
        }
    }
}

#[test]
fn the_first_ten_minutes_work() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut broker = Background::start("agentmq dev", folder, None);
    assert!(broker.prints("mqtt://", PATIENCE), "the broker says where it listens");
    let url = broker.words().find(|word| word.starts_with("mqtt://")).unwrap().to_owned();
    let mut listeners: Vec<(String, Background)> = Vec::new();
    for (kind, command) in blocks() {
        let command = command.trim();
        match kind {
            Kind::Skip => {}
            Kind::Background if command == "agentmq dev" => {}
            Kind::Background if command.starts_with("mosquitto_") => {}
            Kind::Background => {
                listeners
                    .push((command.to_owned(), Background::start(command, folder, Some(&url))));
            }
            Kind::Run => publish(command, folder, &url, &mut listeners),
            Kind::Secure | Kind::SecureBackground | Kind::Install | Kind::Tools => {}
        }
    }
    // The retained message of the last example came to the one who subscribed later.
    let (command, last) = listeners.last_mut().expect("the README has subscribers");
    assert!(command.contains("demo/state"), "{command}");
    assert!(last.prints("{\"ready\":true}", PATIENCE), "a retained message: {}", last.printed);
}

/// The section "Secure it", word for word, and what it promises.
#[test]
fn securing_it_works() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut broker = None;
    let mut ran = String::new();
    let mut token = String::new();
    for (kind, command) in blocks() {
        match kind {
            Kind::SecureBackground => {
                let mut started = Background::start(command.trim(), folder, None);
                assert!(started.prints("listening on mqtts://", PATIENCE), "{}", started.printed);
                broker = Some(started);
            }
            Kind::Secure => {
                let told = "\nprintf %s \"$AGENTMQ_PASSWORD\" > token";
                let script = format!("set -eu\n: ${{AGENTMQ_PASSWORD:={token}}}\n{command}{told}");
                let output = shell(&script, folder, None).output().unwrap();
                let error = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{command}: {error}");
                token = std::fs::read_to_string(folder.join("token")).unwrap();
                ran.push_str(&command);
            }
            Kind::Skip | Kind::Background | Kind::Run | Kind::Install | Kind::Tools => {}
        }
    }
    assert!(ran.contains("agentmq revoke"), "a block puts the agent out");
    let broker = broker.expect("the section starts a broker");
    let pid = i32::try_from(broker.child.id()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::HUP).unwrap();
    let publish =
        "agentmq pub --url mqtts://localhost --ca tls/ca.pem --qos 1 agents/scout/inbox x";
    let give_up = Instant::now() + PATIENCE;
    loop {
        let mut command = shell(publish, folder, None);
        let status = command.env("AGENTMQ_PASSWORD", &token).status().unwrap();
        if status.code() == Some(4) {
            break; // refused
        }
        assert!(Instant::now() < give_up, "a revoked agent is let in: {status}");
    }
    let new = "AGENTMQ_PASSWORD=$(agentmq token create --agent ranger) ";
    let status = shell(&format!("{new}{publish}"), folder, None).status().unwrap();
    assert!(status.success(), "another agent, with the new key, may write to its inbox");
}

/// The section about hosts: Claude Desktop's file has what it says, and `--dry-run` shows that.
#[test]
fn hosts_get_the_entry_that_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut shown = String::new();
    let installs = blocks().into_iter().filter(|(kind, _)| *kind == Kind::Install);
    let installs: Vec<String> = installs.map(|(_, block)| block).collect();
    for command in installs.iter().flat_map(|block| block.lines()) {
        let output = shell(command, folder, None).env("HOME", folder).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {said}");
        if command.contains("--dry-run") {
            shown.extend(said.lines().filter_map(|line| line.strip_prefix("+ ")));
        }
    }
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let wanted = text.split("```json\n").nth(1).expect("an example of the file");
    let wanted = wanted.split("```").next().unwrap();
    let program = std::fs::canonicalize(crate::BINARY).unwrap();
    let wanted = wanted.replace("/usr/local/bin/agentmq", program.to_str().unwrap());
    let desktop = ["Library/Application Support", ".config"].map(|place| {
        let file = folder.join(place).join("Claude/claude_desktop_config.json");
        std::fs::read_to_string(file).unwrap_or_default()
    });
    assert!(desktop.contains(&wanted), "{desktop:?} is not {wanted}");
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(json(&format!("{{{shown}}}")), json(&wanted)["mcpServers"], "--dry-run");
    let code = json(&std::fs::read_to_string(folder.join(".mcp.json")).unwrap());
    let arguments = ["mcp", "bridge", "--url", "mqtt://127.0.0.1:1883"];
    assert_eq!(code["mcpServers"]["agentmq"]["args"], serde_json::json!(arguments));
}

/// Runs a publishing command until a subscriber has printed its payload: nothing tells from outside
/// when a subscriber that was just started is ready.
fn publish(command: &str, folder: &Path, url: &str, listeners: &mut [(String, Background)]) {
    let payload = command.split('\'').nth(1).expect("a payload in quotes");
    let (_, listener) = listeners.first_mut().expect("the README subscribes before it publishes");
    let give_up = Instant::now() + PATIENCE;
    loop {
        let status = shell(command, folder, Some(url)).status().unwrap();
        assert!(status.success(), "`{command}`: {status}");
        if listener.prints(payload, Duration::from_millis(500)) {
            return;
        }
        assert!(Instant::now() < give_up, "`{command}`: no subscriber printed {payload}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Skip,
    Background,
    Run,
    Secure,
    SecureBackground,
    Install,
    Tools,
}

/// The `sh` blocks of the README with the word of the comment before them.
fn blocks() -> Vec<(Kind, String)> {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut blocks = Vec::new();
    let mut kind = Kind::Run;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(word) = line.strip_prefix("<!-- readme: ") {
            kind = match word.trim_end_matches(" -->") {
                "skip" => Kind::Skip,
                "background" => Kind::Background,
                "secure" => Kind::Secure,
                "secure background" => Kind::SecureBackground,
                "install" => Kind::Install,
                "tools" | "tools background" => Kind::Tools,
                other => panic!("unknown mark in the README: {other}"),
            };
        } else if line == "```sh" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((std::mem::replace(&mut kind, Kind::Run), block.join("\n")));
        }
    }
    blocks
}

/// A command of the README that goes on; it ends when this is dropped.
struct Background {
    child: Child,
    lines: Receiver<String>,
    /// All lines so far.
    printed: String,
}

impl Background {
    fn start(command: &str, folder: &Path, url: Option<&str>) -> Self {
        // `exec`, so that ending the child ends the program and not only its shell.
        let mut shell = shell(&format!("exec {command}"), folder, url);
        let mut child = shell.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines, printed: String::new() }
    }

    /// Whether it prints `text` before it is silent for this long. White space does not count: JSON
    /// is printed for people.
    fn prints(&mut self, text: &str, patience: Duration) -> bool {
        let dense = |text: &str| text.split_whitespace().collect::<String>();
        while !dense(&self.printed).contains(&dense(text)) {
            match self.lines.recv_timeout(patience) {
                Ok(line) => self.printed.extend([&line, "\n"]),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => panic!("it ended: {}", self.printed),
            }
        }
        true
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.printed.split_whitespace()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of the README in a shell that finds `agentmq`, and the broker at `url` by default.
fn shell(command: &str, folder: &Path, url: Option<&str>) -> Command {
    let own = Path::new(crate::BINARY).parent().unwrap().to_path_buf();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&path)));
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env("PATH", path.unwrap()).stdin(Stdio::null());
    // Nothing of whoever runs the tests: neither their folder nor their contexts.
    shell.current_dir(folder).env("XDG_CONFIG_HOME", folder).env_remove("AGENTMQ_CONTEXT");
    shell.env_remove("AGENTMQ_PASSWORD");
    match url {
        Some(url) => shell.env("AGENTMQ_URL", url),
        None => shell.env_remove("AGENTMQ_URL"),
    };
    shell
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
