//! Why a text is no topic name, topic filter or shared subscription.

use thiserror::Error;

/// Why a topic name, a topic filter or a shared subscription is refused.
///
/// A name that fails is answered with Topic Name Invalid (0x90), a filter with Topic Filter
/// Invalid (0x8F); the choice is the caller's, who knows the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// Topic names and filters have at least one character [MQTT-4.7.3-1].
    #[error("the text is empty")]
    Empty,
    /// U+0000 is allowed in neither names nor filters [MQTT-4.7.3-2].
    #[error("the text holds the character U+0000")]
    Null,
    /// Longer than the bound of the broker or of the protocol [MQTT-4.7.3-3].
    #[error("the text has {bytes} bytes, more than the {max} allowed")]
    TooLong {
        /// Bytes in the text.
        bytes: usize,
        /// The bound that applied.
        max: usize,
    },
    /// More levels than the broker takes.
    #[error("the text has {levels} levels, more than the {max} allowed")]
    TooManyLevels {
        /// Levels in the text, that is one more than it has slashes.
        levels: usize,
        /// The bound that applied.
        max: usize,
    },
    /// `+` or `#` in a topic name [MQTT-4.7.0-1].
    #[error("a topic name must not hold the wildcards + and #")]
    WildcardInName,
    /// `#` shares its level with other characters, or is not the last level [MQTT-4.7.1-1].
    #[error("# must be a whole level and the last one of the filter")]
    MultiLevelWildcard,
    /// `+` shares its level with other characters [MQTT-4.7.1-2].
    #[error("+ must be a whole level of the filter")]
    SingleLevelWildcard,
    /// `$share/` is followed by no name [MQTT-4.8.2-1].
    #[error("a shared subscription needs a share name of at least one character")]
    ShareNameEmpty,
    /// `+` or `#` in the name of a share [MQTT-4.8.2-2].
    #[error("the share name must not hold the wildcards + and #")]
    ShareNameWildcard,
    /// Nothing follows `$share/NAME` or `$share/NAME/` [MQTT-4.8.2-2].
    #[error("the share name must be followed by / and a topic filter")]
    ShareFilterMissing,
}
