//! One shard's brain: it owns the sessions of the clients that live on the shard, their
//! subscriptions, the retained messages and the shared groups, and it routes every message.
//!
//! The shard feeds it packets, closed sockets and the time, and writes what it leaves in the
//! [`Outbox`](agentmq_session::Outbox)es of [`Router::dirty`] connections. Sans-I/O: it never sees
//! a socket, a thread or a clock, so tests drive thousands of simulated hours in seconds.
#![forbid(unsafe_code)]

mod activation;
mod argument_check;
mod audit;
mod bundle;
mod catching_up;
mod closing;
mod connack_properties;
mod connection;
mod counters;
mod delivery_path;
mod failed_call;
mod fan_out;
mod flapping;
mod gathering;
mod group_mail;
mod handle_ack;
mod handle_auth;
mod handle_connect;
mod handle_disconnect;
mod handle_publish;
mod handle_subscribe;
mod handle_unsubscribe;
mod identity_stamp;
mod interest;
mod interest_barrier;
mod judging_again;
mod keep_alive;
mod kept_elsewhere;
mod lent_session;
mod load_average;
mod mail;
mod mail_gate;
mod mcp_over_mqtt;
mod mcp_rights;
mod mounting;
mod organization_topics;
mod overlapping_subscriptions;
mod places;
mod proof_end;
mod queue_drain;
mod quotas;
mod reason_string;
mod recall;
mod recording;
mod recovery;
mod refusal_log;
mod remote_member;
mod reply_topics;
mod restore;
mod retain_source;
mod retained;
mod retained_owners;
mod rights;
mod route;
mod route_cache;
mod router;
mod server_presence;
mod session_end;
mod settings;
mod shared_group;
mod subscribers;
mod subscriptions;
mod sys_topics;
mod takeover;
mod timers;
mod tool_calls;
mod topic_prefix;
mod undecided;
mod verdicts;
mod will_delay;
mod will_under_way;

pub use bundle::Bundle;
pub use connection::{Arrival, Connection, ConnectionId};
pub use counters::Counters;
pub use delivery_path::DeliveryPath;
pub use flapping::Flapping;
pub use mail::{Mail, Published, Stamp, Welcome};
pub use places::{GroupHomes, Neighborhood, Place, PlaceSet};
pub use queue_drain::PORTION_BYTES;
pub use quotas::Quotas;
pub use refusal_log::Refusal;
pub use remote_member::{GroupMail, Membership, SessionName};
pub use router::Router;
pub use server_presence::Replicas;
pub use settings::{AgentSettings, DoorSettings, Settings, ShareStrategy};
pub use subscriptions::Wanted;
pub use sys_topics::SysReport;
pub use topic_prefix::DOLLAR_PREFIXES;
pub use verdicts::WorkOf;
