//! `agentmq token`: tokens that let agents in.

use std::time::Duration;

use agentmq_broker::SigningKey;
use serde_json::{Map, Value, json};

use crate::audited::put_down;
use crate::claim_args::ClaimArgs;
use crate::clock::{span, unix_secs};
use crate::commands::config::load;
use crate::commands::keys::{KeyFile, random};
use crate::commands::serve::config_failure;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Make tokens that let agents in, and look at them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a token and print it.
    Create(CreateArgs),
    /// Say what a token claims and whether this broker lets it in. Exit code 4: it does not.
    Inspect {
        /// The token.
        token: String,
        /// Configuration file; without it ./agentmq.toml is read if it exists.
        #[arg(long, value_name = "FILE")]
        config: Option<std::path::PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// What its bearer is called (sub); without it the most particular claim.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// How long it is good for.
    #[arg(long, default_value = "1h", value_parser = crate::duration::parse)]
    ttl: Duration,
    #[command(flatten)]
    keys: KeyFile,
    #[command(flatten)]
    claims: ClaimArgs,
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.action {
        Action::Create(args) => create(&args, output),
        Action::Inspect { token, config } => {
            let access = load(config.as_deref())?.access;
            if !access.authenticates() {
                let what = "this broker has no keys to judge tokens by";
                return Err(Failure::usage(what, "set access.tokens.keys"));
            }
            let judged = access.verify_token(&token).map_err(config_failure)?;
            let token = judged.map_err(|error| {
                Failure::with(Exit::Refused, error.to_string(), "make one that is good")
            })?;
            let mut object = token.claims.to_object();
            object.insert("name".into(), json!(token.name));
            object.insert("expires_at".into(), json!(token.expires_at));
            object.extend(token.id.map(|id| ("id".to_owned(), json!(id))));
            let left = span(token.expires_at.saturating_sub(unix_secs()));
            let claims = Value::Object(token.claims.to_object());
            let line = format!("good for {left}: {} {claims}", token.name);
            output.result(&line, &Value::Object(object))
        }
    }
}

fn create(args: &CreateArgs, output: &Output) -> Result<(), Failure> {
    let keys = args.keys.read()?;
    let tokens = &keys.config.access.tokens;
    let longest = u64::from(tokens.longest_secs);
    let ttl = args.ttl.as_secs();
    if ttl == 0 || ttl > longest {
        let what = format!("a token may be good for 1 to {longest} seconds, not for {ttl}");
        return Err(Failure::usage(what, "give another --ttl, or set access.tokens.longest_secs"));
    }
    let mut payload = Map::new();
    for (claim, value) in args.claims.object()? {
        let member = tokens.claims.member(&claim);
        if member.starts_with('/') {
            let what = format!("access.tokens.claims.{claim} is a path: others make such tokens");
            return Err(Failure::usage(what, "make it a plain name"));
        }
        payload.insert(member.to_owned(), value);
    }
    let name = args.subject.as_deref().or_else(|| {
        let known = ["agent_id", "server_id", "user_id"];
        known.iter().find_map(|claim| payload.get(tokens.claims.member(claim))?.as_str())
    });
    let Some(name) = name.map(str::to_owned) else {
        let what = "the token would name nobody";
        return Err(Failure::usage(what, "give --agent, --server, --user or --subject"));
    };
    let (now, mut id) = (unix_secs(), [0; 12]);
    random(&mut id)?;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let expires_at = now + ttl;
    payload.insert("sub".into(), json!(name));
    payload.insert("iat".into(), json!(now));
    payload.insert("exp".into(), json!(expires_at));
    payload.insert("jti".into(), json!(id));
    if !tokens.audience.is_empty() {
        payload.insert("aud".into(), json!(tokens.audience));
    }
    payload.extend(tokens.issuers.first().map(|issuer| ("iss".to_owned(), json!(issuer))));
    let signed = keys.all.first().and_then(|key: &SigningKey| key.sign(&payload));
    let token = signed.ok_or_else(|| Failure::new("the key cannot sign: make another"))?;
    let says = json!({ "id": id, "name": name, "expires_at": expires_at, "file": keys.file });
    put_down(&keys.config, "token create", says, output)?;
    let object = json!({ "token": token, "name": name, "id": id, "expires_at": expires_at });
    output.result(&token, &object)
}
