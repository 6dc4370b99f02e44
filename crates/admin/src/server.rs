//! The HTTP server: its thread, its connections and its routes.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use agentmq_audit::Trail;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio_rustls::TlsAcceptor;

use crate::answer::Refusal;
use crate::doorkeeper::{Doorkeeper, keep};
use crate::health::{health, public_keys};
use crate::impatient::Impatient;
use crate::mount::{Mount, Visitor};
use crate::places::{CONNECTIONS, Places};
use crate::rate::Rate;
use crate::services::Services;
use crate::stay::{STAYING, Stay};
use crate::tls::TlsIdentity;
use crate::token_routes::{Source, TokenDesk, create, exchange, providers, refresh};

/// What a server is started with.
#[derive(Debug)]
pub struct AdminOptions {
    /// Where it listens; port 0 takes any free one.
    pub address: SocketAddr,
    /// For `https`.
    pub tls: Option<TlsIdentity>,
    /// Whom it listens to.
    pub doorkeeper: Doorkeeper,
    /// What it answers with.
    pub services: Services,
    /// Where it is told what was given out.
    pub trail: Trail,
    /// A path that somebody else answers.
    pub mount: Option<Mount>,
}

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("cannot listen on {address} (admin.url): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The TLS files cannot be used.
    #[error("admin.cert, admin.key: {0}")]
    Tls(String),
    /// The system gave no thread or event queue.
    #[error("cannot start the HTTP server: {0}; check the limits (ulimit -n, -u)")]
    System(#[from] io::Error),
}

impl Admin {
    /// Binds the address and starts serving.
    pub fn start(options: AdminOptions) -> Result<Self, AdminError> {
        let AdminOptions { address, tls, doorkeeper, services, trail, mount } = options;
        let tls = tls.map(|files| files.load()).transpose().map_err(AdminError::Tls)?;
        let bound =
            TcpListener::bind(address).map_err(|source| AdminError::Bind { address, source })?;
        bound.set_nonblocking(true)?;
        let address = bound.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel();
        let routes = routes(services, trail, doorkeeper, mount);
        let thread = Builder::new().name("admin".into()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = accept(bound, tls, routes) => {}
                    _ = ended => {}
                }
            });
        })?;
        Ok(Self { address, end: Some(end), thread: Some(thread) })
    }

    /// Where it listens, with the port that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn routes(
    services: Services,
    trail: Trail,
    doorkeeper: Doorkeeper,
    mount: Option<Mount>,
) -> Router {
    let desk = TokenDesk { services: services.clone(), rate: Arc::new(Rate::default()), trail };
    let tokens = Router::new()
        .route("/v2/tokens/create", post(create))
        .route("/v2/tokens/exchange", post(exchange))
        .route("/v2/tokens/refresh", post(refresh))
        .route("/v2/providers", get(providers))
        .with_state(desk);
    let ours = Router::new()
        .route("/healthz", get(health))
        .route("/.well-known/jwks.json", get(public_keys))
        .with_state(services)
        .merge(tokens)
        .fallback(nothing)
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .layer(middleware::map_response(in_json))
        .layer(middleware::from_fn(in_time));
    let all = match mount {
        Some(mount) => Router::new().route(mount.path, mount.route()).fallback_service(ours),
        None => ours,
    };
    all.layer(middleware::from_fn_with_state(doorkeeper, keep))
}

/// A body that does not come is not waited for.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let why = "the request has not come whole in ten seconds";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", why).into_response()
        }
    }
}

/// What is refused before it comes to us is told in the same words.
async fn in_json(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|it| it == "application/json");
    if is_json || !status.is_client_error() {
        return response;
    }
    let (error, why) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is longer than 64 KiB"),
        StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "see Allow for what is"),
        _ => ("invalid_request", "the body or the query of the request cannot be read"),
    };
    let allowed = response.headers().get(ALLOW).cloned();
    let mut answer = Refusal::new(status, error, why).into_response();
    answer.headers_mut().extend(allowed.map(|methods| (ALLOW, methods)));
    answer
}

async fn nothing() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

async fn accept(bound: TcpListener, tls: Option<TlsAcceptor>, routes: Router) {
    let listener = match tokio::net::TcpListener::from_std(bound) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the HTTP server cannot start"),
    };
    let (room, places) = (Arc::new(Semaphore::new(CONNECTIONS)), Places::default());
    let staying = Arc::new(Semaphore::new(STAYING));
    loop {
        let Ok(room) = Arc::clone(&room).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = places.take(peer.ip()) else {
            tracing::debug!(%peer, "an HTTP connection too many of one address is closed");
            continue;
        };
        let (tls, routes) = (tls.clone(), routes.clone());
        let stay = Stay::new((room, place), Arc::clone(&staying));
        let visitor = Visitor { address: peer, stay: stay.clone() };
        tokio::spawn(async move {
            tokio::select! {
                () = connection(stream, visitor, tls, routes) => {}
                () = stay.over() => tracing::debug!(%peer, "an HTTP connection took too long"),
            }
        });
    }
}

async fn connection(stream: TcpStream, visitor: Visitor, tls: Option<TlsAcceptor>, routes: Router) {
    let _ = stream.set_nodelay(true);
    let peer = visitor.address;
    match tls {
        None => serve(stream, visitor, routes).await,
        Some(tls) => match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, visitor, routes).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
        },
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    visitor: Visitor,
    routes: Router,
) {
    let peer = visitor.address;
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Source(peer.ip()));
        request.extensions_mut().insert(visitor.clone());
        routes.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(Impatient::new(stream)), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "an HTTP connection failed");
    }
}

/// For a handshake, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a body at most: a token has 16 KiB.
const LONGEST_BODY: usize = 64 * 1024;
/// Bytes of a request's head at most.
const LONGEST_HEAD: usize = 32 * 1024;
