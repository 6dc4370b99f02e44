//! Where MCP's servers are, and which of them are meant: arguments of many commands.

use agentmq_client::Options;
use agentmq_gateway::{NAMESPACE, Servers, check_name_filter};

use crate::connection::ConnectionArgs;
use crate::failure::Failure;

/// A broker, and the topics of both bindings there.
#[derive(Debug, clap::Args)]
pub(crate) struct BusArgs {
    /// Topics of MQTT.Agent begin with this.
    #[arg(long, value_name = "TOPIC", default_value = NAMESPACE)]
    pub(crate) namespace: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl BusArgs {
    /// All servers there.
    pub(crate) fn servers(&self) -> Result<Servers, Failure> {
        let options = self.options()?;
        Ok(Servers { filters: vec!["#".into()], namespace: self.namespace.clone(), options })
    }

    /// The options of a component of MCP, which needs the properties of MQTT 5.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let options = self.connection.options()?;
        if options.version.is_v5() {
            return Ok(options);
        }
        let what = format!("MCP over MQTT needs MQTT 5, not {}", options.version);
        Err(Failure::usage(what, "leave --mqtt out"))
    }
}

/// Some of the servers on the bus.
#[derive(Debug, clap::Args)]
pub(crate) struct ServersArgs {
    /// Only servers whose names match; + stands for one level, # for the rest.
    #[arg(long = "server", value_name = "FILTER", default_value = "#")]
    filters: Vec<String>,
    #[command(flatten)]
    bus: BusArgs,
}

impl ServersArgs {
    /// Those that are meant.
    pub(crate) fn servers(&self) -> Result<Servers, Failure> {
        check_name_filters(&self.filters)?;
        Ok(Servers { filters: self.filters.clone(), ..self.bus.servers()? })
    }
}

/// Whether servers can have names that match these.
pub(crate) fn check_name_filters(filters: &[String]) -> Result<(), Failure> {
    for filter in filters {
        check_name_filter(filter).map_err(agentmq_gateway::Error::from)?;
    }
    Ok(())
}
