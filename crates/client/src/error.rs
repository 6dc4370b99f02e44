//! What can go wrong, with the cause and the way out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use agentmq_codec::{DecodeError, ReasonCode};

/// Every failure of this crate. `Display` names cause and place, [`Error::fix`] what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be used.
    #[error("{url:?} is not a broker address: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An option or a message breaks a rule that can be checked before sending.
    #[error("{0}")]
    Invalid(String),
    /// The transport could not be opened.
    #[error("cannot connect to {at}: {source}")]
    Connect {
        /// Address of the broker.
        at: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A certificate or key file cannot be used.
    #[error("cannot use {at}: {why}")]
    File {
        /// The file.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// The TLS or WebSocket handshake failed.
    #[error("{layer} with {at} failed: {why}")]
    Layer {
        /// `TLS` or `WebSocket`.
        layer: &'static str,
        /// Address of the broker.
        at: String,
        /// What went wrong.
        why: String,
    },
    /// The broker answered CONNECT with an error.
    #[error("{at} refused the connection: {reason}{}", suffix(.text))]
    Refused {
        /// Address of the broker.
        at: String,
        /// CONNACK's reason code.
        reason: ReasonCode,
        /// CONNACK's Reason String.
        text: Option<String>,
    },
    /// The broker answered PUBLISH, SUBSCRIBE or UNSUBSCRIBE with an error.
    #[error("the broker refused {what}: {reason}{}", suffix(.text))]
    Rejected {
        /// The topic or filter.
        what: String,
        /// The acknowledgement's reason code.
        reason: ReasonCode,
        /// The acknowledgement's Reason String.
        text: Option<String>,
    },
    /// The broker sent DISCONNECT.
    #[error("the broker closed the connection: {reason}{}", suffix(.text))]
    ServerDisconnect {
        /// DISCONNECT's reason code.
        reason: ReasonCode,
        /// DISCONNECT's Reason String.
        text: Option<String>,
    },
    /// The connection broke.
    #[error("connection to the broker lost: {0}")]
    Lost(#[source] io::Error),
    /// The peer sent what is not MQTT or not allowed.
    #[error("the broker broke the protocol: {0}")]
    Protocol(#[from] DecodeError),
    /// Nothing arrived in time.
    #[error("no {what} within {after:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The broker says that nobody has received the request.
    #[error("nobody subscribes to {topic}: no answer will come")]
    NoResponder {
        /// The request's topic.
        topic: String,
    },
    /// The packet exceeds the server's Maximum Packet Size.
    #[error("packet of {size} bytes exceeds the broker's Maximum Packet Size of {max}")]
    TooLarge {
        /// The packet's size.
        size: usize,
        /// The server's limit.
        max: usize,
    },
    /// The server does not offer what was asked, says its CONNACK.
    #[error("the broker does not support {0}")]
    Unsupported(&'static str),
    /// The server has lost the session that a publication was for
    /// ([`Client::publish_in`](crate::Client::publish_in)).
    #[error("the broker has lost the session that this was for: it may not have been delivered")]
    SessionLost,
    /// The client has been disconnected by its own wish.
    #[error("the client is closed")]
    Closed,
    /// The client has ended for good: reconnection is off, or would not help.
    #[error(transparent)]
    Ended(Arc<Self>),
}

impl Error {
    /// One sentence on what to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Url { .. } => {
                "write it as mqtt://host:1883, mqtts://host:8883, ws://host/mqtt, wss://host/mqtt \
                 or unix:///path/to/socket"
            }
            Self::Invalid(_) => "correct the value",
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "nothing listens there: start a broker or correct host and port"
                }
                io::ErrorKind::NotFound => "check that the path or the host name is right",
                io::ErrorKind::PermissionDenied => "check the permissions of the socket file",
                _ => "check host, port and network",
            },
            Self::File { .. } => "check the path, and that the file holds what is needed in PEM",
            Self::Layer { layer: "TLS", why, .. } => tls_fix(why),
            Self::Layer { .. } => {
                "check the path (usually /mqtt) and that the port speaks WebSocket"
            }
            Self::Refused { reason, .. } => refused_fix(*reason),
            Self::Rejected { reason, text, .. } => match reason {
                ReasonCode::QuotaExceeded if names_the_disk(text.as_deref()) => {
                    "make room on the broker's disk, or see in its log what is wrong with it, and \
                     send it again"
                }
                ReasonCode::NotAuthorized => "ask for the right to use this topic",
                ReasonCode::QuotaExceeded => "wait, or ask for a larger quota",
                ReasonCode::TopicNameInvalid => "correct the topic",
                ReasonCode::TopicFilterInvalid => {
                    "correct the filter: + is a whole level, # the last one, and a shared one is \
                     $share/NAME/FILTER"
                }
                _ => "see the reason code in MQTT 5 section 2.4",
            },
            Self::ServerDisconnect { reason, .. } => match reason {
                ReasonCode::SessionTakenOver => "give each client a client id of its own",
                ReasonCode::KeepAliveTimeout => "lengthen the keep alive or unblock the client",
                ReasonCode::ServerShuttingDown => "connect again when the broker is back",
                ReasonCode::TopicNameInvalid => {
                    "correct the topic, or raise the broker's bounds on length and levels"
                }
                ReasonCode::PacketTooLarge => "send less, or raise the broker's bound",
                _ => "see the reason code in MQTT 5 section 2.4",
            },
            Self::Lost(_) => "connect again; with reconnection on this happens by itself",
            Self::Protocol(_) => "check that the address is an MQTT broker, and its version",
            Self::Timeout { .. } => "check that the other side runs, or wait longer",
            Self::NoResponder { .. } => "start what answers there, or correct the topic",
            Self::TooLarge { .. } => "send a smaller message or raise the broker's limit",
            Self::Unsupported(_) => "use another setting, MQTT version 5 or another broker",
            Self::SessionLost => "publish it again if it is still wanted",
            Self::Closed => "connect again",
            Self::Ended(cause) => cause.fix(),
        }
    }

    /// The cause of [`Error::Ended`], else the error itself.
    pub fn cause(&self) -> &Self {
        match self {
            Self::Ended(cause) => cause.cause(),
            other => other,
        }
    }

    /// Whether the server closed the connection because of a packet of ours. To send it again, as
    /// a resumed session does, would bring the same answer.
    pub(crate) fn blames_a_packet(&self) -> bool {
        matches!(
            self,
            Self::ServerDisconnect {
                reason: ReasonCode::MalformedPacket
                    | ReasonCode::ProtocolError
                    | ReasonCode::TopicNameInvalid
                    | ReasonCode::PacketTooLarge
                    | ReasonCode::PayloadFormatInvalid
                    | ReasonCode::RetainNotSupported
                    | ReasonCode::QoSNotSupported,
                ..
            }
        )
    }

    /// Whether another attempt may succeed without a change by a person.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Lost(_) | Self::Timeout { .. } => true,
            // A server that speaks TLS or WebSocket badly may do so because it starts or stops.
            Self::Layer { .. } | Self::Protocol(_) => true,
            // Certificates are renewed while we run; the files are read at each connection.
            Self::File { .. } => true,
            Self::Refused { reason, .. } => matches!(
                reason,
                ReasonCode::ServerUnavailable
                    | ReasonCode::ServerBusy
                    | ReasonCode::QuotaExceeded
                    | ReasonCode::ConnectionRateExceeded
                    | ReasonCode::UnspecifiedError
            ),
            // To come back after a take-over would start a fight between two clients.
            Self::ServerDisconnect { reason, .. } => !matches!(
                reason,
                ReasonCode::SessionTakenOver
                    | ReasonCode::NotAuthorized
                    | ReasonCode::Banned
                    | ReasonCode::UseAnotherServer
                    | ReasonCode::ServerMoved
            ),
            _ => false,
        }
    }
}

