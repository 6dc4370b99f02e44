//! Messages that wait in line without being in memory: the log has them, and they are read back
//! when their turn comes. The reasons are in `docs/decisions/0012-queues-on-disk.md`.

use std::sync::atomic::{AtomicU64, Ordering};

use agentmq_codec::QoS;

use crate::{Delivery, Message, SubscriptionIds, Time};

/// What is known in memory of a message that waits on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// Its place in the session's line.
    pub ordinal: u64,
    /// When it expires; [`Time::NEVER`] if it does not.
    pub expires_at: Time,
    /// What it counts in the queue, by [`Message::size`].
    pub size: u32,
    /// The shared subscription it came through.
    pub group: Option<u32>,
}

/// A message that was read back, and the terms of its delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// The message; when it expires is known already.
    pub message: Message,
    /// QoS of the delivery.
    pub qos: QoS,
    /// RETAIN as the client sees it.
    pub retain: bool,
    /// Identifiers of the subscriptions that match.
    pub ids: SubscriptionIds,
}

/// What came of reading a message back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recall {
    /// Here it is.
    Message(Box<Recalled>),
    /// It has expired, and the log has let go of it.
    Gone,
    /// It cannot be read any more: that has been told and counted.
    Damaged,
    /// The system does not let it be read now: it may be tried again.
    Later,
}

/// What all queues hold together of what survives the broker, in bytes by [`Message::size`].
#[derive(Debug, Default)]
pub struct QueueMemory {
    /// In memory.
    resident: AtomicU64,
    /// There and on the disk.
    all: AtomicU64,
}

impl Away {
    /// What is kept in mind of a delivery that leaves memory.
    pub(crate) fn of(delivery: &Delivery) -> Self {
        Self {
            ordinal: delivery.ordinal,
            expires_at: delivery.message.expires_at().unwrap_or(Time::NEVER),
            size: u32::try_from(delivery.message.size()).unwrap_or(u32::MAX),
            group: delivery.group,
        }
    }

    /// Whether its time has run out.
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at <= now
    }

    /// The delivery that it was.
    pub(crate) fn recalled(self, recalled: Recalled) -> Delivery {
        let Recalled { message, qos, retain, ids } = recalled;
        let expires_at = (self.expires_at < Time::NEVER).then_some(self.expires_at);
        let message = message.expiring_at(expires_at);
        let (group, ordinal) = (self.group, self.ordinal);
        Delivery { message, qos, retain, ids, group, ordinal }
    }
}

impl QueueMemory {
    /// Bytes in memory.
    pub fn resident(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }

    /// Bytes in memory and on the disk.
    pub fn all(&self) -> u64 {
        self.all.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: usize, is_resident: bool) {
        self.all.fetch_add(bytes as u64, Ordering::Relaxed);
        if is_resident {
            self.resident.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn take(&self, bytes: usize, is_resident: bool) {
        self.all.fetch_sub(bytes as u64, Ordering::Relaxed);
        if is_resident {
            self.resident.fetch_sub(bytes as u64, Ordering::Relaxed);
        }
    }
}
