//! A way of one's own to the broker, in place of an address.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::link::Link;

/// Opens a byte stream to the broker; it is asked for each connection.
#[derive(Clone)]
pub struct Dial(Arc<dyn Fn() -> io::Result<Box<dyn Link>> + Send + Sync>);

impl Dial {
    /// `open` opens the stream, at once.
    pub fn new<S>(open: impl Fn() -> io::Result<S> + Send + Sync + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self(Arc::new(move || open().map(|stream| Box::new(stream) as Box<dyn Link>)))
    }

    pub(crate) fn open(&self) -> io::Result<Box<dyn Link>> {
        (self.0)()
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}
