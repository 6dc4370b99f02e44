//! `agentmq org`: organisations whose agents get tokens over HTTP.

use std::io::ErrorKind;
use std::path::PathBuf;

use agentmq_broker::HashedSecret;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use toml::{Table, Value};

use crate::commands::config::load;
use crate::commands::keys::random;
use crate::failure::Failure;
use crate::output::Output;
use crate::private_file;

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
        let shown = path.display();
        match std::fs::read_to_string(&path) {
            Ok(text) => text.parse().map_err(|error: toml::de::Error| {
                Failure::usage(format!("{shown}: {}", error.message()), "correct the file")
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Table::new()),
            Err(error) => Err(Failure::new(format!("cannot read {shown}: {error}"))),
        }
    }

    fn write(&self, organizations: &Table, output: &Output) -> Result<(), Failure> {
        let path = self.path()?;
        let text = format!(
            "# Organisations of an AgentMQ broker (access.service.organizations). `agentmq org` \
             writes this file: what you change stays, comments do not.\n\n{organizations}"
        );
        private_file::write(&path, &text)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        output.note("reload a broker that runs: kill -HUP");
        Ok(())
    }

    /// Gives an organisation a new secret key, and prints it.
    fn renew(&self, mut all: Table, name: &str, output: &Output) -> Result<(), Failure> {
        let mut bytes = [0; 32];
        random(&mut bytes)?;
        let secret = format!("sk_{}", URL_SAFE_NO_PAD.encode(bytes));
        let entry = all.entry(name).or_insert_with(|| Value::Table(Table::new()));
        let Some(table) = entry.as_table_mut() else {
            return Err(Failure::usage(format!("{name} is no table"), "correct the file"));
        };
        let hash = HashedSecret::of(&secret).to_text();
        table.insert("secret".into(), Value::String(hash));
        self.write(&all, output)?;
        output.result(&secret, &json!({ "organization_id": name, "secret_key": secret }))
    }
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.action {
        Action::Add { name, file } => {
            let all = file.read()?;
            if all.contains_key(&name) {
                let fix = "`agentmq org secret` gives an organisation another secret key";
                return Err(Failure::usage(format!("{name:?} is there already"), fix));
            }
            file.renew(all, &name, output)
        }
        Action::Secret { name, file } => {
            let all = file.read()?;
            if !all.contains_key(&name) {
                return Err(unknown(&name));
            }
            file.renew(all, &name, output)
        }
        Action::Rm { name, file } => {
            let mut all = file.read()?;
            all.remove(&name).ok_or_else(|| unknown(&name))?;
            file.write(&all, output)?;
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

fn unknown(name: &str) -> Failure {
    Failure::usage(format!("there is no organisation {name:?}"), "`agentmq org ls` lists them")
}
