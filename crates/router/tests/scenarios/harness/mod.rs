//! A broker without sockets: a router, a clock that stands still until it is told to go, and
//! clients that speak MQTT packets with it.

mod authenticators;
mod client;
mod connecting;
mod diary;
mod engine;
mod got;
mod publishing;
mod tickets;
mod world;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use agentmq_codec::ProtocolVersion;
use agentmq_identity::{Authenticator, Open};
use agentmq_router::{Counters, Quotas, Settings};
use agentmq_session::{CommitEngine, MemoryEngine, RestoredWill};

pub(crate) use authenticators::Riddle;
pub(crate) use client::Client;
pub(crate) use connecting::Connecting;
pub(crate) use diary::Diary;
pub(crate) use engine::{DelayedEngine, ShelfEngine};
pub(crate) use got::{Got, Message, qos};
pub(crate) use publishing::Publishing;
pub(crate) use tickets::Tickets;
pub(crate) use world::World;

/// The broker, and whoever is connected to it.
#[derive(Clone)]
pub(crate) struct Broker {
    world: Rc<RefCell<World>>,
}

impl Broker {
    /// A broker that lets everybody in and keeps its promises at once.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same with other settings. Retained messages come without their usual pause.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::build(change, Arc::new(Open), Box::new(MemoryEngine))
    }

    /// One with an authenticator of its own.
    pub(crate) fn guarded(authenticator: impl Authenticator + 'static) -> Self {
        Self::build(|_| {}, Arc::new(authenticator), Box::new(MemoryEngine))
    }

    /// One that counts for the organisations of its clients.
    pub(crate) fn counting_in(
        quotas: &Arc<Quotas>,
        authenticator: impl Authenticator + 'static,
    ) -> Self {
        let broker = Self::guarded(authenticator);
        broker.world.borrow_mut().count_in(Arc::clone(quotas));
        broker
    }

    /// One whose acknowledgements wait until the test says [`DelayedEngine::complete`] and
    /// [`Self::committed`].
    pub(crate) fn delayed(engine: &DelayedEngine) -> Self {
        Self::build(|_| {}, Arc::new(Open), Box::new(engine.clone()))
    }

    /// One that keeps as little as it can of what waits in memory.
    pub(crate) fn shelving(engine: &ShelfEngine) -> Self {
        let settings = |settings: &mut Settings| settings.limits.durable_queue_memory = 0;
        Self::build(settings, Arc::new(Open), Box::new(engine.clone()))
    }

    fn build(
        change: impl FnOnce(&mut Settings),
        authenticator: Arc<dyn Authenticator>,
        engine: Box<dyn CommitEngine>,
    ) -> Self {
        let mut settings = Settings { retained_gap_ms: 0, ..Settings::default() };
        change(&mut settings);
        let world = World::new(settings, authenticator, engine);
        Self { world: Rc::new(RefCell::new(world)) }
    }

    /// Begins a CONNECT: version 5, clean start, a session that ends with its connection.
    pub(crate) fn client<'a>(&self, client_id: &'a str) -> Connecting<'a> {
        Connecting::new(Rc::clone(&self.world), client_id)
    }

    /// Connects such a client.
    pub(crate) fn connect(&self, client_id: &str) -> Client {
        self.client(client_id).connect()
    }

    /// A connection on which nothing has been sent yet.
    pub(crate) fn dial(&self, version: ProtocolVersion) -> Client {
        let line = self.world.borrow_mut().open(version, true);
        Client::new(Rc::clone(&self.world), line)
    }

    /// A client of version 5 whose session lasts an hour and is resumed if it exists.
    pub(crate) fn returning<'a>(&self, client_id: &'a str) -> Connecting<'a> {
        self.client(client_id).resuming().expiry(3600)
    }

    /// Lets time pass; everything that falls due on the way happens at its moment.
    pub(crate) fn wait_ms(&self, millis: u64) {
        self.world.borrow_mut().advance(millis);
    }

    /// Lets seconds pass.
    pub(crate) fn wait(&self, secs: u64) {
        self.wait_ms(secs * 1000);
    }

    /// Lets a long time pass at once; what falls due on the way happens at its end.
    pub(crate) fn sleep(&self, secs: u64) {
        self.world.borrow_mut().jump(secs * 1000);
    }

    /// The commit engine has made progress.
    pub(crate) fn committed(&self) {
        self.world.borrow_mut().committed();
    }

    /// Changes the settings while clients are connected.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(&mut Settings)) {
        self.world.borrow_mut().reconfigure(change);
    }

    /// What clients do from now on is told to this one.
    pub(crate) fn tell_audit(&self, diary: &Diary) {
        self.world.borrow_mut().router.tell_audit(Box::new(diary.clone()));
    }

    /// A will that was on its way when an earlier run ended.
    pub(crate) fn restore_will(&self, will: RestoredWill) {
        self.world.borrow_mut().restore_will(will);
    }

    /// Retained messages that an earlier run has left, and nothing else.
    pub(crate) fn restore_retained(&self, all: &[(&str, &str)]) {
        self.world.borrow_mut().restore_retained(all);
    }

    /// The authenticator answers otherwise from now on.
    pub(crate) fn judge_again(&self) {
        self.world.borrow_mut().judge_again();
    }

    pub(crate) fn counters(&self) -> Counters {
        self.world.borrow().router.counters()
    }

    /// Packets and bytes that all clients have received.
    pub(crate) fn received(&self) -> (u64, u64) {
        self.world.borrow().received
    }

    /// Publishes the statistics.
    pub(crate) fn publish_sys(&self) {
        self.world.borrow_mut().publish_sys();
    }

    /// Whether nothing will ever be due by itself.
    pub(crate) fn may_sleep(&self) -> bool {
        self.world.borrow().router.next_deadline().is_none()
    }

    /// Deadlines that the router keeps in mind.
    pub(crate) fn deadlines(&self) -> usize {
        self.world.borrow().router.deadlines()
    }

    /// What the broker remembers of a client: unacknowledged publications to it, messages that
    /// wait, identifiers received and not released. `None` without a session.
    pub(crate) fn memory_of(&self, client_id: &str) -> Option<(u16, usize, usize)> {
        let world = self.world.borrow();
        let session = world.router.session(client_id)?;
        Some((session.window.open_count(), session.queue.len(), session.unreleased.len()))
    }
}
