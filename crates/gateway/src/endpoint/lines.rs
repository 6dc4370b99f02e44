//! The connections to the bus of all HTTP clients: one for each token.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use agentmq_client::{Dial, Endpoint, Options, Transport};
use agentmq_sdk::mcp::Bus;
use tokio::sync::{OnceCell, Semaphore};

use crate::endpoint::line::{Line, Rooms, of_this_process};
use crate::endpoint::refusal::Refusal;
use crate::endpoint::sessions::places;
use crate::endpoint::unread::UnreadRoom;
use crate::list_room;
use crate::room::Room;

/// All of them. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Inner>);

struct Inner {
    /// `None` for who has brought no token.
    table: Mutex<HashMap<Option<Box<str>>, Cell>>,
    connect: Box<dyn Fn(SocketAddr) -> io::Result<UnixStream> + Send + Sync>,
    /// Those that are being opened.
    opening: Arc<Semaphore>,
    /// Where the tools of MQTT.Agent are, if there are any.
    namespace: Option<Arc<str>>,
    longest_body: usize,
    /// For sessions, of all lines.
    places: Arc<Semaphore>,
    /// For lists, of all lines.
    lists: Room,
    /// For what their clients have not read.
    unread: UnreadRoom,
}

/// A line, or one that somebody opens just now.
type Cell = Arc<OnceCell<Arc<Line>>>;

impl Lines {
    /// `connect` makes a connection to the broker for a client at an address.
    pub(crate) fn new(
        connect: impl Fn(SocketAddr) -> io::Result<UnixStream> + Send + Sync + 'static,
        namespace: Option<&str>,
        longest_body: usize,
    ) -> Self {
        Self(Arc::new(Inner {
            table: Mutex::default(),
            connect: Box::new(connect),
            opening: Semaphore::new(OPENING).into(),
            namespace: namespace.map(Into::into),
            longest_body,
            places: places(),
            lists: list_room::of_all(LINES),
            unread: UnreadRoom::of_all(),
        }))
    }

    /// The connection of who brings this token, which is made if there is none.
    pub(crate) async fn get(
        &self,
        token: Option<&str>,
        from: SocketAddr,
    ) -> Result<Arc<Line>, Refusal> {
        let key: Option<Box<str>> = token.map(Into::into);
        // One that ends just now makes room for another one.
        for _ in 0..2 {
            let claim = self.claim(&key)?;
            let line = claim.cell.get_or_try_init(|| self.open(key.clone(), from, &claim.cell));
            let line = line.await?.clone();
            if !line.over.is_cancelled() {
                self.admit(&line, &key, from).await?;
                return Ok(line);
            }
            self.forget(&key, &claim.cell);
        }
        Err(Refusal::busy("the connection to the bus ends as soon as it is made: try again"))
    }

    async fn open(
        &self,
        key: Option<Box<str>>,
        from: SocketAddr,
        cell: &Cell,
    ) -> Result<Arc<Line>, Refusal> {
        let Ok(_place) = self.0.opening.acquire().await else {
            return Err(Refusal::busy("the server is about to end"));
        };
        let options = self.options(&key, from);
        let (lines, cell) = (self.clone(), cell.clone());
        let (namespace, longest_body) = (self.0.namespace.clone(), self.0.longest_body);
        let rooms = Rooms {
            places: self.0.places.clone(),
            lists: list_room::of_one(&self.0.lists),
            unread: UnreadRoom::of_one(&self.0.unread),
        };
        let ended = move || lines.forget(&key, &cell);
        Line::open(options, from, namespace, longest_body, rooms, ended).await
    }

    /// Asks the broker about a token that comes from another address than those that it has let in
    /// of late: by a connection from there, so that its rules, its revocations, its lockouts and
    /// its audit log see that one, too.
    async fn admit(
        &self,
        line: &Arc<Line>,
        key: &Option<Box<str>>,
        from: SocketAddr,
    ) -> Result<(), Refusal> {
        if line.addresses.has(from, Instant::now()) {
            return Ok(());
        }
        let turn = line.admitting.clone().lock_owned().await;
        // Another request from there may have been first.
        if line.addresses.has(from, Instant::now()) {
            return Ok(());
        }
        let Ok(place) = self.0.opening.clone().acquire_owned().await else {
            return Err(Refusal::busy("the server is about to end"));
        };
        let (options, line) = (self.options(key, from), line.clone());
        // Also when its request goes away meanwhile, the connection ends.
        let asking = tokio::spawn(async move {
            let _held = (turn, place);
            let bus = Bus::connect(options, of_this_process()).await?;
            bus.close().await;
            line.addresses.add(from, Instant::now());
            Ok(())
        });
        asking.await.unwrap_or_else(|_| Err(Refusal::busy("the server is about to end")))
    }

    /// How a token's client at an address connects.
    fn options(&self, key: &Option<Box<str>>, from: SocketAddr) -> Options {
        let inner = self.0.clone();
        let endpoint = Endpoint {
            transport: Transport::Unix,
            host: "in the broker's own process".into(),
            port: 0,
            path: String::new(),
            username: None,
            password: None,
        };
        let mut options = Options::for_endpoint(endpoint);
        options.password = key.as_ref().map(|token| token.as_bytes().to_vec());
        options.dial = Some(Dial::new(move || {
            let stream = (inner.connect)(from)?;
            stream.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(stream)
        }));
        options
    }

    /// The place of a token in the table.
    fn claim(&self, key: &Option<Box<str>>) -> Result<Claim<'_>, Refusal> {
        let mut table = self.table();
        let cell = match table.get(key) {
            Some(cell) => cell.clone(),
            None if table.len() >= LINES => {
                let why = format!("clients with {LINES} tokens are connected already");
                return Err(Refusal::busy(why));
            }
            None => table.entry(key.clone()).or_default().clone(),
        };
        drop(table);
        Ok(Claim { lines: self, key: key.clone(), cell })
    }

    fn forget(&self, key: &Option<Box<str>>, cell: &Cell) {
        let mut table = self.table();
        if table.get(key).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            table.remove(key);
        }
    }

    /// No code that holds this lock can panic halfway through a change.
    fn table(&self) -> MutexGuard<'_, HashMap<Option<Box<str>>, Cell>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody's interest in a line. When the last one who waits for it gives up before there is one,
/// its place is free again.
struct Claim<'l> {
    lines: &'l Lines,
    key: Option<Box<str>>,
    cell: Cell,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut table = self.lines.table();
        // One is in the table, one is ours.
        if !self.cell.initialized()
            && Arc::strong_count(&self.cell) <= 2
            && table.get(&self.key).is_some_and(|known| Arc::ptr_eq(known, &self.cell))
        {
            table.remove(&self.key);
        }
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

/// Connections to the bus. A further token is refused.
pub(crate) const LINES: usize = 1024;

/// Connections that are being made at once; the others wait for their turn.
const OPENING: usize = 16;
