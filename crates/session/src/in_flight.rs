//! QoS 1 and 2 publications sent and not yet completed: packet identifiers, the send window,
//! and what is sent again on resume.

use std::collections::VecDeque;

use agentmq_codec::QoS;

use crate::kept_deliveries::{IDLE_SLOTS, KeptDeliveries};
use crate::limits::window_span;
use crate::{Delivery, Keep};

/// The send window of one session. Identifiers are handed out in sequence, so that an identifier
/// is an index into a ring: no map, and acknowledgements that arrive in order cost nothing.
#[derive(Debug, Clone, Default)]
pub struct Window {
    ring: VecDeque<InFlight>,
    /// What to send again, by the places of the ring. Most sessions end with their connection and
    /// keep nothing, and a ring without it is a ninth as large: a message to a thousand subscribers
    /// finds none of their rings in the cache.
    kept: Option<Box<KeptDeliveries>>,
    /// Identifier of the ring's front, minus one: identifiers run from 1 to 65 535.
    front: u16,
    /// Exchanges that count against the client's Receive Maximum.
    open: u16,
    /// PUBLISHes of an earlier connection that must be sent again on this one.
    owed: u16,
    /// Place in the ring before which no PUBLISH is owed.
    owed_from: u32,
    /// Order of PUBRELs.
    releases: u32,
}

/// One publication in flight.
#[derive(Debug, Clone)]
struct InFlight {
    state: State,
    qos: QoS,
    /// Position among the PUBRELs sent.
    release: u32,
}

