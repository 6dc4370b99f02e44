//! What a client may use of what its organisation may, where that has a plan (`quota`).

use std::sync::Arc;

use agentmq_codec::{Publish, ReasonCode};
use agentmq_identity::{Principal, own_client_id};
use agentmq_quota::{Account, Accounts, Holder, Seat};
use agentmq_session::{Author, Message, Time, Will};

use crate::connection::ConnectionId;
use crate::handle_connect::Refused;
use crate::mail::Stamp;
use crate::retained_owners::RetainedOwners;
use crate::router::Router;

/// What organisations may use and use: one for all shards.
#[derive(Debug, Default)]
pub struct Quotas {
    /// Plans and accounts.
    pub accounts: Accounts,
    pub(crate) retained: RetainedOwners,
}

impl Router {
    /// The router counts in these accounts: before its first packet.
    #[must_use]
    pub fn counting_in(mut self, quotas: Arc<Quotas>) -> Self {
        self.quotas = quotas;
        self
    }

    /// A client that is let in takes one of its organisation's connections, if there is one left.
    pub(crate) fn take_seat(
        &mut self,
        client_id: &str,
        principal: &Principal,
    ) -> Result<(), Refused> {
        let refused = |why: String| (ReasonCode::QuotaExceeded, why.into());
        let account = match organization(principal).map(|it| self.quotas.accounts.of(it)) {
            Some(Ok(Some(account))) => account,
            Some(Err(_)) => return Err(refused(TOO_MANY_ORGANIZATIONS.into())),
            Some(Ok(None)) | None => return Ok(()),
        };
        if !client_id.is_empty() && self.session(client_id).is_some() {
            // It has a session, or takes over that of another one.
        } else if let Err(exceeded) = account.check_sessions() {
            return Err(refused(exceeded.to_string()));
        }
        self.seat = Some(if self.sits_already(client_id, &account) {
            // It is taken over, and its seat with it.
            Seat::take_beyond(account)
        } else {
            Seat::take(account).map_err(|exceeded| refused(exceeded.to_string()))?
        });
        Ok(())
    }

    fn sits_already(&self, client_id: &str, account: &Arc<Account>) -> bool {
        let member = self.session(client_id).and_then(|session| session.member.as_ref());
        member.is_some_and(|member| member.sits() && Arc::ptr_eq(member.account(), account))
    }

    /// What a session holds, its connection included, counts for the organisation of its principal.
    /// Where there is no account left for that, it counts for none until its client connects again,
    /// and is refused.
    pub(crate) fn settle(&mut self, index: u32) {
        let seat = self.seat.take();
        let Some(session) = self.sessions.get_mut(index as usize) else { return };
        let organization = organization(&session.principal);
        let account = organization.and_then(|it| self.quotas.accounts.of(it).ok()).flatten();
        session.count_in(account);
        if session.connection.is_some()
            && let Some(member) = &mut session.member
        {
            member.sit_down(seat);
        }
    }

    /// Counts a publication for its client and its organisation, or says which bound it exceeds. By
    /// itself, so that publications of clients without a plan do not pay for it.
    #[inline(never)]
    pub(crate) fn count_use(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        now: Time,
    ) -> Result<(), String> {
        let moment = self.quotas.accounts.moment(now.as_millis());
        let Some((_, session)) = self.connected(id) else { return Ok(()) };
        let Some(member) = &session.member else { return Ok(()) };
        let bytes = publish.payload.len() + publish.properties.as_bytes().len();
        member.publish(bytes, moment).map_err(|exceeded| exceeded.to_string())
    }

    /// Counts a session's will as a publication; false when its plan has no room for one more.
    pub(crate) fn count_will(&self, index: u32, will: &Will, now: Time) -> bool {
        let Some(session) = self.sessions.get(index as usize) else { return false };
        let Some(member) = &session.member else { return true };
        let moment = self.quotas.accounts.moment(now.as_millis());
        let bytes = will.payload().len() + will.properties().as_bytes().len();
        member.publish(bytes, moment).is_ok()
    }

    /// Whether the plan of a message's publisher has room for it as a retained one.
    pub(crate) fn may_retain(
        &self,
        publisher: Option<u32>,
        message: &Message,
        stamp: Stamp,
    ) -> bool {
        let session = publisher.and_then(|index| self.sessions.get(index as usize));
        let member = session.and_then(|session| session.member.as_ref());
        if member.is_none() && self.quotas.retained.is_empty() {
            return true;
        }
        let holder = member.map(|member| member.holder()).filter(|_| !message.payload().is_empty());
        let retained = &self.quotas.retained;
        retained.change(message.topic(), stamp, message.size(), holder).is_ok()
    }
}

impl Router {
    /// Counts a retained message of before a restart for its author's organisation, as far as its
    /// plan has room: none is taken away.
    pub(crate) fn count_retained(&self, author: &Author, message: &Message, stamp: Stamp) {
        let principal = author.principal();
        let account = organization(&principal).and_then(|it| self.quotas.accounts.of(it).ok());
        let Some(account) = account.flatten() else { return };
        let holder = Holder::new(account, own_client_id(&author.client_id));
        let retained = &self.quotas.retained;
        let _ = retained.change(message.topic(), stamp, message.size(), Some(&holder));
    }
}

fn organization(principal: &Principal) -> Option<&str> {
    principal.claims()?.org_id.as_deref()
}

const TOO_MANY_ORGANIZATIONS: &str =
    "more organisations have clients here today than the broker counts for: try again tomorrow";
