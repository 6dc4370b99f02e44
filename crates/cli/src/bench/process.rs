//! CPU time and memory of a process, from `/proc`.

use std::fs;

use crate::failure::Failure;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    /// User and system time of all its threads, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Resident memory.
    pub(crate) rss_kib: u64,
}

impl Usage {
    /// Of the process with this id.
    pub(crate) fn of(pid: u32) -> Result<Self, Failure> {
        Self::read(&pid.to_string())
            .ok_or_else(|| Failure::usage(format!("no process {pid}"), "give the broker's pid"))
    }

    /// Of the load generator itself.
    pub(crate) fn own() -> Option<Self> {
        Self::read("self")
    }

    fn read(pid: &str) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let coarse = cpu_ticks(&stat)? as f64 / ticks;
        // The coarse figure rounds user and system time down to 10 ms each, too much for short
        // intervals; the fine one lacks threads that have ended. Neither is ever too high.
        let cpu_seconds = threads_cpu_seconds(pid).unwrap_or_default().max(coarse);
        Some(Self { cpu_seconds, rss_kib: rss(&status)? })
    }
}

/// Fields 14 and 15 of `stat`; field 2, the name, may hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let mut fields = behind_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// What the scheduler has given to the threads that live, in steps of a nanosecond. Not every
/// kernel tells.
fn threads_cpu_seconds(pid: &str) -> Option<f64> {
    let mut nanoseconds = 0u64;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else { continue };
        nanoseconds += on_cpu(&text)?;
    }
    Some(nanoseconds as f64 / 1e9)
}

/// The first of `schedstat`'s numbers; the others are time spent waiting, and turns.
fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split(' ').next()?.parse().ok()
}

fn rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Raises the soft limit of open files to what is needed, if the hard limit allows.
pub(crate) fn allow_open_files(needed: u64) -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = needed + 64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    let possible = limit.maximum.is_none_or(|maximum| maximum >= needed);
    if possible && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let what = format!("this needs {needed} open files, the limit is {:?}", limit.maximum);
    Err(Failure::usage(what, format!("ulimit -n {needed}, or fewer connections")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc_whatever_the_name() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(rss("Name:\tx\nVmRSS:\t  1234 kB\n"), Some(1234));
        assert_eq!(on_cpu("9493954 12 3\n"), Some(9_493_954));
        assert!(Usage::own().is_some_and(|usage| usage.rss_kib > 0));
    }
}
