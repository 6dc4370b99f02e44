//! A certificate for the brokers that are measured over TLS: new, and of no use to anybody else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A certificate for loopback, and its key. Whoever is to trust it is told the certificate itself.
#[derive(Debug)]
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// Issues one into a folder.
    pub fn issue(folder: &Path) -> Result<Self> {
        let it = Self { certificate: folder.join("server.pem"), key: folder.join("server.key") };
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"])
            .arg(&it.certificate)
            .arg("-keyout")
            .arg(&it.key)
            .output()
            .context("start openssl, which issues a certificate: apt-get install openssl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "openssl issued no certificate: {}", said.trim());
        Ok(it)
    }

    /// The configuration of ours with its first listener turned into one that has this certificate.
    pub fn secure(&self, config: &str) -> Result<String> {
        let (before, behind) = config.split_once(PLAIN).context("the configuration's listener")?;
        let (certificate, key) = (self.certificate.display(), self.key.display());
        Ok(format!(
            "{before}url = \"mqtts://127.0.0.1:0\"\ntls.cert = \"{certificate}\"\n\
             tls.key = \"{key}\"{behind}"
        ))
    }
}

/// As `bench/broker.toml` has it.
const PLAIN: &str = "url = \"mqtt://127.0.0.1:1883\"";

#[cfg(test)]
mod tests {
    use super::super::contender::AGENTMQ_CONFIG;
    use super::*;

    #[test]
    fn the_committed_configuration_can_be_secured() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let config = std::fs::read_to_string(root.join(AGENTMQ_CONFIG)).expect("is committed");
        let certificate = Certificate { certificate: "c.pem".into(), key: "k.pem".into() };
        let text = certificate.secure(&config).expect("has a listener");
        assert!(text.contains("mqtts://127.0.0.1:0") && !text.contains("mqtt://"), "{text}");
        assert!(text.contains("c.pem") && text.contains("k.pem") && text.contains("[limits]"));
    }
}
