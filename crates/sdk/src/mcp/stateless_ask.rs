//! A request on its way to whoever takes it, and what becomes of it when an instance goes.

use std::sync::Arc;

use agentmq_agents::mcp::Instance;
use rmcp::model::{ErrorData, RequestId};

use super::bus::{Shared, lock};
use super::call::fault_for;
use super::fault::{Fault, fault};
use super::inbox::Inbox;
use super::outbox::{Properties, Until};
use super::stateless_calls::{Request, SharedCalls, Way};
use super::wire::Arrived;
use super::{Error, TAKEN_PATIENCE};

/// A request that is sent until somebody takes it.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    shared: Arc<Shared>,
    calls: SharedCalls,
    id: RequestId,
    way: Way,
    request: Request,
}

impl Ask {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        calls: &SharedCalls,
        id: RequestId,
        way: Way,
        request: Request,
    ) -> Self {
        Self { shared: shared.clone(), calls: calls.clone(), id, way, request }
    }

    /// Sends it; its place in the order is that of this call.
    pub(crate) fn send(&self) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let link = &self.shared.link;
        let topic = lock(&self.calls).topic(&self.way, link.client_id());
        let Request { payload, limit, trace, .. } = &self.request;
        let max = link.max_payload(&topic);
        let sending = if payload.len() > max {
            let what = format!("{} bytes are more than the {max} that may be sent", payload.len());
            Err(agentmq_client::Error::Invalid(what))
        } else {
            let properties = Properties { limit: Some(limit), trace };
            Ok(link.outbox.send_as(&topic, payload.clone(), Until::Taken, &properties))
        };
        async move {
            match sending {
                Ok(sending) => sending.await,
                Err(error) => Err(error.into()),
            }
        }
    }

    /// Waits until somebody has it. Where nobody has taken it, another one is asked: that cannot do
    /// it twice. So it is where the broker does not give it to any instance: it may to one.
    pub(crate) async fn finish(
        mut self,
        sent: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let mut result = sent.await;
        for _ in 0..TURNS {
            let Err(error) = &result else { break };
            let is_nobody_s = matches!(error, Error::NobodyReads { .. })
                || (self.way == Way::Any && is_refused(error));
            if !is_nobody_s || !self.turn_over() {
                break;
            }
            result = self.send().await;
        }
        if result.is_err() {
            lock(&self.calls).forget(&self.id);
        }
        result
    }

    fn turn_over(&mut self) -> bool {
        let mut calls = lock(&self.calls);
        if self.way == Way::Any {
            calls.any_does_not_work();
        }
        let next = calls.turn_over(&self.id, &lock(&self.shared.directory));
        if let Some((way, _)) = &next {
            self.way = way.clone();
        }
        next.is_some()
    }

    /// Asks an instance if nobody has taken what any might take: the broker said that somebody has
    /// it, but some of them never give it to anybody.
    pub(crate) fn watch(&self) {
        if self.way != Way::Any || !self.request.is_repeatable {
            return;
        }
        // Not the request itself: most are over long before that.
        let (shared, calls, id) = (self.shared.clone(), self.calls.clone(), self.id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(TAKEN_PATIENCE).await;
            let mut those = lock(&calls);
            if !those.is_untaken(&id) {
                return;
            }
            those.any_does_not_work();
            let next = those.turn_over(&id, &lock(&shared.directory));
            drop(those);
            if let Some((way, request)) = next {
                Self::new(&shared, &calls, id, way, request).again();
            }
        });
    }

    /// Sends it once more, where nobody waits for that. If it cannot be sent, its caller is told.
    pub(crate) fn again(self) {
        let sent = self.send();
        let (shared, calls, id) = (self.shared.clone(), self.calls.clone(), self.id.clone());
        tokio::spawn(async move {
            let Err(error) = self.finish(sent).await else { return };
            let desks = lock(&shared.stateless);
            let mut desks = desks.values();
            if let Some(desk) = desks.find(|desk| Arc::ptr_eq(&desk.calls, &calls)) {
                desk.fail(id, fault_for(&error));
            }
        });
    }
}

