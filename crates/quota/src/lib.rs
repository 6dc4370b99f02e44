//! Quotas: what an organisation and each of its clients may use, and what they have used.
//!
//! A [`Plan`] is a named set of bounds. [`Accounts`] knows the plan of each organisation, and has
//! an [`Account`] for each that has one; all shards count in the same one, with atomics. `session`
//! and `router` hold a [`Holder`] for a client and ask it; `broker` reads plans, and keeps the
//! numbers of the day. Time is an argument. It must not know what a packet, a session or a file is.
#![forbid(unsafe_code)]

mod account;
mod accounts;
mod exceeded;
mod held;
mod plan;
mod tally;
mod usage;
mod utc;

pub use account::{Account, Holder};
pub use accounts::{Accounts, DayUse, Plans, TooManyOrganizations};
pub use exceeded::Exceeded;
pub use held::{Member, RetainedCharge, Seat, Waiting};
pub use plan::{Bounds, Plan, Quantity};
pub use usage::Moment;
