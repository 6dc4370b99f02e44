//! The program as a command: what it says in a folder.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs it, with nothing to read.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    run_with_input(folder, arguments, "")
}

/// Runs it, with a line to read.
pub(crate) fn run_with_input(folder: &Path, arguments: &[&str], line: &str) -> Output {
    let mut command = Command::new(crate::BINARY);
    command.current_dir(folder).args(arguments).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(format!("{line}\n").as_bytes());
    child.wait_with_output().unwrap()
}

/// What it prints when all is well.
pub(crate) fn printed(folder: &Path, arguments: &[&str]) -> String {
    printed_with_input(folder, arguments, "")
}

/// The same, with a line to read.
pub(crate) fn printed_with_input(folder: &Path, arguments: &[&str], line: &str) -> String {
    let output = run_with_input(folder, arguments, line);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
