//! The client's task that takes messages and gives them to where they belong.

use std::sync::Arc;
use std::time::Duration;

use agentmq_agents::mcp::Topic;
use agentmq_client::{Event, Events, Message, Messages, PropertiesBuf, SubscriptionOptions};
use tokio::time::Instant;

use super::Instance;
use super::absence::{Connected, RollCall, at};
use super::bus::{Shared, lock};
use super::presence::Change;
use super::session::Desk;
use super::stateless_ask::StatelessDesk;
use super::wire::{Arrived, disconnected, sender};

pub(crate) struct Pump {
    shared: Arc<Shared>,
    messages: Messages,
    events: Events,
    /// Seconds for which we have asked the broker to keep our session.
    away: u32,
    /// The subscriptions that tell who is online.
    presence: Vec<(String, SubscriptionOptions)>,
    marker: String,
    /// Which message on that topic is waited for.
    mark: u64,
    connected: Connected,
    roll: Option<RollCall>,
}

impl Pump {
    pub(crate) fn new(
        shared: Arc<Shared>,
        messages: Messages,
        away: u32,
        presence: Vec<(String, SubscriptionOptions)>,
    ) -> Self {
        let events = shared.link.client.events();
        let me = shared.link.client_id();
        // A topic of our own where nobody else writes: what we publish there comes back behind the
        // retained messages, and tells that these were all.
        let marker = format!("$mcp-rpc/{me}/{me}/discovery");
        Self {
            shared,
            messages,
            events,
            away,
            presence,
            marker,
            mark: 0,
            connected: Connected::Yes,
            roll: None,
        }
    }

    pub(crate) fn marker(&self) -> &str {
        &self.marker
    }

    /// Runs until the connection has ended for good.
    pub(crate) async fn run(mut self) {
        loop {
            let (gives_up_at, roll_ends_at) = self.deadlines();
            tokio::select! {
                // A session must not learn of messages of another connection than its own.
                biased;
                Some(event) = self.events.next() => self.connection(&event),
                () = at(gives_up_at) => self.give_up(),
                () = at(roll_ends_at) => self.end_roll(),
                message = self.messages.next() => match message {
                    Some(message) => self.route(&message),
                    None => break,
                },
            }
        }
        lock(&self.shared.desks).clear();
        lock(&self.shared.stateless).values_mut().for_each(StatelessDesk::peer_is_gone);
        self.shared.state.send_modify(|state| {
            state.connected = false;
            state.ended = true;
        });
    }

    fn connection(&mut self, event: &Event) {
        match event {
            Event::Disconnected { .. } => {
                let before = self.connected;
                self.connected = before.lost(self.kept());
                self.roll = None;
                self.shared.state.send_modify(|state| state.connected = false);
                if before != Connected::Yes {
                    return;
                }
                match self.connected {
                    Connected::Until(_) => {
                        // What these say now is lost.
                        self.end_sessions(Desk::is_lossy, StatelessDesk::is_lossy);
                        lock(&self.shared.desks).values_mut().for_each(|it| it.was_away = true);
                        let mut desks = lock(&self.shared.stateless);
                        desks.values_mut().for_each(|it| it.was_away = true);
                    }
                    // Our will has told the servers.
                    _ => self.lose_sessions(),
                }
            }
            Event::Resumed => {
                self.connected = Connected::Yes;
                self.call_roll();
                self.shared.state.send_modify(|state| state.connected = true);
            }
            Event::Connected => {
                self.connected = Connected::Yes;
                // Our will has told the servers; what they have answered is lost.
                self.lose_sessions();
                // The retained presence comes once more, of those who are there now.
                lock(&self.shared.directory).clear();
                self.shared.state.send_modify(|state| {
                    state.connected = true;
                    state.complete = false;
                    state.version += 1;
                });
                self.mark += 1;
                self.send_mark();
            }
            _ => {}
        }
    }

    /// How long the broker keeps our session.
    fn kept(&self) -> Duration {
        let granted = self.shared.link.client.server().session_expiry;
        Duration::from_secs(self.away.min(granted).into())
    }

    /// When our session counts as lost, and when whoever is not heard of counts as gone.
    fn deadlines(&self) -> (Option<Instant>, Option<Instant>) {
        let gives_up_at = match self.connected {
            Connected::Until(time) => Some(time),
            Connected::Yes | Connected::No => None,
        };
        (gives_up_at, self.roll.as_ref().map(|roll| roll.ends_at))
    }

    fn give_up(&mut self) {
        self.connected = Connected::No;
        self.end_sessions(|_| true, |_| true);
    }

    /// Nobody is at the other side of any session.
    fn lose_sessions(&self) {
        for desk in lock(&self.shared.desks).values_mut() {
            desk.peer_is_gone();
        }
        lock(&self.shared.stateless).values_mut().for_each(StatelessDesk::peer_is_gone);
    }

