//! Who is waiting for what, and since when nobody has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The requests under way on one connection to the bus, and in its sessions. All clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Usage(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    all: Use,
    sessions: HashMap<Arc<str>, Use>,
}

/// How many requests are under way; and if none, since when.
#[derive(Debug, Clone, Copy)]
struct Use {
    requests: usize,
    since: Instant,
}

impl Use {
    fn new() -> Self {
        Self { requests: 0, since: Instant::now() }
    }

    fn begin(&mut self) {
        self.requests += 1;
    }

    fn end(&mut self) {
        self.requests = self.requests.saturating_sub(1);
        self.since = Instant::now();
    }

    fn is_idle(&self, patience: Duration) -> bool {
        self.requests == 0 && self.since.elapsed() >= patience
    }
}

impl Usage {
    pub(crate) fn new() -> Self {
        let inner = Inner { all: Use::new(), sessions: HashMap::new() };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// A request begins, in this session if it has one. `None`: too many are under way.
    pub(crate) fn begin(&self, session: Option<Arc<str>>) -> Option<UnderWay> {
        let mut inner = self.lock();
        if inner.all.requests >= REQUESTS {
            return None;
        }
        inner.all.begin();
        if let Some(session) = &session {
            inner.sessions.entry(session.clone()).or_insert_with(Use::new).begin();
        }
        drop(inner);
        Some(UnderWay { usage: self.clone(), session })
    }

    /// Those of these sessions in which nobody has asked for anything for so long. The others are
    /// forgotten: they have ended.
    pub(crate) fn idle(&self, known: Vec<Arc<str>>, patience: Duration) -> Vec<Arc<str>> {
        let mut inner = self.lock();
        let mut sessions = std::mem::take(&mut inner.sessions);
        let mut idle = Vec::new();
        for session in known {
            let used = sessions.remove(&session).unwrap_or_else(Use::new);
            if used.is_idle(patience) {
                idle.push(session.clone());
            }
            inner.sessions.insert(session, used);
        }
        idle
    }

    /// Whether nobody has asked for anything for so long.
    pub(crate) fn is_idle(&self, patience: Duration) -> bool {
        self.lock().all.is_idle(patience)
    }

    /// No code that holds this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    usage: Usage,
    session: Option<Arc<str>>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut inner = self.usage.lock();
        inner.all.end();
        let session = self.session.as_ref().and_then(|session| inner.sessions.get_mut(session));
        if let Some(session) = session {
            session.end();
        }
    }
}

/// Requests under way on one connection to the bus, streams among them. Further ones are refused.
pub(crate) const REQUESTS: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_session_with_a_stream_is_not_idle() {
        let usage = Usage::new();
        let (streaming, asking): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let stream = usage.begin(Some(streaming.clone())).expect("there is room");
        drop(usage.begin(Some(asking.clone())));
        let both = || vec![streaming.clone(), asking.clone()];
        assert!(usage.idle(both(), MINUTE).is_empty());
        tokio::time::advance(MINUTE).await;
        assert_eq!(usage.idle(both(), MINUTE), std::slice::from_ref(&asking));
        assert!(!usage.is_idle(MINUTE), "a stream is open");
        drop(stream);
        assert!(usage.idle(both(), MINUTE) == [asking.clone()] && !usage.is_idle(MINUTE));
        tokio::time::advance(MINUTE).await;
        assert_eq!(usage.idle(both(), MINUTE), both());
        assert!(usage.is_idle(MINUTE));
        assert!(usage.idle(Vec::new(), MINUTE).is_empty());
        assert!(usage.lock().sessions.is_empty(), "those that have ended are forgotten");
    }

    #[tokio::test]
    async fn requests_are_bounded() {
        let usage = Usage::new();
        let mut all: Vec<_> = (0..REQUESTS).map(|_| usage.begin(None)).collect();
        assert!(all.iter().all(Option::is_some) && usage.begin(None).is_none());
        all.pop();
        assert!(usage.begin(None).is_some());
    }
}
