//! A path of this server that somebody else answers: as often, as much and for as long as he likes.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request};
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use hyper::body::Body as HttpBody;

use crate::stay::Stay;

/// A path, and who answers requests for it. Only names, origins and heads of the requests are
/// looked at before he gets them.
#[derive(Clone)]
pub struct Mount {
    pub(crate) path: &'static str,
    answer: Arc<dyn Fn(Request, Visitor) -> Answer + Send + Sync>,
}

type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Who has sent a request.
#[derive(Debug, Clone)]
pub struct Visitor {
    pub(crate) address: SocketAddr,
    pub(crate) stay: Stay,
}

impl Mount {
    /// `answer` answers what is asked at `path`.
    pub fn new<F, A, B>(path: &'static str, answer: F) -> Self
    where
        F: Fn(Request, Visitor) -> A + Send + Sync + 'static,
        A: Future<Output = hyper::Response<B>> + Send + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answer = move |request, visitor| -> Answer {
            let answer = answer(request, visitor);
            Box::pin(async move { answer.await.map(Body::new) })
        };
        Self { path, answer: Arc::new(answer) }
    }

    pub(crate) fn route(self) -> MethodRouter {
        any(move |Extension(visitor): Extension<Visitor>, request: Request| {
            (self.answer)(request, visitor)
        })
    }
}

impl Visitor {
    /// Where he comes from.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// He is known, and what he has asked for may take long: his connection may stay, and takes no
    /// place from others.
    pub fn may_stay(&self) {
        self.stay.allow();
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("path", &self.path).finish_non_exhaustive()
    }
}
