//! `agentmq revoke`: put out who must not be let in any more.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use agentmq_broker::{Config, Revocation, Revoked, parse_revocations, print_revocations};
use serde_json::json;

use crate::audited::put_down;
use crate::clock::unix_secs;
use crate::commands::config::load;
use crate::commands::serve::config_failure;
use crate::failure::Failure;
use crate::names;
use crate::output::Output;
use crate::private_file::Exclusive;

/// Put out who must not be let in any more: his sessions end, without their wills.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    of: Whom,
    /// Whatever he shows, and not only the tokens made until now.
    #[arg(long)]
    ban: bool,
    /// How long; without it a ban lasts until it is lifted.
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::duration::parse)]
    duration: Option<Duration>,
    /// Lift it again.
    #[arg(long)]
    lift: bool,
    /// File of revocations; without it that of the configuration (access.revocations).
    #[arg(long, value_name = "FILE")]
    revocations: Option<PathBuf>,
    /// Configuration file; without it ./agentmq.toml is read if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// The token of this identifier (jti), and all that are refreshed from it.
    #[arg(long, value_name = "ID")]
    token: Option<String>,
    /// Who is called that: a user name, or the subject of a token.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Who acts as this agent (agent_id).
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Who is this tool server (server_id).
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Who acts for this user (user_id).
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Who is of this organisation (org_id).
    #[arg(long, value_name = "NAME")]
    org: Option<String>,
    /// Who uses this client identifier; always a ban. Where organisations are kept apart,
    /// $org/acme/scout is the client scout of acme, and scout whoever is called so.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Who comes from this address; always a ban.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
}

impl Whom {
    /// Whom it is about, and whether he has tokens that could be meant.
    fn revoked(self) -> Option<(Revoked, bool)> {
        let by_token = [
            self.token.map(Revoked::Token),
            self.name.map(Revoked::Name),
            self.agent.map(Revoked::Agent),
            self.server.map(Revoked::Server),
            self.user.map(Revoked::User),
            self.org.map(Revoked::Organization),
        ];
        let by_place = [
            self.client_id.map(Revoked::ClientId),
            self.address.map(|it| Revoked::Address(it.to_canonical())),
        ];
        let by_token = by_token.into_iter().flatten().map(|of| (of, true));
        by_token.chain(by_place.into_iter().flatten().map(|of| (of, false))).next()
    }
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let config = load(args.config.as_deref())?;
    let path = args.revocations.unwrap_or_else(|| config.access.revocations.clone());
    if path.as_os_str().is_empty() {
        let fix = "give --revocations revocations.toml, and set access.revocations to it";
        return Err(Failure::usage("the configuration names no file of revocations", fix));
    }
    let Some((of, has_tokens)) = args.of.revoked() else {
        return Err(Failure::usage("nobody is named", "`agentmq revoke --help` lists how"));
    };
    if !args.lift {
        check(&of, args.duration)?;
    }
    let shown = format!("{of:?}");
    let file = Exclusive::open(&path)?;
    let text = file.text()?.unwrap_or_default();
    let mut all = parse_revocations(&text, &path).map_err(config_failure)?;
    let now = unix_secs();
    all.0.retain(|it| it.ends.is_none_or(|ends| ends > now));
    let what = if args.lift {
        let before = all.0.len();
        all.0.retain(|it| it.of != of);
        if before == all.0.len() {
            let fix = format!("{} has those that there are", path.display());
            return Err(Failure::usage("there is no such revocation", fix));
        }
        "lifted"
    } else if all.add(revocation(of, args.ban || !has_tokens, args.duration, &config, now)) {
        "revoked"
    } else {
        output.note("one that lasts longer or is a ban is there already, and stays: see --lift");
        "kept"
    };
    let says = json!({ "file": path, "done": what, "of": shown });
    put_down(&config, "revoke", says, output)?;
    file.write(&print_revocations(&all))?;
    output.note("reload a broker that runs, it holds at once: kill -HUP");
    let line = format!("{what}; {} in all", all.0.len());
    output.result(&line, &json!({ "done": what, "revocations": all.0.len() }))
}

/// Refuses what would put out nobody.
fn check(of: &Revoked, duration: Option<Duration>) -> Result<(), Failure> {
    if duration.is_some_and(|duration| duration.as_secs() == 0) {
        return Err(Failure::usage("--for is less than a second", "give a longer one"));
    }
    match of {
        Revoked::Token(name) => names::check("the identifier", name),
        Revoked::ClientId(id) if id.is_empty() => {
            Err(Failure::usage("the client identifier is empty", "give another one"))
        }
        Revoked::Name(name)
        | Revoked::Agent(name)
        | Revoked::Server(name)
        | Revoked::User(name)
        | Revoked::Organization(name) => names::check("the name", name),
        Revoked::ClientId(_) | Revoked::Address(_) => Ok(()),
    }
}

fn revocation(
    of: Revoked,
    is_ban: bool,
    duration: Option<Duration>,
    config: &Config,
    now: u64,
) -> Revocation {
    // TOML has no larger numbers.
    let after = |secs: u64| now.saturating_add(secs).min(i64::MAX as u64);
    let lasts = duration.map(|duration| duration.as_secs());
    if is_ban {
        return Revocation { of, made_until: None, ends: lasts.map(after) };
    }
    // Tokens made until now have all expired by then, unless somebody goes on refreshing them.
    let tokens = &config.access.tokens;
    let is_chain = matches!(of, Revoked::Token(_));
    let longest = u64::from(tokens.longest_secs) + u64::from(tokens.leeway_secs);
    let ends = lasts.or_else(|| (!is_chain).then_some(longest)).map(after);
    // A token itself is meant whenever it was made.
    let made_until = (!is_chain).then_some(now);
    Revocation { of, made_until, ends }
}
