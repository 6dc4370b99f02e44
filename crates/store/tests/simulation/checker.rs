//! What was promised, and whether it was kept. Looks at nothing but what clients have sent and got.

use std::collections::{BTreeMap, BTreeSet};

use agentmq_codec::QoS;

use crate::client::{Client, Delivered, Publication};

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    attempted: BTreeMap<Vec<u8>, Publication>,
    /// Who had a subscription when it was published, in a session that has not ended since.
    wanted: BTreeMap<Vec<u8>, BTreeSet<String>>,
    acknowledged: BTreeSet<Vec<u8>>,
    /// Refused at least once: sent again, they come behind what was sent later.
    refused: BTreeSet<Vec<u8>>,
    /// Wills whose connection broke after something behind its CONNECT was acknowledged.
    due_wills: BTreeSet<String>,
    /// By client one with a delay, which its client may still take back.
    delayed_wills: BTreeMap<String, String>,
    /// The same while it is not sure that the session has ended.
    ending: BTreeMap<String, String>,
}

impl Ledger {
    /// Something is published that must not be lost.
    pub(crate) fn attempted(&mut self, publication: &Publication, ready: &[&str]) {
        let ready = ready.iter().map(|id| (*id).to_owned()).collect();
        self.wanted.insert(publication.payload.clone(), ready);
        self.attempted.insert(publication.payload.clone(), publication.clone());
    }

    pub(crate) fn acknowledged(&mut self, payload: &[u8]) {
        if self.attempted.contains_key(payload) {
            self.acknowledged.insert(payload.to_vec());
        }
    }

    pub(crate) fn refused(&mut self, payload: &[u8]) {
        if self.attempted.contains_key(payload) {
            self.refused.insert(payload.to_vec());
        }
    }

    /// Whatever waited in the session is nobody's any more.
    pub(crate) fn session_ended(&mut self, id: &str) {
        self.wanted.values_mut().for_each(|wanted| _ = wanted.remove(id));
    }

    pub(crate) fn connection_lost(&mut self, client: &Client) {
        if client.expiry == 0 {
            self.session_ended(&client.id);
        }
        let unanswered = self.ending.remove(&client.id);
        self.delayed_wills.extend(unanswered.map(|will| (client.id.clone(), will)));
        // The will of a session that ends with its connection is not kept.
        if client.is_will_safe && client.expiry > 0 {
            let will = format!("{}-{}", client.id, client.wills);
            if client.will.delay == 0 {
                self.due_wills.insert(will);
            } else {
                self.delayed_wills.insert(client.id.clone(), will);
            }
        }
    }

    /// A client that goes on with its session takes its delayed will back [MQTT-3.1.3-9]; one that
    /// ends it does not.
    pub(crate) fn came_back(&mut self, id: &str, clean_start: bool) {
        let delayed = self.delayed_wills.remove(id).filter(|_| clean_start);
        self.ending.extend(delayed.map(|will| (id.to_owned(), will)));
    }

    /// Something behind a CONNECT has been acknowledged: a CONNACK alone says nothing when the disk
    /// has failed.
    pub(crate) fn session_is_safe(&mut self, id: &str) {
        self.due_wills.extend(self.ending.remove(id));
    }

    /// Everything acknowledged that a subscriber wants came to it; QoS 2 once; in order.
    pub(crate) fn check_subscriber(&self, client: &Client) {
        let granted = client.filters[0].1;
        let mut count: BTreeMap<&[u8], usize> = BTreeMap::new();
        let mut newest: BTreeMap<(String, String, String), u32> = BTreeMap::new();
        let mut in_session = BTreeSet::new();
        for (place, delivered) in client.delivered.iter().enumerate() {
            if client.sessions.contains(&place) {
                // What the one before had got is nothing to this one.
                in_session.clear();
                newest.clear();
            }
            *count.entry(&delivered.payload).or_default() += 1;
            let text = String::from_utf8_lossy(&delivered.payload).into_owned();
            let is_first = in_session.insert(text.clone());
            let may_repeat = delivered.qos < QoS::ExactlyOnce;
            assert!(is_first || may_repeat, "{} got {text} twice", client.id);
            let is_refused = self.refused.contains(&delivered.payload);
            // One published before the subscription may come again behind later ones.
            let wanted = self.wanted.get(&delivered.payload);
            let is_wanted = wanted.is_some_and(|wanted| wanted.contains(&client.id));
            if !is_first || is_refused || !is_wanted {
                continue;
            }
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
            if publication.retain || !self.wanted[payload].contains(&client.id) {
                continue;
            }
            let times = count.get(payload.as_slice()).copied().unwrap_or_default();
            let what = String::from_utf8_lossy(payload).into_owned();
            assert!(times > 0, "{} never got {what}", client.id);
        }
        if granted == QoS::ExactlyOnce && client.filters.len() > 1 {
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
            let text = String::from_utf8_lossy(&will.payload).into_owned();
            let times = count.entry(text.clone()).or_default();
            *times += 1;
            let may_repeat = will.qos < QoS::ExactlyOnce;
            assert!(*times == 1 || may_repeat, "{} got the will {text} twice", client.id);
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
