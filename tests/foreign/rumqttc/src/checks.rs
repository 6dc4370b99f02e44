//! Arguments, report, and names no other check uses.

use std::future::Future;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Long enough for a loaded two-core machine; a broker that is right never comes near it.
pub const LIMIT: Duration = Duration::from_secs(20);

/// `--host`, `--port` and `--only`; other options of the scenarios are taken and not used.
pub struct Arguments {
    pub host: String,
    pub port: u16,
    pub only: String,
}

impl Arguments {
    pub fn read() -> anyhow::Result<Self> {
        let mut found = Self { host: "127.0.0.1".to_owned(), port: 1883, only: String::new() };
        let mut words = std::env::args().skip(1);
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| anyhow::anyhow!("{name} needs a value"))?;
            match name.as_str() {
                "--host" => found.host = value,
                "--port" => found.port = value.parse()?,
                "--only" => found.only = value,
                "--ws-port" | "--ws-path" => {}
                _ => anyhow::bail!("unknown option {name}"),
            }
        }
        Ok(found)
    }
}

/// The report of the scenario: one line a check, then the totals.
pub struct Checks {
    only: String,
    passed: u32,
    failed: u32,
}

impl Checks {
    pub fn new(only: &str) -> Self {
        Self { only: only.to_owned(), passed: 0, failed: 0 }
    }

    pub async fn run(&mut self, name: &str, check: impl Future<Output = anyhow::Result<()>>) {
        if !name.contains(&self.only) {
            return;
        }
        match check.await {
            Ok(()) => {
                self.passed += 1;
                println!("ok {name}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAIL {name}: {error:#}");
            }
        }
    }

    pub fn finish(self) -> ExitCode {
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// A word that differs for every call and every process, at most 23 bytes.
pub fn unique() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("r{}-{now}-{count}", std::process::id())
}

pub fn unique_topic(name: &str) -> String {
    format!("foreign/{}/{name}", unique())
}

/// Every byte value, in an order that shows a lost or repeated block.
pub fn binary_payload() -> Vec<u8> {
    (0..300_000_usize).map(|index| (index.wrapping_add(index >> 8) & 0xFF) as u8).collect()
}
