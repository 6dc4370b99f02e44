//! Some of the servers on a bus.

use agentmq_client::Options;

/// Which servers, and where.
#[derive(Debug, Clone)]
pub struct Servers {
    /// Filters over server-names.
    pub filters: Vec<String>,
    /// Where the topics of MQTT.Agent are.
    pub namespace: String,
    /// The broker.
    pub options: Options,
}
