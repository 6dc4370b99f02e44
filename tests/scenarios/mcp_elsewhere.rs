//! MCP over somebody else's broker: the wire format is open, and another broker is another URL.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use agentmq_testkit::free_port;
use rustix::process::Signal;
use serde_json::json;

use crate::mcp_program::{bridge, expose_at, names, text};
use crate::program::{printed, run};

/// Debian's Mosquitto, which ends with this value.
pub(crate) struct Mosquitto {
    process: Child,
    pub(crate) url: String,
    pub(crate) folder: tempfile::TempDir,
}

impl Mosquitto {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = folder.path().join("mosquitto.conf");
        let text = "allow_anonymous true\npersistence false\nlog_type information\n\
                    set_tcp_nodelay true\nuser root\n";
        std::fs::write(&config, format!("{text}listener {port} 127.0.0.1\n")).unwrap();
        // Debian installs it where only root's PATH looks.
        let installed = Path::new("/usr/sbin/mosquitto");
        let program = if installed.exists() { installed } else { Path::new("mosquitto") };
        let mut process = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("install Mosquitto: apt-get install -y mosquitto");
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let running = log.by_ref().map_while(Result::ok).any(|line| line.ends_with("running"));
        assert!(running, "Mosquitto runs");
        // Its log must be read on, or it blocks when the pipe is full.
        std::thread::spawn(move || log.for_each(drop));
        Self { process, url: format!("mqtt://127.0.0.1:{port}"), folder }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn mosquitto_carries_it_unchanged() {
    let broker = Mosquitto::start();
    let (url, folder) = (&*broker.url, broker.folder.path());
    let mut first = expose_at(url, "demo/calc", &[]);
    let second = expose_at(url, "files", &[]);
    let listed = printed(folder, &["tools", "ls", "--url", url]);
    assert_eq!(listed.lines().count(), 20, "{listed}");
    let add = ["tools", "call", "demo/calc/add", "-a", "a=2", "-a", "b=40", "--url", url];
    assert_eq!(printed(folder, &add), "42");
    let lost = run(folder, &["tools", "call", "demo/calc/crash", "--url", url]);
    assert_eq!(lost.status.code(), Some(5), "{lost:?}");
    first.wait_for("online again", |line| line["event"] == "online");
    let mut host = bridge(url, &[]);
    let tools = host.request("tools/list", &json!({}));
    assert_eq!(names(&tools, "tools").len(), 20, "{tools}");
    assert_eq!(text(&host.call("files__add", &json!({ "a": 40, "b": 2 }))), "42");
    // Its will clears its presence.
    second.signal(Signal::KILL);
    let changed = "notifications/tools/list_changed";
    host.wait_for("change of the list", |line| line["method"] == changed);
    let tools = host.request("tools/list", &json!({}));
    assert_eq!(names(&tools, "tools").len(), 10, "{tools}");
}
