//! `access.hook`: the web service that says who a client is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentmq_admin::{HookClient, HookOptions};
use agentmq_identity::{Entropy, Hook, HookTerms, Lockout, WallClock};

use crate::config_file::read_at_most;
use crate::error::Findings;
use crate::{ConfigError, Place};

/// `access.hook`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookConfig {
    /// The address of the service; empty: there is none.
    pub url: String,
    /// Authorities of its certificate; empty: those of the system.
    pub ca: PathBuf,
    /// The file of the secret that the broker shows it; empty: it shows none.
    pub secret: PathBuf,
    /// Milliseconds that an answer may take.
    pub timeout_ms: u32,
    /// Seconds that who was let in is let in again without a question.
    pub remember_secs: u32,
}

impl Default for HookConfig {
    fn default() -> Self {
        let (url, ca, secret) = Default::default();
        Self { url, ca, secret, timeout_ms: 2000, remember_secs: 0 }
    }
}

impl HookConfig {
    /// Whether there is one.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// Every rule that is broken, as key and message. An answer that comes when the connection was
    /// given up, after `connect_timeout_ms`, is none.
    pub(crate) fn problems(&self, connect_timeout_ms: u32) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if !self.is_on() {
            return problems;
        }
        if let Some(why) = HookClient::problem(&self.url) {
            problems.push(("access.hook.url".into(), why.into()));
        }
        if self.timeout_ms > connect_timeout_ms / 2 {
            let why = "a login may wait so long twice, for its turn and for its answer, and its \
                       connection ends after limits.connect_timeout_ms: raise that";
            problems.push(("access.hook.timeout_ms".into(), why.into()));
        }
        problems
    }

    /// The proof that asks the service, with what its files say.
    pub(crate) fn load(
        &self,
        clock: Arc<dyn WallClock>,
        entropy: &dyn Entropy,
        lockout: Lockout,
    ) -> Result<Hook, ConfigError> {
        let timeout = Duration::from_millis(self.timeout_ms.into());
        let options = HookOptions {
            url: self.url.clone(),
            ca: Some(self.ca.clone()).filter(|file| !file.as_os_str().is_empty()),
            secret: self.load_secret()?,
            timeout,
        };
        let client = HookClient::new(options).map_err(|why| problem("access.hook", why))?;
        let terms = HookTerms { patience: timeout, remember_secs: self.remember_secs.into() };
        Ok(Hook::new(Arc::new(client), terms, clock, entropy, lockout))
    }

    fn load_secret(&self) -> Result<Option<String>, ConfigError> {
        if self.secret.as_os_str().is_empty() {
            return Ok(None);
        }
        let text = read_at_most(&self.secret, LONGEST_SECRET)?;
        let secret = text.trim();
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            let file = self.secret.display();
            let why = format!("{file}: a secret is one line of ASCII characters without spaces");
            return Err(problem("access.hook.secret", why));
        }
        Ok(Some(secret.to_owned()))
    }
}

/// What is wrong with what a key names.
fn problem(key: &str, why: String) -> ConfigError {
    let mut findings = Findings::default();
    findings.report(|| Place::Key(key.to_owned()), || why);
    findings.into_result().expect_err("something was reported")
}

/// Bytes of a secret at most.
const LONGEST_SECRET: usize = 4096;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::access_config::Kept;
    use crate::{AccessConfig, Config, Environment};

    fn parse(text: &str) -> Result<Config, String> {
        let path = Path::new("a.toml");
        Config::parse(text, path, &Environment::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_that_anybody_could_answer_for_and_an_answer_that_comes_too_late_are_refused() {
        for (text, expected) in [
            ("access.hook.url = 'http://id.example/'", "a.toml:1:19: whoever is on the way"),
            ("access.hook.url = 'id.example'", "a.toml:1:19: write https://"),
            ("access.hook.url = 'https://a:b@id.example/'", "a.toml:1:19: it has a password"),
            (
                "access.hook.url = 'https://id.example/'\naccess.hook.timeout_ms = 6000",
                "a.toml:2:26: a login may wait so long twice",
            ),
        ] {
            let error = parse(text).expect_err("is wrong");
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        let late = "access.hook.timeout_ms = 6000\naccess.hook.url = 'https://id.example/'\n\
                    limits.connect_timeout_ms = 12000";
        assert!(parse(late).is_ok() && parse("access.hook.timeout_ms = 6000").is_ok());
    }

    #[test]
    fn files_that_say_nothing_are_no_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let check = |access: &AccessConfig| access.load(&Kept::default()).map(|_| ());
        let mut access = AccessConfig::default();
        access.hook.url = "https://127.0.0.1:1/".into();
        access.hook.secret = file("good", "s3cret\n");
        access.hook.ca = file("empty.pem", "");
        let error = check(&access).expect_err("trusts nobody").to_string();
        assert!(error.contains("empty.pem: there is no certificate in it"), "{error}");
        access.hook.url = "http://127.0.0.1:1/".into();
        assert!(check(&access).is_ok() && access.authenticates());
        for secret in [file("empty", "\n"), file("two", "a b"), folder.path().join("none")] {
            access.hook.secret = secret.clone();
            let error = check(&access).expect_err("is no secret").to_string();
            assert!(error.contains(secret.to_str().unwrap()), "{error}");
        }
    }
}
