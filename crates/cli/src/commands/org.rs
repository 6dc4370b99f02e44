//! `agentmq org`: organisations whose agents get tokens over HTTP.

use std::path::{Path, PathBuf};

use agentmq_broker::HashedSecret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use toml::{Table, Value};

use crate::audited::put_down_at;
use crate::commands::config::load;
use crate::commands::keys::random;
use crate::failure::Failure;
use crate::names;
use crate::output::Output;
use crate::private_file::{self, Exclusive};

/// Add, list and remove organisations whose agents get tokens over HTTP.
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

    /// Changes the file, which a new one may begin.
    fn change(
        &self,
        (what, name): (&str, &str),
        change: impl FnOnce(&mut Table) -> Result<(), Failure>,
        output: &Output,
    ) -> Result<(), Failure> {
        let path = self.path()?;
        let file = Exclusive::open(&path)?;
        let mut all = organizations(file.text()?, &path)?;
        change(&mut all)?;
        let says = json!({ "file": path, "organization": name });
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
            ("secret", name),
            |all| {
                check(all)?;
                let entry = all.entry(name).or_insert_with(|| Value::Table(Table::new()));
                let Some(table) = entry.as_table_mut() else {
                    return Err(Failure::usage(format!("{name} is no table"), "correct the file"));
                };
                table.insert("secret".into(), Value::String(hash));
                Ok(())
            },
            output,
        )?;
        output.result(&secret, &json!({ "organization_id": name, "secret_key": secret }))
    }
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
        Action::Rm { name, file } => {
            let remove =
                |all: &mut Table| all.remove(&name).map(|_| ()).ok_or_else(|| unknown(&name));
            file.change(("rm", &name), remove, output)?;
            output.result(&format!("removed {name}"), &json!({ "removed": name }))
        }
        Action::Ls { file } => {
            for (name, organization) in file.read()? {
                let providers = organization.get("providers").and_then(Value::as_array);
                let count = providers.map_or(0, Vec::len);
                let has_secret = organization.get("secret").is_some();
                let secret = if has_secret { "has a secret key" } else { "no secret key" };
                let line = format!("{name}  {secret}, {count} identity providers");
                let object = json!({ "name": name, "secret": has_secret, "providers": count });
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
