//! An authenticator and a commit engine that panic when a test says so: what a shard is given by
//! its owner, and calls in the middle of its work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentmq_identity::{Authenticator, Challenge, Credentials, Exchange, Outcome, Principal};
use agentmq_session::{CommitEngine, Ticket};

/// Lets everybody in. With Authentication Method `sabotage` the data says what happens.
#[derive(Debug)]
pub struct Saboteur;

/// Data: the verdict itself panics.
pub const NOW: &[u8] = b"now";
/// Data: the verdict on the answer to a challenge panics.
pub const IN_EXCHANGE: &[u8] = b"in exchange";
/// Data: the challenge panics when it is thrown away.
pub const WHEN_DROPPED: &[u8] = b"when dropped";

impl Authenticator for Saboteur {
    fn authenticate(&self, credentials: &Credentials<'_>) -> Outcome {
        match credentials.method {
            Some((_, NOW)) => panic!("sabotage: the verdict"),
            Some((_, IN_EXCHANGE)) => challenge(Box::new(PanicsInStep)),
            Some((_, WHEN_DROPPED)) => challenge(Box::new(PanicsWhenDropped)),
            _ => Outcome::Accepted(Principal::ANONYMOUS.into()),
        }
    }
}

fn challenge(exchange: Box<dyn Exchange>) -> Outcome {
    Outcome::Continue(Challenge { data: Vec::new(), exchange })
}

#[derive(Debug)]
struct PanicsInStep;

impl Exchange for PanicsInStep {
    fn step(self: Box<Self>, _: &[u8]) -> Outcome {
        panic!("sabotage: a step of the exchange")
    }
}

#[derive(Debug)]
struct PanicsWhenDropped;

impl Exchange for PanicsWhenDropped {
    fn step(self: Box<Self>, _: &[u8]) -> Outcome {
        unreachable!("no test answers this challenge")
    }
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("sabotage: the challenge is thrown away")
    }
}

/// Panics at the next ticket once it is lit: after a packet has had its effect, and before its
/// acknowledgement.
#[derive(Debug, Clone, Default)]
pub struct Fuse(Arc<AtomicBool>);

impl Fuse {
    pub fn light(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl CommitEngine for Fuse {
    fn draw(&mut self, _: Ticket) -> Ticket {
        assert!(!self.0.swap(false, Ordering::SeqCst), "sabotage: a ticket");
        Ticket(0)
    }

    fn completed(&self) -> Ticket {
        Ticket(0)
    }
}
