//! The web service that says who a client is, asked over HTTP. Blocks the thread of whoever asks.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agentmq_identity::{HookFault, HookReply, HookService};
use axum::body::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, Response, Uri};
use tokio::runtime::{Builder, Runtime};

use crate::fault_log::FaultLog;
use crate::peer::{Line, Peer, USER_AGENT, shown};

/// Where the service is, and how it is asked.
#[derive(Debug, Clone)]
pub struct HookOptions {
    /// Its address.
    pub url: String,
    /// Authorities to trust instead of the system's, in PEM.
    pub ca: Option<PathBuf>,
    /// What the broker proves itself with (Authorization: Bearer).
    pub secret: Option<String>,
    /// From the question to the last byte of its answer.
    pub timeout: Duration,
}

/// Asks the service, by connections that are kept for the next question.
pub struct HookClient {
    url: String,
    peer: Peer,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    began: Instant,
    idle: Mutex<Vec<Idle>>,
    log: Mutex<FaultLog>,
    /// Drives the connections; `None` only while this is dropped.
    runtime: Option<Runtime>,
}

/// A connection that nobody uses.
struct Idle {
    line: Line,
    since: Instant,
}

impl HookClient {
    /// What is wrong with the service's address; `None`: nothing.
    #[must_use]
    pub fn problem(url: &str) -> Option<&'static str> {
        let why_tls = "whoever is on the way could read passwords and let himself in: write \
                       https://";
        if let Some(problem) = Peer::problem(url, why_tls) {
            return Some(problem);
        }
        let uri: Uri = url.parse().ok()?;
        let has_password = uri.authority().is_some_and(|it| it.as_str().contains('@'));
        has_password.then_some("it has a password in it: put a secret into access.hook.secret")
    }

    /// Reads what the options name; the error says what is wrong with it.
    pub fn new(options: HookOptions) -> Result<Self, String> {
        let HookOptions { url, ca, secret, timeout } = options;
        let peer = Peer::new(&url, ca.as_deref())?;
        let authorization = match secret {
            None => None,
            Some(secret) => {
                let value = HeaderValue::try_from(format!("Bearer {secret}"));
                let mut value = value.map_err(|_| "the secret is no text for an HTTP header")?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).max_blocking_threads(RESOLVERS).thread_name("hook").enable_all();
        let runtime = builder.build().map_err(|error| format!("no thread for it: {error}"))?;
        let url = url.split(['?', '#']).next().unwrap_or_default().to_owned();
        Ok(Self {
            url,
            peer,
            authorization,
            timeout,
            began: Instant::now(),
            idle: Mutex::default(),
            log: Mutex::default(),
            runtime: Some(runtime),
        })
    }

    async fn exchange(
        &self,
        question: &[u8],
        is_reached: &Cell<bool>,
    ) -> Result<HookReply, HookFault> {
        let body = Bytes::copy_from_slice(question);
        if let Some(mut line) = self.idle_line() {
            is_reached.set(true);
            // The server may have closed it in this moment: only a new one tells whether it is
            // there.
            match line.sender.send_request(self.request(&body)?).await {
                Ok(response) => return self.finish(line, response).await,
                Err(error) if error.is_parse() => return Err(HookFault::Wrong(shown(error))),
                Err(_) => {}
            }
        }
        is_reached.set(false);
        let mut line = self.peer.call().await.map_err(HookFault::Unreached)?;
        is_reached.set(true);
        match line.sender.send_request(self.request(&body)?).await {
            Ok(response) => self.finish(line, response).await,
            Err(error) if error.is_parse() => Err(HookFault::Wrong(shown(error))),
            Err(error) => Err(HookFault::Silent(shown(error))),
        }
    }

    fn request(&self, body: &Bytes) -> Result<Request<Full<Bytes>>, HookFault> {
        let mut request = Request::post(self.peer.path())
            .header("host", self.peer.authority())
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .header("user-agent", USER_AGENT);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Full::new(body.clone()));
        request.map_err(|error| HookFault::Wrong(shown(error)))
    }

    async fn finish(
        &self,
        line: Line,
        response: Response<Incoming>,
    ) -> Result<HookReply, HookFault> {
        let status = response.status().as_u16();
        let body = match Limited::new(response.into_body(), MOST_BYTES).collect().await {
            Ok(body) => body.to_bytes().to_vec(),
            Err(error) if error.is::<LengthLimitError>() => {
                let why = format!("its answer has more than {MOST_BYTES} bytes");
                return Err(HookFault::Wrong(why));
            }
            Err(error) => return Err(HookFault::Silent(format!("half of its answer: {error}"))),
        };
        self.keep(line);
        Ok(HookReply { status, body })
    }

    /// Keeps a connection for another question.
    fn keep(&self, line: Line) {
        let mut idle = self.idle();
        if idle.len() < MOST_IDLE && !line.sender.is_closed() {
            idle.push(Idle { line, since: Instant::now() });
        }
    }

    /// The connection that was used last of those that take a question now, and that are not so old
    /// that something between here and there may have forgotten them.
    fn idle_line(&self) -> Option<Line> {
        let mut idle = self.idle();
        idle.retain(|it| it.since.elapsed() < IDLE && !it.line.sender.is_closed());
        let at = idle.iter().rposition(|it| it.line.sender.is_ready())?;
        Some(idle.remove(at).line)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HookService for HookClient {
    fn ask(&self, question: &[u8]) -> Result<HookReply, HookFault> {
        let Some(runtime) = &self.runtime else { return Err(HookFault::Unreached("over".into())) };
        let is_reached = Cell::new(false);
        runtime.block_on(async {
            match tokio::time::timeout(self.timeout, self.exchange(question, &is_reached)).await {
                Ok(reply) => reply,
                Err(_) => {
                    let why = format!("nothing whole came in {} ms", self.timeout.as_millis());
                    Err(match is_reached.get() {
                        true => HookFault::Silent(why),
                        false => HookFault::Unreached(why),
                    })
                }
            }
        })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn note(&self, went: Result<(), &str>) {
        let url = &self.url;
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        match went {
            Ok(()) if log.answered() => tracing::info!(url, "the hook answers again"),
            Ok(()) => {}
            Err(why) => {
                if let Some(more) = log.failed(self.began.elapsed()) {
                    tracing::error!(url, more, "the hook does not say who a client is: {why}");
                }
            }
        }
    }
}

impl Drop for HookClient {
    /// Without waiting: it may be a shard that lets go last.
    fn drop(&mut self) {
        self.idle().clear();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for HookClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HookClient").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Bytes of an answer at most.
const MOST_BYTES: usize = 16 * 1024;
/// Connections that are kept at most, and for how long.
const MOST_IDLE: usize = 32;
const IDLE: Duration = Duration::from_secs(15);
/// Threads that look up its address at most: a resolver that hangs holds them.
const RESOLVERS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_travel_by_tls_or_stay_on_this_machine() {
        for url in ["https://id.example?to=a@b", "http://127.0.0.1:80/", "http://localhost/who"] {
            assert_eq!(HookClient::problem(url), None, "{url}");
        }
        for url in ["http://id.example/", "http://10.0.0.1/", "hook", "ftp://127.0.0.1/"] {
            assert!(HookClient::problem(url).is_some(), "{url}");
        }
        let secret = HookClient::problem("https://me:canary@id.example/").expect("has a secret");
        assert!(secret.contains("access.hook.secret"));
    }

    #[test]
    fn a_secret_is_not_printed_and_must_fit_into_a_header() {
        let client = |secret: &str| {
            HookClient::new(HookOptions {
                url: "http://127.0.0.1:1/?key=canary".into(),
                ca: None,
                secret: Some(secret.into()),
                timeout: Duration::from_secs(1),
            })
        };
        let shown = format!("{:?}", client("canary").expect("is one"));
        assert!(!shown.contains("canary") && shown.contains("127.0.0.1"), "{shown}");
        assert!(client("two\nlines").is_err());
    }
}
