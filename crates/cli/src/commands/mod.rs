//! The subcommands.

pub(crate) mod acl;
pub(crate) mod audit;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod contexts;
pub(crate) mod doctor;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod mcp;
pub(crate) mod mcp_install;
pub(crate) mod org;
pub(crate) mod publish;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod revoke;
pub(crate) mod secure;
pub(crate) mod serve;
pub(crate) mod store;
pub(crate) mod subscribe;
pub(crate) mod token;
pub(crate) mod tools;
mod tools_info;
mod tools_watch;
pub(crate) mod user;
pub(crate) mod version;
