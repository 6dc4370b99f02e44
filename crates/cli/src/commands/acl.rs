//! `agentmq acl`: what the rules come to for somebody.

use std::path::PathBuf;

use agentmq_broker::{
    AccessConfig, Claims, Effect, Policy, Principal, Rule, profile, profile_names,
};
use agentmq_codec::QoS;
use agentmq_topic::{Subscription, TopicError, TopicLimits, check_name};
use serde_json::{Map, Value, json};

use crate::claim_args::ClaimArgs;
use crate::commands::config::load;
use crate::commands::serve::config_failure;
use crate::connection::parse_qos;
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
    /// Say all that somebody may do and may not, by the rules that speak of him.
    Explain(Box<Whom>),
    /// Print the rules of a profile that comes with the broker.
    Profile {
        /// Its name.
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(profile_names()))]
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct TestArgs {
    /// To publish to a topic, also so that it is retained, or to subscribe to a filter.
    action: Wanted,
    /// The topic or filter.
    topic: String,
    /// QoS to do it with; a subscription may be granted with a lower one.
    #[arg(long, short = 'q', default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    #[command(flatten)]
    whom: Whom,
}

/// Whom it is asked about, and by which rules.
#[derive(Debug, clap::Args)]
struct Whom {
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
    Retain,
    Subscribe,
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.question {
        Question::Test(args) => test(*args, output),
        Question::Explain(whom) => explain(*whom, output),
        Question::Profile { name } => output.raw(profile(&name).unwrap_or_default().as_bytes()),
    }
}

fn test(args: TestArgs, output: &Output) -> Result<(), Failure> {
    let TestArgs { action, topic, qos, whom } = args;
    let (mut principal, policy) = whom.load()?;
    if let Some(policy) = policy {
        principal = principal.under(&policy, &whom.client_id);
    }
    let topic = asked(action, &topic)
        .map_err(|error| Failure::usage(format!("`{topic}`: {error}"), "write another topic"))?;
    let mounted = principal.mounted(topic);
    let (decision, granted) = match action {
        Wanted::Publish => (principal.authorize_message(&mounted, qos, false), qos),
        Wanted::Retain => (principal.authorize_message(&mounted, qos, true), qos),
        Wanted::Subscribe => principal.grant_as(&whom.client_id, &mounted, qos),
    };
    if decision.allowed {
        let object = json!({
            "allowed": true, "rule": decision.rule, "reason": "", "qos": granted as u8
        });
        let less =
            if granted < qos { format!(" with QoS {}", granted as u8) } else { String::new() };
        return output.result(&format!("allowed{less} by rule `{}`", decision.rule), &object);
    }
    let what = match decision.reason {
        "" => format!("denied by rule `{}`, whose clients are not told why", decision.rule),
        reason => format!("denied: {reason}"),
    };
    Err(Failure::with(Exit::Refused, what, "change the rules, or ask for less"))
}

fn explain(whom: Whom, output: &Output) -> Result<(), Failure> {
    let (principal, policy) = whom.load()?;
    let Some(policy) = policy else {
        return output.result(
            "there are no rules (access.policy): everything is allowed",
            &json!({
                "otherwise": "allow", "rules": [],
            }),
        );
    };
    let client_id = whom.client_id.as_str();
    let mut rules: Vec<_> = policy.rules_about(&principal, client_id).collect();
    rules.sort_by_key(|(rule, _)| rule.effect == Effect::Allow); // one that denies goes first
    let mut lines = Vec::new();
    let patterns = policy.client_ids().map(|all| all.iter().map(ToString::to_string));
    let patterns: Option<Vec<_>> = patterns.map(Iterator::collect);
    if let Some(patterns) = &patterns {
        lines.push(format!("client identifiers: {}", patterns.join(", ")));
    }
    if !principal.may_be(&policy, client_id) {
        lines.push(format!("`{client_id}` is none of these: such a CONNECT is refused"));
    }
    for (rule, filters) in &rules {
        let (effect, actions) = (effect(rule.effect), actions(rule).join(", "));
        let (filters, note) = (filters.join(", "), note(rule));
        lines.push(format!("{effect} {actions}: {filters}{note}  [{}]", rule.name));
    }
    let mcp = mcp(&principal.under(&policy, client_id));
    lines.extend(mcp.iter().map(|(name, value)| format!("CONNACK {name}: {value}")));
    let otherwise = effect(policy.otherwise());
    lines.push(format!("{otherwise} everything else"));
    let rules: Vec<_> = rules.iter().map(|(rule, filters)| as_json(rule, filters)).collect();
    let mcp: Map<String, Value> =
        mcp.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let object =
        json!({ "client_ids": patterns, "rules": rules, "mcp": mcp, "otherwise": otherwise });
    output.result(&lines.join("\n"), &object)
}

