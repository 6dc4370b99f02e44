//! The HTTP of a client of MCP: requests over connections that are kept, to one server and nowhere
//! else. Redirects are not followed: the token is for this server.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use agentmq_client::web_stream;
use agentmq_sdk::mcp::MESSAGE_BYTES;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rmcp::model::ClientJsonRpcMessage;
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use sse_stream::{Sse, SseStream};

use crate::http_server::events::Events;
use crate::http_server::{HttpServer, Reached};

/// Asks one server. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: HttpServer,
    reached: Reached,
    /// Connections that have been used, and may be again.
    kept: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// What went wrong between us and the server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HttpFault(String);

type Failed = StreamableHttpError<HttpFault>;

impl HttpClient {
    pub(crate) fn new(server: HttpServer, reached: Reached) -> Self {
        Self(Arc::new(Inner { server, reached, kept: Mutex::default() }))
    }

    /// A request with the headers of this session.
    fn request(
        &self,
        method: Method,
        session: Option<&str>,
        more: HashMap<HeaderName, HeaderValue>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failed> {
        let server = &self.0.server;
        let text = |text: &str| HeaderValue::from_str(text).map_err(|error| fault(&error));
        let path = server.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|error| fault(&error))?;
        let headers = request.headers_mut();
        headers.extend(server.headers.clone());
        headers.extend(more);
        let host = server.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        headers.insert(HOST, text(host)?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(session) = session {
            headers.insert(SESSION_ID, text(session)?);
        }
        Ok(request)
    }

    /// Sends a request. A server that cannot be reached, or knows nothing of our session, is lost.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failed> {
        let has_session = request.headers().contains_key(SESSION_ID);
        let response = match self.exchange(request).await {
            Ok(response) => response,
            Err(error) => {
                self.0.reached.lose(error.0.clone());
                return Err(StreamableHttpError::Client(error));
            }
        };
        let status = response.status();
        if status == StatusCode::NOT_FOUND && has_session {
            self.0.reached.lose("it knows nothing of our session any more".into());
            return Err(StreamableHttpError::SessionExpired);
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let why = format!("it does not let us in ({status})");
            self.0.reached.lose(why.clone());
            return Err(StreamableHttpError::Client(HttpFault(why)));
        }
        if status.is_redirection() {
            let elsewhere = response.headers().get(LOCATION).and_then(|it| it.to_str().ok());
            let elsewhere = elsewhere.unwrap_or("somewhere else");
            let why = format!("it is at {elsewhere} (a redirect, which is not followed)");
            self.0.reached.lose(why.clone());
            return Err(StreamableHttpError::Client(HttpFault(why)));
        }
        Ok(response)
    }

    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, HttpFault> {
        // A connection that was kept may have been closed meanwhile: then nothing was sent.
        while let Some(mut line) = self.kept_line() {
            match line.try_send_request(request).await {
                Ok(response) => {
                    self.keep(line);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(HttpFault(error.into_error().to_string())),
                },
            }
        }
        let mut line = self.new_line().await?;
        let response = line.send_request(request).await;
        let response = response.map_err(|error| HttpFault(error.to_string()))?;
        self.keep(line);
        Ok(response)
    }

    async fn new_line(&self) -> Result<SendRequest<Full<Bytes>>, HttpFault> {
        let options = &self.0.server.options;
        let opening = tokio::time::timeout(options.connect_timeout, web_stream(options)).await;
        let stream = match opening {
            Ok(Ok(stream)) => stream,
            Ok(Err(agentmq_client::Error::Connect { source, .. })) => {
                return Err(HttpFault(source.to_string()));
            }
            Ok(Err(agentmq_client::Error::Layer { layer, why, .. })) => {
                return Err(HttpFault(format!("{layer}: {why}")));
            }
            Ok(Err(error)) => return Err(HttpFault(error.to_string())),
            Err(_) => return Err(HttpFault("no connection in time".into())),
        };
        let begun = handshake(TokioIo::new(stream)).await;
        let (line, connection) = begun.map_err(|error| HttpFault(error.to_string()))?;
        // What goes wrong with it, whoever sends hears.
        tokio::spawn(async { drop(connection.await) });
        Ok(line)
    }

    /// One whose last answer has come whole.
    fn kept_line(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|line| !line.is_closed());
        let idle = kept.iter().position(SendRequest::is_ready)?;
        Some(kept.swap_remove(idle))
    }

    fn keep(&self, line: SendRequest<Full<Bytes>>) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(line);
        }
    }
}

impl StreamableHttpClient for HttpClient {
    type Error = HttpFault;

    async fn post_message(
        &self,
        _: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let wants_answer = matches!(message, ClientJsonRpcMessage::Request(_));
        let body = serde_json::to_vec(&message)?.into();
        let mut request = self.request(Method::POST, session.as_deref(), headers, body)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        let response = self.send(request).await?;
        let (status, kind) = (response.status(), kind(response.headers()));
        let session = response.headers().get(SESSION_ID).and_then(|id| id.to_str().ok());
        let session = session.map(str::to_owned);
        if status.is_success() && !wants_answer {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        match (status.is_success(), kind) {
            (true, Kind::Events) => {
                Ok(StreamableHttpPostResponse::Sse(events(response.into_body()), session))
            }
            // A JSON-RPC error may come with a status of its own.
            (_, Kind::Json) => {
                let body = Limited::new(response.into_body(), MESSAGE_BYTES).collect().await;
                let body = body.map_err(|error| fault(&error))?.to_bytes();
                let message = serde_json::from_slice(&body).map_err(|error| {
                    let what = format!("{status} with no message of MCP: {error}");
                    StreamableHttpError::UnexpectedServerResponse(Cow::Owned(what))
                })?;
                Ok(StreamableHttpPostResponse::Json(message, session))
            }
            _ => {
                let what = format!("{status}, which is no answer of an MCP server");
                Err(StreamableHttpError::UnexpectedServerResponse(Cow::Owned(what)))
            }
        }
    }

    async fn delete_session(
        &self,
        _: Arc<str>,
        session: Arc<str>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        let request = self.request(Method::DELETE, Some(&session), headers, Bytes::new())?;
        // Whoever is gone by now has ended it, too.
        if !self.0.reached.lost.is_cancelled() {
            drop(self.exchange(request).await);
        }
        Ok(())
    }

    async fn get_stream(
        &self,
        _: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failed> {
        let mut request = self.request(Method::GET, session.as_deref(), headers, Bytes::new())?;
        if let Some(id) = last_event {
            let id = HeaderValue::from_str(&id).map_err(|error| fault(&error))?;
            request.headers_mut().insert("last-event-id", id);
        }
        let response = self.send(request).await?;
        match (response.status().is_success(), kind(response.headers())) {
            (true, Kind::Events) => Ok(events(response.into_body())),
            _ => Err(StreamableHttpError::ServerDoesNotSupportSse),
        }
    }
}

fn events(body: Incoming) -> BoxStream<'static, Result<Sse, SseError>> {
    Box::pin(SseStream::new(Events::new(body, MESSAGE_BYTES)))
}

fn fault(error: &impl ToString) -> Failed {
    StreamableHttpError::Client(HttpFault(error.to_string()))
}

/// What an answer says that it is.
enum Kind {
    Json,
    Events,
    Other,
}

fn kind(headers: &HeaderMap) -> Kind {
    let text = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        JSON => Kind::Json,
        "text/event-stream" => Kind::Events,
        _ => Kind::Other,
    }
}

const JSON: &str = "application/json";
const SESSION_ID: &str = "mcp-session-id";

/// Connections that are kept. Further ones are closed behind their answer.
const KEPT: usize = 16;
