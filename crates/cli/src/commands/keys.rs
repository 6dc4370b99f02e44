//! `agentmq keys`: the keys that sign tokens.

use std::path::{Path, PathBuf};

use agentmq_broker::{Config, SigningKey};
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::json;

use crate::audited::put_down;
use crate::clock::{ago, unix_secs};
use crate::commands::config::load;
use crate::failure::Failure;
use crate::output::Output;
use crate::private_file::{self, Exclusive};

/// Make, list and renew the keys that sign tokens.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a file with a new key (Ed25519).
    Create {
        /// The file, for access.tokens.keys.
        file: PathBuf,
    },
    /// List the keys of a file, the one that signs first.
    Ls {
        #[command(flatten)]
        keys: KeyFile,
    },
    /// Put a new key before the others, and leave out those whose tokens have all expired. Keys
    /// that only verify stay.
    Rotate {
        #[command(flatten)]
        keys: KeyFile,
    },
    /// Print the keys as others need them to verify tokens: without what signs.
    Public {
        #[command(flatten)]
        keys: KeyFile,
    },
}

/// Where signing keys are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct KeyFile {
    /// File of keys; without it the first of the configuration (access.tokens.keys) that can sign.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    /// Configuration file; without it ./agentmq.toml is read if it exists.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Signing keys, the file that they are from, and the configuration.
pub(crate) struct SigningKeys {
    pub(crate) all: Vec<SigningKey>,
    pub(crate) file: PathBuf,
    pub(crate) config: Config,
}

impl KeyFile {
    pub(crate) fn read(&self) -> Result<SigningKeys, Failure> {
        let config = load(self.config.as_deref())?;
        if let Some(file) = &self.keys {
            let all = SigningKey::read_all(&text(file)?);
            let all = all.map_err(|error| {
                Failure::usage(format!("{}: {error}", file.display()), HOW_TO_MAKE)
            })?;
            return Ok(SigningKeys { all, file: file.clone(), config });
        }
        // Addresses have keys that others sign with.
        for file in config.access.tokens.keys.iter().filter(|it| !it.contains("://")) {
            let file = PathBuf::from(file);
            if let Ok(all) = SigningKey::read_all(&text(&file)?) {
                return Ok(SigningKeys { all, file, config });
            }
        }
        let what = "no file of the configuration (access.tokens.keys) has a key that signs";
        Err(Failure::usage(what, HOW_TO_MAKE))
    }
}

pub(crate) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    match args.action {
        Action::Create { file } => create(&file, output),
        Action::Ls { keys } => list(&keys.read()?, output),
        Action::Rotate { keys } => rotate(&keys.read()?, output),
        Action::Public { keys } => {
            output.raw(SigningKey::write_public(&keys.read()?.all).as_bytes())
        }
    }
}

fn create(file: &Path, output: &Output) -> Result<(), Failure> {
    let key = new_key()?;
    let text = SigningKey::write_all(std::slice::from_ref(&key));
    private_file::create(file, &text, "`agentmq keys rotate` adds a key to a file")?;
    let shown = file.display();
    output.note(&format!("in agentmq.toml, below [access]: tokens.keys = [\"{shown}\"]"));
    output.result(&format!("{shown} has the key {}", key.id()), &json!({ "id": key.id() }))
}

fn list(keys: &SigningKeys, output: &Output) -> Result<(), Failure> {
    let now = unix_secs();
    for (index, key) in keys.all.iter().enumerate() {
        let signs = if index == 0 { "signs" } else { "verifies" };
        let line = format!("{}  {signs:8}  made {}", key.id(), ago(key.made_at(), now));
        let object = json!({ "id": key.id(), "signs": index == 0, "made_at": key.made_at() });
        output.result(&line, &object)?;
    }
    Ok(())
}

fn rotate(keys: &SigningKeys, output: &Output) -> Result<(), Failure> {
    let tokens = &keys.config.access.tokens;
    let longest = u64::from(tokens.longest_secs) + u64::from(tokens.leeway_secs);
    let now = unix_secs();
    let file = Exclusive::open(&keys.file)?;
    let new = new_key()?;
    let (mut count, mut removed) = (1, 0);
    // A key has signed until the one before it was made.
    let mut signed_until = now;
    let text = new.put_before(&file.text()?.unwrap_or_default(), |key| {
        let stays = signed_until.saturating_add(longest) > now;
        signed_until = key.made_at();
        (count, removed) = if stays { (count + 1, removed) } else { (count, removed + 1) };
        stays
    });
    let text = text.map_err(|error| {
        Failure::usage(format!("{}: {error}", keys.file.display()), HOW_TO_MAKE)
    })?;
    let says = json!({ "file": keys.file, "id": new.id() });
    put_down(&keys.config, "keys rotate", says, output)?;
    file.write(&text)?;
    output.note("reload the broker (kill -HUP) before you use tokens of the new key");
    let line = format!("{} signs from now on; {removed} removed", new.id());
    output.result(&line, &json!({ "id": new.id(), "keys": count, "removed": removed }))
}

/// The text of a file with a new key.
pub(crate) fn new_file() -> Result<String, Failure> {
    Ok(SigningKey::write_all(&[new_key()?]))
}

fn new_key() -> Result<SigningKey, Failure> {
    let mut seed = [0; 32];
    random(&mut seed)?;
    let key = SigningKey::from_seed(&seed, unix_secs());
    key.ok_or_else(|| Failure::new("the key cannot be made: the library refused it"))
}

/// Fills a buffer with random bytes of the system.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), Failure> {
    match getrandom(&mut *bytes, GetRandomFlags::empty()) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(Failure::new("the system gave too few random bytes")),
        Err(error) => Err(Failure::new(format!("the system gives no random bytes: {error}"))),
    }
}

fn text(file: &Path) -> Result<String, Failure> {
    private_file::read(file)?
        .ok_or_else(|| Failure::usage(format!("{} is not there", file.display()), HOW_TO_MAKE))
}

const HOW_TO_MAKE: &str = "`agentmq keys create keys.json` makes one";
