//! Taking up what an earlier run of the broker has left.

use std::sync::Arc;

use agentmq_codec::QoS;
use agentmq_session::{RestoredRetained, RestoredSession, RestoredWaiting, Time, Window};
use agentmq_topic::{Subscription, TopicLimits};

use crate::judging_again::is_called_so;
use crate::router::Router;
use crate::subscribers::Subscriber;
use crate::timers::Due;

impl Router {
    /// Takes up a session that survived: its client may come back to it. What of it is overdue
    /// happens with the next tick.
    pub fn restore(&mut self, restored: RestoredSession, now: Time) {
        let RestoredSession { mut session, subscriptions, in_flight, .. } = restored;
        let RestoredSession { was_connected, is_replaced, waiting, releasing, .. } = restored;
        session.generation = self.next_generation();
        let client_id = Arc::clone(&session.client_id);
        let remembered = self.remembered(&session);
        let is_elsewhere = remembered.as_ref().is_some_and(|it| !is_called_so(it, &client_id));
        session.principal = remembered.unwrap_or_else(|| session.principal.without_rights());
        let deadlines = [session.expires_at, session.will_at];
        let generation = session.generation;
        session.subscriptions = subscriptions.iter().map(|it| it.filter.clone()).collect();
        session.subscriptions.sort_unstable();
        if let Some(all) = self.commit.queue_memory() {
            session.queue.survives(all);
        }
        let index = self.sessions.insert(session) as u32;
        self.settle(index);
        self.count_replica(index);
        if !is_replaced {
            self.note_session(&client_id, true);
            self.by_client.insert(client_id, index);
        }
        for at in deadlines.into_iter().flatten() {
            self.timers.arm(at.max(now), Due::Session(index, generation));
        }
        // Whatever the limits are now: these were granted.
        let limits = TopicLimits::NONE;
        for restored in subscriptions {
            let Ok(parsed) = Subscription::parse(&restored.filter, &limits) else { continue };
            let subscriber = Subscriber {
                session: index,
                options: restored.options,
                id: restored.id,
                is_kept: true,
            };
            if parsed.share.is_some() {
                self.join(&restored.filter, subscriber);
            } else if let Some(wanted) = self.subscriptions.insert(parsed.filter, subscriber) {
                self.announce(parsed.filter, wanted);
            }
        }
        let mut exchanges = Vec::new();
        for mut entry in in_flight {
            entry.delivery.group = entry.group.and_then(|text| self.group_number(&text));
            exchanges.push((entry.packet_id, entry.delivery.qos, Some(entry.delivery)));
        }
        for RestoredWaiting { mut away, group } in waiting {
            away.group = group.and_then(|text| self.group_number(&text));
            if let Some(session) = self.sessions.get_mut(index as usize) {
                session.queue.push_away(away);
            }
        }
        exchanges.extend(releasing.into_iter().map(|id| (id, QoS::ExactlyOnce, None)));
        if let Some(session) = self.sessions.get_mut(index as usize) {
            session.window = Window::restore(exchanges);
        }
        if was_connected {
            self.record_terms(index);
        }
        if is_elsewhere {
            self.put_elsewhere_out(index, now);
        }
    }

    /// A shared group, wherever it lives.
    fn group_number(&self, text: &str) -> Option<u32> {
        self.groups.find(text).or_else(|| self.away_groups.find(text))
    }

    /// Takes up a retained message that survived.
    pub fn restore_retained(&mut self, restored: RestoredRetained) {
        let RestoredRetained { message, author } = restored;
        let author = author.map(|author| self.retain_source.known(author));
        let stamp = self.peers.stamp();
        if let Some(author) = &author {
            self.count_retained(author, &message, stamp);
        }
        self.retained.store(&message, stamp, author);
    }
}
