//! The limit on open files of this process and its children.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one; children started afterwards inherit it. Panics if fewer
/// than `needed` files may then be open, saying so.
pub fn raise_open_files(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        hard >= needed,
        "this scenario needs {needed} open files, and the machine's hard limit is {hard}: raise \
         it (ulimit -Hn, or LimitNOFILE= of the service that runs the tests)"
    );
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("a soft limit may be raised to the hard one");
}
