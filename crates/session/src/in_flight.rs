//! QoS 1 and 2 publications sent and not yet completed: packet identifiers, the send window,
//! and what is sent again on resume.

use std::collections::VecDeque;

use agentmq_codec::QoS;

use crate::Delivery;

/// The send window of one session. Identifiers are handed out in sequence, so that an identifier
/// is an index into a ring: no map, and acknowledgements that arrive in order cost nothing.
#[derive(Debug, Clone, Default)]
pub struct Window {
    ring: VecDeque<InFlight>,
    /// Identifier of the ring's front, minus one: identifiers run from 1 to 65 535.
    front: u16,
    /// Exchanges that count against the client's Receive Maximum.
    open: u16,
    /// Order of PUBRELs.
    releases: u32,
}

/// One publication in flight.
#[derive(Debug, Clone)]
pub struct InFlight {
    state: State,
    qos: QoS,
    /// Position among the PUBRELs sent.
    release: u32,
    /// What to send again; `None` when the session ends with its connection.
    delivery: Option<Delivery>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Completed, behind one that is not.
    Done,
    /// PUBLISH sent; PUBACK or PUBREC awaited.
    Sent,
    /// PUBREL sent; PUBCOMP awaited.
    Released,
}

/// What an acknowledgement did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckOutcome {
    /// The exchange is over.
    Completed(Option<Delivery>),
    /// PUBREL is due.
    Release,
    /// No such exchange, or not in this state.
    Unknown,
}

/// One packet to send again on resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resend<'a> {
    /// PUBLISH with DUP [MQTT-4.4.0-1].
    Publish(u16, &'a Delivery),
    /// PUBREL.
    Release(u16),
}

impl Window {
    /// Exchanges that count against the Receive Maximum [MQTT-4.9.0-1].
    pub fn open_count(&self) -> u16 {
        self.open
    }

    /// Whether one more exchange may begin under this Receive Maximum.
    pub fn has_room(&self, receive_maximum: u16) -> bool {
        self.open < receive_maximum && self.ring.len() < IDS
    }

    /// Begins an exchange; returns its packet identifier. The caller has asked [`Self::has_room`].
    /// `delivery` is kept for a resend.
    pub fn begin(&mut self, qos: QoS, delivery: Option<Delivery>) -> u16 {
        debug_assert!(qos != QoS::AtMostOnce && self.ring.len() < IDS, "caller asked has_room");
        let id = self.id_at(self.ring.len());
        self.ring.push_back(InFlight { state: State::Sent, qos, release: 0, delivery });
        self.open += 1;
        id
    }

    /// PUBACK.
    pub fn acknowledge(&mut self, id: u16) -> AckOutcome {
        match self.find(id) {
            Some(entry) if entry.state == State::Sent && entry.qos == QoS::AtLeastOnce => {
                self.complete(id)
            }
            _ => AckOutcome::Unknown,
        }
    }

    /// PUBREC. An error ends the exchange [MQTT-4.3.3-4]; a repeated PUBREC gets PUBREL again.
    pub fn receive(&mut self, id: u16, is_error: bool) -> AckOutcome {
        let release = self.releases;
        match self.find(id) {
            Some(entry) if entry.qos == QoS::ExactlyOnce && entry.state == State::Sent => {
                if is_error {
                    return self.complete(id);
                }
                entry.state = State::Released;
                entry.release = release;
                entry.delivery = None;
                self.releases = release.wrapping_add(1);
                AckOutcome::Release
            }
            Some(entry) if entry.state == State::Released && !is_error => AckOutcome::Release,
            _ => AckOutcome::Unknown,
        }
    }

    /// PUBCOMP.
    pub fn complete_release(&mut self, id: u16) -> AckOutcome {
        match self.find(id) {
            Some(entry) if entry.state == State::Released => self.complete(id),
            _ => AckOutcome::Unknown,
        }
    }

