//! Connections that move to the shard where their session has its home.

use agentmq_codec::{Connect, PacketType, PropertyLimits, frame};
use agentmq_net::Link;
use agentmq_router::Place;
use mio::{Interest, Token};

use crate::conn::Conn;
use crate::directory::ClientKey;
use crate::mailbox::Parcel;
use crate::shard::Shard;

/// A connection on its way: its link, registered nowhere, and what has been read of it, which
/// begins with its CONNECT.
#[derive(Debug)]
pub(crate) struct Handoff {
    pub(crate) link: Link,
    pub(crate) bytes: Vec<u8>,
    /// The listener of shard 0 that it came through.
    pub(crate) door: u16,
    /// What the directory keeps for it until it has arrived.
    pub(crate) key: Option<ClientKey>,
}

impl Shard {
    /// Where the connection belongs whose first bytes are these: `None` for here, or while its
    /// CONNECT has not arrived whole or is not valid, in which case the router answers it.
    pub(crate) fn belongs_to(&mut self, bytes: &[u8]) -> Option<(Place, Option<ClientKey>)> {
        let placer = self.placer.as_mut()?;
        let directory = &self.directory;
        let load = |place| directory.load(place);
        if placer.is_idle(load) {
            return None;
        }
        let limits = &self.settings.limits;
        let frame = frame::cut(bytes, limits.packet_bytes as usize).ok()??;
        if PacketType::of(frame.first) != Some(PacketType::Connect) {
            return None;
        }
        let limits = PropertyLimits {
            max_user_properties: limits.user_properties,
            max_user_property_bytes: limits.user_property_bytes,
        };
        let connect = Connect::decode(&bytes[frame.body_at..frame.total], &limits).ok()?;
        if connect.client_id.is_empty() {
            let place = placer.choose(load);
            return (place != self.place).then_some((place, None));
        }
        if self.router.has_session(connect.client_id) {
            return None;
        }
        let key = directory.key(connect.client_id);
        let place = directory.home(key, || placer.choose(load));
        (place != self.place).then_some((place, Some(key)))
    }

    /// Sends a connection that has not been open yet to another shard.
    pub(crate) fn hand_off(
        &mut self,
        key: usize,
        to: Place,
        client: Option<ClientKey>,
        bytes: Vec<u8>,
    ) {
        let Some(mut conn) = self.conns.remove(key) else { return };
        self.connecting_now -= 1;
        if let Err(error) = self.poll.registry().deregister(&mut conn.link) {
            tracing::warn!(%error, "a connection could not be moved to another shard");
            self.leave_door(&conn);
            if let Some(client) = client {
                self.directory.release(client);
            }
            return;
        }
        let handoff = Handoff { link: conn.link, bytes, door: conn.door, key: client };
        self.keep_for(to, Parcel::Handoff(Box::new(handoff)));
    }

    /// A connection has come from shard 0. The first one makes this shard active.
    pub(crate) fn handed_over(&mut self, handoff: Handoff) {
        if self.is_dormant {
            self.is_dormant = false;
            self.router.activate(self.directory.activate(self.place));
            tracing::info!(shard = self.place.0, "active from now on");
        }
        self.arriving.push(handoff);
    }

    /// Takes in the connections that have come, once this shard knows what the others know.
    pub(crate) fn take_in(&mut self) {
        if self.arriving.is_empty() || !self.router.is_welcomed() {
            return;
        }
        for handoff in std::mem::take(&mut self.arriving) {
            let client = handoff.key;
            self.take_in_one(handoff);
            self.list_sessions(); // before the handoff gives its hold up
            if let Some(client) = client {
                self.directory.release(client);
            }
        }
    }

    fn take_in_one(&mut self, handoff: Handoff) {
        self.generation = self.generation.wrapping_add(1);
        let mut conn = Conn::new(handoff.link, self.generation, handoff.door);
        conn.is_handed_over = true;
        let key = self.conns.insert(conn);
        self.connecting_now += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let link = &mut self.conns[key].link;
        if let Err(error) = self.poll.registry().register(link, Token(key), interest) {
            tracing::warn!(%error, "a connection from another shard could not be registered");
            return self.drop_conn(key);
        }
        // Counts enhanced authentication too, which its first shard could not wait for.
        self.await_connect(key, self.generation);
        self.handle_first(key, handoff.bytes);
        // What its layers hold was announced on the other shard.
        self.read(key, true);
    }

    /// Tells the directory which sessions have begun and ended here.
    pub(crate) fn list_sessions(&mut self) {
        let mut changes = std::mem::take(&mut self.session_changes);
        self.router.take_session_changes(&mut changes);
        if !changes.is_empty() {
            // Its client may begin anew elsewhere from now on: that stands behind in the log.
            self.router.submit(self.now);
        }
        for (client_id, has_begun) in changes.drain(..) {
            let key = self.directory.key(&client_id);
            if has_begun {
                self.directory.retain(key, self.place);
            } else {
                self.directory.release(key);
            }
        }
        self.session_changes = changes;
    }
}
