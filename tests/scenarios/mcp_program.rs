//! Programs that speak JSON-RPC lines, and servers put on the bus, for the scenarios about MCP.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use agentmq_testkit::{Broker, PATIENCE};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The server that scenarios expose.
pub(crate) fn fixture() -> Vec<String> {
    let script =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/mcp_server.py");
    vec!["python3".into(), script.to_string_lossy().into_owned()]
}

/// The broker's address for clients.
pub(crate) fn url(broker: &Broker) -> String {
    format!("mqtt://127.0.0.1:{}", broker.port("mqtt"))
}

/// A command of ours that prints JSON lines. It is killed when this is dropped.
pub(crate) struct Lines {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Receiver<String>,
    /// Everything it has printed.
    pub(crate) printed: Vec<Value>,
    next_id: i64,
}

impl Lines {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same, with these variables.
    pub(crate) fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(crate::BINARY);
        command.envs(variables.iter().copied());
        command.args(arguments).env_remove("AGENTMQ_URL").env("AGENTMQ_PASSWORD", "secret");
        command.env("XDG_CONFIG_HOME", "/nonexistent").env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = follow(child.stdout.take().unwrap());
        let errors = follow(child.stderr.take().unwrap());
        let input = child.stdin.take();
        Self { child, input, lines, errors, printed: Vec::new(), next_id: 0 }
    }

    /// Waits for a line that fits. Anything that is no JSON fails the test: hosts give up on it.
    pub(crate) fn wait_for(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                let errors: Vec<String> = self.errors.try_iter().collect();
                panic!("no {what}; printed {:#?}, said {errors:#?}", self.printed);
            };
            let value: Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("{error}: printed {line:?}"));
            self.printed.push(value.clone());
            if fits(&value) {
                return value;
            }
        }
    }

    /// Waits for a line on standard error.
    pub(crate) fn wait_for_error(&mut self, text: &str) -> String {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            let line = self.errors.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("nothing on standard error has {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn say(&mut self, message: &Value) {
        let input = self.input.as_mut().expect("its input is open");
        input.write_all(format!("{message}\n").as_bytes()).unwrap();
    }

    /// Sends a request and does not wait for its answer.
    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> i64 {
        self.next_id += 1;
        let id = self.next_id;
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    pub(crate) fn answer(&mut self, id: i64) -> Value {
        self.wait_for(&format!("answer to {id}"), |line| {
            line["id"] == json!(id) && line.get("method").is_none()
        })
    }

    /// A request and its answer.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.ask(method, params);
        self.answer(id)
    }

    /// The text that a tool answers.
    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        self.request("tools/call", &json!({ "name": tool, "arguments": arguments }))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes its input and waits for its end.
    pub(crate) fn end(&mut self) -> std::process::ExitStatus {
        self.input = None;
        self.child.wait().unwrap()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for line in self.errors.try_iter() {
                println!("{line}");
            }
        }
    }
}

fn follow(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// Puts the fixture on the bus and waits until it is there.
pub(crate) fn expose(broker: &Broker, name: &str, more: &[&str]) -> Lines {
    expose_at(&url(broker), name, more)
}

/// The same on the bus of any broker.
pub(crate) fn expose_at(url: &str, name: &str, more: &[&str]) -> Lines {
    let program = fixture();
    let mut arguments = vec!["mcp", "expose", "--json", "--url", url, "--name", name, "--"];
    arguments.extend(program.iter().map(String::as_str));
    arguments.extend(["--name", name]);
    arguments.extend(more);
    let mut exposed = Lines::start(&arguments);
    exposed.wait_for("online", |line| line["event"] == "online");
    exposed
}

/// A host's bridge that has been initialized.
pub(crate) fn bridge(url: &str, more: &[&str]) -> Lines {
    let mut arguments = vec!["mcp", "bridge", "--url", url];
    arguments.extend(more);
    let mut bridge = Lines::start(&arguments);
    let info = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": { "name": "scenario", "version": "1" },
    });
    let answer = bridge.request("initialize", &info);
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18", "{answer}");
    bridge.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    bridge
}

/// The names in a list.
pub(crate) fn names(answer: &Value, list: &str) -> Vec<String> {
    let items = answer["result"][list].as_array().unwrap_or_else(|| panic!("no list: {answer}"));
    let mut names: Vec<String> =
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// The text of a tool's answer.
pub(crate) fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer}"))
}

/// Waits for a line in the file where a fixture says what it does.
pub(crate) fn wait_for_trace(trace: &Path, line: &str) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(trace).unwrap_or_default();
        if text.lines().any(|it| it == line) {
            return;
        }
        assert!(Instant::now() < give_up, "no {line:?} in {text}");
        std::thread::yield_now();
    }
}
