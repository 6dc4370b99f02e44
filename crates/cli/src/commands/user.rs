//! `agentmq user`: users with passwords.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use agentmq_broker::{HashedPassword, ScramVerifier, User, Users, parse_users, print_users};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use crate::audited::put_down_at;
use crate::claim_args::ClaimArgs;
use crate::commands::config::load;
use crate::commands::keys::random;
use crate::commands::serve::config_failure;
use crate::failure::Failure;
use crate::names;
use crate::output::Output;
use crate::private_file::{self, Exclusive};

/// Add, list and remove users with passwords.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Add a user, whose password is read from standard input.
    Add {
        /// Its name.
        name: String,
        #[command(flatten)]
        file: UsersFile,
        #[command(flatten)]
        claims: ClaimArgs,
    },
    /// Give a user another password, which is read from standard input.
    Passwd {
        /// Its name.
        name: String,
        #[command(flatten)]
        file: UsersFile,
    },
    /// List the users and what is claimed of them.
    Ls {
        #[command(flatten)]
        file: UsersFile,
    },
    /// Remove a user.
    Rm {
        /// Its name.
        name: String,
        #[command(flatten)]
        file: UsersFile,
    },
}

#[derive(Debug, clap::Args)]
struct UsersFile {
    /// File of users; without it that of the configuration (access.users).
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Configuration file; without it ./agentmq.toml is read if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl UsersFile {
    fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.users {
            return Ok(path.clone());
        }
        let path = load(self.config.as_deref())?.access.users;
        if path.as_os_str().is_empty() {
            let fix = "give --users users.toml, and set access.users to it";
            return Err(Failure::usage("the configuration names no file of users", fix));
        }
        Ok(path)
    }

    fn read(&self) -> Result<Users, Failure> {
        let path = self.path()?;
        users(private_file::read(&path)?, &path)
    }

    /// Changes the file, which a new one may begin. Others wait: it asks for nothing meanwhile.
    fn change(
        &self,
        (what, name): (&str, &str),
        change: impl FnOnce(&mut Users) -> Result<(), Failure>,
        output: &Output,
    ) -> Result<(), Failure> {
        let path = self.path()?;
        let file = Exclusive::open(&path)?;
        let mut users = users(file.text()?, &path)?;
        change(&mut users)?;
        let says = json!({ "file": path, "name": name });
        put_down_at(self.config.as_deref(), &format!("user {what}"), says, output)?;
        file.write(&print_users(&users))?;
        output.note("reload a broker that runs: kill -HUP");
        Ok(())
    }
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.action {
        Action::Add { name, file, claims } => {
            names::check("the name", &name)?;
            let claims = claims.claims()?;
            let is_new = |users: &Users| {
                let fix = "`agentmq user passwd` gives a user another password";
                let there = || Failure::usage(format!("{name:?} is there already"), fix);
                if users.contains_key(&name) { Err(there()) } else { Ok(()) }
            };
            is_new(&file.read()?)?;
            let user = User { claims, ..with_password(&read_password()?)? };
            file.change(
                ("add", &name),
                |users| {
                    is_new(users)?;
                    users.insert(name.clone(), user);
                    Ok(())
                },
                output,
            )?;
            output.result(&format!("added {name}"), &json!({ "added": name }))
        }
        Action::Passwd { name, file } => {
            file.read()?.remove(&name).ok_or_else(|| unknown(&name))?;
            let new = with_password(&read_password()?)?;
            file.change(
                ("passwd", &name),
                |users| {
                    let user = users.get_mut(&name).ok_or_else(|| unknown(&name))?;
                    *user = User { claims: user.claims.clone(), ..new };
                    Ok(())
                },
                output,
            )?;
            output.result(&format!("{name} has another password"), &json!({ "changed": name }))
        }
        Action::Rm { name, file } => {
            file.change(
                ("rm", &name),
                |users| users.remove(&name).map(|_| ()).ok_or_else(|| unknown(&name)),
                output,
            )?;
            output.result(&format!("removed {name}"), &json!({ "removed": name }))
        }
        Action::Ls { file } => {
            for (name, user) in file.read()? {
                let claims = Value::Object(user.claims.to_object());
                let object = json!({ "name": name, "claims": claims });
                output.result(&format!("{name}  {claims}"), &object)?;
            }
            Ok(())
        }
    }
}

fn unknown(name: &str) -> Failure {
    Failure::usage(format!("there is no user {name:?}"), "`agentmq user ls` lists them")
}

/// The users in a text; a file that is not there has none.
fn users(text: Option<String>, path: &Path) -> Result<Users, Failure> {
    text.map_or(Ok(Users::new()), |text| parse_users(&text, path).map_err(config_failure))
}

fn with_password(password: &str) -> Result<User, Failure> {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    random(&mut first)?;
    random(&mut second)?;
    let hash = HashedPassword::new(password.as_bytes(), &first);
    let hash = hash.ok_or_else(|| Failure::usage("the password cannot be hashed", "shorten it"))?;
    let scram = ScramVerifier::new(password.as_bytes(), &second);
    Ok(User { password: Some(hash), scram: Some(scram), ..User::default() })
}

/// One line of standard input; on a terminal it is asked for, and not shown.
fn read_password() -> Result<String, Failure> {
    let input = std::io::stdin();
    let mut line = String::new();
    let shown = input.is_terminal().then(|| tcgetattr(&input).ok()).flatten();
    if let Some(shown) = &shown {
        write!(std::io::stderr(), "password: ")?;
        let mut hidden = shown.clone();
        hidden.local_modes -= LocalModes::ECHO;
        let _ = tcsetattr(&input, OptionalActions::Flush, &hidden);
    }
    let read = input.read_line(&mut line);
    if let Some(shown) = &shown {
        let _ = tcsetattr(&input, OptionalActions::Flush, shown);
        writeln!(std::io::stderr())?;
    }
    read.map_err(|error| Failure::new(format!("cannot read the password: {error}")))?;
    let password = line.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        let fix = "type it, or write it to standard input";
        return Err(Failure::usage("there is no password", fix));
    }
    Ok(password.to_owned())
}
