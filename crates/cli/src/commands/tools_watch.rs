//! `agentmq tools watch`.

use agentmq_gateway::{
    Bridge, RegistryChange, RegistryEvent, ToolsChanged, check_name_filter, watch,
};
use serde_json::{Value, json};

use crate::commands::mcp::{NamespaceArg, options_for_mcp, stopped};
use crate::connection::ConnectionArgs;
use crate::failure::Failure;
use crate::output::{Output, harmless};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Follow only servers whose names match; + stands for one level, # for the rest.
    #[arg(long = "server", value_name = "FILTER", default_value = "#")]
    servers: Vec<String>,
    #[command(flatten)]
    namespace: NamespaceArg,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    for filter in &args.servers {
        check_name_filter(filter).map_err(agentmq_gateway::Error::from)?;
    }
    let options = options_for_mcp(&args.connection)?;
    let config = Bridge { filters: args.servers, namespace: args.namespace.namespace, options };
    let mut printed = Ok(());
    let told = |change| {
        let (line, object) = describe(&change);
        let so_far = std::mem::replace(&mut printed, Ok(()));
        printed = so_far.and_then(|()| output.result(&line, &object));
    };
    watch(config, stopped(), told).await;
    printed
}

fn describe(RegistryChange { server, event, now }: &RegistryChange) -> (String, Value) {
    let fingerprint = now.fingerprint().map(|it| it.to_string());
    let (name, what) = match event {
        RegistryEvent::Online => ("online", "is online".to_owned()),
        RegistryEvent::Offline => ("offline", "is offline".to_owned()),
        RegistryEvent::Listed => {
            let count = now.tools.as_ref().map_or(0, |tools| tools.len());
            ("listed", format!("has {count} tools"))
        }
        RegistryEvent::ToolsChanged(change) => ("tools_changed", in_words(change)),
    };
    let mut object = json!({
        "event": name, "server": server.name, "binding": server.protocol.name(),
        "instances": now.instances, "fingerprint": fingerprint,
    });
    if let RegistryEvent::ToolsChanged(change) = event {
        object["added"] = json!(change.added);
        object["removed"] = json!(change.removed);
        object["changed"] = json!(change.changed);
    }
    let line = format!("{} ({}) {what}", harmless(&server.name, ""), server.protocol);
    (line, object)
}

fn in_words(change: &ToolsChanged) -> String {
    let parts = [
        ("has new tools", &change.added),
        ("has no more", &change.removed),
        ("says something else of", &change.changed),
    ];
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    let parts = parts.map(|(what, names)| format!("{what}: {}", harmless(&names.join(", "), "")));
    parts.collect::<Vec<_>>().join("; ")
}
