//! A session with every server on the bus: with one instance of each name, and with another one
//! when that is gone.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agentmq_sdk::mcp::{Bus, Session};
use rmcp::model::ServerNotification;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::catalogue::Catalogue;
use crate::client_side::OurSide;
use crate::listening::listen;
use crate::listing::{list, plain_call};
use crate::resource_subscriptions::subscribe;

/// Follows all servers until the connection has ended for good.
pub(crate) async fn follow_all(bus: &Bus, catalogue: &Arc<Catalogue>) {
    let mut changes = bus.changes();
    let mut tasks = JoinSet::new();
    let mut followed: HashSet<Arc<str>> = HashSet::new();
    // Those whose first lists are not in yet.
    let mut awaited: HashSet<Arc<str>> = HashSet::new();
    let (listed, mut news) = mpsc::channel(SERVERS);
    let mut has_warned = false;
    loop {
        catalogue.set_connected(bus.is_connected());
        let directory = bus.directory();
        for name in directory.names() {
            let is_followed = followed.contains(name);
            if !is_followed && followed.len() >= SERVERS {
                if !std::mem::replace(&mut has_warned, true) {
                    tracing::warn!(name, "not followed: {SERVERS} servers are followed already");
                }
                continue;
            }
            catalogue.registrar.set_instances(name, directory.instances(name).count());
            if is_followed {
                continue;
            }
            let name: Arc<str> = name.into();
            followed.insert(name.clone());
            awaited.insert(name.clone());
            tasks.spawn(follow(bus.clone(), name, catalogue.clone(), listed.clone()));
        }
        if bus.is_discovered() {
            // Those that an earlier connection knew, and that left while there was none.
            catalogue.retain(|name| followed.contains(name));
            if awaited.is_empty() {
                catalogue.set_ready();
            }
        }
        tokio::select! {
            more = changes.next() => if !more { break },
            Some(name) = news.recv() => {
                awaited.remove(&name);
            }
            Some(Ok(name)) = tasks.join_next() => {
                followed.remove(&name);
                awaited.remove(&name);
            }
        }
    }
    tasks.shutdown().await;
    catalogue.set_connected(false);
    for name in followed {
        catalogue.set_session(&name, None);
    }
}

/// Follows one server until it is gone; returns its name.
async fn follow(
    bus: Bus,
    name: Arc<str>,
    catalogue: Arc<Catalogue>,
    listed: mpsc::Sender<Arc<str>>,
) -> Arc<str> {
    let mut backoff = Backoff::new(LONGEST_PAUSE).steady_after(STEADY);
    let mut changes = bus.changes();
    loop {
        let here = bus.directory().instances(&name).next().is_some();
        // Without a connection nobody can say who is gone.
        if !here && bus.is_connected() && bus.is_discovered() {
            catalogue.remove(&name);
            return name;
        }
        if !here || !bus.is_connected() {
            if !changes.next().await {
                return name;
            }
            continue;
        }
        let mail = Arc::new(Mail::new());
        let ours = || {
            let mail = mail.clone();
            OurSide::new(move |notification| mail.put(notification))
        };
        match bus.open_any(&name, ours).await {
            Ok(session) => {
                let (session, begun) = (Arc::new(session), Instant::now());
                stay(&session, &name, &catalogue, &mail, &listed).await;
                catalogue.set_session(&name, None);
                let lasted = begun.elapsed();
                backoff.went_well_for(lasted);
                if lasted >= STEADY {
                    continue;
                }
                tracing::warn!(server = &*name, "the session ended soon; trying again");
            }
            Err(error) => {
                tracing::warn!(server = &*name, %error, "no session; trying again");
                let _ = listed.try_send(name.clone());
            }
        }
        tokio::select! {
            _ = changes.next() => {}
            () = tokio::time::sleep(backoff.pause()) => {}
        }
    }
}

