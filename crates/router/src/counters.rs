//! What a shard counts.

use std::ops::AddAssign;

use crate::delivery_path::DeliveryPath;

macro_rules! counters {
    ($($name:ident: $doc:literal;)*) => {
        /// Counts since the shard started, and gauges where the text says so. Plain integers: only
        /// the owning shard writes them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters { $(#[doc = $doc] pub $name: u64,)* }

        impl AddAssign for Counters {
            fn add_assign(&mut self, other: Self) { $(self.$name += other.$name;)* }
        }

        impl Counters {
            /// Name, value and meaning of each.
            pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> {
                [$((stringify!($name), self.$name, $doc),)*].into_iter()
            }
        }
    };
}

counters! {
    connections: "Connections accepted by the protocol (CONNACK success).";
    connections_refused: "CONNECTs answered with an error.";
    connections_now: "Connected clients (gauge).";
    connections_max: "Most clients connected at once (gauge).";
    sockets: "Sockets accepted.";
    sessions_now: "Sessions, offline ones included (gauge).";
    sessions_expired: "Sessions whose expiry ran out.";
    sessions_taken_over: "Connections closed with 0x8E.";
    subscriptions_now: "Subscriptions, shared ones included (gauge).";
    shared_subscriptions_now: "Shared subscriptions (gauge).";
    retained_now: "Retained messages (gauge).";
    retained_bytes: "Bytes of retained messages (gauge).";
    bytes_received: "Bytes of packets read.";
    bytes_sent: "Bytes of packets written to connections.";
    packets_received: "Packets read.";
    packets_sent: "Packets sent.";
    publish_received: "PUBLISH packets read.";
    publish_sent: "PUBLISH packets sent.";
    publish_sent_queued: "PUBLISH packets sent that had waited in a queue.";
    publish_sent_retained: "PUBLISH packets sent because a client subscribed to retained messages.";
    publish_sent_again: "PUBLISH packets sent again, since they were not acknowledged.";
    publish_bytes_received: "Bytes of payload in PUBLISH packets read.";
    publish_bytes_sent: "Bytes of payload in PUBLISH packets sent.";
    publish_refused: "PUBLISH packets answered with an error.";
    dropped_queue_full: "Messages dropped because a session's queue was full.";
    dropped_slow_consumer: "QoS 0 messages dropped because their receiver does not read.";
    dropped_too_large: "Messages not sent because they exceed the receiver's Maximum Packet Size.";
    dropped_expired: "Messages whose expiry ran out before delivery.";
    dropped_forbidden: "Messages that waited for a client which has lost the right to them.";
    dropped_offline: "QoS 0 messages for absent clients.";
    protocol_errors: "Connections closed for malformed packets or protocol errors.";
    keep_alive_timeouts: "Connections closed because nothing came for 1.5 keep alives.";
    sessions_put_out: "Sessions ended because their client would not be let in any more.";
    proofs_ended: "Connections closed because the proof of who they are had expired.";
    slow_consumers: "Connections closed because their client did not read.";
    wills_sent: "Wills published.";
    retained_refused: "Retained messages that exceeded a limit and were only delivered.";
    retained_withheld: "Retained messages not served because their author may not retain them now.";
    replies_dropped: "Answers below $reply/ that no open request waits for.";
    shared_rerouted: "Messages given to another member of a shared group.";
    panics: "Pieces of work that ended in a panic and cost their connection: defects.";
    recalled: "Messages of session queues that were read back from the log.";
    queued_now: "Messages that wait in session queues (gauge, refreshed on report).";
}

impl Counters {
    /// Messages that somebody should have got and did not.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped_queue_full
            + self.dropped_slow_consumer
            + self.dropped_expired
            + self.dropped_too_large
    }

    /// One more PUBLISH has been sent.
    pub(crate) fn sent_publish(&mut self, path: DeliveryPath, payload_len: usize) {
        match path {
            DeliveryPath::Live | DeliveryPath::Held => {}
            DeliveryPath::Queued => self.publish_sent_queued += 1,
            DeliveryPath::Retained => self.publish_sent_retained += 1,
            DeliveryPath::Again => self.publish_sent_again += 1,
        }
        self.packets_sent += 1;
        self.publish_sent += 1;
        self.publish_bytes_sent += payload_len as u64;
    }
}
