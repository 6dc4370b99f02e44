//! When a will is sent: at once, after its Will Delay Interval, or with the end of the session,
//! whichever comes first (MQTT 5 §3.1.3.2.2).

use std::sync::Arc;

use agentmq_session::Time;

use crate::router::Router;
use crate::will_under_way::WillSender;

impl Router {
    /// The connection has broken: sends the will, or says when it is due. A client that is back
    /// before cancels it [MQTT-3.1.3-9].
    pub(crate) fn delay_will(&mut self, index: u32, now: Time) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let delay = session.will.as_ref().map(|will| will.delay);
        session.will_at = delay.filter(|&delay| delay > 0).map(|delay| now.after_secs(delay));
        if delay == Some(0) {
            self.client_is_gone(index, now);
        }
    }

    /// Sends the will of an absent client whose delay is over.
    pub(crate) fn will_due(&mut self, index: u32, now: Time) {
        let Some(session) = self.sessions.get(index as usize) else { return };
        if session.will_at.is_some_and(|at| at <= now) {
            self.client_is_gone(index, now);
        }
    }

    /// Nobody is to wait for an absent client any more, although its session goes on.
    fn client_is_gone(&mut self, index: u32, now: Time) {
        self.send_will(index, now);
        self.clear_mcp_presence(index, now);
        self.end_tool_calls(index, now);
    }

    /// Publishes a session's will, if it has one and may still publish there and as much.
    pub(crate) fn send_will(&mut self, index: u32, now: Time) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        session.will_at = None;
        let Some(will) = self.set_will(index, None) else { return };
        if self.others_serve(&will) {
            return;
        }
        let Some(session) = self.sessions.get(index as usize) else { return };
        let will_of = session.key();
        let (client_id, principal) = (Arc::clone(&session.client_id), session.principal.clone());
        let (topic, qos, retains) = (will.topic(), will.qos(), will.retains());
        let allowed = principal.authorize_message(topic, qos, retains).allowed
            && self.check_roles(&principal, &client_id, topic, will.payload()).is_ok();
        if !allowed {
            self.audit_refused_will(&client_id, &principal, will.topic());
        }
        let is_off = will.retains() && !self.settings.retain_available;
        if !allowed || is_off || !self.count_will(index, &will, now) {
            self.counters.publish_refused += 1;
            return;
        }
        let author = self.author_of(index);
        let message = will.into_message(now);
        let sender = WillSender { client_id: &client_id, principal: &principal, author };
        self.publish_will(message.clone(), will_of, sender, Some(index), now);
        self.show_tools_offline(index, &message, now);
    }
}
