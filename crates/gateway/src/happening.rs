//! What happens to a server that is exposed, for who watches.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentmq_sdk::mcp::Instance;

use crate::binding::Binding;

/// What happens.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Happening {
    /// Clients can begin sessions.
    Online {
        /// Under this name and identifier.
        instance: Instance,
    },
    /// Clients of MQTT.Agent can call its tools.
    Offered {
        /// The server's name there.
        server: String,
        /// Where its topics are.
        namespace: String,
        /// The client id of that connection.
        id: String,
        /// The tools' names there.
        tools: Vec<String>,
    },
    /// The broker does not allow one of both bindings; the other one goes on.
    Refused {
        /// Which.
        binding: Binding,
        /// What it said.
        why: String,
    },
    /// The program has ended, or cannot be started again; it is off the bus until it runs again.
    Offline {
        /// What is not there any more; `None` without MCP's binding.
        instance: Option<Instance>,
        /// What happened.
        why: String,
        /// When it is tried again.
        retry_in: Duration,
    },
}

/// A report to which several tell what happens.
pub(crate) fn by_several(report: impl FnMut(Happening)) -> impl Fn(Happening) {
    let report = Mutex::new(report);
    move |happening| {
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        report(happening);
    }
}
