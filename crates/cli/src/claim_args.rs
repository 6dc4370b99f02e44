//! The flags that say what is claimed of a client.

use agentmq_broker::Claims;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Claims")]
pub(crate) struct ClaimArgs {
    /// The agent that it acts as (agent_id).
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// A tool that it serves (tool_id); may repeat.
    #[arg(long, value_name = "NAME")]
    tool: Vec<String>,
    /// The tool server that it is (server_id).
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// For whom it acts (user_id).
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The organisation whose it is (org_id).
    #[arg(long, value_name = "NAME")]
    org: Option<String>,
    /// A role that it has; may repeat.
    #[arg(long, value_name = "NAME")]
    role: Vec<String>,
}

impl ClaimArgs {
    /// The claims as members of an object.
    pub(crate) fn object(&self) -> Result<Map<String, Value>, Failure> {
        let mut object = Map::new();
        for (name, value) in [
            ("agent_id", &self.agent),
            ("server_id", &self.server),
            ("user_id", &self.user),
            ("org_id", &self.org),
        ] {
            object.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
        }
        for (name, values) in [("tool_id", &self.tool), ("roles", &self.role)] {
            if !values.is_empty() {
                object.insert(name.to_owned(), json!(values));
            }
        }
        checked(&object)?;
        Ok(object)
    }

    /// The claims.
    pub(crate) fn claims(&self) -> Result<Claims, Failure> {
        checked(&self.object()?)
    }
}

fn checked(object: &Map<String, Value>) -> Result<Claims, Failure> {
    Claims::read(object).map_err(|error| Failure::usage(error.to_string(), "give another value"))
}
