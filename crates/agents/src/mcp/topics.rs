//! The topics of MCP over MQTT, and the identifiers in them.

use std::fmt;
use std::sync::Arc;

/// Why a name cannot be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongName {
    /// Which kind of name: `client id`, `server name`, `filter of server names`.
    pub what: &'static str,
    /// The name.
    pub text: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

impl fmt::Display for WrongName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, text, why } = self;
        write!(f, "the {what} {text:?} {why}")
    }
}

/// One connection that serves: a server-name (the service, hierarchical, shared by instances that
/// are interchangeable) and a server-id (the MQTT client identifier of this one).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance {
    name: Arc<str>,
    id: Arc<str>,
}

impl Instance {
    /// An instance; both parts are checked.
    pub fn new(id: &str, name: &str) -> Result<Self, WrongName> {
        check_client_id(id)?;
        check_server_name(name)?;
        Ok(Self { name: name.into(), id: id.into() })
    }

    /// The server-name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server-id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it says that it is there.
    #[must_use]
    pub fn presence(&self) -> String {
        format!("$mcp-server/presence/{}/{}", self.id, self.name)
    }

    /// Where it is asked to begin a session.
    #[must_use]
    pub fn control(&self) -> String {
        format!("$mcp-server/{}/{}", self.id, self.name)
    }

    /// Where it tells all its clients that something has changed.
    #[must_use]
    pub fn capability(&self) -> String {
        format!("$mcp-server/capability/{}/{}", self.id, self.name)
    }

    /// Where it and a client talk, both ways.
    #[must_use]
    pub fn rpc(&self, client: &str) -> String {
        format!("$mcp-rpc/{client}/{}/{}", self.id, self.name)
    }

    /// All clients' talk with it.
    #[must_use]
    pub fn rpc_filter(&self) -> String {
        self.rpc("+")
    }

    /// The requests that any instance of its name may take, one of them each: a shared
    /// subscription.
    #[must_use]
    pub fn service_filter(&self) -> String {
        format!("$share/mcp/{}", service("+", &self.name))
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.id)
    }
}

