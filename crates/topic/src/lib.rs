//! MQTT topic names and topic filters: what is valid, what matches what, and the two indexes that
//! a broker keeps of them.
//!
//! `session`, `router` and `identity` call this crate. [`FilterTrie`] answers "which filters match
//! this topic" (subscriptions), [`TopicTree`] answers "which topics does this filter match"
//! (retained messages), [`contains`] answers "does this filter allow no more than that one" and
//! [`overlaps`] "do these two have anything in common" (access rules). It must not know what a
//! subscriber, a message or a right is: the values in the indexes are the caller's.

#![forbid(unsafe_code)]

mod containment;
mod error;
mod filter;
mod filter_trie;
mod hashed_levels;
mod inline_stack;
mod level_order;
mod limits;
mod matching;
mod name;
mod overlap;
mod reply_topic;
mod subscription;
mod topic_tree;

pub use containment::contains;
pub use error::TopicError;
pub use filter::check_filter;
pub use filter_trie::FilterTrie;
pub use limits::TopicLimits;
pub use matching::matches;
pub use name::check_name;
pub use overlap::overlaps;
pub use reply_topic::ReplyTopic;
pub use subscription::Subscription;
pub use topic_tree::TopicTree;
