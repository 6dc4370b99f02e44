//! The bytes of a stream of events, of which none may be too long: whoever reads them puts each
//! together in memory.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A body that fails in an event that is too long.
#[derive(Debug)]
pub(crate) struct Events<B> {
    body: B,
    longest: usize,
    /// Bytes of the event that has begun.
    length: usize,
    /// Whether the last byte ended a line: a second end in its place ends the event.
    at_line_start: bool,
}

/// Why no more comes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventError<E: std::error::Error + 'static> {
    #[error(transparent)]
    Body(E),
    #[error("an event has more than {0} bytes")]
    TooLong(usize),
}

impl<B> Events<B> {
    pub(crate) fn new(body: B, longest: usize) -> Self {
        Self { body, longest, length: 0, at_line_start: true }
    }

    /// Lines end with LF, or CR and LF; where they end with CR alone, all is one event.
    fn fits(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            self.length += 1;
            match byte {
                b'\n' | b'\r' if self.at_line_start => self.length = 0,
                b'\n' => self.at_line_start = true,
                b'\r' => {}
                _ => self.at_line_start = false,
            }
            if self.length > self.longest {
                return false;
            }
        }
        true
    }
}

impl<B> Body for Events<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    type Data = Bytes;
    type Error = EventError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(EventError::Body);
        if let Ok(frame) = &frame
            && let Some(bytes) = frame.data_ref()
            && !self.fits(bytes)
        {
            return Poll::Ready(Some(Err(EventError::TooLong(self.longest))));
        }
        Poll::Ready(Some(frame))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_may_be_so_long() {
        for end in ["\n", "\r\n"] {
            let event = format!("data: 123456{end}{end}");
            let mut events = Events::new((), 16);
            for _ in 0..10 {
                assert!(events.fits(event.as_bytes()), "{event:?}");
            }
            assert!(events.fits(b"data: 1234") && !events.fits(b"5678901"));
        }
        let mut lines = Events::new((), 16);
        assert!(lines.fits(b"data: 1\ndata: 2\n") && !lines.fits(b"data: 3\n"), "one event");
    }
}
