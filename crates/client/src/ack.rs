//! The token that a publication returns.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use agentmq_codec::ReasonCode;
use tokio::sync::oneshot;

use crate::Error;
use crate::ending::Ending;

/// Resolves when the publication is complete: at PUBACK for QoS 1, at PUBCOMP for QoS 2, and when
/// the packet has been written to the connection's buffer for QoS 0. A reason code of 0x80 and
/// above is an [`Error::Rejected`]. It outlives reconnections. Dropping it cancels nothing.
#[derive(Debug)]
#[must_use = "await it to know that the broker took the message, or drop it on purpose"]
pub struct Ack {
    pub(crate) answer: oneshot::Receiver<Result<ReasonCode, Error>>,
    pub(crate) ending: Ending,
}

impl Future for Ack {
    type Output = Result<ReasonCode, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let done = std::task::ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(done.unwrap_or_else(|_| Err(self.ending.error())))
    }
}
