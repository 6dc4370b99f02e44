//! A client at the other end of a connection.

use std::cell::RefCell;
use std::rc::Rc;

use agentmq_codec::{
    Ack, AckKind, Auth, Disconnect, Properties, PropertiesBuf, Property, PropertyId as P,
    ProtocolVersion, ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe,
};

use super::got::qos;
use super::{Got, Message, Publishing, World};

/// A connected client. What it has received waits in an inbox until the test looks.
pub(crate) struct Client {
    world: Rc<RefCell<World>>,
    line: usize,
}

impl Client {
    pub(crate) fn new(world: Rc<RefCell<World>>, line: usize) -> Self {
        Self { world, line }
    }

    /// Subscribes with a maximum QoS; returns the SUBACK code.
    pub(crate) fn subscribe(&self, filter: &str, level: u8) -> u8 {
        self.subscribe_as(filter, SubscriptionOptions::at(qos(level)), None)
    }

    /// Subscribes with options and a Subscription Identifier; returns the SUBACK code.
    pub(crate) fn subscribe_as(
        &self,
        filter: &str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) -> u8 {
        self.send_subscribe(&[(filter, options)], identifier);
        let codes = self.take(|got| match got {
            Got::SubAck(_, codes) => Some(codes.clone()),
            _ => None,
        });
        codes.expect("a SUBACK")[0]
    }

    /// Sends SUBSCRIBE and leaves the answer in the inbox.
    pub(crate) fn send_subscribe(
        &self,
        filters: &[(&str, SubscriptionOptions)],
        identifier: Option<u32>,
    ) -> u16 {
        let id = self.next_packet_id();
        let properties: PropertiesBuf = identifier
            .map(|value| Property::VarInt(P::SubscriptionIdentifier, value))
            .into_iter()
            .collect();
        let filters = filters.iter().map(|&(filter, options)| SubscribeFilter { filter, options });
        let mut bytes = Vec::new();
        Subscribe::encode_parts(id, properties.view(), filters, self.version(), &mut bytes);
        self.send(&bytes);
        id
    }

    /// Unsubscribes; returns the UNSUBACK code (0 before version 5).
    pub(crate) fn unsubscribe(&self, filter: &str) -> u8 {
        let id = self.next_packet_id();
        let mut bytes = Vec::new();
        Unsubscribe::encode_parts(id, Properties::EMPTY, [filter], self.version(), &mut bytes);
        self.send(&bytes);
        let codes = self.take(|got| match got {
            Got::UnsubAck(of, codes) if *of == id => Some(codes.clone()),
            _ => None,
        });
        codes.expect("an UNSUBACK").first().copied().unwrap_or(0)
    }

