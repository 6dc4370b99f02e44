//! A real Mosquitto on free ports, and a proxy that can cut connections.

#![allow(dead_code, clippy::unwrap_used)] // each test file uses a part; a test may panic

use std::path::{Path, PathBuf};
use std::process::Stdio;

use agentmq_testkit::free_port;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::broadcast;

/// A Mosquitto process that ends with this value.
pub(crate) struct Mosquitto {
    pub(crate) port: u16,
    pub(crate) ws_port: u16,
    pub(crate) tls_port: u16,
    pub(crate) dir: tempfile::TempDir,
    process: Child,
}

impl Mosquitto {
    /// Starts one that lets everybody in, with listeners for tcp, ws, tls and unix.
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same with further configuration lines.
    pub(crate) async fn start_with(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path());
        let [port, ws_port, tls_port] = [(); 3].map(|()| free_port());
        let at = dir.path().display();
        let access = if more.contains("allow_anonymous") { "" } else { "allow_anonymous true" };
        let config = format!(
            "{access}\nmax_queued_messages 0\nmax_inflight_messages 1000\nlog_type information\n\
             log_type error\nuser root\nset_tcp_nodelay true\n{more}\n\
             listener {port} 127.0.0.1\n\
             listener {ws_port} 127.0.0.1\nprotocol websockets\n\
             listener 0 {at}/mqtt.sock\n\
             listener {tls_port} 127.0.0.1\ncafile {at}/ca.pem\ncertfile {at}/cert.pem\n\
             keyfile {at}/key.pem\n"
        );
        let file = dir.path().join("mosquitto.conf");
        std::fs::write(&file, config).unwrap();
        let mut process = Command::new(program())
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("install Mosquitto: apt-get install -y mosquitto");
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        loop {
            match log.next_line().await.unwrap() {
                Some(line) if line.ends_with("running") => break,
                Some(line) => seen += &(line + "\n"),
                None => panic!("Mosquitto did not start:\n{seen}"),
            }
        }
        // Its log must be read on, or it blocks when the pipe is full.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Self { port, ws_port, tls_port, dir, process }
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }
}

fn program() -> &'static str {
    // Debian puts it where a normal user's PATH does not look.
    if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" }
}

fn certificates(dir: &Path) {
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&authority).unwrap();
    let issuer = rcgen::Issuer::new(params, authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let cert = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
}

/// Forwards connections to a port until told to cut them all.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    cut: broadcast::Sender<()>,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, _) = broadcast::channel(1);
        let cutter = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = cutter.subscribe();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.recv() => {}
                    }
                });
            }
        });
        Self { port, cut }
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Cuts every connection; new ones are accepted.
    pub(crate) fn cut(&self) {
        let _ = self.cut.send(());
    }
}
