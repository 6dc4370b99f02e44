//! Subscriptions that come and go while messages flow elsewhere.

use agentmq_client::QoS;

use crate::bench::engine::Io;
use crate::bench::flow::due_after;
use crate::bench::wire::Hello;

/// One connection that subscribes and unsubscribes at a fixed rate.
#[derive(Debug)]
pub(crate) struct Churn {
    hello: Hello,
    run: u32,
    connection: usize,
    /// SUBSCRIBEs per second, and as many UNSUBSCRIBEs.
    rate: f64,
    started: u64,
    sent: u64,
    subscribed: u64,
    unsubscribed: u64,
    refused: u64,
}

impl Churn {
    pub(crate) fn new(hello: Hello, run: u32, connection: usize, rate: f64) -> Self {
        Self {
            hello,
            run,
            connection,
            rate,
            started: 0,
            sent: 0,
            subscribed: 0,
            unsubscribed: 0,
            refused: 0,
        }
    }

    pub(crate) fn start(&mut self, now: u64) {
        (self.started, self.sent) = (now, 0);
    }

    /// Sends what is due. Returns when the next is.
    pub(crate) fn send_due(&mut self, io: &mut Io) -> u64 {
        loop {
            let due = self.started + due_after(self.sent, self.rate);
            if due > io.now {
                return due;
            }
            // Beside the topics of the flow, below the same first levels, so that a broker that
            // forgets only what a change concerns has to look closely.
            let filter = format!("bench/{:08x}/churn/{}", self.run, self.sent);
            let id = (self.sent % u64::from(u16::MAX)) as u16 + 1;
            let out = io.out(self.connection);
            self.hello.put_subscribe(&[&filter], id, QoS::AtMostOnce, out);
            self.hello.put_unsubscribe(&filter, id, out);
            self.sent += 1;
        }
    }

    /// Notes an answer. Returns whether it was for this connection.
    pub(crate) fn packet(&mut self, connection: usize, first: u8, body: &[u8]) -> bool {
        if connection != self.connection {
            return false;
        }
        match first {
            0x90 => {
                self.subscribed += 1;
                // The last byte is the one filter's reason.
                self.refused += u64::from(body.last().is_some_and(|&reason| reason >= 0x80));
            }
            0xB0 => self.unsubscribed += 1,
            _ => {}
        }
        true
    }

    /// Pairs of changes that the broker has made.
    pub(crate) fn done(&self) -> u64 {
        self.subscribed.min(self.unsubscribed)
    }

    /// Pairs of changes that the broker has not confirmed.
    pub(crate) fn under_way(&self) -> u64 {
        self.sent - self.done()
    }

    /// Why the flow was not measured beside the changes that were asked for; to be asked when
    /// nothing is under way any more.
    pub(crate) fn failure(&self) -> Option<String> {
        let (done, sent, refused) = (self.done(), self.sent, self.refused);
        if refused > 0 {
            return Some(format!("the broker refused {refused} of {sent} subscriptions"));
        }
        (done < sent).then(|| format!("the broker made {done} of {sent} changes of subscriptions"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agentmq_client::ProtocolVersion;

    #[test]
    fn changes_that_are_missing_or_refused_are_told() {
        let hello = Hello { version: ProtocolVersion::V5, username: None, password: None };
        let mut churn = Churn::new(hello, 1, 3, 10.0);
        churn.sent = 10;
        assert!(!churn.packet(2, 0x90, &[0, 1, 0, 0]), "of another connection");
        for _ in 0..10 {
            churn.packet(3, 0x90, &[0, 1, 0, 0]);
            assert!(churn.failure().is_some());
            churn.packet(3, 0xB0, &[0, 1, 0, 0]);
        }
        assert_eq!((churn.done(), churn.failure()), (10, None));
        churn.packet(3, 0x90, &[0, 1, 0, 0x87]);
        assert!(churn.failure().is_some_and(|failure| failure.contains("refused 1")));
    }
}