    /// Begins a PUBLISH.
    pub(crate) fn publishing(&self, topic: &str, payload: &str) -> Publishing<'_> {
        Publishing::new(self, topic, payload.as_bytes())
    }

    /// Publishes and returns the code of PUBACK or PUBREC (0 for QoS 0).
    pub(crate) fn publish(&self, topic: &str, payload: &str, level: u8) -> u8 {
        let id = self.publishing(topic, payload).qos(level).send();
        if level == 0 {
            return 0;
        }
        let code = self.take(|got| match got {
            Got::PubAck(of, code) | Got::PubRec(of, code) if *of == id => Some(*code),
            _ => None,
        });
        if level == 2 {
            self.take(|got| matches!(got, Got::PubComp(of, _) if *of == id).then_some(()));
        }
        code.expect("an acknowledgement")
    }

    /// Publishes a retained message with QoS 1.
    pub(crate) fn retain(&self, topic: &str, payload: &str) {
        self.publishing(topic, payload).qos(1).retain().send();
    }

    pub(crate) fn puback(&self, id: u16) {
        self.ack(AckKind::PubAck, id, ReasonCode::Success);
    }

    pub(crate) fn pubrec(&self, id: u16) {
        self.ack(AckKind::PubRec, id, ReasonCode::Success);
    }

    pub(crate) fn pubrel(&self, id: u16) {
        self.ack(AckKind::PubRel, id, ReasonCode::Success);
    }

    pub(crate) fn pubcomp(&self, id: u16) {
        self.ack(AckKind::PubComp, id, ReasonCode::Success);
    }

    pub(crate) fn ack(&self, kind: AckKind, id: u16, reason: ReasonCode) {
        let mut bytes = Vec::new();
        Ack::new(kind, id, reason).encode(self.version(), &mut bytes);
        self.send(&bytes);
    }

    pub(crate) fn auth(&self, reason: ReasonCode, method: &str, data: &str) {
        let properties = PropertiesBuf::new()
            .with(Property::Text(P::AuthenticationMethod, method))
            .with(Property::Binary(P::AuthenticationData, data.as_bytes()));
        let mut bytes = Vec::new();
        Auth { reason, properties: properties.view() }.encode(&mut bytes);
        self.send(&bytes);
    }

    pub(crate) fn ping(&self) {
        self.send(&[0xC0, 0]);
    }

    /// Leaves with a normal DISCONNECT.
    pub(crate) fn disconnect(&self) {
        self.disconnect_as(ReasonCode::NORMAL_DISCONNECTION, &PropertiesBuf::new());
    }

    /// Leaves with a DISCONNECT of this reason.
    pub(crate) fn disconnect_as(&self, reason: ReasonCode, properties: &PropertiesBuf) {
        let mut bytes = Vec::new();
        Disconnect { reason, properties: properties.view() }.encode(self.version(), &mut bytes);
        self.send(&bytes);
    }

    /// The connection breaks.
    pub(crate) fn vanish(&self) {
        self.world.borrow_mut().cut(self.line);
    }

    /// The shard closes the connection.
    pub(crate) fn evict(&self, reason: ReasonCode) {
        self.world.borrow_mut().evict(self.line, reason);
    }

    /// Stops reading its socket.
    pub(crate) fn stall(&self) {
        self.world.borrow_mut().line(self.line).stalled = true;
    }

    /// Reads again.
    pub(crate) fn unstall(&self) {
        self.world.borrow_mut().unstall(self.line);
    }

    /// Sends bytes that are whole packets.
    pub(crate) fn send(&self, packets: &[u8]) {
        self.world.borrow_mut().send(self.line, packets);
    }

    pub(crate) fn next_packet_id(&self) -> u16 {
        let mut world = self.world.borrow_mut();
        let line = world.line(self.line);
        line.next_id += 1;
        line.next_id
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        self.world.borrow().version(self.line)
    }

    /// The oldest packet of the inbox.
    pub(crate) fn next(&self) -> Option<Got> {
        self.world.borrow_mut().line(self.line).inbox.pop_front()
    }

    /// The Reason Strings of the acknowledgements, and of DISCONNECT, since the test last asked.
    pub(crate) fn reasons(&self) -> Vec<String> {
        std::mem::take(&mut self.world.borrow_mut().line(self.line).reasons)
    }

    /// The Reason String of the one of them that has one.
    pub(crate) fn reason(&self) -> String {
        let reasons = self.reasons();
        assert_eq!(reasons.len(), 1, "one Reason String expected: {reasons:?}");
        reasons.into_iter().next().expect("one Reason String")
    }

    /// Length of the longest packet received.
    pub(crate) fn longest(&self) -> usize {
        self.world.borrow_mut().line(self.line).longest
    }

    /// Everything in the inbox.
    pub(crate) fn packets(&self) -> Vec<Got> {
        self.world.borrow_mut().line(self.line).inbox.drain(..).collect()
    }

    /// The publications in the inbox, which is then empty.
    pub(crate) fn messages(&self) -> Vec<Message> {
        let publish = |got| match got {
            Got::Publish(message) => Some(message),
            _ => None,
        };
        self.packets().into_iter().filter_map(publish).collect()
    }

    /// The one publication in the inbox.
    pub(crate) fn message(&self) -> Message {
        let messages = self.messages();
        assert_eq!(messages.len(), 1, "one message expected: {messages:?}");
        messages.into_iter().next().expect("one message")
    }

    /// The payloads of the publications in the inbox.
    pub(crate) fn payloads(&self) -> Vec<String> {
        self.messages().into_iter().map(|message| message.payload).collect()
    }

    pub(crate) fn is_closed(&self) -> bool {
        !self.world.borrow().is_open(self.line)
    }

    /// The reason code of the DISCONNECT with which the broker has closed the connection.
    pub(crate) fn closed_with(&self) -> u8 {
        assert!(self.is_closed(), "the connection is still open");
        match self.packets().pop() {
            Some(Got::Disconnect(code)) => code,
            other => panic!("DISCONNECT as the last packet expected, got {other:?}"),
        }
    }

    /// Takes the first packet that `wanted` wants out of the inbox.
    fn take<T>(&self, wanted: impl Fn(&Got) -> Option<T>) -> Option<T> {
        let mut world = self.world.borrow_mut();
        let inbox = &mut world.line(self.line).inbox;
        let at = inbox.iter().position(|got| wanted(got).is_some())?;
        inbox.remove(at).and_then(|got| wanted(&got))
    }
}
