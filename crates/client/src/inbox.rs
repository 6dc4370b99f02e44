//! The bounded queue between the connection's task and one consumer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use agentmq_codec::ReasonCode;

use crate::Message;
use crate::message::Delivery;

/// Messages that wait for one consumer. When it is full the connection's task stops reading, and
/// is woken when half of it has been taken, so that it then reads a batch and not one message.
#[derive(Debug)]
pub(crate) struct Inbox {
    capacity: usize,
    acknowledge_when_taken: bool,
    state: Mutex<State>,
    connection: Arc<ConnectionSignal>,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Message>,
    consumer: Option<Waker>,
    /// The connection's task waits for room.
    stalled: bool,
    /// False when the consumer is gone or the client closed.
    open: bool,
}

/// What consumers tell the connection's task.
#[derive(Debug, Default)]
pub(crate) struct ConnectionSignal {
    state: Mutex<SignalState>,
}

#[derive(Debug, Default)]
struct SignalState {
    /// Bounded by the identifiers of unacknowledged messages: 65 535 per connection.
    taken: Vec<(Delivery, ReasonCode)>,
    waker: Option<Waker>,
}

impl Inbox {
    pub(crate) fn new(
        capacity: usize,
        acknowledge_when_taken: bool,
        connection: Arc<ConnectionSignal>,
    ) -> Arc<Self> {
        let queue = VecDeque::new();
        let state = Mutex::new(State { queue, consumer: None, stalled: false, open: true });
        Arc::new(Self { capacity, acknowledge_when_taken, state, connection })
    }

    /// Whether a message can be put now. If not, the connection's task will be woken.
    pub(crate) fn has_room(&self) -> bool {
        let mut state = lock(&self.state);
        let room = state.queue.len() < self.capacity || !state.open;
        state.stalled |= !room;
        room
    }

    /// Puts a message; `false` when nobody will take it.
    pub(crate) fn put(&self, message: Message) -> bool {
        let mut state = lock(&self.state);
        if !state.open {
            return false;
        }
        state.queue.push_back(message);
        if let Some(waker) = state.consumer.take() {
            drop(state);
            waker.wake();
        }
        true
    }

    /// Takes the next message; `None` after the last one of a closed client.
    pub(crate) fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Message>> {
        let mut state = lock(&self.state);
        let Some(message) = state.queue.pop_front() else {
            if !state.open {
                return Poll::Ready(None);
            }
            state.consumer = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let resume = state.stalled && state.queue.len() <= self.capacity / 2;
        if resume {
            state.stalled = false;
        }
        drop(state);
        match message.delivery {
            Some(delivery) if self.acknowledge_when_taken => {
                self.connection.taken(delivery, ReasonCode::Success);
            }
            _ if resume => self.connection.wake(),
            _ => {}
        }
        Poll::Ready(Some(message))
    }

    /// No more messages will come. What is queued can still be taken.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.open = false;
        if let Some(waker) = state.consumer.take() {
            drop(state);
            waker.wake();
        }
    }

    /// The consumer is gone. What it did not take is forgotten, and acknowledged if so wished: a
    /// message left unacknowledged comes again with the session, but occupies the server's window.
    pub(crate) fn abandon(&self, acknowledge: bool) {
        let mut state = lock(&self.state);
        state.open = false;
        let left = std::mem::take(&mut state.queue);
        drop(state);
        for delivery in left.iter().filter_map(|message| message.delivery) {
            if acknowledge {
                self.connection.taken(delivery, ReasonCode::Success);
            }
        }
        self.connection.wake();
    }

    pub(crate) fn signal(&self) -> &ConnectionSignal {
        &self.connection
    }
}

impl ConnectionSignal {
    /// Asks for the acknowledgement of a message.
    pub(crate) fn taken(&self, delivery: Delivery, reason: ReasonCode) {
        let mut state = lock(&self.state);
        state.taken.push((delivery, reason));
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    fn wake(&self) {
        let waker = lock(&self.state).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves what has been taken to `into` and asks to be woken at the next.
    pub(crate) fn collect(&self, cx: &Context<'_>, into: &mut Vec<(Delivery, ReasonCode)>) {
        let mut state = lock(&self.state);
        into.append(&mut state.taken);
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
    }
}

/// No code that holds these locks can panic halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
