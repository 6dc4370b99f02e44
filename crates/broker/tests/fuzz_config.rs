//! No text makes the configuration panic, and what it accepts survives being printed.

use std::path::Path;

use agentmq_broker::{Config, DEFAULT_TOML, Environment, diff_reloadable, explain, print};

fn parse(text: &str, environment: &Environment) -> Result<Config, String> {
    let path = Path::new("agentmq.toml");
    Config::parse(text, path, environment).map_err(|error| error.to_string())
}

fn check(text: &str, environment: &Environment) {
    match parse(text, environment) {
        Ok(config) => {
            let printed = print(&config);
            assert_eq!(parse(&printed, &Environment::new()), Ok(config.clone()), "{printed}");
            let plan = diff_reloadable(&Config::default(), &config);
            assert!(plan.is_empty() == (config == Config::default()), "{plan:?}");
        }
        Err(message) => assert!(!message.is_empty()),
    }
}

#[test]
fn arbitrary_text() {
    bolero::check!().with_type::<String>().for_each(|text| {
        check(text, &Environment::new());
        let _ = explain(text, &Config::default());
    });
}

/// Arbitrary text rarely is TOML: the default file with some of its lines spoilt often is.
#[test]
fn the_default_file_with_changes() {
    type Edits = Vec<(u16, u8, String)>;
    bolero::check!().with_type::<Edits>().for_each(|edits| {
        let mut lines: Vec<String> = DEFAULT_TOML.lines().map(str::to_owned).collect();
        for (line, how, text) in edits {
            let count = lines.len();
            let Some(line) = lines.get_mut(usize::from(*line) % count) else { continue };
            match (how % 4, line.split_once(" = ")) {
                (0, _) => *line = text.clone(),
                (1, Some((key, _))) => *line = format!("{key} = {text}"),
                (2, Some((key, _))) => *line = format!("{key} = {}", text.len()),
                (3, Some((key, _))) => *line = format!("{key} = {text:?}"),
                _ => line.push_str(text),
            }
        }
        check(&lines.join("\n"), &Environment::new());
    });
}

#[test]
fn arbitrary_variables() {
    bolero::check!().with_type::<Vec<(u8, String, String)>>().for_each(|variables| {
        let named = |(kind, name, value): &(u8, String, String)| {
            let prefix = PREFIXES[usize::from(*kind) % PREFIXES.len()];
            (format!("{prefix}{name}"), value.clone())
        };
        check("", &variables.iter().map(named).collect());
    });
}

const PREFIXES: &[&str] =
    &["", "AGENTMQ_", "AGENTMQ_LIMITS__", "AGENTMQ_LISTENERS__", "AGENTMQ_SHARED__GROUPS__"];
