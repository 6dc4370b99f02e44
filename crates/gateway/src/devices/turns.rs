//! Whose turn it is at a topic of answers that do not say what they answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// One call at a time for each topic; the others wait in their order. Bounded by the calls.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for its turn, which ends when this is dropped.
    pub(crate) async fn take(&self, topic: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, turn| Arc::strong_count(turn) > 1);
            all.entry(topic.to_owned()).or_default().clone()
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_topic_has_one_at_a_time() {
        let turns = Turns::default();
        let first = turns.take("a").await;
        let _other = turns.take("b").await;
        let mut second = Box::pin(turns.take("a"));
        tokio::select! {
            biased;
            _ = &mut second => panic!("two at a time"),
            () = std::future::ready(()) => {}
        }
        drop(first);
        drop(second.await);
        drop(turns.take("c").await);
        let _last = turns.take("d").await;
        let left: Vec<String> = turns.0.lock().unwrap().keys().cloned().collect();
        assert!(!left.contains(&"a".into()) && left.len() == 2, "{left:?}");
    }
}