/// What a topic of the binding is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Topic<'t> {
    /// A server's presence.
    Presence(Instance),
    /// Requests for sessions.
    Control(Instance),
    /// A server's changes.
    Capability(Instance),
    /// The talk of a client and a server.
    Rpc {
        /// The mcp-client-id.
        client: &'t str,
        /// The server.
        instance: Instance,
    },
    /// A client's requests that any instance may take.
    Service {
        /// The mcp-client-id.
        client: &'t str,
        /// The server-name.
        name: &'t str,
    },
    /// A client's end.
    ClientPresence(&'t str),
    /// A client's changes.
    ClientCapability(&'t str),
}

impl<'t> Topic<'t> {
    /// Reads a topic; `None` when it is none of the binding, or names what nobody can be called.
    #[must_use]
    pub fn parse(topic: &'t str) -> Option<Self> {
        let (root, rest) = topic.split_once('/')?;
        let (first, tail) = rest.split_once('/').unwrap_or((rest, ""));
        match (root, first) {
            ("$mcp-server", "presence") => Some(Self::Presence(instance(tail)?)),
            ("$mcp-server", "capability") => Some(Self::Capability(instance(tail)?)),
            ("$mcp-server", _) => Some(Self::Control(instance(rest)?)),
            ("$mcp-rpc", client) => {
                check_client_id(client).ok()?;
                match tail.split_once('/')? {
                    (ANY, rest) => {
                        let name = rest.strip_prefix(SERVICE)?.strip_prefix('/')?;
                        check_server_name(name).ok()?;
                        Some(Self::Service { client, name })
                    }
                    _ => Some(Self::Rpc { client, instance: instance(tail)? }),
                }
            }
            ("$mcp-client", "presence") => Some(Self::ClientPresence(client(tail)?)),
            ("$mcp-client", "capability") => Some(Self::ClientCapability(client(tail)?)),
            _ => None,
        }
    }
}

fn instance(text: &str) -> Option<Instance> {
    let (id, name) = text.split_once('/')?;
    Instance::new(id, name).ok()
}

fn client(text: &str) -> Option<&str> {
    check_client_id(text).is_ok().then_some(text)
}

/// Where a client asks whichever instance of a server takes it. It is none of the topics where the
/// client reads answers: a broker would take the client itself for a reader.
#[must_use]
pub fn service(client: &str, name: &str) -> String {
    format!("$mcp-rpc/{client}/{ANY}/{SERVICE}/{name}")
}

/// Whether a topic name is one of those, or would be if its end were a server-name.
#[must_use]
pub fn is_service(topic: &str) -> bool {
    let mut levels = topic.split('/');
    levels.next() == Some("$mcp-rpc") && levels.nth(1) == Some(ANY)
}

/// Where a broker tells a client that there is none.
#[must_use]
pub fn no_service(client: &str, name: &str) -> String {
    format!("$mcp-rpc/{client}/{ANY}/{name}")
}

/// Where all instances of a server answer a client.
#[must_use]
pub fn answers_filter(client: &str, name: &str) -> String {
    format!("$mcp-rpc/{client}/+/{name}")
}

/// Where a client says that it leaves.
#[must_use]
pub fn client_presence(client: &str) -> String {
    format!("$mcp-client/presence/{client}")
}

/// Where a client tells its servers that something has changed.
#[must_use]
pub fn client_capability(client: &str) -> String {
    format!("$mcp-client/capability/{client}")
}

/// The presence of all servers whose name matches.
#[must_use]
pub fn presence_filter(names: &str) -> String {
    format!("$mcp-server/presence/+/{names}")
}

/// Whether a client identifier would be taken for something else in a topic: `presence` and
/// `capability` are branches, and [`ANY`] stands for any instance.
#[must_use]
pub fn is_word(id: &str) -> bool {
    matches!(id, "presence" | "capability" | ANY)
}

/// Checks a server-id or mcp-client-id, which is no word of the binding ([`is_word`]).
pub fn check_client_id(id: &str) -> Result<(), WrongName> {
    let why = if id.contains(['/', '+', '#']) {
        "may not contain /, + or #"
    } else if is_word(id) {
        "is a word of the binding"
    } else if let Some(why) = unfit(id) {
        why
    } else {
        return Ok(());
    };
    Err(WrongName { what: "client id", text: id.to_owned(), why })
}

/// Checks a server-name.
pub fn check_server_name(name: &str) -> Result<(), WrongName> {
    let why = if name.contains(['+', '#']) {
        "may not contain + or #"
    } else if name.split('/').any(str::is_empty) {
        "has an empty level"
    } else if let Some(why) = unfit(name) {
        why
    } else {
        return Ok(());
    };
    Err(WrongName { what: "server name", text: name.to_owned(), why })
}

/// Checks a filter over server-names: an MQTT topic filter.
pub fn check_name_filter(filter: &str) -> Result<(), WrongName> {
    let levels = filter.split('/').count();
    let misplaced = |(place, level): (usize, &str)| {
        level.is_empty()
            || (level.contains('+') && level != "+")
            || (level.contains('#') && (level != "#" || place + 1 < levels))
    };
    let why = if filter.split('/').enumerate().any(misplaced) {
        "has an empty level or a misplaced wildcard: + is a whole level, # the last one"
    } else if let Some(why) = unfit(filter) {
        why
    } else {
        return Ok(());
    };
    Err(WrongName { what: "filter of server names", text: filter.to_owned(), why })
}

/// In place of a server-id: any instance of the name.
pub const ANY: &str = "$any";

/// Behind it, in the topic of requests.
const SERVICE: &str = "instance";

/// Bytes of a client id, server-name or filter of names, at most.
pub const NAME_BYTES: usize = 1024;

/// The rule that any of the three breaks.
fn unfit(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("is empty")
    } else if text.len() > NAME_BYTES {
        Some("is longer than 1024 bytes")
    } else if text.chars().any(char::is_control) {
        Some("has control characters in it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_are_those_of_the_binding() {
        let instance = Instance::new("s1", "demo/tools/calc").unwrap();
        assert_eq!(instance.presence(), "$mcp-server/presence/s1/demo/tools/calc");
        assert_eq!(instance.control(), "$mcp-server/s1/demo/tools/calc");
        assert_eq!(instance.capability(), "$mcp-server/capability/s1/demo/tools/calc");
        assert_eq!(instance.rpc("c1"), "$mcp-rpc/c1/s1/demo/tools/calc");
        assert_eq!(presence_filter("demo/#"), "$mcp-server/presence/+/demo/#");
        assert_eq!(instance.rpc_filter(), "$mcp-rpc/+/s1/demo/tools/calc");
        assert_eq!(
            instance.service_filter(),
            "$share/mcp/$mcp-rpc/+/$any/instance/demo/tools/calc"
        );
        assert_eq!(answers_filter("c1", "demo"), "$mcp-rpc/c1/+/demo");
    }

    #[test]
    fn what_is_no_topic_of_the_binding_is_none() {
        for topic in [
            "",
            "$mcp-server",
            "$mcp-server/",
            "$mcp-server/presence",
            "$mcp-server/presence/s1",
            "$mcp-server/presence/s1/",
            "$mcp-server/presence//a",
            "$mcp-server/s1/",
            "$mcp-server/s1/a//b",
            "$mcp-rpc/c1/s1",
            "$mcp-rpc//s1/a",
            "$mcp-rpc/presence/s1/a",
            "$mcp-rpc/$any/s1/a",
            "$mcp-rpc/c1/$any",
            "$mcp-rpc/c1/$any/a",
            "$mcp-rpc/c1/$any/instance",
            "$mcp-rpc/c1/$any/instance/",
            "$mcp-rpc/c1/$any/instance/a//b",
            "$mcp-server/presence/$any/a",
            "$mcp-client/presence/",
            "$mcp-client/presence/a/b",
            "$mcp-client/other/a",
            "mcp-server/s1/a",
            "$mcp-server/s\u{1b}1/a",
        ] {
            assert_eq!(Topic::parse(topic), None, "{topic}");
        }
    }

    #[test]
    fn names_that_break_topics_are_refused() {
        for id in ["", "a/b", "a+", "#", "presence", "capability", ANY, "a\0", &"x".repeat(1025)] {
            assert!(check_client_id(id).is_err(), "{id:?}");
        }
        for name in ["", "/a", "a/", "a//b", "a/+", "#", "a\n", &"x".repeat(1025)] {
            assert!(check_server_name(name).is_err(), "{name:?}");
        }
        for filter in ["", "a#", "#/a", "a/+b", "a//b", "/"] {
            assert!(check_name_filter(filter).is_err(), "{filter:?}");
        }
        for filter in ["#", "+", "a/+/b", "a/#", "presence"] {
            assert!(check_name_filter(filter).is_ok(), "{filter:?}");
        }
    }

    fn id() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9_.: $é-]{1,12}".prop_filter("a word of the binding", |id| {
            !matches!(id.as_str(), "presence" | "capability" | ANY)
        })
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_again(
            client in id(),
            server in id(),
            name in "[a-zé.]{1,5}(/[a-z]{1,5}){0,3}",
        ) {
            let it = Instance::new(&server, &name).unwrap();
            let (presence, control) = (it.presence(), it.control());
            prop_assert_eq!(Topic::parse(&presence), Some(Topic::Presence(it.clone())));
            prop_assert_eq!(Topic::parse(&control), Some(Topic::Control(it.clone())));
            let capability = it.capability();
            prop_assert_eq!(Topic::parse(&capability), Some(Topic::Capability(it.clone())));
            let rpc = it.rpc(&client);
            prop_assert_eq!(Topic::parse(&rpc), Some(Topic::Rpc { client: &client, instance: it }));
            let any = service(&client, &name);
            let asked = Topic::Service { client: &client, name: &name };
            prop_assert_eq!(Topic::parse(&any), Some(asked));
            let presence = client_presence(&client);
            prop_assert_eq!(Topic::parse(&presence), Some(Topic::ClientPresence(&client)));
        }

        #[test]
        fn any_text_is_read_or_refused(
            topic in r"\$mcp-(server|rpc|client|x)(/(presence|capability|[^\x00]{0,4})){0,5}",
        ) {
            let read = Topic::parse(&topic);
            if let Some(Topic::Control(instance) | Topic::Presence(instance)) = read {
                prop_assert!(check_client_id(instance.id()).is_ok());
                prop_assert!(check_server_name(instance.name()).is_ok());
            }
        }
    }
}
