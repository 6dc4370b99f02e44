//! `agentmq acl`: what the rules come to for somebody.

use std::path::PathBuf;

use agentmq_broker::{Action, Principal};
use agentmq_topic::{Subscription, TopicError, TopicLimits, check_name};
use serde_json::json;

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
    Test {
        /// To publish to a topic, or to subscribe to a filter.
        action: Wanted,
        /// The topic or filter.
        topic: String,
        /// Client identifier.
        #[arg(long, default_value = "")]
        client_id: String,
        /// User name.
        #[arg(long)]
        user: Option<String>,
        /// File of rules; without it that of the configuration (access.policy).
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Configuration file; without it ./agentmq.toml is read if it exists.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Wanted {
    Publish,
    Subscribe,
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let Question::Test { action, topic, client_id, user, policy, config } = args.question;
    let mut access = load(config.as_deref())?.access;
    if let Some(policy) = policy {
        access.policy = policy;
    }
    let mut principal = user.as_deref().map_or(Principal::ANONYMOUS, Principal::named);
    if let Some(policy) = access.load().map_err(config_failure)? {
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
