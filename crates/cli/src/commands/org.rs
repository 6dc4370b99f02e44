//! `agentmq org`: organisations whose agents get tokens over HTTP, and their plans.

use std::path::{Path, PathBuf};

use agentmq_broker::HashedSecret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use toml::Table;

use crate::audited::put_down_at;
use crate::commands::config::load;
use crate::commands::keys::random;
use crate::commands::serve::config_failure;
use crate::failure::Failure;
use crate::names;
use crate::output::Output;
use crate::private_file::{self, Exclusive};

/// Add, list and remove organisations whose agents get tokens over HTTP, and give them plans.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Add an organisation and print its secret key, which is kept as a hash only.
    Add {
        /// Its name (org_id).
        name: String,
        #[command(flatten)]
        file: OrganizationsFile,
    },
    /// Give an organisation another secret key, and print it.
    Secret {
        /// Its name (org_id).
        name: String,
        #[command(flatten)]
        file: OrganizationsFile,
    },
    /// Give an organisation a plan: what all its clients together may use.
    Plan {
        /// Its name (org_id). One that is not there is added, without a secret key.
        name: String,
        /// The plan's name: `free`, or one of access.plans.
        plan: String,
        #[command(flatten)]
        file: OrganizationsFile,
    },
    /// List the organisations.
    Ls {
        #[command(flatten)]
        file: OrganizationsFile,
    },
    /// Remove an organisation.
    Rm {
        /// Its name (org_id).
        name: String,
        #[command(flatten)]
        file: OrganizationsFile,
    },
}

#[derive(Debug, clap::Args)]
struct OrganizationsFile {
    /// File of organisations; without it that of the configuration (access.service.organizations).
    #[arg(long, value_name = "FILE")]
    organizations: Option<PathBuf>,
    /// Configuration file; without it ./agentmq.toml is read if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl OrganizationsFile {
    fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.organizations {
            return Ok(path.clone());
        }
        let path = load(self.config.as_deref())?.access.service.organizations;
        if path.as_os_str().is_empty() {
            let what = "the configuration names no file of organisations";
            let fix = "give --organizations organizations.toml, and set \
                       access.service.organizations to it";
            return Err(Failure::usage(what, fix));
        }
        Ok(path)
    }

    fn read(&self) -> Result<Table, Failure> {
        let path = self.path()?;
        organizations(private_file::read(&path)?, &path)
    }

    /// Refuses a plan that there is not, where a configuration says which there are.
    fn check_plan(&self, plan: &str) -> Result<(), Failure> {
        if self.organizations.is_some() && self.config.is_none() {
            return Ok(());
        }
        let access = load(self.config.as_deref())?.access;
        let plans = access.load_plans().map_err(config_failure)?;
        if plans.contains_key(plan) {
            return Ok(());
        }
        let known: Vec<&str> = plans.keys().map(String::as_str).collect();
        let fix = format!("access.plans names the file of plans; there are: {}", known.join(", "));
        Err(Failure::usage(format!("there is no plan {plan:?}"), fix))
    }

    /// Changes the file, which a new one may begin.
    fn change(
        &self,
        (what, mut says): (&str, Value),
        change: impl FnOnce(&mut Table) -> Result<(), Failure>,
        output: &Output,
    ) -> Result<(), Failure> {
        let path = self.path()?;
        let file = Exclusive::open(&path)?;
        let mut all = organizations(file.text()?, &path)?;
        change(&mut all)?;
        says["file"] = json!(path);
        put_down_at(self.config.as_deref(), &format!("org {what}"), says, output)?;
        file.write(&format!(
            "# Organisations of an AgentMQ broker (access.service.organizations). `agentmq org` \
             writes this file: what you change stays, comments do not.\n\n{all}"
        ))?;
        output.note("reload a broker that runs: kill -HUP");
        Ok(())
    }

    /// Gives an organisation a new secret key, and prints it.
    fn renew(
        &self,
        name: &str,
        check: impl FnOnce(&Table) -> Result<(), Failure>,
        output: &Output,
    ) -> Result<(), Failure> {
        let mut bytes = [0; 32];
        random(&mut bytes)?;
        let secret = format!("sk_{}", URL_SAFE_NO_PAD.encode(bytes));
        let hash = HashedSecret::of(&secret).to_text();
        self.change(
            ("secret", json!({ "organization": name })),
            |all| {
                check(all)?;
                set(all, name, "secret", hash)
            },
            output,
        )?;
        output.result(&secret, &json!({ "organization_id": name, "secret_key": secret }))
    }
}

/// Sets a text in the table of an organisation, which may be a new one.
fn set(all: &mut Table, name: &str, key: &str, text: String) -> Result<(), Failure> {
    let entry = all.entry(name).or_insert_with(|| toml::Value::Table(Table::new()));
    let Some(table) = entry.as_table_mut() else {
        return Err(Failure::usage(format!("{name} is no table"), "correct the file"));
    };
    table.insert(key.into(), toml::Value::String(text));
    Ok(())
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.action {
        Action::Add { name, file } => {
            names::check("the name", &name)?;
            let is_new = |all: &Table| {
                let fix = "`agentmq org secret` gives an organisation another secret key";
                let there = || Failure::usage(format!("{name:?} is there already"), fix);
                if all.contains_key(&name) { Err(there()) } else { Ok(()) }
            };
            file.renew(&name, is_new, output)
        }
        Action::Secret { name, file } => {
            let is_known = |all: &Table| {
                if all.contains_key(&name) { Ok(()) } else { Err(unknown(&name)) }
            };
            file.renew(&name, is_known, output)
        }
        Action::Plan { name, plan, file } => {
            names::check("the name", &name)?;
            file.check_plan(&plan)?;
            let mut is_new = false;
            file.change(
                ("plan", json!({ "organization": name, "plan": plan })),
                |all| {
                    is_new = !all.contains_key(&name);
                    set(all, &name, "plan", plan.clone())
                },
                output,
            )?;
            if is_new {
                output.note(&format!("{name} is new here, and has no secret key"));
            }
            let line = format!("{name} has the plan {plan}");
            output.result(&line, &json!({ "organization_id": name, "plan": plan }))
        }
        Action::Rm { name, file } => {
            let remove =
                |all: &mut Table| all.remove(&name).map(|_| ()).ok_or_else(|| unknown(&name));
            file.change(("rm", json!({ "organization": name })), remove, output)?;
            output.result(&format!("removed {name}"), &json!({ "removed": name }))
        }
        Action::Ls { file } => {
            for (name, organization) in file.read()? {
                let providers = organization.get("providers").and_then(toml::Value::as_array);
                let count = providers.map_or(0, Vec::len);
                let has_secret = organization.get("secret").is_some();
                let secret = if has_secret { "has a secret key" } else { "no secret key" };
                let plan = organization.get("plan").and_then(toml::Value::as_str);
                let told = plan.map_or_else(String::new, |plan| format!(", plan {plan}"));
                let line = format!("{name}  {secret}, {count} identity providers{told}");
                let object = json!({
                    "name": name, "secret": has_secret, "providers": count, "plan": plan,
                });
                output.result(&line, &object)?;
            }
            Ok(())
        }
    }
}

/// The organisations in a text; a file that is not there has none.
fn organizations(text: Option<String>, path: &Path) -> Result<Table, Failure> {
    text.unwrap_or_default().parse().map_err(|error: toml::de::Error| {
        Failure::usage(format!("{}: {}", path.display(), error.message()), "correct the file")
    })
}

fn unknown(name: &str) -> Failure {
    Failure::usage(format!("there is no organisation {name:?}"), "`agentmq org ls` lists them")
}
