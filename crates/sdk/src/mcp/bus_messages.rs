//! The client's task that takes messages and gives them to where they belong.

use std::sync::Arc;

use agentmq_agents::mcp::Topic;
use agentmq_client::{Event, Events, Message, Messages};

use super::Instance;
use super::bus::{MARK, Shared, lock};
use super::outbox::Until;
use super::presence::Change;
use super::stateless_ask::StatelessDesk;
use super::wire::{Arrived, sender};

pub(crate) struct Pump {
    shared: Arc<Shared>,
    messages: Messages,
    events: Events,
    marker: String,
}

impl Pump {
    pub(crate) fn new(shared: Arc<Shared>, messages: Messages) -> Self {
        let events = shared.link.client.events();
        let me = shared.link.client_id();
        // A topic of our own where nobody else writes: what we publish there comes back behind the
        // retained messages, and tells that these were all.
        let marker = format!("$mcp-rpc/{me}/{me}/discovery");
        Self { shared, messages, events, marker }
    }

    pub(crate) fn marker(&self) -> &str {
        &self.marker
    }

    /// Runs until the connection has ended for good.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                // A session must not learn of messages of another connection than its own.
                biased;
                Some(event) = self.events.next() => self.connection(&event),
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

    fn connection(&self, event: &Event) {
        match event {
            Event::Disconnected { .. } => {
                // Our will has told the servers; what they answer now is lost.
                lock(&self.shared.desks).values_mut().for_each(|desk| desk.peer_is_gone());
                lock(&self.shared.stateless).values_mut().for_each(StatelessDesk::peer_is_gone);
                self.shared.state.send_modify(|state| state.connected = false);
            }
            Event::Connected | Event::Resumed => {
                // The retained presence comes once more, of those who are there now.
                lock(&self.shared.directory).clear();
                self.shared.state.send_modify(|state| {
                    state.connected = true;
                    state.complete = false;
                    state.version += 1;
                });
                let outbox = &self.shared.link.outbox;
                drop(outbox.send(&self.marker, MARK.into(), Until::Queued));
            }
            _ => {}
        }
    }

    fn route(&self, message: &Message) {
        if message.topic == self.marker {
            self.shared.state.send_modify(|state| state.complete = true);
            return;
        }
        match Topic::parse(&message.topic) {
            Some(Topic::Presence(instance)) => self.presence(&instance, message),
            Some(Topic::Capability(instance)) => self.forward(&instance, message),
            Some(Topic::Rpc { client, instance }) if client == self.shared.link.client_id() => {
                self.forward(&instance, message);
            }
            _ => self.shared.link.dropped.add(&message.topic, "of no use to a client"),
        }
    }

    fn presence(&self, instance: &Instance, message: &Message) {
        let change = lock(&self.shared.directory).heard(instance, &message.payload);
        match change {
            Change::Nothing => return,
            Change::Dropped => {
                self.shared.link.dropped.add(&message.topic, "is no online message");
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
