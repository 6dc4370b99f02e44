//! The broker as a library: one configuration file, from which a broker is assembled and run.
//!
//! The command line and the tests call it. [`Config`] comes from `agentmq.toml` and from
//! `AGENTMQ_` variables that the caller passes in; nothing here reads the process environment.
//! Knows nothing of packets or topics: it only says what the crates that do are allowed.
#![forbid(unsafe_code)]

mod access_config;
mod access_text;
mod admin_config;
mod agents_config;
mod assembly;
mod audit_config;
mod auditing;
mod config;
mod config_file;
mod data;
mod day_ledger;
mod default_file;
mod environment;
mod error;
mod explain;
mod hook_config;
mod inner_door;
mod key;
mod key_sets;
mod lifecycle;
mod limit_keys;
mod listener_address;
mod listener_config;
mod log_config;
mod mqtt_config;
mod organizations_file;
mod plans_config;
mod plans_file;
mod policy_file;
mod policy_mcp;
mod policy_rule;
mod print;
mod profiles;
mod reload_plan;
mod revocations_file;
mod session_config;
mod shared_config;
mod suggestion;
mod token_chain_file;
mod users_file;
mod value;

pub use access_config::{
    AccessConfig, CertificatesConfig, IdentityConfig, ServiceConfig, SubjectPart, TokensConfig,
};
pub use admin_config::AdminConfig;
pub use agentmq_admin::{Mount, Visitor};
pub use agentmq_audit::{
    Appender as AuditAppender, Broken, Head, Row, RowOfFile, Rows, Verified, stamp as audit_time,
    verify,
};
pub use agentmq_identity::{
    Action, ClaimError, Claims, Effect, HashedPassword, HashedSecret, Policy, Principal,
    Revocation, Revocations, Revoked, Rule, ScramVerifier, SigningKey, Token, TokenError, User,
    Users, seen_by_its_own,
};
pub use agentmq_quota::{Bounds, Plan, Quantity};
pub use agentmq_router::{DeliveryPath, ShareStrategy};
pub use agentmq_session::{LimitInfo, Limits};
pub use agentmq_store::{
    Backup, Damage, InspectedSegment, Inspection, OpenError as DataError, backup, inspect,
};
pub use agents_config::AgentsConfig;
pub use audit_config::{AuditConfig, AuditFailure};
pub use config::{
    ClientPlacement, Config, DiskConfig, Durability, SysConfig, ThreadsConfig, check,
};
pub use default_file::DEFAULT_TOML;
pub use environment::{Environment, RESERVED};
pub use error::{ConfigError, Place, Problem};
pub use explain::{Explanation, explain, key_names, nearest_key};
pub use hook_config::HookConfig;
pub use inner_door::InnerDoor;
pub use key::Reload;
pub use lifecycle::{Broker, BrokerError};
pub use listener_config::{ListenerConfig, TlsConfig};
pub use log_config::{LogConfig, LogFormat, LogLevel};
pub use mqtt_config::MqttConfig;
pub use plans_file::{PlansByName, parse as parse_plans, print as print_plans};
pub use policy_file::parse as parse_policy;
pub use print::print;
pub use profiles::{profile, profile_names};
pub use reload_plan::{Change, ReloadPlan, diff_reloadable};
pub use revocations_file::{parse as parse_revocations, print as print_revocations};
pub use session_config::{QueuePolicy, SessionConfig};
pub use shared_config::SharedConfig;
pub use users_file::{parse as parse_users, print as print_users};
pub use value::{Allowed, Value};