/// Whether the broker says that it does not pass a message on.
fn is_refused(error: &Error) -> bool {
    let Error::Mqtt(error) = error else { return false };
    matches!(error.cause(), agentmq_client::Error::Rejected { .. })
}

/// Where the messages for a client without a session are given.
#[derive(Debug)]
pub(crate) struct StatelessDesk {
    pub(crate) number: u64,
    inbox: Option<Inbox>,
    /// We have been away since it began, and might have missed the end of an instance.
    pub(crate) was_away: bool,
    calls: SharedCalls,
}

impl StatelessDesk {
    pub(crate) fn new(number: u64, inbox: Inbox, calls: &SharedCalls) -> Self {
        Self { number, inbox: Some(inbox), was_away: false, calls: calls.clone() }
    }

    /// `false` when there is no room, or nobody takes anything any more.
    pub(crate) fn give(&self, arrived: Arrived) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| inbox.put(arrived).is_ok())
    }

    /// Whether what a server says is lost while we are away.
    pub(crate) fn is_lossy(&self) -> bool {
        self.inbox.as_ref().is_some_and(Inbox::is_lossy)
    }

    /// Ends it by our wish: who has requests is told.
    pub(crate) fn end(&mut self) {
        self.inbox = None;
    }

    /// Nobody is there any more: requests under way end at once.
    pub(crate) fn peer_is_gone(&mut self) {
        if let Some(inbox) = self.inbox.take() {
            inbox.gone();
        }
    }

    fn fail(&self, id: RequestId, error: ErrorData) {
        lock(&self.calls).forget(&id);
        if let Some(inbox) = &self.inbox
            && !inbox.fail(id, error)
        {
            tracing::debug!("a request ends by its time limit only: too much waits");
        }
    }
}

impl Shared {
    /// An instance is gone, and so are the requests that it had. Those that may be done twice go to
    /// another one. Whoever has the others may or may not have done them.
    pub(crate) fn instance_is_gone(self: &Arc<Self>, instance: &Instance) {
        let mut desks = lock(&self.stateless);
        let Some(desk) = desks.get_mut(instance.name()) else { return };
        if !lock(&desk.calls).is_served(&lock(&self.directory)) {
            return desk.peer_is_gone();
        }
        let its = lock(&desk.calls).of(Some(instance.id()));
        for (id, is_repeatable) in its {
            self.lose(desk, id, is_repeatable, instance);
        }
        // It may have had some of those of which nobody has said so.
        let (number, calls) = (desk.number, desk.calls.clone());
        let untaken = lock(&calls).of(None);
        if untaken.is_empty() {
            return;
        }
        let (shared, instance) = (self.clone(), instance.clone());
        tokio::spawn(async move {
            tokio::time::sleep(TAKEN_PATIENCE).await;
            let desks = lock(&shared.stateless);
            let desk = desks.get(instance.name()).filter(|desk| desk.number == number);
            let Some(desk) = desk else { return };
            for (id, is_repeatable) in untaken {
                if lock(&calls).is_untaken(&id) {
                    shared.lose(desk, id, is_repeatable, &instance);
                }
            }
        });
    }

    fn lose(
        self: &Arc<Self>,
        desk: &StatelessDesk,
        id: RequestId,
        is_repeatable: bool,
        instance: &Instance,
    ) {
        let next = is_repeatable
            .then(|| lock(&desk.calls).turn_over(&id, &lock(&self.directory)))
            .flatten();
        match next {
            Some((way, request)) => Ask::new(self, &desk.calls, id, way, request).again(),
            None => {
                let what = format!("the server {instance} went away before it answered");
                desk.fail(id, fault(Fault::Gone, what));
            }
        }
    }
}

/// Instances that are asked in turn, where one after the other is not there whatever it said: an
/// error then ends the request.
const TURNS: usize = 16;
