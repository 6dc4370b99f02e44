//! Every way in which a message reaches a client.

/// How a PUBLISH has come to be sent. Whoever sends one says so, and so a new way has a place here;
/// the test of rights (`path_matrix`) then asks what becomes of it when a right is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryPath {
    /// When it was published: to a subscription, or to a member of a shared group.
    Live,
    /// The same, once its packet identifier was safe (QoS 2 to a session that survives).
    Held,
    /// It has waited in the session's queue.
    Queued,
    /// It was retained, and its receiver has subscribed.
    Retained,
    /// It was sent before and not acknowledged.
    Again,
}

impl DeliveryPath {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Live, Self::Held, Self::Queued, Self::Retained, Self::Again];
}
