//! Many filters of three kinds over a few clients, each message matching exactly one.

use agentmq_client::QoS;

use crate::bench::wire::Hello;

/// Which filter is whose, and which message matches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilterSpread {
    pub(crate) run: u32,
    pub(crate) filters: u64,
    pub(crate) subscribers: u64,
    /// A divisor of `filters`: each publisher has as many.
    pub(crate) publishers: u64,
}

impl FilterSpread {
    /// A third each: `+/…/#`, a trailing `+`, and exact. No two match the same topic.
    fn filter(&self, index: u64) -> String {
        let run = self.run;
        match index % 3 {
            0 => format!("+/{run:08x}/{index:06}/#"),
            1 => format!("bench/{run:08x}/{index:06}/+"),
            _ => self.topic(index),
        }
    }

    /// Where the messages for a filter go. All have the same length.
    pub(crate) fn topic(&self, index: u64) -> String {
        format!("bench/{:08x}/{index:06}/x", self.run)
    }

    /// The filter that a publisher's message is for. Neighbors in time are no neighbors in the
    /// index, and after `filters / publishers` messages each has had one.
    pub(crate) fn of_message(&self, publisher: u64, sequence: u64) -> u64 {
        let each = (self.filters / self.publishers).max(1);
        publisher + self.publishers * (sequence.wrapping_mul(STRIDE) % each)
    }

    /// The client that holds it.
    pub(crate) fn subscriber(&self, index: u64) -> u64 {
        index % self.subscribers
    }

    /// A client's SUBSCRIBEs, and how many they are.
    pub(crate) fn subscribe(&self, hello: &Hello, subscriber: u64, qos: QoS) -> (Vec<u8>, usize) {
        let step = usize::try_from(self.subscribers).unwrap_or(usize::MAX);
        let filters: Vec<String> =
            (subscriber..self.filters).step_by(step).map(|index| self.filter(index)).collect();
        let mut packets = Vec::new();
        let portions = filters.chunks(PORTION);
        let count = portions.len();
        for (id, portion) in (1..).zip(portions) {
            hello.put_subscribe(portion, id, qos, &mut packets);
        }
        (packets, count)
    }
}

/// A prime that divides no round number.
const STRIDE: u64 = 997;

/// Filters in one SUBSCRIBE: some brokers take no packet above 20 KiB.
const PORTION: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const SPREAD: FilterSpread =
        FilterSpread { run: 7, filters: 600, subscribers: 4, publishers: 5 };

    /// By the standard's rules, written down as plainly as possible [MQTT-4.7.1].
    fn matches(filter: &str, topic: &str) -> bool {
        let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
        loop {
            match (filter.next(), topic.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(one), Some(other)) if one == other => {}
                _ => return false,
            }
        }
    }

    #[test]
    fn each_topic_matches_one_filter() {
        let filters: Vec<String> = (0..SPREAD.filters).map(|index| SPREAD.filter(index)).collect();
        for index in 0..SPREAD.filters {
            let topic = SPREAD.topic(index);
            let matching = filters.iter().filter(|filter| matches(filter, &topic));
            assert_eq!(matching.collect::<Vec<_>>(), [&filters[index as usize]]);
        }
    }

    #[test]
    fn a_cycle_meets_every_filter_once() {
        let each = SPREAD.filters / SPREAD.publishers;
        let met: BTreeSet<u64> = (0..SPREAD.publishers)
            .flat_map(|publisher| (0..each).map(move |n| SPREAD.of_message(publisher, n)))
            .collect();
        assert_eq!(met.len() as u64, SPREAD.filters);
    }
}
