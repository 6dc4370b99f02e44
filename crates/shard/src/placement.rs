//! Which shard a new client goes to.

use std::time::Duration;

use agentmq_router::{Place, PlaceSet};
use agentmq_session::Time;

/// How new clients are spread over shards. A client whose session lives goes to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// To the first active shard that is not busy, so that everybody meets on one, without a hop
    /// between, while one has the time for all. Where all are busy a further one becomes active,
    /// and where there is none the least busy one takes the client.
    ByLoad {
        /// Hundredths of a core.
        busy_percent: u16,
    },
    /// One after the other to all shards.
    Spread,
}

/// Chooses shards for new clients.
#[derive(Debug)]
pub(crate) struct Placer {
    policy: Placement,
    shards: u8,
    /// Shards that have got clients.
    used: PlaceSet,
    /// Clients placed on each since its load was told.
    fresh: Box<[Fresh]>,
    next: u8,
}

#[derive(Debug, Clone, Copy, Default)]
struct Fresh {
    load: u32,
    clients: u32,
}

impl Placer {
    pub(crate) fn new(policy: Placement, shards: usize) -> Self {
        Self {
            policy,
            shards: shards.clamp(1, Place::MAX) as u8,
            used: PlaceSet::NONE.with(Place(0)),
            fresh: vec![Fresh::default(); shards.clamp(1, Place::MAX)].into_boxed_slice(),
            next: 0,
        }
    }

    /// Whether every client stays on shard 0, so that nothing needs to be looked up.
    pub(crate) fn is_idle(&self, load: impl Fn(Place) -> u32) -> bool {
        let one = self.used == PlaceSet::NONE.with(Place(0));
        self.shards == 1 || one && load(Place(0)) < self.busy()
    }

    /// The shard for a new client, given how busy each is, in thousandths.
    pub(crate) fn choose(&mut self, load: impl Fn(Place) -> u32) -> Place {
        let place = match self.policy {
            Placement::Spread => {
                let place = Place(self.next);
                self.next = (self.next + 1) % self.shards;
                place
            }
            Placement::ByLoad { .. } => self.by_load(load),
        };
        self.used = self.used.with(place);
        if let Some(fresh) = self.fresh.get_mut(usize::from(place.0)) {
            fresh.clients += 1;
        }
        place
    }

    /// Thousandths from which a shard counts as busy: with `Spread` every shard does.
    fn busy(&self) -> u32 {
        match self.policy {
            Placement::ByLoad { busy_percent } => u32::from(busy_percent) * 10,
            Placement::Spread => 0,
        }
    }

    fn by_load(&mut self, load: impl Fn(Place) -> u32) -> Place {
        let busy = self.busy();
        let mut least = (Place(0), u32::MAX);
        for place in self.used.iter() {
            let Some(fresh) = self.fresh.get_mut(usize::from(place.0)) else { continue };
            let told = load(place);
            if told != fresh.load {
                *fresh = Fresh { load: told, clients: 0 };
            }
            let expected = told.saturating_add(fresh.clients.saturating_mul(CLIENT_LOAD));
            if expected < busy {
                return place;
            }
            if expected < least.1 {
                least = (place, expected);
            }
        }
        let unused = (0..self.shards).map(Place).find(|&place| !self.used.has(place));
        unused.unwrap_or(least.0)
    }
}

/// Measures how busy a thread is: the processor time it takes, not the time between its waits, so
/// that a machine busy with other things does not look like a busy broker.
#[derive(Debug)]
pub(crate) struct LoadMeter {
    since: Time,
    used: Duration,
    told: u32,
}

impl LoadMeter {
    pub(crate) fn new(now: Time) -> Self {
        Self { since: now, used: thread_time(), told: 0 }
    }

    pub(crate) fn is_due(&self, now: Time) -> bool {
        now.millis_since(self.since) >= WINDOW_MS
    }

    /// How busy it is, in thousandths.
    pub(crate) fn measure(&mut self, now: Time) -> u32 {
        let used = thread_time();
        let busy = used.saturating_sub(self.used).as_micros();
        let elapsed = now.millis_since(self.since).max(1);
        let share = u32::try_from(busy / u128::from(elapsed)).unwrap_or(u32::MAX).min(1000);
        *self = Self { since: now, used, told: told(share, self.told, elapsed) };
        self.told
    }
}

/// The share of the last `elapsed` milliseconds, or what is left of what was told before. Load
/// comes at once and fades: between two portions of work a shard is not idle, and clients that come
/// one after the other, to work with each other, find the same one.
fn told(share: u32, before: u32, elapsed: u64) -> u32 {
    let left = f64::from(before) * 0.5f64.powf(elapsed as f64 / HALF_LIFE_MS);
    let left = if left < f64::from(NOTHING) { 0 } else { left as u32 };
    share.max(left)
}

fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}

/// Thousandths that a client is thought to need until the next measurement: little, but enough
/// that a crowd which comes at once does not go to one shard.
const CLIENT_LOAD: u32 = 1;
/// Milliseconds over which load is measured.
const WINDOW_MS: u64 = 250;
/// Milliseconds in which half of a load that is over is forgotten.
const HALF_LIFE_MS: f64 = 2_000.0;
/// Thousandths of a load that is over that are not worth waking up for.
const NOTHING: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const BY_LOAD: Placement = Placement::ByLoad { busy_percent: 60 };

    #[test]
    fn an_idle_broker_needs_one_shard() {
        let mut placer = Placer::new(BY_LOAD, 4);
        assert!(placer.is_idle(|_| 300));
        assert!((0..100).all(|_| placer.choose(|_| 300) == Place(0)));
    }

    #[test]
    fn a_busy_broker_takes_one_more_shard_at_a_time() {
        let mut placer = Placer::new(BY_LOAD, 3);
        assert!(!placer.is_idle(|_| 700));
        let first_busy = |place: Place| if place == Place(0) { 700 } else { 0 };
        assert_eq!(placer.choose(first_busy), Place(1));
        assert_eq!(placer.choose(first_busy), Place(1));
        assert_eq!(placer.choose(|_| 800), Place(2));
        assert_eq!(placer.choose(|place| 900 - u32::from(place.0)), Place(2), "the least busy");
        assert_eq!(placer.choose(|_| 599), Place(0), "one is enough again");
        assert_eq!(placer.choose(|place| 700 - u32::from(place.0) * 150), Place(1));
        assert!(!placer.is_idle(|_| 0), "sessions of other shards must be looked up");
    }

    #[test]
    fn a_crowd_does_not_go_to_one_shard() {
        let mut placer = Placer::new(BY_LOAD, 3);
        assert_eq!(placer.choose(|_| 700), Place(1));
        let mut got = [0; 3];
        (0..1500).for_each(|_| got[usize::from(placer.choose(|_| 300).0)] += 1);
        assert_eq!(got, [500; 3]);
    }

    #[test]
    fn load_comes_at_once_and_fades() {
        assert_eq!(told(700, 100, 250), 700);
        assert_eq!(told(0, 700, 2_000), 350);
        assert_eq!(told(400, 700, 2_000), 400);
        let mut load = 1000;
        let fades = (0..).take_while(|_| {
            load = told(0, load, 1_000);
            load > 0
        });
        assert_eq!(fades.count(), 12, "seconds");
    }

    #[test]
    fn spreading_takes_turns() {
        let mut placer = Placer::new(Placement::Spread, 2);
        let places: Vec<_> = (0..4).map(|_| placer.choose(|_| 0).0).collect();
        assert_eq!(places, [0, 1, 0, 1]);
    }
}