/// What it is told as a server and as a client of MCP over MQTT.
fn mcp(principal: &Principal) -> Vec<(&'static str, String)> {
    let Some(rights) = principal.mcp() else { return Vec::new() };
    ["mcp-server", "mcp-client"].into_iter().flat_map(|component| rights.told(component)).collect()
}

fn as_json(rule: &Rule, filters: &[String]) -> Value {
    json!({
        "rule": rule.name,
        "effect": effect(rule.effect),
        "actions": actions(rule),
        "topics": filters,
        "literal": rule.literal,
        "exact": rule.exact,
        "max_qos": rule.max_qos as u8,
    })
}

/// What narrows a rule, in brackets.
fn note(rule: &Rule) -> String {
    let scope = match (rule.literal, rule.exact) {
        (true, _) => Some("these texts alone".to_owned()),
        (_, true) => Some("without wildcards".to_owned()),
        _ => None,
    };
    let is_limited = rule.max_qos < QoS::ExactlyOnce;
    let limit = is_limited.then(|| format!("QoS {} at most", rule.max_qos as u8));
    let notes: Vec<_> = scope.into_iter().chain(limit).collect();
    if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) }
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
    }
}

fn actions(rule: &Rule) -> Vec<&'static str> {
    let all = [
        (rule.publish, "publish"),
        (rule.publish && rule.retain, "retain"),
        (rule.subscribe, "subscribe"),
    ];
    all.into_iter().filter(|(is_meant, _)| *is_meant).map(|(_, name)| name).collect()
}

impl Whom {
    /// Who that is, and the rules; `None`: there are none.
    fn load(&self) -> Result<(Principal, Option<Policy>), Failure> {
        let mut access = load(self.config.as_deref())?.access;
        if let Some(policy) = &self.policy {
            access.policy.clone_from(policy);
        }
        let mut principal =
            principal(self.name.clone(), self.token.as_deref(), &self.claims, &access)?;
        if access.isolate_organizations {
            principal = principal.apart(&self.client_id).ok_or_else(|| {
                let what = "the organisation's name cannot be a level of a topic";
                Failure::with(Exit::Refused, what, "such a client is not let in: give another name")
            })?;
        }
        if !principal.may_be_called(&self.client_id) {
            let what = "a client identifier that begins with $org/ is that of an organisation's";
            let fix = "such a client is not let in: give another --client-id";
            return Err(Failure::with(Exit::Refused, what, fix));
        }
        Ok((principal, access.load_policy().map_err(config_failure)?))
    }
}

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
        None if claims == Claims::default() => Principal::ANONYMOUS,
        None => {
            let fix = "add --agent, --tool, --server or --user, or the name";
            return Err(Failure::usage("these claims name nobody", fix));
        }
    })
}

/// What a broker would be asked: of a shared subscription its inner filter.
fn asked(action: Wanted, topic: &str) -> Result<&str, TopicError> {
    let limits = TopicLimits::default();
    match action {
        Wanted::Publish | Wanted::Retain => check_name(topic, &limits).map(|()| topic),
        Wanted::Subscribe => Subscription::parse(topic, &limits).map(|it| it.filter),
    }
}
