//! `--listen`: where a broker listens, said on the command line.

use agentmq_broker::{Config, ConfigError, ListenerConfig, Place};

use crate::failure::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct ListenArgs {
    /// Listen here instead of where the configuration says; may repeat. mqtt://, mqtts://, ws://,
    /// wss:// or unix://; port 0 takes any free one.
    #[arg(long, value_name = "URL")]
    pub(crate) listen: Vec<String>,
    /// Let clients in that do not authenticate, although other machines reach the address.
    #[arg(long, requires = "listen")]
    allow_anonymous: bool,
}

impl ListenArgs {
    /// Replaces the listeners. What the configuration says of one with the same address stays.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<(), Failure> {
        if self.listen.is_empty() {
            return Ok(());
        }
        let known = std::mem::take(&mut config.listeners);
        for url in &self.listen {
            let mut listener = known
                .iter()
                .find(|listener| listener.url == *url)
                .cloned()
                .unwrap_or_else(|| ListenerConfig::new(url));
            listener.allow_anonymous |= self.allow_anonymous;
            if listener.lets_strangers_in(config.access.authenticates()) {
                let what = format!(
                    "--listen {url}: other machines can reach it and clients need not authenticate"
                );
                let fix = "add --allow-anonymous to accept that, listen on 127.0.0.1, or set \
                           access.tokens.keys in a configuration file";
                return Err(Failure::usage(what, fix));
            }
            config.listeners.push(listener);
        }
        config.validate().map_err(|error| self.failure(&error))
    }

    /// The flag, and not a place in a file that does not exist.
    fn failure(&self, error: &ConfigError) -> Failure {
        let lines: Vec<String> = error
            .problems()
            .iter()
            .map(|problem| match self.flag(&problem.place) {
                Some(url) => format!("--listen {url}: {}", problem.message),
                None => problem.to_string(),
            })
            .collect();
        let fix = "correct the address; what else a listener needs stands below [[listeners]] in \
                   agentmq.toml, see `agentmq config print --default`";
        Failure::with(Exit::Usage, lines.join("\n"), fix)
    }

    fn flag(&self, place: &Place) -> Option<&str> {
        let Place::Key(key) = place else { return None };
        let (index, _) = key.strip_prefix("listeners.")?.split_once('.')?;
        self.listen.get(index.parse::<usize>().ok()?).map(String::as_str)
    }
}
