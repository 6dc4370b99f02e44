//! Which properties each packet may carry (MQTT 5 §2.2.2.2, table 2-4).

use crate::property::PropertyId as P;

/// Which properties a packet may carry, and which of them more than once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    pub(crate) once: u64,
    pub(crate) repeated: u64,
}

const fn set(ids: &[P]) -> Allowed {
    let mut once = P::UserProperty.bit();
    let mut index = 0;
    while index < ids.len() {
        once |= ids[index].bit();
        index += 1;
    }
    Allowed { once, repeated: P::UserProperty.bit() | P::SubscriptionIdentifier.bit() }
}

pub(crate) const CONNECT: Allowed = set(&[
    P::SessionExpiryInterval,
    P::ReceiveMaximum,
    P::MaximumPacketSize,
    P::TopicAliasMaximum,
    P::RequestResponseInformation,
    P::RequestProblemInformation,
    P::AuthenticationMethod,
    P::AuthenticationData,
]);
pub(crate) const WILL: Allowed = set(&[
    P::WillDelayInterval,
    P::PayloadFormatIndicator,
    P::MessageExpiryInterval,
    P::ContentType,
    P::ResponseTopic,
    P::CorrelationData,
]);
pub(crate) const CONNACK: Allowed = set(&[
    P::SessionExpiryInterval,
    P::ReceiveMaximum,
    P::MaximumQoS,
    P::RetainAvailable,
    P::MaximumPacketSize,
    P::AssignedClientIdentifier,
    P::TopicAliasMaximum,
    P::ReasonString,
    P::WildcardSubscriptionAvailable,
    P::SubscriptionIdentifierAvailable,
    P::SharedSubscriptionAvailable,
    P::ServerKeepAlive,
    P::ResponseInformation,
    P::ServerReference,
    P::AuthenticationMethod,
    P::AuthenticationData,
]);
pub(crate) const PUBLISH: Allowed = set(&[
    P::PayloadFormatIndicator,
    P::MessageExpiryInterval,
    P::TopicAlias,
    P::ResponseTopic,
    P::CorrelationData,
    P::SubscriptionIdentifier,
    P::ContentType,
]);
pub(crate) const ACK: Allowed = set(&[P::ReasonString]);
pub(crate) const SUBSCRIBE: Allowed = Allowed {
    once: P::UserProperty.bit() | P::SubscriptionIdentifier.bit(),
    repeated: P::UserProperty.bit(),
};
pub(crate) const UNSUBSCRIBE: Allowed = set(&[]);
pub(crate) const DISCONNECT: Allowed =
    set(&[P::SessionExpiryInterval, P::ReasonString, P::ServerReference]);
pub(crate) const AUTH: Allowed =
    set(&[P::AuthenticationMethod, P::AuthenticationData, P::ReasonString]);
