//! The system calls that the broker made for each delivery, as `strace -c` counts them.

use anyhow::{Result, ensure};

/// Calls of each kind, divided by the deliveries.
#[derive(Debug, PartialEq)]
pub struct SystemCalls {
    /// In the order of [`KINDS`].
    pub each: Vec<f64>,
    /// All kinds together, and those of no kind.
    pub all: f64,
}

impl SystemCalls {
    /// Reads lines of a number and a name.
    pub fn parse(counted: &str, deliveries: f64) -> Result<Self> {
        let lines: Vec<(f64, &str)> = counted.lines().filter_map(line).collect();
        ensure!(!lines.is_empty(), "`strace` has counted nothing:\n{counted}");
        let of = |names: &[&str]| {
            let calls = lines.iter().filter(|(_, name)| names.contains(name));
            calls.map(|(calls, _)| calls).sum::<f64>() / deliveries
        };
        let each = KINDS.iter().map(|(_, names)| of(names)).collect();
        let all = lines.iter().map(|(calls, _)| calls).sum::<f64>() / deliveries;
        Ok(Self { each, all })
    }
}

/// The last line, the total, is none.
fn line(line: &str) -> Option<(f64, &str)> {
    let (calls, name) = line.trim().split_once(' ')?;
    let calls = calls.parse().ok()?;
    let name = name.trim();
    (name != "total").then_some((calls, name))
}

/// What is reported as one, and the calls that it is made of.
pub const KINDS: &[(&str, &[&str])] = &[
    ("read", &["read", "readv", "recvfrom", "recvmsg"]),
    ("write", &["write", "writev", "sendto", "sendmsg"]),
    ("epoll_wait", &["epoll_wait", "epoll_pwait", "epoll_pwait2"]),
    ("epoll_ctl", &["epoll_ctl"]),
    ("futex", &["futex"]),
    ("memory", &["madvise", "mmap", "munmap", "mremap", "mprotect", "brk"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTED: &str = "\
    calls syscall
--------- ----------------
      150 recvfrom
       50 read
      100 writev
        4 futex
        6 madvise
        2 mmap
       88 accept4
--------- ----------------
      400 total
";

    #[test]
    fn calls_of_a_kind_are_added_and_divided() {
        let calls = SystemCalls::parse(COUNTED, 100.0).expect("parses");
        assert_eq!(calls.each, [2.0, 1.0, 0.0, 0.0, 0.04, 0.08]);
        assert_eq!(calls.all, 4.0, "those of no kind too, the total not");
    }

    #[test]
    fn nothing_counted_is_an_error() {
        assert!(SystemCalls::parse("", 1.0).is_err());
    }
}
