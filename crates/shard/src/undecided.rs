//! Clients whose CONNECT is not decided yet, since an exchange or somebody who takes long decides.
//! They may get a session here: until then nobody of the same name gets one on another shard, or
//! there would be two.

use agentmq_router::ConnectionId;

use crate::shard::Shard;

impl Shard {
    /// A CONNECT has been handled: if it is not decided, its client's home is here until it is.
    pub(crate) fn note_undecided(&mut self, key: usize) {
        if self.directory.shards() == 1 {
            return;
        }
        if let Some(client_id) = self.router.undecided(ConnectionId(key as u32)) {
            let client = self.directory.key(&client_id);
            self.directory.retain(client, self.place);
            self.undecided.insert(key, client);
        }
    }

    /// A connection has gone on: its CONNECT may be decided.
    pub(crate) fn note_decided(&mut self, key: usize) {
        if self.undecided.contains_key(&key)
            && self.router.undecided(ConnectionId(key as u32)).is_none()
        {
            self.forget_undecided(key);
        }
    }

    /// It is decided, or has gone.
    pub(crate) fn forget_undecided(&mut self, key: usize) {
        if let Some(client) = self.undecided.remove(&key) {
            self.list_sessions(); // before the hold is given up
            self.directory.release(client);
        }
    }
}
