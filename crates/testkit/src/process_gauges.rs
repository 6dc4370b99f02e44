//! What a process holds, read from `/proc`.

use std::path::PathBuf;
use std::{fs, io};

/// Memory and descriptors of a process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessGauges {
    /// Bytes of physical memory (`VmRSS`).
    pub resident_bytes: u64,
    /// What of that is its own (`RssAnon`): heap and stacks. Pages of the program itself are not in
    /// it: they come when code is first run, and say nothing about what is kept.
    pub own_bytes: u64,
    /// Open file descriptors.
    pub open_files: usize,
    /// Sockets among them.
    pub sockets: usize,
    /// Threads.
    pub threads: u64,
}

impl ProcessGauges {
    /// Of the process with this number, which must be there.
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
        let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is ours");
        let open: Vec<_> = open.flatten().map(|it| fs::read_link(it.path())).collect();
        let is_socket = |it: &&io::Result<PathBuf>| {
            it.as_ref().is_ok_and(|it| it.to_string_lossy().starts_with("socket:"))
        };
        let size = |name| field(&status, name).expect("a living process has a size") * 1024;
        Self {
            resident_bytes: size("VmRSS:"),
            own_bytes: size("RssAnon:"),
            open_files: open.len(),
            sockets: open.iter().filter(is_socket).count(),
            threads: field(&status, "Threads:").expect("a living process has threads"),
        }
    }
}

/// The number behind `name`.
fn field(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let before = ProcessGauges::of(std::process::id());
        assert!(before.resident_bytes > 100_000 && before.threads > 0);
        assert!((1..before.resident_bytes).contains(&before.own_bytes));
        let file = fs::File::open("/proc/self/status").unwrap();
        let after = ProcessGauges::of(std::process::id());
        assert!(after.open_files > before.open_files || after.open_files >= 4);
        drop(file);
    }
}
