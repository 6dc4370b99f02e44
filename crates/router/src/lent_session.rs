//! What clients of agent protocols are lent that ask for less than they need. The published client
//! of MQTT.Agent resumes its session, but asks for no Session Expiry Interval, so that all that
//! waits for it would be lost with the connection; its will has no delay, so that the least pause
//! of the network would say that it is offline; and what comes at once when it is back is lost on
//! it (`docs/decisions/0021-mqtt-agent.md`).

use agentmq_codec::{Connect, PropertyId as P};
use agentmq_identity::{Claims, Principal};

use crate::connection::ConnectionId;
use crate::router::Router;
use crate::settings::AgentSettings;

impl AgentSettings {
    /// Milliseconds for which a lent session's messages wait when its client is back: it installs
    /// its handlers one after the other.
    fn hold_ms(&self, subscriptions: usize) -> u32 {
        let subscriptions = u32::try_from(subscriptions).unwrap_or(u32::MAX);
        let for_them = self.hold_per_subscription_ms.saturating_mul(subscriptions);
        self.hold_on_resume_ms.saturating_add(for_them).min(LONGEST_HOLD_MS)
    }
}

impl Router {
    /// The Session Expiry Interval that a client is lent, in seconds; `None`: it has what it asks
    /// for. Who has a will is waited for as long as that waits: then others know that it is gone,
    /// and what is meant for it must not wait for it.
    pub(crate) fn loan(
        &self,
        id: ConnectionId,
        connect: &Connect<'_>,
        principal: &Principal,
    ) -> Option<u32> {
        let says = connect.clean_start || connect.properties.has(P::SessionExpiryInterval);
        if says || !connect.version.is_v5() {
            return None;
        }
        let connection = self.connections.get(id.0 as usize)?.as_ref()?;
        let door = self.settings.doors.get(usize::from(connection.door));
        if !principal.claims().is_some_and(acts) && !door.is_some_and(|it| it.serves_agents) {
            return None;
        }
        let AgentSettings { session_expiry_secs, return_secs, .. } = self.settings.agents;
        let secs = if connect.will.is_some() { return_secs } else { session_expiry_secs };
        (secs > 0).then_some(secs)
    }

    /// Notes what a client is lent, and has its will wait as long if it says nothing of that.
    pub(crate) fn lend(&mut self, index: u32, connect: &Connect<'_>, loan: Option<u32>) {
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        session.is_lent = loan.is_some();
        let says = |will: &agentmq_codec::Will<'_>| will.properties.has(P::WillDelayInterval);
        if let (Some(secs), Some(will)) = (loan, &mut session.will)
            && !connect.will.as_ref().is_some_and(says)
        {
            will.delay = secs;
        }
    }

    /// Milliseconds for which the messages of a resumed session wait.
    pub(crate) fn hold_on_resume(&self, index: u32) -> u32 {
        let of_all = self.settings.hold_on_resume_ms;
        match self.sessions.get(index as usize) {
            Some(session) if session.is_lent => {
                self.settings.agents.hold_ms(session.subscriptions.len()).max(of_all)
            }
            _ => of_all,
        }
    }
}

/// Whether it is an agent, a tool or a tool server.
fn acts(claims: &Claims) -> bool {
    claims.agent_id.is_some() || claims.server_id.is_some() || !claims.tool_ids.is_empty()
}

/// However many subscriptions there are.
const LONGEST_HOLD_MS: u32 = 10_000;
