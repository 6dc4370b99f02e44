//! What comes to a client: answers, streams and cards.

use std::sync::{Arc, Weak};

use agentmq_agents::{AgentTopic, CallAnswer, Namespaces, Outcome, Partial};
use agentmq_client::{Message, Messages};
use tokio_util::sync::CancellationToken;

use super::call::Cancel;
use super::client::{ENDED, Shared, lock};
use super::directory::Change;

/// Takes messages off the connection until it ends, or nobody has it any more (`gone`), and never
/// waits for whoever gets them.
pub(crate) async fn listen(shared: Weak<Shared>, mut messages: Messages, gone: CancellationToken) {
    let namespaces = match shared.upgrade() {
        Some(shared) => Namespaces::new(&[&shared.namespace]).unwrap_or_default(),
        None => return,
    };
    while let Some(Some(message)) = gone.run_until_cancelled(messages.next()).await {
        let Some(shared) = shared.upgrade() else { return };
        shared.hear(&namespaces, &message);
    }
    let Some(shared) = shared.upgrade() else { return };
    lock(&shared.calls).end();
    shared.version.send_replace(ENDED);
}

impl Shared {
    fn hear(self: &Arc<Self>, namespaces: &Namespaces, message: &Message) {
        let heard = if message.topic == self.responses {
            self.answered(message)
        } else if let Some((_, topic)) = namespaces.find(&message.topic) {
            self.card(topic, message)
        } else {
            self.streamed(message)
        };
        if let Err(why) = heard {
            self.dropped.add(&message.topic, why);
        }
    }

    fn answered(self: &Arc<Self>, message: &Message) -> Result<(), &'static str> {
        let answer = CallAnswer::parse(&message.payload).ok_or("is no answer")?;
        if answer.outcome != Outcome::Started {
            return lock(&self.calls).answered(answer).ok_or("answers no call that is waited for");
        }
        let cancel = Cancel::of(message).ok_or("does not say how to cancel a call")?;
        // It may have been given up before this came.
        if let Some(cancel) = lock(&self.calls).started(&answer.call_id, cancel) {
            cancel.send(&self.client, None);
        }
        Ok(())
    }

    fn streamed(&self, message: &Message) -> Result<(), &'static str> {
        let partial = Partial::parse(&message.payload).ok_or("is nothing for a client")?;
        // Whoever may write to the stream of another call is not believed.
        if message.topic.rsplit('/').next() != Some(&partial.call_id) {
            return Err("is of another call");
        }
        lock(&self.calls).streamed(partial)
    }

    fn card(&self, topic: AgentTopic<'_>, message: &Message) -> Result<(), &'static str> {
        let mut cards = lock(&self.cards);
        let change = match topic {
            AgentTopic::ServerCard { server } => cards.heard_server(server, &message.payload),
            AgentTopic::ToolCard { tool } => cards.heard_tool(tool, &message.payload),
            AgentTopic::ToolCall { .. } => return Err("is a call"),
        };
        drop(cards);
        match change {
            Change::Changed => {
                self.version.send_modify(|version| *version += 1);
                Ok(())
            }
            Change::Nothing => Ok(()),
            Change::Dropped => Err("is no card, or one too many"),
        }
    }
}
