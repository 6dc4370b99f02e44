//! The operator's web service that a hook asks, as a test wants it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use agentmq_testkit::PATIENCE;
use serde_json::Value;

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Json(Value),
    /// A status line, with an `allow` behind it.
    Status(&'static str),
    /// This, whatever it is.
    Raw(String),
    /// Its beginning, and then nothing.
    Half,
}

/// What it was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Request line and headers.
    pub(crate) head: String,
    pub(crate) question: Value,
}

/// Listens on a port of loopback. Questions are answered one after the other on each connection.
pub(crate) struct Service {
    port: u16,
    inner: Arc<Inner>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    asked: Vec<Asked>,
    /// Questions wait for their answers.
    is_held: bool,
    is_stopped: bool,
    connections: Vec<TcpStream>,
    /// Connections there have been.
    count: usize,
}

impl Service {
    /// Answers this, until the test says something else.
    pub(crate) fn start(answer: Value) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut service = Self { port, inner: Arc::default(), accepting: None };
        service.answers(Answer::Json(answer));
        service.accept(listener);
        service
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/who?tenant=a", self.port)
    }

    pub(crate) fn answers(&self, answer: Answer) {
        self.inner.state().answer = Some(answer);
    }

    /// Questions get no answers until `release`.
    pub(crate) fn hold(&self) {
        self.inner.state().is_held = true;
    }

    pub(crate) fn release(&self) {
        self.inner.state().is_held = false;
        self.inner.changed.notify_all();
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.inner.state().asked.clone()
    }

    /// Connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.inner.state().count
    }

    /// Waits until it has been asked so often, and returns the questions.
    pub(crate) fn wait_asked(&self, count: usize) -> Vec<Asked> {
        assert!(self.is_asked_within(count, PATIENCE), "it was not asked {count} times");
        self.asked()
    }

    /// Whether it has been asked so often, within this time.
    pub(crate) fn is_asked_within(&self, count: usize, time: Duration) -> bool {
        let missing = |state: &mut State| state.asked.len() < count;
        let state = self.inner.state();
        let (state, _) = self.inner.changed.wait_timeout_while(state, time, missing).unwrap();
        state.asked.len() >= count
    }

    /// Nobody listens at its port any more, and its connections end.
    pub(crate) fn stop(&mut self) {
        self.inner.state().is_stopped = true;
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)); // wakes who accepts
        self.accepting.take().unwrap().join().unwrap();
        for connection in self.inner.state().connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Listens again, at the same port.
    pub(crate) fn go_on(&mut self) {
        self.inner.state().is_stopped = false;
        self.accept(TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).unwrap());
    }

    fn accept(&mut self, listener: TcpListener) {
        let inner = Arc::clone(&self.inner);
        self.accepting = Some(std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut state = inner.state();
                if state.is_stopped {
                    return;
                }
                state.connections.push(stream.try_clone().unwrap());
                state.count += 1;
                drop(state);
                let inner = Arc::clone(&inner);
                std::thread::spawn(move || inner.serve(stream));
            }
        }));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.release();
        if self.accepting.is_some() {
            self.stop();
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn serve(&self, mut stream: impl Read + Write) {
        while let Some(asked) = read(&mut stream) {
            let mut state = self.state();
            state.asked.push(asked);
            self.changed.notify_all();
            let state = self.changed.wait_while(state, |state| state.is_held).unwrap();
            let answer = state.answer.clone();
            drop(state);
            if write(&mut stream, answer.as_ref().unwrap()).is_err() {
                return;
            }
        }
    }
}

/// A service with TLS, by the certificate `service` of an authority: it answers one question.
pub(crate) fn serve_tls(
    authority: &crate::authority::Authority,
    answer: Value,
) -> (String, JoinHandle<()>) {
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};

    authority.issue("service");
    let chain = CertificateDer::from_pem_file(authority.path("service.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(authority.path("service.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let config = Arc::new(config);
    let serving = std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            // Who does not trust it goes.
            if read(&mut stream).is_some() {
                return write(&mut stream, &Answer::Json(answer)).unwrap();
            }
        }
    });
    (url, serving)
}

/// The next request; `None`: there is none.
fn read(stream: &mut impl Read) -> Option<Asked> {
    let mut reader = BufReader::with_capacity(1, stream); // takes nothing beyond the request
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length?.trim().parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { head, question: serde_json::from_slice(&body).ok()? })
}

fn write(stream: &mut (impl Read + Write), answer: &Answer) -> std::io::Result<()> {
    let allow = "{\"result\":\"allow\"}";
    let whole = |status: &str, body: &str| {
        let elsewhere = "Location: http://169.254.169.254/latest/meta-data";
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{elsewhere}\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let text = match answer {
        Answer::Json(value) => whole("200 OK", &value.to_string()),
        Answer::Status("204 No Content") => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        Answer::Status(status) => whole(status, allow),
        Answer::Raw(text) => text.clone(),
        Answer::Half => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{")?;
            // Ends when the other side does.
            let _ = stream.read(&mut [0]);
            return Ok(());
        }
    };
    stream.write_all(text.as_bytes())
}
