//! Child processes: time limits, process groups, and nothing left behind.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How a child with a time limit ended.
#[derive(Debug)]
pub enum Ending {
    /// It ended by itself.
    Exited(ExitStatus),
    /// Its whole process group was killed when the limit had passed.
    TimedOut,
}

/// What a child with a time limit did.
#[derive(Debug)]
pub struct Outcome {
    pub ending: Ending,
    pub elapsed: Duration,
}

impl Outcome {
    pub fn success(&self) -> bool {
        matches!(&self.ending, Ending::Exited(status) if status.success())
    }

    /// One line for a report: `exit status: 1`, or the limit that passed.
    pub fn reason(&self) -> String {
        match &self.ending {
            Ending::Exited(status) => status.to_string(),
            Ending::TimedOut => {
                format!("hung: killed with its children after {:.0?}", self.elapsed)
            }
        }
    }
}

/// Runs `command` in a process group of its own, both output streams into the file `log`.
///
/// A file instead of a pipe: a grandchild that keeps the stream open cannot make us wait for it.
pub fn run_limited(command: &mut Command, limit: Duration, log: &Path) -> Result<Outcome> {
    let output = File::create(log).with_context(|| format!("create {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let started = Instant::now();
    let mut group = Group::spawn(command)?;
    let ending = match group.wait(limit)? {
        Some(status) => Ending::Exited(status),
        None => Ending::TimedOut,
    };
    Ok(Outcome { ending, elapsed: started.elapsed() })
}

/// Runs `command` with our own streams and says whether it succeeded.
pub fn run_visibly(command: &mut Command) -> Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("start `{program}`"))?;
    Ok(status.success())
}

/// Runs `command` quietly; an unsuccessful end is an error that carries its last lines.
pub fn run_quietly(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start `{program}`: is it installed?"))?;
    if !output.status.success() {
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        bail!("`{program}` failed ({}):\n{}", output.status, last_lines(&text, 20));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last `count` lines of `text`, indented for a report.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(count);
    lines.iter().skip(first).map(|line| format!("    {line}\n")).collect()
}

/// True if `program` is found on the search path, or where servers are, which that path may lack.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let servers = std::iter::once(PathBuf::from("/usr/sbin"));
    std::env::split_paths(&path).chain(servers).any(|folder| folder.join(program).is_file())
}

/// A child that leads a process group; dropping it ends the group.
#[derive(Debug)]
pub struct Group {
    id: u32,
    child: Option<Child>,
}

impl Group {
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("start `{program}`: is it installed?"))?;
        let id = child.id();
        GROUPS.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        Ok(Self { id, child: Some(child) })
    }

    /// The leader's process id, which is the group's.
    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// Waits for the leader at most `limit`, then kills whatever is left of the group.
    ///
    /// `None`: the limit passed. The group is gone after this either way.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        let (tell, told) = mpsc::channel();
        let waiter = std::thread::spawn(move || {
            // A receiver that gave up needs no answer.
            let _ = tell.send(child.wait());
        });
        let ended = told.recv_timeout(limit);
        signal_group(self.id, "KILL");
        // The leader is dead now, so this ends; it reaps the leader before its id is forgotten.
        let _ = waiter.join();
        GROUPS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        match ended {
            Ok(status) => Ok(Some(status.context("wait for a child")?)),
            Err(_) => Ok(None),
        }
    }

    /// Asks the group to end, and kills it if it has not within `patience`.
    pub fn terminate(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        if self.child.is_none() {
            return Ok(None);
        }
        signal_group(self.id, "TERM");
        self.wait(patience)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nothing useful can be done about an error while dropping.
        let _ = self.wait(Duration::ZERO);
    }
}

/// Ctrl-C reaches our own process group only, so the groups we started are ended here.
pub fn end_children_on_interrupt() -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            for id in GROUPS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                signal_group(*id, "KILL");
            }
            std::process::exit(130);
        }
    });
    Ok(())
}

/// Through the shell's `kill`, because the standard library can signal a child but not a group.
fn signal_group(id: u32, signal: &str) {
    let _ = Command::new("sh")
        .args(["-c", "kill -s \"$1\" -- \"-$2\"", "kill", signal, &id.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// The groups that live, for the signal thread.
static GROUPS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_child_that_hangs_is_killed_with_its_children() {
        let (mut told, tell) = std::io::pipe().expect("pipe");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & wait"]).stdout(tell);
        let mut group = Group::spawn(&mut command).expect("starts");
        drop(command); // our own copy of the pipe's writing end
        assert!(group.wait(Duration::from_millis(100)).expect("waits").is_none());
        // Ends when the last process that holds the other end is gone, `sleep` included.
        let mut nothing = Vec::new();
        told.read_to_end(&mut nothing).expect("reads");
        assert_eq!(nothing, b"");
    }

    #[test]
    fn an_ending_is_reported_as_it_was() {
        let folder = tempfile::tempdir().expect("folder");
        let log = folder.path().join("log");
        let limit = Duration::from_secs(60);
        let good = run_limited(&mut Command::new("true"), limit, &log).expect("runs");
        let bad = run_limited(Command::new("sh").args(["-c", "echo no; exit 3"]), limit, &log)
            .expect("runs");
        assert!(good.success());
        assert!(!bad.success());
        assert_eq!(bad.reason(), "exit status: 3");
        assert_eq!(std::fs::read_to_string(&log).expect("log"), "no\n");
    }
}
