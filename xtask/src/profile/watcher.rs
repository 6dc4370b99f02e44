//! The programs that watch a running broker: `perf` samples it, `strace` counts its system calls.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{self, Group};

#[derive(Debug, Clone, Copy)]
pub enum Watcher {
    Samples,
    SystemCalls,
}

/// A watcher that has attached itself.
#[derive(Debug)]
pub struct Watching {
    watcher: Watcher,
    group: Group,
    recorded: PathBuf,
    log: PathBuf,
}

/// Both programs, before anything is built for them.
pub fn check_installed() -> Result<()> {
    let missing: Vec<&str> = [Watcher::Samples, Watcher::SystemCalls]
        .iter()
        .filter(|watcher| !process::installed(watcher.program()))
        .map(|watcher| watcher.package())
        .collect();
    ensure!(
        missing.is_empty(),
        "missing: {0}. Run: sudo apt-get install --no-install-recommends -y {0}",
        missing.join(" ")
    );
    Ok(())
}

impl Watcher {
    fn program(self) -> &'static str {
        match self {
            Self::Samples => "perf",
            Self::SystemCalls => "strace",
        }
    }

    /// Debian's.
    fn package(self) -> &'static str {
        match self {
            Self::Samples => "linux-perf",
            Self::SystemCalls => "strace",
        }
    }

    /// What it says when it has attached itself.
    fn begins(self) -> &'static str {
        match self {
            Self::Samples => "Events enabled",
            Self::SystemCalls => "attached",
        }
    }

    /// Starts watching the process and returns when nothing that it does is missed any more.
    pub fn attach(self, broker: u32, scratch: &Path) -> Result<Watching> {
        let recorded = scratch.join(self.program());
        let mut command = Command::new(self.program());
        match self {
            // Virtual machines have no hardware counters. 4999: not in step with any timer. With a
            // delay it says when it begins.
            Self::Samples => command.args("record -D 1 -e cpu-clock -F 4999".split(' ')),
            Self::SystemCalls => command.args("-f -c -U calls,name".split(' ')),
        };
        let log = scratch.join("watcher.log");
        let output = fs::File::create(&log).context("create the watcher's log")?;
        command.arg("-o").arg(&recorded).args(["-p", &broker.to_string()]);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut group = Group::spawn(&mut command)?;
        let since = Instant::now();
        while !fs::read_to_string(&log).is_ok_and(|said| said.contains(self.begins())) {
            let ended = group.child().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || since.elapsed() > PATIENCE {
                bail!("`{}` cannot watch: {}", self.program(), said(&log));
            }
            pause();
        }
        Ok(Watching { watcher: self, group, recorded, log })
    }
}

impl Watching {
    /// What it found out, as text. The broker must have ended.
    pub fn finish(mut self) -> Result<String> {
        if self.group.wait(PATIENCE)?.is_none() {
            bail!("`{}` did not end with the broker: {}", self.watcher.program(), said(&self.log));
        }
        match self.watcher {
            Watcher::Samples => process::run_quietly(
                Command::new("perf")
                    .args(["report", "-q", "--stdio", "--no-children", "-t", SEPARATOR])
                    .args(["-F", "sample,dso,symbol", "-i"])
                    .arg(&self.recorded),
            ),
            Watcher::SystemCalls => {
                fs::read_to_string(&self.recorded).context("read what `strace` has counted")
            }
        }
    }
}

fn said(log: &Path) -> String {
    process::last_lines(&fs::read_to_string(log).unwrap_or_default(), 10)
}

#[expect(clippy::disallowed_methods, reason = "that a file grows is no event to wait for")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// What stands between the fields of a line of samples; no name of a symbol has it.
pub const SEPARATOR: &str = ";";
/// How long a watcher may take to attach itself, and to write down what it saw.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_that_cannot_attach_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("folder");
        // Larger than any process id.
        let outcome = Watcher::SystemCalls.attach(1 << 30, folder.path());
        let error = outcome.expect_err("there is no such process").to_string();
        assert!(error.contains("`strace`"), "{error}");
    }
}
