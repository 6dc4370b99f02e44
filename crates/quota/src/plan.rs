//! Plans: named sets of bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! quantities {
    ($($variant:ident = $name:literal, $doc:literal;)*) => {
        /// What is bounded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Quantity { $(#[doc = $doc] $variant,)* }

        impl Quantity {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its key in a plan.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

quantities! {
    MessagesPerDay = "messages_per_day", "Publications in a day of UTC.";
    MessagesPerSecond = "messages_per_second", "Publications in a second.";
    BytesPerDay = "bytes_per_day", "Bytes of payload and properties published in a day of UTC.";
    BytesPerSecond = "bytes_per_second", "Bytes of payload and properties published in a second.";
    Connections = "connections", "Connections at once.";
    Sessions = "sessions", "Sessions, those of absent clients included.";
    Subscriptions = "subscriptions", "Subscriptions, those of absent clients included.";
    RetainedMessages = "retained_messages", "Topics with a retained message.";
    RetainedBytes = "retained_bytes", "Bytes of retained messages.";
    QueueBytes = "queue_bytes", "Bytes that wait in session queues.";
}

const COUNT: usize = Quantity::ALL.len();

/// A bound for each quantity, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds([u64; COUNT]);

impl Default for Bounds {
    fn default() -> Self {
        Self([Self::NONE; COUNT])
    }
}

impl Bounds {
    /// Stands for no bound.
    pub const NONE: u64 = u64::MAX;
    /// The largest bound: more than can be counted in a day is no bound.
    pub const LARGEST: u64 = (1 << 48) - 1;

    /// The bound of a quantity; `None`: there is none.
    #[must_use]
    pub fn get(&self, quantity: Quantity) -> Option<u64> {
        Some(self.0[quantity as usize]).filter(|bound| *bound != Self::NONE)
    }

    /// Sets the bound of a quantity, up to [`Self::LARGEST`].
    pub fn set(&mut self, quantity: Quantity, bound: u64) {
        self.0[quantity as usize] = bound.min(Self::LARGEST);
    }

    /// Sets the bound of a quantity.
    #[must_use]
    pub fn with(mut self, quantity: Quantity, bound: u64) -> Self {
        self.set(quantity, bound);
        self
    }
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it is called.
    pub name: Arc<str>,
    /// For all clients of an organisation together.
    pub organization: Bounds,
    /// For each of its clients.
    pub client: Bounds,
}

impl Plan {
    /// The plan that is there without a file.
    #[must_use]
    pub fn free() -> Self {
        let organization = Bounds::default()
            .with(Quantity::MessagesPerDay, 5_000)
            .with(Quantity::BytesPerDay, 64 << 20)
            .with(Quantity::Connections, 20)
            .with(Quantity::Sessions, 100)
            .with(Quantity::Subscriptions, 500)
            .with(Quantity::RetainedMessages, 500)
            .with(Quantity::RetainedBytes, 8 << 20)
            .with(Quantity::QueueBytes, 16 << 20);
        Self { name: "free".into(), organization, client: Bounds::default() }
    }
}

/// Bounds that change while shards ask for them.
#[derive(Debug)]
pub(crate) struct BoundsInForce([AtomicU64; COUNT]);

impl Default for BoundsInForce {
    fn default() -> Self {
        Self([const { AtomicU64::new(Bounds::NONE) }; COUNT])
    }
}

impl BoundsInForce {
    pub(crate) fn get(&self, quantity: Quantity) -> u64 {
        self.0[quantity as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn replace(&self, bounds: &Bounds) {
        for (cell, bound) in self.0.iter().zip(bounds.0) {
            cell.store(bound, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_plan_has_five_thousand_messages_a_day() {
        let free = Plan::free();
        assert_eq!(free.organization.get(Quantity::MessagesPerDay), Some(5_000));
        assert_eq!(free.client, Bounds::default());
    }

    #[test]
    fn bounds_are_set_one_by_one() {
        for &quantity in Quantity::ALL {
            let bounds = Bounds::default().with(quantity, u64::MAX);
            for &other in Quantity::ALL {
                let expected = (other == quantity).then_some(Bounds::LARGEST);
                assert_eq!(bounds.get(other), expected, "{}", quantity.name());
            }
            let in_force = BoundsInForce::default();
            in_force.replace(&bounds);
            assert_eq!(in_force.get(quantity), Bounds::LARGEST);
        }
    }
}
