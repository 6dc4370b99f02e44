//! What the figures depend on besides the brokers: the machine, its limits, the settings.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::contender::AGENTMQ_CONFIG;
use super::results::{Raised, Surroundings};
use crate::process;

/// The machine as it is now.
pub fn observe(root: &Path) -> Result<Surroundings> {
    let line = |command: &mut Command| -> Result<String> {
        Ok(process::run_quietly(command)?.trim().to_owned())
    };
    let load = fs::read_to_string("/proc/loadavg").context("read the load")?;
    let load = load.split(' ').next().and_then(|word| word.parse().ok());
    let processors = fs::read_to_string("/proc/cpuinfo").context("read the processor's name")?;
    Ok(Surroundings {
        date: line(Command::new("date").args(["-u", "+%F"]))?,
        commit: line(Command::new("git").current_dir(root).args(["rev-parse", "--short", "HEAD"]))?,
        kernel: line(Command::new("uname").args(["-sr"]))?,
        processor: processor(&processors).unwrap_or("unknown").to_owned(),
        cores: std::thread::available_parallelism()?.get(),
        load_before: load.context("the load is no number")?,
    })
}

/// `model name : Intel …`
fn processor(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(": ").map(|(_, name)| name)
}

/// How many files a process may open if it asks for it.
pub fn open_files() -> Result<usize> {
    let limit = process::run_quietly(Command::new("sh").args(["-c", "ulimit -Hn"]))?;
    Ok(limit.trim().parse().unwrap_or(usize::MAX))
}

/// The settings in the configuration files of AgentMQ and of these peers.
pub fn raised(root: &Path, peers: &[&'static str]) -> Result<Vec<Raised>> {
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| path.to_owned());
    let defaults: toml::Table = read(DEFAULTS)?.parse().context(DEFAULTS)?;
    let ours: toml::Table = read(AGENTMQ_CONFIG)?.parse().context(AGENTMQ_CONFIG)?;
    let mut raised = Vec::new();
    for (section, settings) in &ours {
        for (setting, value) in settings.as_table().into_iter().flatten() {
            raised.push(Raised {
                file: AGENTMQ_CONFIG.to_owned(),
                setting: format!("{section}.{setting}"),
                default: defaults
                    .get(section)
                    .and_then(|section| section.get(setting))
                    .map(toml::Value::to_string),
                value: value.to_string(),
            });
        }
    }
    for path in peers {
        let text = read(path)?;
        let settings = text.lines().map(str::trim).filter_map(setting);
        raised.extend(settings.map(|(setting, value)| Raised {
            file: (*path).to_owned(),
            setting: setting.to_owned(),
            default: None,
            value: value.to_owned(),
        }));
    }
    Ok(raised)
}

/// Name and value, however the file writes them: `a 1`, `a = 1`, `a: 1`. What is filled in when
/// the broker is started is none, and neither are lines that open a section.
fn setting(line: &str) -> Option<(&str, &str)> {
    if line.starts_with(['#', '[']) || line.contains('{') {
        return None;
    }
    let (name, value) = line.split_once([' ', '=', ':'])?;
    let value = value.trim_start_matches([' ', '=', ':']);
    (!value.is_empty()).then_some((name, value))
}

const DEFAULTS: &str = "crates/broker/default.toml";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_with_their_defaults() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let peers: Vec<&str> = super::super::peer::PEERS.iter().map(|peer| peer.config).collect();
        let raised = raised(&root, &peers).expect("reads");
        let of = |name: &str| raised.iter().find(|raised| raised.setting == name);
        let queue = of("limits.queue_messages").expect("is raised");
        let number = |text: &str| text.parse::<u64>().expect("a number");
        assert!(number(&queue.value) > number(queue.default.as_deref().expect("has a default")));
        assert_eq!(of("max_queued_messages").expect("is raised").value, "0");
        assert_eq!(of("max_outgoing_packet_count").expect("is raised").value, "1000");
        assert_eq!(of("max_ack_pending").expect("is raised").value, "20000");
    }

    #[test]
    fn the_processor_has_a_name() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Fast 9\n"), Some("Fast 9"));
        assert_eq!(processor(""), None);
    }
}
