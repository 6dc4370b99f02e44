//! What a bench target named `instructions` is made of: cases whose instructions are counted.
//!
//! `cargo xtask bench` asks the target for its cases (`--list`) and runs each under
//! `valgrind --tool=callgrind` N and 2 N times (`CASE COUNT`). The difference leaves out start-up
//! and set-up, and does not depend on what else the machine does.

/// One operation.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name, without spaces.
    pub name: &'static str,
    /// How many repetitions tell its cost: few where one is dear.
    pub repeat: usize,
    /// Sets up and does it so many times.
    pub run: fn(usize),
}

impl Case {
    /// A case whose cost a thousand repetitions tell.
    pub const fn new(name: &'static str, run: fn(usize)) -> Self {
        Self { name, repeat: 1_000, run }
    }

    /// A case whose repetitions are dear, or whose set-up would hide a few of them.
    pub const fn repeated(name: &'static str, repeat: usize, run: fn(usize)) -> Self {
        Self { name, repeat, run }
    }
}

/// The `main` of such a target. Without arguments it runs each case once, so that a case that
/// panics is found without valgrind.
#[expect(clippy::print_stdout, reason = "a program that lists its cases")]
pub fn instructions(cases: &[Case]) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--list", ..] => {
            for case in cases {
                println!("{} {}", case.name, case.repeat);
            }
        }
        [name, count] if !name.starts_with("--") => {
            let count = count.parse().expect("a number of repetitions");
            let case = cases.iter().find(|case| case.name == *name).expect("the name of a case");
            (case.run)(count);
        }
        // `cargo bench` says `--bench`.
        _ => {
            for case in cases {
                println!("{}", case.name);
                (case.run)(1);
            }
        }
    }
}
