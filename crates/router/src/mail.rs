//! What the routers of one broker's shards tell each other. Mail from one shard to another
//! arrives in the order in which it was sent; between different pairs there is no order.

use std::sync::Arc;

use agentmq_session::{Arrival, Author, Message, Ticket, Time};

use crate::bundle::Bundle;
use crate::places::Place;
use crate::remote_member::GroupMail;
use crate::router::Router;
use crate::subscriptions::Wanted;

/// Which of a topic's retained messages is the newest: the one with the highest order, which no
/// two share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    pub(crate) order: u64,
    /// The shard at which the message arrived.
    pub(crate) origin: Place,
}

/// A message from one shard's router to another's.
#[derive(Debug, Clone)]
pub enum Mail {
    /// A message for the receivers at the other place, and for its retained messages.
    Publish(Published),
    /// Small messages for the receivers at the other place.
    Bundle(Box<Bundle>),
    /// A topic's retained message is gone, without a publication that says so.
    Clear(Message, Stamp),
    /// How much the sender wants what matches a filter.
    Interest {
        /// The topic filter.
        filter: Arc<str>,
        /// If at all, [`Mail::Confirm`] is to answer.
        wanted: Wanted,
        /// The sender's number for the answer.
        ticket: Ticket,
    },
    /// The interest, or the membership, with this number is known here.
    Confirm(Ticket),
    /// The sender is active from now on and asks for a [`Mail::Welcome`].
    Hello,
    /// A portion of what a newly active shard must know.
    Welcome(Box<Welcome>),
    /// Shared groups.
    Group(Box<GroupMail>),
    /// Behind a turn's mail, some of which must survive a crash: [`Mail::Kept`] is to answer when
    /// it does, and what it has brought about.
    Keep {
        /// The turn's position.
        position: Ticket,
        /// How much mail came before this in the turn.
        pieces: u32,
    },
    /// Everything that had to be kept of the sender's mail in these positions is safe.
    Kept {
        /// The first position.
        first: Ticket,
        /// The last one.
        last: Ticket,
    },
    /// These QoS 2 publications are safe wherever they went: their receivers can have them.
    Arrived(Arc<[Arrival]>),
}

/// A message that is to be delivered elsewhere.
#[derive(Debug, Clone)]
pub struct Published {
    pub(crate) message: Message,
    /// Set where the message is to be retained, or clears what is.
    pub(crate) retained: Option<Stamp>,
    /// Who has published it, where it is retained.
    pub(crate) author: Option<Arc<Author>>,
    /// The publisher's client identifier, where a group may choose its members by it.
    pub(crate) publisher: Option<Arc<str>>,
    /// The QoS 2 PUBLISH that brought it, where that must survive a crash. Boxed: it is rare.
    pub(crate) exchange: Option<Box<Arrival>>,
}

/// A portion of one shard's interest and of the retained messages that arrived there.
#[derive(Debug, Clone, Default)]
pub struct Welcome {
    pub(crate) filters: Vec<(Box<str>, Wanted)>,
    pub(crate) retained: Vec<Replica>,
    pub(crate) is_last: bool,
}

/// A topic's retained message as one shard tells another.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) message: Message,
    pub(crate) stamp: Stamp,
    /// Who has published it.
    pub(crate) author: Option<Arc<Author>>,
}

impl Router {
    /// Moves the mail for other shards to the end of `list`.
    pub fn take_mail(&mut self, list: &mut Vec<(Place, Mail)>) {
        self.ask_for_keeping();
        self.peers.take(list);
    }

    /// Handles mail from another shard.
    pub fn receive(&mut self, from: Place, mail: Mail, now: Time) {
        if !matches!(mail, Mail::Bundle(_)) {
            self.mail_gate.count_piece(from); // a bundle does that itself
        }
        match mail {
            Mail::Bundle(mut bundle) => self.receive_bundle(from, &mut bundle, now),
            Mail::Publish(published) => {
                self.handle_mail(from, |router| router.deliver_published(&published, now));
            }
            Mail::Clear(message, stamp) => self.handle_mail(from, |router| {
                if router.retained.replicate(&message, stamp, None, now) {
                    router.record_clearing(message.topic());
                }
            }),
            Mail::Interest { filter, wanted, ticket } => {
                self.subscriptions.set_place(&filter, from, wanted);
                if wanted != Wanted::Not {
                    self.peers.post(from, Mail::Confirm(ticket));
                }
            }
            Mail::Confirm(ticket) => {
                self.peers.barrier.confirm(from, ticket);
                self.barrier_moved(now);
            }
            Mail::Hello => self.welcome(from, now),
            Mail::Welcome(welcome) => self.welcomed(from, *welcome, now),
            Mail::Group(mail) if mail.carries_message() => {
                self.handle_mail(from, |router| router.receive_group(from, *mail, now));
            }
            // Nobody asks whether what comes of these is kept: whoever asks next would wait for
            // what was posted before the question, and it perhaps for him.
            Mail::Group(mail) => {
                (self.recorded, self.posted) = Default::default();
                self.receive_group(from, *mail, now);
            }
            Mail::Keep { position, pieces } => {
                self.mail_gate.owe(from, position, pieces);
                self.pay_debts();
            }
            Mail::Kept { first, last } => self.kept(from, first, last, now),
            Mail::Arrived(exchanges) => self.have_arrived(&exchanges, now),
        }
    }
}

impl Mail {
    /// Bytes that the mail keeps from being freed, for the bound of a mailbox.
    pub fn size(&self) -> usize {
        let kept = match self {
            Self::Publish(published) => published.message.size(),
            Self::Bundle(bundle) => bundle.size(),
            Self::Clear(message, _) => message.size(),
            Self::Interest { filter, .. } => filter.len(),
            Self::Confirm(_) | Self::Hello | Self::Keep { .. } | Self::Kept { .. } => 0,
            Self::Arrived(exchanges) => size_of_val::<[Arrival]>(exchanges),
            Self::Welcome(welcome) => {
                let filters: usize = welcome.filters.iter().map(|(it, _)| it.len() + 24).sum();
                // The messages are kept in any case.
                filters + welcome.retained.len() * size_of::<Replica>()
            }
            Self::Group(mail) => mail.size(),
        };
        kept + size_of::<Self>()
    }
}
