//! `agentmq acl`: what the rules come to for somebody.

use std::path::PathBuf;

use agentmq_broker::{AccessConfig, Action, Principal, profile, profile_names};
use agentmq_topic::{Subscription, TopicError, TopicLimits, check_name};
use serde_json::json;

use crate::claim_args::ClaimArgs;
use crate::commands::config::load;
use crate::commands::serve::config_failure;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Say what rules of access come to.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, clap::Subcommand)]
enum Question {
    /// Say whether somebody may do something, and which rule decides. Exit code 4: no.
    Test(Box<TestArgs>),
    /// Print the rules of a profile that comes with the broker.
    Profile {
        /// Its name.
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(profile_names()))]
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct TestArgs {
    /// To publish to a topic, or to subscribe to a filter.
    action: Wanted,
    /// The topic or filter.
    topic: String,
    /// Client identifier.
    #[arg(long, default_value = "")]
    client_id: String,
    /// What it is called: its user name, or the subject of its token.
    #[arg(long = "as", value_name = "NAME", conflicts_with = "token")]
    name: Option<String>,
    /// Its token, which has its name and claims.
    #[arg(long)]
    token: Option<String>,
    #[command(flatten)]
    claims: ClaimArgs,
    /// File of rules; without it that of the configuration (access.policy).
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Configuration file; without it ./agentmq.toml is read if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Wanted {
    Publish,
    Subscribe,
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.question {
        Question::Test(args) => test(*args, output),
        Question::Profile { name } => output.raw(profile(&name).unwrap_or_default().as_bytes()),
    }
}

fn test(args: TestArgs, output: &Output) -> Result<(), Failure> {
    let TestArgs { action, topic, client_id, name, token, claims, policy, config } = args;
    let mut access = load(config.as_deref())?.access;
    if let Some(policy) = policy {
        access.policy = policy;
    }
    let mut principal = principal(name, token.as_deref(), &claims, &access)?;
    if let Some(policy) = access.load_policy().map_err(config_failure)? {
        principal = principal.under(&policy, &client_id);
    }
    let (action, topic) = asked(action, &topic)
        .map_err(|error| Failure::usage(format!("`{topic}`: {error}"), "write another topic"))?;
    let decision = principal.authorize(action, topic);
    let object = json!({
        "allowed": decision.allowed, "rule": decision.rule, "reason": decision.reason
    });
    if decision.allowed {
        return output.result(&format!("allowed by rule `{}`", decision.rule), &object);
    }
    let what = match decision.reason {
        "" => format!("denied by rule `{}`, whose clients are not told why", decision.rule),
        reason => format!("denied: {reason}"),
    };
    Err(Failure::with(Exit::Refused, what, "change the rules, or ask for less"))
}

/// Whom it is asked about.
fn principal(
    name: Option<String>,
    token: Option<&str>,
    claims: &ClaimArgs,
    access: &AccessConfig,
) -> Result<Principal, Failure> {
    if let Some(token) = token {
        let judged = access.verify_token(token).map_err(config_failure)?;
        let token = judged.map_err(|error| {
            Failure::with(Exit::Refused, error.to_string(), "give a token that is good")
        })?;
        return Ok(Principal::verified(token.name, token.claims));
    }
    let claims = claims.claims()?;
    Ok(match name.or_else(|| claims.name().map(str::to_owned)) {
        Some(name) => Principal::verified(name, claims),
        None => Principal::ANONYMOUS,
    })
}

/// What a broker would be asked: of a shared subscription its inner filter.
fn asked(action: Wanted, topic: &str) -> Result<(Action, &str), TopicError> {
    let limits = TopicLimits::default();
    match action {
        Wanted::Publish => check_name(topic, &limits).map(|()| (Action::Publish, topic)),
        Wanted::Subscribe => {
            Subscription::parse(topic, &limits).map(|it| (Action::Subscribe, it.filter))
        }
    }
}
