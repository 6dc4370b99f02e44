//! The way in for clients within the broker's own process: what is connected here is a client like
//! any other, who has come through no listener.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};

use agentmq_net::Link;
use agentmq_shard::{Command, ShardHandle};

/// The door. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct InnerDoor {
    /// The shard that clients come to; nobody, while the broker is starting.
    shard: Arc<OnceLock<ShardHandle>>,
    /// Behind those of the listeners.
    number: u16,
}

impl InnerDoor {
    /// The door behind so many listeners.
    pub(crate) fn behind(listeners: usize) -> Self {
        let number = u16::try_from(listeners).unwrap_or(u16::MAX);
        Self { shard: Arc::default(), number }
    }

    /// From now on there is somebody to come to.
    pub(crate) fn open(&self, shard: &ShardHandle) {
        let _ = self.shard.set(shard.clone());
    }

    /// A new connection, over which MQTT is spoken, for somebody at this address: rules, lockouts
    /// and the audit log see that one.
    ///
    /// # Errors
    /// The system's, when it has no descriptors left; [`io::ErrorKind::NotConnected`] while the
    /// broker is starting.
    pub fn connect(&self, from: SocketAddr) -> io::Result<UnixStream> {
        let shard = self.shard.get().ok_or(io::ErrorKind::NotConnected)?;
        let (ours, theirs) = UnixStream::pair()?;
        let link = Link::paired(theirs, from)?;
        shard.send(Command::Adopt { link, door: self.number });
        Ok(ours)
    }
}
