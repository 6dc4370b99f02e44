//! What was promised, and whether it was kept. Looks at nothing but what clients have sent and got.

use std::collections::{BTreeMap, BTreeSet};

use agentmq_codec::QoS;

use crate::client::{Client, Delivered, Publication};

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    attempted: BTreeMap<Vec<u8>, Publication>,
    acknowledged: BTreeSet<Vec<u8>>,
    /// Refused at least once: sent again, they come behind what was sent later.
    refused: BTreeSet<Vec<u8>>,
    /// Wills whose connection broke after something behind its CONNECT was acknowledged.
    due_wills: BTreeSet<String>,
}

impl Ledger {
    pub(crate) fn attempted(&mut self, publication: &Publication) {
        self.attempted.insert(publication.payload.clone(), publication.clone());
    }

    pub(crate) fn acknowledged(&mut self, payload: &[u8], _: bool) {
        self.acknowledged.insert(payload.to_vec());
    }

    pub(crate) fn refused(&mut self, payload: &[u8]) {
        self.refused.insert(payload.to_vec());
    }

    pub(crate) fn connection_lost(&mut self, client: &Client) {
        if client.is_will_safe {
            self.due_wills.insert(format!("{}-{}", client.id, client.wills));
        }
    }

    /// Everything acknowledged that a subscriber wants came to it; QoS 2 once; in order.
    pub(crate) fn check_subscriber(&self, client: &Client) {
        let granted = client.filters[0].1;
        let mut count: BTreeMap<&[u8], usize> = BTreeMap::new();
        let mut newest: BTreeMap<(String, String, String), u32> = BTreeMap::new();
        for delivered in &client.delivered {
            let times = count.entry(&delivered.payload).or_default();
            *times += 1;
            let is_refused = self.refused.contains(&delivered.payload);
            if *times > 1 || is_refused || !delivered.topic.starts_with("jobs/") {
                continue;
            }
            let text = String::from_utf8_lossy(&delivered.payload).into_owned();
            let mut words = text.split(' ');
            let publisher = words.next().expect("a publisher").to_owned();
            let sequence: u32 = words.next().and_then(|it| it.parse().ok()).expect("a number");
            // The order is that of the same topic and published QoS [MQTT-4.6.0-6].
            let qos = words.next().expect("a QoS").to_owned();
            let key = (publisher, delivered.topic.clone(), qos);
            let before = newest.insert(key, sequence).unwrap_or_default();
            assert!(before < sequence, "{}: {sequence} came after {before}", client.id);
        }
        for payload in &self.acknowledged {
            let publication = &self.attempted[payload];
            if publication.retain {
                continue;
            }
            let times = count.get(payload.as_slice()).copied().unwrap_or_default();
            let what = String::from_utf8_lossy(payload).into_owned();
            assert!(times > 0, "{} never got {what}", client.id);
        }
        for (payload, publication) in &self.attempted {
            let times = count.get(payload.as_slice()).copied().unwrap_or_default();
            if publication.qos.min(granted) == QoS::ExactlyOnce {
                let what = String::from_utf8_lossy(payload).into_owned();
                assert!(times <= 1, "{} got {what} {times} times", client.id);
            }
        }
        if granted == QoS::ExactlyOnce {
            self.check_wills(client);
        }
    }

    /// Everything acknowledged came to some member of a shared group.
    pub(crate) fn check_group(&self, members: &[Client]) {
        let delivered = members.iter().flat_map(|member| &member.delivered);
        let delivered: BTreeSet<&[u8]> = delivered.map(|it| it.payload.as_slice()).collect();
        for payload in &self.acknowledged {
            let what = String::from_utf8_lossy(payload);
            let is_there = delivered.contains(payload.as_slice());
            assert!(self.attempted[payload].retain || is_there, "no member ever got {what}");
        }
    }

    fn check_wills(&self, client: &Client) {
        let wills = client.delivered.iter().filter(|it| it.topic.starts_with("will/"));
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for will in wills {
            *count.entry(String::from_utf8_lossy(&will.payload).into_owned()).or_default() += 1;
        }
        for (will, times) in &count {
            assert_eq!(*times, 1, "{} got the will {will} {times} times", client.id);
        }
        for will in &self.due_wills {
            assert!(count.contains_key(will), "{} never got the will {will}", client.id);
        }
    }

    /// The retained value of each topic is the newest acknowledged one.
    pub(crate) fn check_retained(&self, delivered: &[Delivered]) {
        let mut newest: BTreeMap<&str, (u32, &[u8])> = BTreeMap::new();
        for payload in &self.acknowledged {
            let publication = &self.attempted[payload];
            if publication.retain {
                let text = std::str::from_utf8(payload).expect("text");
                let sequence = text.split(' ').nth(1).and_then(|it| it.parse().ok());
                let sequence: u32 = sequence.expect("a number");
                let newest = newest.entry(&publication.topic).or_default();
                *newest = (*newest).max((sequence, payload));
            }
        }
        for (topic, (_, payload)) in newest {
            if self.refused.iter().any(|it| self.attempted[it].topic == topic) {
                continue; // one that was refused may have been sent again behind a newer one
            }
            let value = delivered.iter().rfind(|it| it.topic == topic).map(|it| &*it.payload);
            let text = value.map(String::from_utf8_lossy);
            let expected = String::from_utf8_lossy(payload);
            assert!(value == Some(payload), "{topic} retains {text:?} instead of {expected}");
        }
    }
}
