//! A shard's side of the mail: taking it in at the start of a turn, sending it at the end.

use agentmq_router::{Mail, Place};

use crate::mailbox::Parcel;
use crate::shard::Shard;

impl Shard {
    /// Whether this shard has others to write to. While it has none, mail costs it nothing.
    pub(crate) fn has_company(&self) -> bool {
        self.has_company
    }

    /// Handles what other shards have sent.
    pub(crate) fn take_mail(&mut self) {
        let mut parcels = std::mem::take(&mut self.parcels);
        self.mailboxes.take(self.place, &mut parcels);
        self.has_company |= !parcels.is_empty();
        for (from, parcel) in parcels.drain(..) {
            match parcel {
                Parcel::Router(Mail::Bundle(mut bundle)) => {
                    let mut receive = |shard: &mut Self| {
                        shard.guarded("a message of the mail", |router, now| {
                            router.receive_bundle(from, &mut bundle, now);
                        })
                    };
                    // A panic costs one message; the others are for other receivers.
                    while receive(self).is_none() {}
                }
                Parcel::Router(mail) => {
                    self.guarded("mail", |router, now| router.receive(from, mail, now));
                }
                Parcel::Handoff(handoff) => self.handed_over(*handoff),
                Parcel::LeftDoor(door) => self.left_door(door),
            }
        }
        self.parcels = parcels;
        self.take_in();
        self.is_congested = self.has_company && self.mailboxes.is_congested();
    }

    /// Keeps a parcel until the end of the turn.
    pub(crate) fn keep_for(&mut self, to: Place, parcel: Parcel) {
        self.has_company = true;
        let at = usize::from(to.0);
        if self.unsent.len() <= at {
            self.unsent.resize_with(at + 1, Default::default);
        }
        if let Some(unsent) = self.unsent.get_mut(at) {
            unsent.push_back(parcel);
        }
    }

    /// Posts what this turn has brought for other shards, and what did not fit before.
    pub(crate) fn send_mail(&mut self) {
        let mut mail = std::mem::take(&mut self.outgoing);
        self.router.take_mail(&mut mail);
        for (to, mail) in mail.drain(..) {
            self.keep_for(to, Parcel::Router(mail));
        }
        self.outgoing = mail;
        let mut keeps_back = false;
        for (to, unsent) in self.unsent.iter_mut().enumerate() {
            if !unsent.is_empty() {
                keeps_back |= !self.mailboxes.post(self.place, Place(to as u8), unsent);
            }
        }
        if keeps_back != self.keeps_back {
            self.keeps_back = keeps_back;
            self.mailboxes.set_congested(self.place, keeps_back);
            if keeps_back {
                tracing::debug!("mail does not fit: clients are not read until it does");
            }
        }
        if self.place != Place(0) {
            self.list_sessions();
        }
    }
}

/// Milliseconds after which mail that did not fit is tried again, and clients that are not read
/// because of it are looked at.
pub(crate) const CONGESTED_MS: u64 = 1;
