//! `agentmq ctx`: named broker addresses.

use agentmq_client::Endpoint;
use clap::Subcommand;
use serde_json::json;

use crate::context::{Context, Contexts};
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a context or replace one; the first becomes the current one.
    Add {
        /// Its name.
        name: String,
        #[command(flatten)]
        context: Box<Context>,
    },
    /// Make a context the current one.
    Use {
        /// Its name.
        name: String,
    },
    /// List the contexts.
    Ls,
    /// Remove a context.
    Rm {
        /// Its name.
        name: String,
    },
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.action {
        Action::Add { name, context } => {
            let Some(url) = &context.url else {
                return Err(Failure::usage("a context needs an address", "add --url mqtt://host"));
            };
            Endpoint::parse(url)?;
            Contexts::change(|contexts| {
                contexts.contexts.insert(name.clone(), *context);
                contexts.current.get_or_insert_with(|| name.clone());
                Ok(())
            })?;
            output.result(&format!("added {name}"), &json!({ "added": name }))
        }
        Action::Use { name } => {
            Contexts::change(|contexts| {
                contexts.get(&name)?;
                contexts.current = Some(name.clone());
                Ok(())
            })?;
            output.result(&format!("using {name}"), &json!({ "current": name }))
        }
        Action::Rm { name } => {
            let contexts = Contexts::change(|contexts| {
                contexts.get(&name)?;
                contexts.contexts.remove(&name);
                contexts.current.take_if(|current| *current == name);
                Ok(())
            })?;
            if contexts.current.is_none() && !contexts.contexts.is_empty() {
                output.note("no context is the current one now: agentmq ctx use NAME");
            }
            output.result(&format!("removed {name}"), &json!({ "removed": name }))
        }
        Action::Ls => {
            let contexts = Contexts::load()?;
            if contexts.contexts.is_empty() {
                output.note("no contexts; add one: agentmq ctx add NAME --url mqtt://host:1883");
            }
            for (name, context) in &contexts.contexts {
                let current = contexts.current.as_ref() == Some(name);
                let mark = if current { '*' } else { ' ' };
                // An address may hold a password: show it as the client would.
                let url = context.url.as_deref().map(Endpoint::parse).transpose()?;
                let url = url.map(|endpoint| endpoint.to_string()).unwrap_or_default();
                let object = json!({
                    "name": name, "current": current, "url": url, "user": context.user,
                });
                output.result(&format!("{mark} {name}  {url}"), &object)?;
            }
            Ok(())
        }
    }
}
