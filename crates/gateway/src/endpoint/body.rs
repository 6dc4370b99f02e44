//! Bodies: what requests bring, within bounds, and answers that know when they have been sent.

use std::convert::Infallible;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::StatusCode;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::endpoint::refusal::Refusal;

/// Room for the bodies of all requests under way.
#[derive(Debug, Clone)]
pub(crate) struct BodyRoom {
    free: Arc<Semaphore>,
    /// Bytes of one body at most.
    longest: usize,
}

/// A body that has come whole, and its room.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

impl BodyRoom {
    pub(crate) fn new(longest: usize) -> Self {
        let all = BODIES.max(longest).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(all)), longest }
    }

    /// Takes a body in. Memory is taken as its bytes come.
    pub(crate) async fn take<B>(&self, body: B) -> Result<Whole, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        match tokio::time::timeout(PATIENCE, self.collect(body)).await {
            Ok(taken) => taken,
            Err(_) => {
                let why = "the request has not come whole in 30 seconds";
                Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", why))
            }
        }
    }

    async fn collect<B>(&self, body: B) -> Result<Whole, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let too_large = || {
            let why = format!("the body is longer than {} bytes", self.longest);
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", why)
        };
        if body.size_hint().lower() > self.longest as u64 {
            return Err(too_large());
        }
        let mut body = std::pin::pin!(body);
        let mut whole = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let why = format!("the body has not come whole: {error}");
                Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", why)
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > self.longest {
                return Err(too_large());
            }
            let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let Ok(more) = Arc::clone(&self.free).try_acquire_many_owned(bytes) else {
                return Err(Refusal::busy("too many large requests come at once: try again"));
            };
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            whole.extend_from_slice(&data);
        }
        Ok(Whole { bytes: whole.freeze(), room })
    }
}

/// The body of an answer, with what is to be kept until it has been sent or nobody wants it.
#[derive(Debug)]
pub(crate) struct Kept<K> {
    body: BoxBody<Bytes, Infallible>,
    _kept: K,
}

impl<K> Kept<K> {
    pub(crate) fn new(body: BoxBody<Bytes, Infallible>, kept: K) -> Self {
        Self { body, _kept: kept }
    }
}

impl<K: Unpin> Body for Kept<K> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of the bodies of all requests that are being taken in. What would exceed it is refused.
const BODIES: usize = 64 << 20;

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn bodies_are_bounded_by_what_comes() {
        let room = BodyRoom::new(8);
        let body = |text: &'static str| Full::new(Bytes::from(text));
        let taken = room.take(body("12345678")).await.expect("it fits");
        assert_eq!(&taken.bytes[..], b"12345678");
        let status = |taken: Result<Whole, Refusal>| taken.expect_err("it is too long").status;
        assert_eq!(status(room.take(body("123456789")).await), 413);
        let unannounced = Frames(["12345", "6789"].map(Bytes::from).into_iter().collect());
        assert_eq!(status(room.take(unannounced).await), 413);
        let greedy = Arc::clone(&room.free).acquire_many_owned((BODIES - 8 - 7) as u32).await;
        assert_eq!(status(room.take(body("12345678")).await), 503);
        drop(taken);
        assert!(room.take(body("12345678")).await.is_ok());
        drop(greedy);
    }

    struct Frames(std::collections::VecDeque<Bytes>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|data| Ok(Frame::data(data))))
        }
    }
}