const _: () = assert!(size_of::<InFlight>() == 8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Completed, behind one that is not.
    Done,
    /// PUBLISH sent on an earlier connection; to be sent again on this one.
    Owed,
    /// PUBLISH sent when its identifier is safe; see [`Window::commit`].
    Held,
    /// PUBLISH sent; PUBACK or PUBREC awaited.
    Sent,
    /// PUBREL sent; PUBCOMP awaited.
    Released,
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckOutcome {
    /// The exchange is over.
    Completed,
    /// PUBREL is due.
    Release,
    /// No such exchange, or not in this state.
    Unknown,
}

impl Window {
    /// Exchanges that count against the Receive Maximum [MQTT-4.9.0-1].
    pub fn open_count(&self) -> u16 {
        self.open
    }

    /// How many more exchanges may begin under this Receive Maximum; none before those of an
    /// earlier connection have gone on, which keeps the order, and none too far ahead of one that
    /// stays unacknowledged (`window_span`).
    pub fn room(&self, receive_maximum: u16) -> u16 {
        if self.owed > 0 {
            return 0;
        }
        let span = window_span(receive_maximum).min(IDS);
        let places = u16::try_from(span.saturating_sub(self.ring.len())).unwrap_or(u16::MAX);
        receive_maximum.saturating_sub(self.open).min(places)
    }

    /// Whether one more exchange may begin under this Receive Maximum.
    pub fn has_room(&self, receive_maximum: u16) -> bool {
        self.room(receive_maximum) > 0
    }

    /// Whether PUBLISHes of an earlier connection are still to be sent again.
    pub fn is_owing(&self) -> bool {
        self.owed > 0
    }

    /// Begins an exchange; returns its packet identifier. The caller has asked [`Self::has_room`].
    /// What to keep is for a resend; with `waits` it is not to be sent before [`Self::commit`].
    pub fn begin(&mut self, qos: QoS, keep: Option<Keep<'_>>, waits: bool) -> u16 {
        debug_assert!(qos != QoS::AtMostOnce && self.ring.len() < IDS, "caller asked has_room");
        let id = self.id_at(self.ring.len());
        if let Some(keep) = keep {
            self.kept.get_or_insert_default().put(self.ring.len(), keep);
        }
        let state = if waits { State::Held } else { State::Sent };
        self.ring.push_back(InFlight { state, qos, release: 0 });
        self.open += 1;
        id
    }

    /// The identifier of an exchange that has waited is safe: returns the delivery to send now. If
    /// the client is not here, or others must be sent again first, it is owed with them.
    pub fn commit(&mut self, id: u16, is_connected: bool) -> Option<Delivery> {
        let at = self.index_of(id)?;
        let is_owing = self.owed > 0 || !is_connected;
        let entry = self.ring.get_mut(at).filter(|entry| entry.state == State::Held)?;
        if is_owing {
            entry.state = State::Owed;
            self.open -= 1;
            self.owed += 1;
            self.owed_from = self.owed_from.min(at as u32);
            return None;
        }
        entry.state = State::Sent;
        self.kept.as_ref()?.get(at)
    }

    /// Puts back what was in flight before a restart: each with its identifier, QoS and delivery,
    /// or, where PUBREL is due, without one. In the order of PUBLISHes and then of PUBRECs.
    pub fn restore(exchanges: Vec<(u16, QoS, Option<Delivery>)>) -> Self {
        let mut window = Self::default();
        let mut ids: Vec<u16> = exchanges.iter().map(|(id, ..)| *id).collect();
        ids.sort_unstable();
        // The ring begins behind the largest gap between identifiers.
        let gap = |(from, to): (&u16, &u16)| (usize::from(*to) + IDS - usize::from(*from)) % IDS;
        let pairs = ids.iter().zip(ids.iter().cycle().skip(1));
        let Some((_, first)) = pairs.max_by_key(|pair| match gap(*pair) {
            0 => IDS, // the only one
            gap => gap,
        }) else {
            return window;
        };
        window.front = *first - 1;
        let done = || InFlight { state: State::Done, qos: QoS::AtLeastOnce, release: 0 };
        for (id, qos, delivery) in exchanges {
            let Some(at) = window.index_of(id) else { continue };
            while window.ring.len() <= at {
                window.ring.push_back(done());
            }
            let entry = window.ring.get_mut(at).filter(|entry| entry.state == State::Done);
            let Some(entry) = entry else { continue }; // one exchange for each identifier
            entry.qos = qos;
            if let Some(delivery) = delivery {
                entry.state = State::Owed;
                window.owed += 1;
                window.kept.get_or_insert_default().restore(at, delivery);
            } else {
                (entry.state, entry.release) = (State::Released, window.releases);
                window.releases += 1;
                window.open += 1;
            }
        }
        window
    }

    /// PUBACK.
    pub fn acknowledge(&mut self, id: u16) -> AckOutcome {
        match self.find(id) {
            Some(entry) if entry.is_unanswered() && entry.qos == QoS::AtLeastOnce => {
                self.complete(id)
            }
            _ => AckOutcome::Unknown,
        }
    }

    /// PUBREC. An error ends the exchange [MQTT-4.3.3-4]; a repeated PUBREC gets PUBREL again.
    pub fn receive(&mut self, id: u16, is_error: bool) -> AckOutcome {
        let release = self.releases;
        match self.find(id) {
            Some(entry) if entry.qos == QoS::ExactlyOnce && entry.is_unanswered() => {
                if is_error {
                    return self.complete(id);
                }
                let was_owed = entry.state == State::Owed;
                entry.state = State::Released;
                entry.release = release;
                if was_owed {
                    // It counts again, as if its PUBLISH had been sent on this connection.
                    self.owed -= 1;
                    self.open += 1;
                }
                self.releases = release.wrapping_add(1);
                self.forget(id);
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

    /// A new connection resumes the session: every PUBLISH that is not answered is owed again.
    /// Returns the identifiers of the PUBRELs to send again, in the order of the PUBRECs that they
    /// answer [MQTT-4.4.0-1, 4.6.0-4].
    pub fn resume(&mut self) -> Vec<u16> {
        let mut released = Vec::new();
        for at in 0..self.ring.len() {
            let id = self.id_at(at);
            let Some(entry) = self.ring.get_mut(at) else { break };
            match entry.state {
                State::Sent => {
                    entry.state = State::Owed;
                    self.open -= 1;
                    self.owed += 1;
                }
                State::Released => released.push((entry.release, id)),
                State::Held | State::Owed | State::Done => {}
            }
        }
        self.owed_from = 0;
        let newest = self.releases;
        released.sort_by_key(|&(release, _)| std::cmp::Reverse(newest.wrapping_sub(release)));
        released.into_iter().map(|(_, id)| id).collect()
    }

    /// The next PUBLISH to send again with DUP, in the order in which they were first sent
    /// [MQTT-4.6.0-1]; `None` when there is none, or when the Receive Maximum of the new
    /// connection leaves no room for it [MQTT-3.3.4-9]. It counts as sent.
    pub fn next_owed(&mut self, receive_maximum: u16) -> Option<(u16, Delivery)> {
        while self.owed > 0 && self.open < receive_maximum {
            let at = self.owed_from as usize;
            let id = self.id_at(at);
            let entry = self.ring.get_mut(at)?;
            self.owed_from += 1;
            if entry.state != State::Owed {
                continue;
            }
            entry.state = State::Sent;
            self.owed -= 1;
            self.open += 1;
            match self.kept.as_ref().and_then(|kept| kept.get(at)) {
                Some(delivery) => return Some((id, delivery)),
                // Nothing was kept: it cannot be sent again.
                None => self.complete(id),
            };
        }
        None
    }

    /// Ends an exchange whose PUBLISH cannot be sent on this connection, as if it had been
    /// answered [MQTT-3.1.2-25].
    pub fn abandon(&mut self, id: u16) {
        if self.find(id).is_some_and(|entry| entry.is_unanswered()) {
            self.complete(id);
        }
    }

    /// Ends an exchange whose PUBLISH has waited for [`Self::commit`] and is not to be sent.
    pub fn withdraw(&mut self, id: u16) {
        if self.find(id).is_some_and(|entry| entry.state == State::Held) {
            self.complete(id);
        }
    }

    /// Takes back the QoS 1 publications of the shared groups that `wanted` names which the client
    /// has not acknowledged, so that another member can get them; ends those exchanges. QoS 2
    /// publications stay: once sent, nobody else may get them [MQTT-4.8.2-4, -5].
    pub fn take_shared(&mut self, wanted: impl Fn(u32) -> bool) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let Some(kept) = &mut self.kept else { return taken };
        for (at, entry) in self.ring.iter_mut().enumerate() {
            let shared = kept.group(at).is_some_and(&wanted);
            if shared && entry.is_unanswered() && entry.qos == QoS::AtLeastOnce {
                let count =
                    if entry.state == State::Owed { &mut self.owed } else { &mut self.open };
                *count -= 1;
                taken.extend(kept.get(at));
                kept.forget(at);
                entry.state = State::Done;
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
        let Some(entry) = self.find(id) else { return AckOutcome::Unknown };
        let was_owed = entry.state == State::Owed;
        entry.state = State::Done;
        let count = if was_owed { &mut self.owed } else { &mut self.open };
        *count -= 1;
        self.forget(id);
        self.pop_done();
        AckOutcome::Completed
    }

    /// Nothing of this exchange will be sent again.
    fn forget(&mut self, id: u16) {
        let at = self.index_of(id);
        if let (Some(kept), Some(at)) = (&mut self.kept, at) {
            kept.forget(at);
        }
    }

    fn pop_done(&mut self) {
        while self.ring.front().is_some_and(|entry| entry.state == State::Done) {
            self.ring.pop_front();
            if let Some(kept) = &mut self.kept {
                kept.pop_front();
            }
            self.front = ((usize::from(self.front) + 1) % IDS) as u16;
            self.owed_from = self.owed_from.saturating_sub(1);
        }
        if self.ring.is_empty() && self.ring.capacity() > IDLE_SLOTS {
            self.ring = VecDeque::new();
        }
        if self.ring.is_empty() && self.kept.as_ref().is_some_and(|kept| kept.is_large()) {
            self.kept = None;
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

impl InFlight {
    fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Sent | State::Owed)
    }
}

/// Packet identifiers there are.
const IDS: usize = 65_535;

#[cfg(test)]
mod tests {
    use agentmq_codec::Properties;
    use proptest::prelude::*;

    use super::*;
    use crate::{Message, MessageParts};

    fn delivery(topic: &str, qos: QoS) -> Delivery {
        let message = Message::plain(topic, b"", qos, false);
        Delivery { message, qos, retain: false, ids: None, group: None, ordinal: 0 }
    }

    #[test]
    fn identifiers_wrap_and_skip_zero() {
        let mut window = Window::default();
        for round in 0..70_000u32 {
            let id = window.begin(QoS::AtLeastOnce, None, false);
            assert_eq!(u32::from(id), round % 65_535 + 1);
            assert_eq!(window.acknowledge(id), AckOutcome::Completed);
        }
        assert_eq!(window.open_count(), 0);
    }

    #[test]
    fn a_gap_does_not_free_the_identifiers_before_it() {
        let mut window = Window::default();
        let ids: Vec<_> = (0..3).map(|_| window.begin(QoS::AtLeastOnce, None, false)).collect();
        window.acknowledge(ids[1]);
        assert_eq!(window.acknowledge(ids[1]), AckOutcome::Unknown);
        assert_eq!(window.open_count(), 2);
        window.acknowledge(ids[0]);
        window.acknowledge(ids[2]);
        assert_eq!(window.begin(QoS::AtLeastOnce, None, false), 4);
    }

    #[test]
    fn one_that_is_never_acknowledged_stops_the_window_at_its_span() {
        for (receive_maximum, span) in [(2, 1_024), (1_000, 4_000), (u16::MAX, IDS)] {
            let mut window = Window::default();
            window.begin(QoS::AtLeastOnce, None, false);
            let mut sent = 1;
            while window.has_room(receive_maximum) {
                let id = window.begin(QoS::AtLeastOnce, None, false);
                window.acknowledge(id);
                sent += 1;
            }
            assert_eq!((sent, window.ring.len(), window.open_count()), (span, span, 1));
            window.acknowledge(1);
            assert_eq!(window.room(receive_maximum), receive_maximum);
            assert!(window.ring.capacity() <= IDLE_SLOTS, "the memory is given back");
        }
    }

    /// Identifiers that the window wants sent again under a Receive Maximum.
    fn owed(window: &mut Window, receive_maximum: u16) -> Vec<u16> {
        std::iter::from_fn(|| window.next_owed(receive_maximum).map(|(id, _)| id)).collect()
    }

    #[test]
    fn resends_publishes_and_releases_in_their_order() {
        let mut window = Window::default();
        let two = QoS::ExactlyOnce;
        for topic in ["a", "b", "c", "d"] {
            window.begin(two, Some(Keep::Shared(delivery(topic, two))), false);
        }
        assert_eq!(window.receive(3, false), AckOutcome::Release);
        assert_eq!(window.receive(1, false), AckOutcome::Release);
        assert_eq!(window.resume(), [3, 1]);
        assert_eq!(owed(&mut window, 10), [2, 4]);
        assert_eq!(window.open_count(), 4);
        assert!(!window.is_owing());
    }

    #[test]
    fn a_lower_receive_maximum_paces_what_is_sent_again() {
        let mut window = Window::default();
        let one = QoS::AtLeastOnce;
        for topic in ["a", "b", "c"] {
            window.begin(one, Some(Keep::Shared(delivery(topic, one))), false);
        }
        assert!(window.resume().is_empty());
        assert_eq!(owed(&mut window, 1), [1]);
        assert!(!window.has_room(1) && !window.has_room(10), "what is owed goes first");
        window.acknowledge(1);
        assert_eq!(owed(&mut window, 1), [2]);
        window.abandon(2);
        assert_eq!(window.acknowledge(3), AckOutcome::Completed, "sent before");
        assert_eq!((window.open_count(), window.is_owing()), (0, false));
        assert!(window.has_room(1));
    }

    #[test]
    fn only_qos_1_goes_to_another_member_of_the_group() {
        let mut window = Window::default();
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce] {
            let delivery = Delivery { group: Some(7), ..delivery("a", qos) };
            window.begin(qos, Some(Keep::Shared(delivery)), false);
        }
        assert_eq!(window.take_shared(|group| group == 8).len(), 0);
        assert_eq!(window.take_shared(|group| group == 7).len(), 2);
        assert_eq!(window.open_count(), 1);
    }

    #[test]
    fn what_is_kept_stays_in_its_place() {
        let mut window = Window::default();
        let one = QoS::AtLeastOnce;
        // Only some are kept, as in a session that ends and is a member of a group.
        for topic in [None, Some("b"), None, None, Some("e")] {
            window.begin(one, topic.map(|topic| Keep::Shared(delivery(topic, one))), false);
        }
        window.acknowledge(1);
        window.acknowledge(4);
        assert!(window.resume().is_empty());
        let resent = std::iter::from_fn(|| window.next_owed(10));
        let resent: Vec<_> = resent.map(|(id, it)| (id, it.message.topic().to_string())).collect();
        assert_eq!(resent, [(2, "b".to_owned()), (5, "e".to_owned())], "3 was not kept");
        window.acknowledge(2);
        window.acknowledge(5);
        assert!(window.ring.is_empty() && window.kept.iter().all(|kept| kept.is_empty()));
    }

    #[test]
    fn an_idle_window_holds_little() {
        let mut window = Window::default();
        let (qos, payload) = (QoS::AtLeastOnce, [b'x'; 1_500]);
        let copy = || Keep::Copy {
            parts: MessageParts {
                topic: "t",
                payload: &payload,
                properties: Properties::EMPTY,
                qos,
                retain: false,
                expires_at: None,
            },
            qos,
            retain: false,
            ids: &None,
            group: None,
        };
        let ids: Vec<_> = (0..20).map(|_| window.begin(qos, Some(copy()), false)).collect();
        assert!(window.resume().is_empty());
        let resent = std::iter::from_fn(|| window.next_owed(u16::MAX));
        assert!(resent.map(|(_, it)| it.message).all(|it| *it.payload() == payload));
        for id in ids {
            window.acknowledge(id);
        }
        assert!(window.kept.is_none(), "the memory is given back");
    }

    #[test]
    fn an_acknowledged_message_is_not_held_by_one_before_it() {
        let mut window = Window::default();
        let two = QoS::ExactlyOnce;
        let kept = [delivery("a", two), delivery("b", two), delivery("c", two)];
        let messages: Vec<_> = kept.iter().map(|it| it.message.clone()).collect();
        for delivery in kept {
            window.begin(two, Some(Keep::Shared(delivery)), false);
        }
        window.receive(2, false);
        window.receive(3, true);
        let held: Vec<_> = messages.iter().map(|it| it.references() - 1).collect();
        assert_eq!(held, [1, 0, 0]);
    }

    #[test]
    fn an_error_in_pubrec_ends_the_exchange() {
        let mut window = Window::default();
        let id = window.begin(QoS::ExactlyOnce, None, false);
        assert_eq!(window.receive(id, true), AckOutcome::Completed);
        assert_eq!(window.receive(id, false), AckOutcome::Unknown);
        assert_eq!(window.complete_release(id), AckOutcome::Unknown);
    }

    /// What a window is restored from: identifiers, some of them twice, and whether PUBREL is due.
    fn exchanges() -> impl Strategy<Value = Vec<(u16, bool, bool)>> {
        let id = prop_oneof![1u16..=40, 65_500u16..=65_535, 1u16..=65_535];
        prop::collection::vec((id, any::<bool>(), any::<bool>()), 0..30)
    }

    proptest! {
        #[test]
        fn a_restored_window_goes_on_where_it_was(exchanges in exchanges(), new in 0usize..5) {
            let mut known = std::collections::BTreeMap::new();
            let mut given = Vec::new();
            for (id, is_released, is_two) in exchanges {
                let qos = if is_two { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
                let is_released = is_released && is_two;
                given.push((id, qos, (!is_released).then(|| delivery("t", qos))));
                known.entry(id).or_insert((qos, is_released));
            }
            let mut window = Window::restore(given);
            let released: Vec<u16> = window.resume();
            prop_assert_eq!(released.len(), known.values().filter(|it| it.1).count());
            prop_assert!(released.iter().all(|id| known[id].1));
            let sent = owed(&mut window, u16::MAX);
            prop_assert_eq!(sent.len(), known.values().filter(|it| !it.1).count());
            prop_assert!(!window.is_owing());
            prop_assert_eq!(usize::from(window.open_count()), known.len());
            for _ in 0..new.min(usize::from(window.room(u16::MAX))) {
                let id = window.begin(QoS::AtLeastOnce, None, false);
                prop_assert!(known.insert(id, (QoS::AtLeastOnce, false)).is_none(), "{id} is used");
            }
            for (id, (qos, is_released)) in known {
                if qos == QoS::AtLeastOnce {
                    prop_assert_eq!(window.acknowledge(id), AckOutcome::Completed);
                    continue;
                }
                if !is_released {
                    prop_assert_eq!(window.receive(id, false), AckOutcome::Release);
                }
                prop_assert_eq!(window.complete_release(id), AckOutcome::Completed);
            }
            prop_assert_eq!((window.open_count(), window.ring.len()), (0, 0));
        }
    }
}
