//! Room for the lists of servers: what all of those that one connection knows may take together,
//! and those of all connections of one process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentmq_sdk::weight;

use crate::follow::SERVERS;
use crate::room::{Full, Room};

/// For the lists of a process that has one connection.
pub(crate) fn of_connection() -> Room {
    of_servers(OF_CONNECTION, None)
}

/// For the lists of all connections of a process, so many at most.
pub(crate) fn of_all(connections: usize) -> Room {
    Room::of_parts(OF_ALL, connections, SHORT_OF_CONNECTION, None)
}

/// For the lists of one of all these connections.
pub(crate) fn of_one(all: &Room) -> Room {
    of_servers(OF_CONNECTION, Some(all.clone()))
}

/// The tools of MQTT.Agent are one server more.
fn of_servers(bytes: usize, all: Option<Room>) -> Room {
    Room::of_parts(bytes, SERVERS + 1, SHORT, all)
}

/// What the lists of one server take, until this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    /// A part of its connection's.
    room: Room,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    /// Why it is not all, if it is not.
    full: Option<Full>,
}

impl Share {
    /// One that takes nothing yet.
    pub(crate) fn new(room: &Room) -> Arc<Self> {
        Self { room: Room::new(usize::MAX, Some(room.clone())), kept: Mutex::default() }.into()
    }

    /// The lists are read anew. What they take now is room for those that come: a list that is read
    /// twice needs no room twice. Until they are kept both are in memory, so for that time it can
    /// be twice what the room says.
    pub(crate) fn reading(self: &Arc<Self>) -> Reading {
        Reading { share: self.clone(), used: Mutex::new(Used::default()) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.give_back(self.kept().bytes);
    }
}

/// Lists that are being read. Unless they are kept, all is as it was when this is dropped.
#[derive(Debug)]
pub(crate) struct Reading {
    share: Arc<Share>,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    bytes: usize,
    /// How many of these were taken beside what was kept.
    beside: usize,
    full: Option<Full>,
}

impl Reading {
    /// Takes room for an item, given as JSON; `false`: there is none, and it is to be left out.
    pub(crate) fn fits(&self, item: &[u8]) -> bool {
        self.take(weight(item))
    }

    fn take(&self, bytes: usize) -> bool {
        let mut used = self.used();
        let after = used.bytes.saturating_add(bytes);
        let beside = after.saturating_sub(self.share.kept().bytes + used.beside);
        match self.share.room.take(beside) {
            Ok(()) => {
                used.beside += beside;
                used.bytes = after;
            }
            Err(full) => used.full = Some(full),
        }
        used.full.is_none()
    }

    /// These lists are those of the server, by its name, from now on. Returns whether they are
    /// whole; when they begin not to be, the log tells.
    pub(crate) fn keep(self, server: &str) -> bool {
        let mut used = self.used();
        let mut kept = self.share.kept();
        let held = kept.bytes + std::mem::take(&mut used.beside);
        self.share.room.give_back(held.saturating_sub(used.bytes));
        let before = std::mem::replace(&mut *kept, Kept { bytes: used.bytes, full: used.full });
        if let Some(Full(bound)) = kept.full.filter(|_| before.full.is_none()) {
            let whose = if bound == OF_ALL { "of all clients" } else { "of this client" };
            tracing::warn!(
                server,
                "the rest of its lists is left out: the lists of all servers {whose} have at most \
                 {bound} bytes of memory, half of which is for short ones"
            );
        }
        kept.full.is_none()
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.share.room.give_back(self.used().beside);
    }
}

/// For the lists of all servers that one connection knows: 64 MiB. What does not fit is left out.
/// Half of it is for short lists.
const OF_CONNECTION: usize = 64 << 20;

/// Lists of a server for which no other server can take the room: 128 KiB, or 32 MiB of all.
const SHORT: usize = 128 << 10;

/// For the lists of all connections of an endpoint: 512 MiB, with the same policy.
const OF_ALL: usize = 512 << 20;

/// Short lists of a connection for which no other connection can take the room: 256 KiB, or 256 MiB
/// of all.
const SHORT_OF_CONNECTION: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_all_servers_share_their_room_and_give_it_back() {
        let all = Room::new(150, None);
        let (one, other) = (Room::new(100, Some(all.clone())), Room::new(100, Some(all.clone())));
        let (calc, more, far) = (Share::new(&one), Share::new(&one), Share::new(&other));
        let read = |share: &Arc<Share>, bytes: usize| {
            let reading = share.reading();
            let taken = (0..bytes / 10).filter(|_| reading.take(10)).count() * 10;
            (taken, reading.keep("a"), share.kept().full)
        };
        assert_eq!(read(&calc, 60), (60, true, None));
        assert_eq!(read(&more, 60), (40, false, Some(Full(100))), "of one connection");
        assert_eq!(read(&far, 60), (50, false, Some(Full(150))), "of all connections");
        // Read anew, a list has the room that it had; a shorter one gives some back.
        assert_eq!(read(&calc, 60), (60, true, None));
        assert_eq!(read(&calc, 30), (30, true, None));
        assert_eq!((Room::taken(&one), Room::taken(&other), Room::taken(&all)), (70, 50, 120));
        // What could not be read whole leaves all as it was.
        let reading = more.reading();
        assert!(reading.take(70) && !reading.take(1));
        drop(reading);
        assert_eq!((Room::taken(&one), Room::taken(&all)), (70, 120));
        drop((calc, more, far));
        assert_eq!((Room::taken(&one), Room::taken(&other), Room::taken(&all)), (0, 0, 0));
    }

    #[test]
    fn long_lists_leave_room_for_short_ones() {
        let fill = |connection: &Room| {
            let share = Share::new(connection);
            let reading = share.reading();
            while reading.take(SHORT) {}
            reading.keep("long");
            share
        };
        let all = of_all(1024);
        let connection = of_one(&all);
        let long = fill(&connection);
        assert_eq!(connection.taken(), OF_CONNECTION / 2 - SHORT);
        let short: Vec<_> = (1..SERVERS).map(|_| Share::new(&connection)).collect();
        for share in &short {
            let reading = share.reading();
            assert!(reading.take(SHORT) && reading.keep("short"), "each has its part");
        }
        drop(short);
        let others: Vec<_> = (1..16).map(|_| of_one(&all)).collect();
        let long: Vec<_> = others.iter().map(fill).chain([long]).collect();
        let last = of_one(&all);
        let _long = fill(&last);
        assert_eq!(last.taken(), SHORT, "so does each connection, and a server of it");
        assert!(Share::new(&last).reading().take(SHORT));
        drop(long);
    }
}