/// By the names that rustls gives to alerts and verdicts.
fn tls_fix(why: &str) -> &'static str {
    let says = |name| why.contains(name);
    if says("UnknownIssuer") || says("BadSignature") {
        "trust the authority that signed the broker's certificate: give its PEM file as ca"
    } else if says("CertificateRequired") {
        "the broker wants to see a client certificate: give cert and key"
    } else if says("NotValidForName") {
        "use a host name that the broker's certificate is for"
    } else if says("Expired") {
        "renew the broker's certificate, or correct this machine's clock"
    } else {
        "check the certificates, the host name and that the port speaks TLS"
    }
}

/// Whether the broker says that the disk, and not a quota of this client's, is in the way.
fn names_the_disk(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.contains("disk"))
}

fn suffix(text: &Option<String>) -> String {
    text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}

fn refused_fix(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::BadUserNameOrPassword => "check user name and password or token",
        ReasonCode::NotAuthorized => "give a user name and password or a token that is allowed",
        ReasonCode::ClientIdentifierNotValid => "choose another client id",
        ReasonCode::UnsupportedProtocolVersion => "try another MQTT version",
        ReasonCode::ServerUnavailable | ReasonCode::ServerBusy => "try again later",
        _ => "see the reason code in MQTT 5 section 3.2.2.2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_quota() {
        let fix = |text: Option<&str>| {
            let (what, reason) = ("jobs".to_owned(), ReasonCode::QuotaExceeded);
            Error::Rejected { what, reason, text: text.map(str::to_owned) }.fix()
        };
        let full = "a persistent session needs the disk, which is full or has failed";
        assert!(fix(Some(full)).contains("make room on the broker's disk"));
        assert!(fix(Some("the limit `sessions` is reached")).contains("quota"));
        assert!(fix(None).contains("quota"));
    }
}
