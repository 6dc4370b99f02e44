//! `agentmq tools watch`.

use agentmq_gateway::{RegistryChange, RegistryEvent, ToolsChanged, watch};
use serde_json::{Value, json};

use crate::bus_args::ServersArgs;
use crate::commands::mcp::stopped;
use crate::failure::Failure;
use crate::output::{Output, harmless};

pub(crate) async fn run(args: ServersArgs, output: &Output) -> Result<(), Failure> {
    let mut printed = Ok(());
    let told = |change| {
        let (line, object) = describe(&change);
        let so_far = std::mem::replace(&mut printed, Ok(()));
        printed = so_far.and_then(|()| output.result(&line, &object));
    };
    watch(args.servers()?, stopped(), told).await;
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
