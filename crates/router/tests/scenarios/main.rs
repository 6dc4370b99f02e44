//! What a client sees of the router, one file per concept. Each test names the clause it is about;
//! nothing here opens a socket or reads a clock.

mod commit_ticket;
mod delivery_model;
mod enhanced_auth;
mod flow_control;
mod harness;
mod keep_alive;
mod message_expiry;
mod ordering;
mod packet_size;
mod policy;
mod properties;
mod qos2;
mod read_back;
mod reason_strings;
mod refusals;
mod retained;
mod session_expiry;
mod session_state;
mod shared_group;
mod statistics;
mod subscription_identifiers;
mod subscription_options;
mod subscriptions;
mod takeover;
mod topic_alias;
mod will;