    /// Ends sessions without a connection. If there is one again in time, their servers do not hear
    /// of the end from our will: it waits in the outbox.
    fn end_sessions(
        &self,
        those: impl Fn(&Desk) -> bool,
        stateless: impl Fn(&StatelessDesk) -> bool,
    ) {
        let link = &self.shared.link;
        for (instance, desk) in lock(&self.shared.desks).iter_mut().filter(|(_, it)| those(it)) {
            if desk.peer_is_gone() {
                let rpc = instance.rpc(link.client_id());
                drop(link.outbox.send(&rpc, disconnected()));
            }
        }
        let mut desks = lock(&self.shared.stateless);
        desks.values_mut().filter(|it| stateless(it)).for_each(StatelessDesk::peer_is_gone);
    }

    /// Tells, when it comes back, that the retained messages have come.
    pub(crate) fn send_mark(&self) {
        drop(self.shared.link.outbox.send(&self.marker, mark(self.mark)));
    }

    /// Has all who are online say so once more.
    fn call_roll(&mut self) {
        self.mark += 1;
        self.roll = Some(RollCall::new());
        let (link, presence) = (self.shared.link.clone(), self.presence.clone());
        let (marker, mark) = (self.marker.clone(), mark(self.mark));
        tokio::spawn(async move {
            let reasons = link.client.subscribe_all(presence, PropertiesBuf::new()).await;
            if reasons.is_ok_and(|reasons| reasons.iter().all(|it| !it.is_error())) {
                drop(link.outbox.send(&marker, mark));
            }
        });
    }

    fn end_roll(&mut self) {
        let Some(roll) = self.roll.take() else { return };
        let missing = roll.missing(&lock(&self.shared.directory));
        for instance in missing {
            self.presence(&instance, &instance.presence(), b"");
        }
    }

    fn route(&mut self, message: &Message) {
        if message.topic == self.marker {
            // One of an earlier connection says nothing of this one.
            if message.payload == mark(self.mark) {
                self.roll.iter_mut().for_each(RollCall::marked);
                self.shared.state.send_modify(|state| state.complete = true);
            }
            return;
        }
        match Topic::parse(&message.topic) {
            Some(Topic::Presence(instance)) => {
                if !message.retain && self.may_have_begun_anew(&instance) {
                    self.presence(&instance, &message.topic, b"");
                }
                self.presence(&instance, &message.topic, &message.payload);
                if let Some(roll) = &mut self.roll {
                    roll.heard(&instance, &lock(&self.shared.directory));
                }
            }
            Some(Topic::Capability(instance)) => self.forward(&instance, message),
            Some(Topic::Rpc { client, instance }) if client == self.shared.link.client_id() => {
                self.forward(&instance, message);
            }
            _ => self.shared.link.dropped.add(&message.topic, "of no use to a client"),
        }
    }

    fn presence(&self, instance: &Instance, topic: &str, payload: &[u8]) {
        let change = lock(&self.shared.directory).heard(instance, payload);
        match change {
            Change::Nothing => return,
            Change::Dropped => {
                self.shared.link.dropped.add(topic, "is no online message");
                return;
            }
            Change::Came => tracing::debug!(server = %instance, "online"),
            Change::Went => {
                tracing::debug!(server = %instance, "offline");
                if let Some(desk) = lock(&self.shared.desks).get_mut(instance) {
                    desk.peer_is_gone();
                }
                self.shared.instance_is_gone(instance);
            }
        }
        self.shared.state.send_modify(|state| state.version += 1);
    }

    /// Whether a server that says that it is online has perhaps said so before, to other sessions:
    /// a broker that has crashed may have lost its will, but not our session.
    fn may_have_begun_anew(&self, instance: &Instance) -> bool {
        let of_it = lock(&self.shared.desks).get(instance).is_some_and(|it| it.was_away);
        let stateless = lock(&self.shared.stateless);
        of_it || stateless.get(instance.name()).is_some_and(|it| it.was_away)
    }

    /// Gives a message to the session with its server.
    fn forward(&self, instance: &Instance, message: &Message) {
        // The topic is the server's own; a message that names somebody else is forged.
        if sender(message).is_some_and(|sender| sender != instance.id()) {
            self.shared.link.dropped.add(&message.topic, "names another server");
            return;
        }
        let arrived = Arrived::of(message);
        let taken = match lock(&self.shared.desks).get(instance) {
            Some(desk) => desk.give(arrived),
            None => {
                let desks = lock(&self.shared.stateless);
                desks.get(instance.name()).is_some_and(|desk| desk.give(arrived))
            }
        };
        if !taken {
            self.shared.link.dropped.add(&message.topic, "no session has room for it");
        }
    }
}

/// What stands in a message that marks the end of the retained ones.
fn mark(number: u64) -> Vec<u8> {
    format!(r#"{{"mark":{number}}}"#).into_bytes()
}