/// Keeps the catalogue as the server's lists are, until the session is over.
async fn stay(
    session: &Arc<Session>,
    name: &Arc<str>,
    catalogue: &Arc<Catalogue>,
    mail: &Mail,
    listed: &mpsc::Sender<Arc<str>>,
) {
    let mut notices = mail.notices.lock().await;
    let work = async {
        catalogue.set_session(name, Some(session.clone()));
        if !session.is_stateless() {
            subscribe_again(session, name, catalogue).await;
        }
        mail.lists_changed();
        let mut is_whole = true;
        loop {
            tokio::select! {
                () = mail.wake.notified() => {
                    if !mail.relist.swap(false, Ordering::AcqRel) {
                        continue;
                    }
                    let room = catalogue.room_for(name);
                    match Box::pin(list(session.peer(), &room)).await {
                        Ok(listing) => {
                            catalogue.set_listing(name, listing);
                            is_whole = room.keep(name);
                        }
                        Err(error) => {
                            tracing::warn!(server = &**name, error = &*error.message, "no lists");
                        }
                    }
                    let _ = listed.try_send(name.clone());
                }
                Some(notification) = notices.recv() => catalogue.notify(name, notification),
                // Others may have gone meanwhile.
                () = tokio::time::sleep(LOOK_FOR_ROOM), if !is_whole => mail.lists_changed(),
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = hear(session, name, catalogue, mail) => {}
        () = session.over().cancelled() => {}
    }
}

/// Listens to a server that has no sessions, as long as this is polled.
async fn hear(session: &Session, name: &str, catalogue: &Catalogue, mail: &Mail) {
    if session.is_stateless() {
        let mut state = catalogue.watch();
        let wanted = watch::Sender::new(catalogue.followed_of(name));
        let heard = listen(
            session.peer(),
            wanted.subscribe(),
            |it| mail.put(it),
            || {
                mail.lists_changed();
            },
        );
        let following = async {
            while state.changed().await.is_ok() {
                let now = catalogue.followed_of(name);
                wanted.send_if_modified(|wanted| {
                    let changed = *wanted != now;
                    *wanted = now;
                    changed
                });
            }
        };
        tokio::join!(heard, following);
    }
    // It tells nothing by itself.
    std::future::pending().await
}

/// Another instance knows nothing of what hosts have asked the one before.
async fn subscribe_again(session: &Session, name: &str, catalogue: &Catalogue) {
    for uri in catalogue.followed_of(name) {
        if let Err(error) = Box::pin(plain_call(session.peer(), subscribe(&uri))).await {
            tracing::debug!(name, error = &*error.message, "resource not subscribed again");
        }
    }
}

/// What a server tells by itself.
#[derive(Debug)]
struct Mail {
    relist: AtomicBool,
    wake: Notify,
    sender: mpsc::Sender<ServerNotification>,
    notices: tokio::sync::Mutex<mpsc::Receiver<ServerNotification>>,
}

impl Mail {
    fn new() -> Self {
        let (sender, notices) = mpsc::channel(NOTICES);
        let relist = AtomicBool::new(false);
        Self { relist, wake: Notify::new(), sender, notices: notices.into() }
    }

    /// Takes what a server tells.
    fn put(&self, notification: ServerNotification) {
        match notification {
            ServerNotification::ToolListChangedNotification(_)
            | ServerNotification::PromptListChangedNotification(_)
            | ServerNotification::ResourceListChangedNotification(_) => self.lists_changed(),
            ServerNotification::ResourceUpdatedNotification(_)
            | ServerNotification::LoggingMessageNotification(_) => {
                let given = self.sender.try_send(notification);
                given.unwrap_or_else(|_| tracing::debug!("notification dropped: too many wait"));
            }
            _ => {}
        }
    }

    /// However often they change while we ask, we ask once more.
    fn lists_changed(&self) {
        self.relist.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Servers that a bridge follows. Further ones are left out.
pub(crate) const SERVERS: usize = 256;

/// Notifications of one server that wait. Further ones are dropped.
const NOTICES: usize = 256;

/// When lists that had no room are asked for once more.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(60);

/// A session that lasts so long went well: the next one need not wait.
const STEADY: Duration = Duration::from_secs(5);

/// Before a session is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
