//! Whether a retained message may still be served: its author must be one who may retain it now.
//! What an author may changes after he has gone (a policy, a removed user, a revocation), and what
//! he has left behind would go on to speak for him (`docs/decisions/0020-retain-source.md`).

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use agentmq_identity::{Action, Authenticator, Presence, Principal, own_client_id};
use agentmq_session::{Author, Authors, Time};

use crate::connection::ConnectionId;
use crate::router::Router;

/// Whose a retained message is, and what was found out about him lately.
#[derive(Debug, Clone)]
pub(crate) struct By {
    author: Arc<Author>,
    /// The round in which he was last asked about, and the answer.
    asked: Cell<(u32, bool)>,
}

/// Authors, and what they may now.
#[derive(Debug)]
pub(crate) struct RetainSource {
    authors: Authors,
    /// Who the authors that were asked about in this round are now; `None`: he would not be let in.
    judged: HashMap<Arc<Author>, Option<Principal>>,
    /// Within a round each message is asked about once.
    round: u32,
    round_ends: Time,
}

impl By {
    pub(crate) fn new(author: Arc<Author>) -> Self {
        Self { author, asked: Cell::new((0, false)) }
    }

    pub(crate) fn author(&self) -> &Arc<Author> {
        &self.author
    }
}

impl Default for RetainSource {
    fn default() -> Self {
        let (authors, judged) = (Authors::default(), HashMap::new());
        Self { authors, judged, round: 1, round_ends: Time::ZERO }
    }
}

impl RetainSource {
    /// What holds has changed: everybody is asked about again.
    pub(crate) fn begin_round(&mut self, now: Time) {
        self.judged.clear();
        self.round = self.round.wrapping_add(1).max(1);
        self.round_ends = now.after_millis(ROUND_MS);
    }

    /// Whether the author of a message may still retain it at its topic.
    pub(crate) fn may_serve(
        &mut self,
        by: &By,
        topic: &str,
        authenticator: &dyn Authenticator,
        now: Time,
    ) -> bool {
        if now >= self.round_ends {
            self.begin_round(now); // a revocation ends without anybody saying so
        }
        let (round, is_allowed) = by.asked.get();
        if round == self.round {
            return is_allowed;
        }
        // With whatever QoS: a limit of it is about what is published from now on.
        let may = |it: &Principal| it.authorize(Action::Retain, topic).allowed;
        let is_allowed = self.judged(&by.author, authenticator).is_some_and(may);
        by.asked.set((self.round, is_allowed));
        is_allowed
    }

    /// Who an author is now; `None`: he would not be let in.
    pub(crate) fn principal(
        &mut self,
        author: &Arc<Author>,
        authenticator: &dyn Authenticator,
        now: Time,
    ) -> Option<Principal> {
        if now >= self.round_ends {
            self.begin_round(now);
        }
        self.judged(author, authenticator).cloned()
    }

    fn judged(
        &mut self,
        author: &Arc<Author>,
        authenticator: &dyn Authenticator,
    ) -> Option<&Principal> {
        if self.judged.len() >= JUDGED {
            self.judged.clear();
        }
        let ask = || {
            let presence = Presence {
                client_id: own_client_id(&author.client_id),
                source: None,
                // Who is away is asked when he comes.
                may_be_anonymous: true,
            };
            authenticator.remembered(&author.principal(), &presence)
        };
        self.judged.entry(Arc::clone(author)).or_insert_with(ask).as_ref()
    }

    pub(crate) fn known(&mut self, author: Arc<Author>) -> Arc<Author> {
        self.authors.known(author)
    }
}

impl Router {
    /// Who publishes on a connection; remembered there, since who retains one message retains more.
    pub(crate) fn author(&mut self, id: ConnectionId) -> Option<Arc<Author>> {
        let connection = self.connection_mut(id)?;
        if connection.principal.name().is_none() && !connection.principal.is_restricted() {
            return None; // as `Author::of` says, and most often so
        }
        if let Some(author) = connection.permits.as_ref().and_then(|it| it.author.as_ref()) {
            return Some(Arc::clone(author));
        }
        let index = connection.session()?;
        let author = self.author_of(index)?;
        let permits = self.connection_mut(id)?.permits.get_or_insert_default();
        permits.author = Some(Arc::clone(&author));
        Some(author)
    }

    /// As whom a session's client publishes; `None` where there is nothing to ask about him.
    pub(crate) fn author_of(&mut self, index: u32) -> Option<Arc<Author>> {
        let session = self.sessions.get(index as usize)?;
        let author = Author::of(&session.principal, &session.client_id)?;
        Some(self.retain_source.known(Arc::new(author)))
    }
}

/// Milliseconds after which everybody is asked about again.
const ROUND_MS: u64 = 60_000;
/// Authors whose rights are kept in memory at once.
const JUDGED: usize = 1024;
