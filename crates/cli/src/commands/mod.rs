//! The subcommands.

pub(crate) mod acl;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod contexts;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod org;
pub(crate) mod publish;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod serve;
pub(crate) mod store;
pub(crate) mod subscribe;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod version;