    /// Everything to send again on resume: PUBLISHes, then PUBRELs, each in the order in which
    /// they were first sent [MQTT-4.6.0-1, -4].
    pub fn resend(&self) -> impl Iterator<Item = Resend<'_>> {
        let numbered = || self.ring.iter().enumerate().map(|(at, entry)| (self.id_at(at), entry));
        let publishes =
            numbered().filter(|(_, entry)| entry.state == State::Sent).filter_map(|(id, entry)| {
                entry.delivery.as_ref().map(|delivery| Resend::Publish(id, delivery))
            });
        let mut released: Vec<_> = numbered()
            .filter(|(_, entry)| entry.state == State::Released)
            .map(|(id, entry)| (entry.release, id))
            .collect();
        let newest = self.releases;
        released.sort_by_key(|&(release, _)| std::cmp::Reverse(newest.wrapping_sub(release)));
        publishes.chain(released.into_iter().map(|(_, id)| Resend::Release(id)))
    }

    /// Takes back the publications of the shared groups that `wanted` names which the client has
    /// not acknowledged (for QoS 2: not received), so that another member can get them. Ends those
    /// exchanges.
    pub fn take_shared(&mut self, wanted: impl Fn(u32) -> bool) -> Vec<Delivery> {
        let mut taken = Vec::new();
        for entry in &mut self.ring {
            let shared = entry.delivery.as_ref().and_then(|it| it.group).is_some_and(&wanted);
            if entry.state == State::Sent && shared {
                taken.extend(entry.delivery.take());
                entry.state = State::Done;
                self.open -= 1;
            }
        }
        self.pop_done();
        taken
    }

    fn find(&mut self, id: u16) -> Option<&mut InFlight> {
        let at = self.index_of(id)?;
        self.ring.get_mut(at)
    }

    fn complete(&mut self, id: u16) -> AckOutcome {
        let delivery = self.find(id).and_then(|entry| {
            entry.state = State::Done;
            entry.delivery.take()
        });
        self.open -= 1;
        self.pop_done();
        AckOutcome::Completed(delivery)
    }

    fn pop_done(&mut self) {
        while self.ring.front().is_some_and(|entry| entry.state == State::Done) {
            self.ring.pop_front();
            self.front = ((usize::from(self.front) + 1) % IDS) as u16;
        }
        if self.ring.is_empty() && self.ring.capacity() > KEPT {
            self.ring = VecDeque::new();
        }
    }

    fn id_at(&self, index: usize) -> u16 {
        ((usize::from(self.front) + index) % IDS) as u16 + 1
    }

    fn index_of(&self, id: u16) -> Option<usize> {
        let id = usize::from(id.checked_sub(1)?);
        Some((id + IDS - usize::from(self.front)) % IDS)
    }
}

/// Packet identifiers there are.
const IDS: usize = 65_535;
/// Ring slots that an idle session may keep.
const KEPT: usize = 128;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Message;

    fn delivery(topic: &str, qos: QoS) -> Delivery {
        let message = Arc::new(Message::plain(topic, b"", qos, false));
        Delivery { message, qos, retain: false, ids: None, group: None }
    }

    #[test]
    fn identifiers_wrap_and_skip_zero() {
        let mut window = Window::default();
        for round in 0..70_000u32 {
            let id = window.begin(QoS::AtLeastOnce, None);
            assert_eq!(u32::from(id), round % 65_535 + 1);
            assert!(matches!(window.acknowledge(id), AckOutcome::Completed(None)));
        }
        assert_eq!(window.open_count(), 0);
    }

    #[test]
    fn a_gap_does_not_free_the_identifiers_before_it() {
        let mut window = Window::default();
        let ids: Vec<_> = (0..3).map(|_| window.begin(QoS::AtLeastOnce, None)).collect();
        window.acknowledge(ids[1]);
        assert_eq!(window.acknowledge(ids[1]), AckOutcome::Unknown);
        assert_eq!(window.open_count(), 2);
        window.acknowledge(ids[0]);
        window.acknowledge(ids[2]);
        assert_eq!(window.begin(QoS::AtLeastOnce, None), 4);
    }

    #[test]
    fn resends_publishes_then_releases_in_the_order_of_pubrec() {
        let mut window = Window::default();
        let two = QoS::ExactlyOnce;
        for topic in ["a", "b", "c", "d"] {
            window.begin(two, Some(delivery(topic, two)));
        }
        assert_eq!(window.receive(3, false), AckOutcome::Release);
        assert_eq!(window.receive(1, false), AckOutcome::Release);
        let order: Vec<_> = window
            .resend()
            .map(|resend| match resend {
                Resend::Publish(id, _) => (id, "publish"),
                Resend::Release(id) => (id, "pubrel"),
            })
            .collect();
        assert_eq!(order, [(2, "publish"), (4, "publish"), (3, "pubrel"), (1, "pubrel")]);
    }

    #[test]
    fn an_error_in_pubrec_ends_the_exchange() {
        let mut window = Window::default();
        let id = window.begin(QoS::ExactlyOnce, None);
        assert_eq!(window.receive(id, true), AckOutcome::Completed(None));
        assert_eq!(window.receive(id, false), AckOutcome::Unknown);
        assert_eq!(window.complete_release(id), AckOutcome::Unknown);
    }
}
