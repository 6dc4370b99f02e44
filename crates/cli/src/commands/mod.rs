//! The client's subcommands.

pub(crate) mod completion;
pub(crate) mod contexts;
pub(crate) mod publish;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod subscribe;
pub(crate) mod version;
