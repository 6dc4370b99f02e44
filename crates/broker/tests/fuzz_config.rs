//! No text makes the configuration panic, and what it accepts survives being printed.

use std::path::Path;

use agentmq_broker::{
    Config, DEFAULT_TOML, Environment, diff_reloadable, explain, key_names, print,
};

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

/// Any text, one of the pieces that TOML is made of, and one of whole lines.
#[test]
fn arbitrary_text() {
    let keys = key_names();
    bolero::check!().with_type::<(String, Vec<u8>)>().for_each(|(text, choices)| {
        check(text, &Environment::new());
        let _ = explain(text, &Config::default());
        let piece = |byte: u8| PIECES[usize::from(byte) % PIECES.len()];
        let pieces: String = choices.iter().take(LONGEST).map(|byte| piece(*byte)).collect();
        check(&pieces, &Environment::new());
        let line = |choice: &[u8]| match *choice {
            [key, value] => format!("{} = {}\n", keys[usize::from(key) % keys.len()], piece(value)),
            _ => "[[listeners]]\n".to_owned(),
        };
        let lines: String = choices.chunks(2).take(LONGEST / 8).map(line).collect();
        check(&lines, &Environment::new());
    });
}

/// Arbitrary text rarely is TOML: the default file with one or two of its settings changed often
/// is.
#[test]
fn the_default_file_with_changes() {
    let settings = |has: fn(&str) -> bool| -> Vec<usize> {
        let lines = DEFAULT_TOML.lines().enumerate();
        let found = lines.filter(|(_, line)| !line.starts_with('#') && has(line));
        found.map(|(at, _)| at).collect()
    };
    let (all, texts) = (settings(|line| line.contains(" = ")), settings(|it| it.contains(" = \"")));
    bolero::check!().with_type::<[(u16, u8, u32, String); 2]>().for_each(|edits| {
        let mut lines: Vec<String> = DEFAULT_TOML.lines().map(str::to_owned).collect();
        for (at, how, number, text) in edits {
            let at = usize::from(*at);
            let among = if how % 16 < 12 { &all } else { &texts };
            let setting = among[at % among.len()];
            let key = lines[setting].split(" = ").next().unwrap_or_default().to_owned();
            match how % 16 {
                0 => lines[at % DEFAULT_TOML.lines().count()] = text.clone(),
                1 => lines[setting].push_str(text),
                2 => lines[setting] = format!("{key} = {text}"),
                3 => lines[setting] = format!("{key} = {:?}", number % 2 == 0),
                4 => lines[setting] = format!("{key} = [{}]", toml_text(text)),
                // Another setting's value: of the right type at least.
                5 => {
                    let other = &lines[all[*number as usize % all.len()]];
                    let value = other.split(" = ").last().unwrap_or_default().to_owned();
                    lines[setting] = format!("{key} = {value}");
                }
                6..=9 => lines[setting] = format!("{key} = {}", number >> (number % 32)),
                10 | 12 | 13 => lines[setting] = format!("{key} = {}", toml_text(text)),
                14 | 15 => {
                    let odd = |letter| ODD_LETTERS[letter as usize % ODD_LETTERS.len()];
                    let text: String = text.chars().map(odd).collect();
                    lines[setting] = format!("{key} = {}", toml_text(&text));
                }
                _ => {}
            }
        }
        check(&lines.join("\n"), &Environment::new());
    });
}

/// The text as a TOML string in which every character is spelt by its number.
fn toml_text(text: &str) -> String {
    let letters = text.chars().take(LONGEST).map(|letter| format!("\\U{:08X}", u32::from(letter)));
    format!("\"{}\"", letters.collect::<String>())
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
/// What a configuration is written with, and what must not stand in one.
const PIECES: &[&str] = &[
    "\n",
    "\n",
    "\n",
    "\n",
    " = ",
    " = ",
    " = ",
    " = ",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    ",",
    ".",
    "\"",
    "\"",
    "'",
    "\"\"\"",
    "\\",
    "\\u00e9",
    "#",
    "\t",
    "\r",
    "\0",
    "\u{7f}",
    "é",
    "€",
    "-",
    "_",
    "0",
    "1",
    "65_535",
    "18446744073709551616",
    "1e9",
    "nan",
    "0x7f",
    "0o770",
    "1979-05-27",
    "true",
    "false",
    "listeners",
    "[[listeners]]\n",
    "url",
    "\"mqtt://[::1]:0\"",
    "\"unix:/a\"",
    "mode",
    "tls",
    "[limits]\n",
    "limits.",
    "packet_bytes",
    "sessions",
    "[mqtt]\n",
    "maximum_qos",
    "response_information",
    "[shared.groups]\n",
    "strategy",
    "\"sticky\"",
    "[log]\n",
    "level",
    "data_dir",
];

/// Characters that a string may not hold as they are, and others.
const ODD_LETTERS: &[char] = &[
    '"', '\\', '\n', '\r', '\t', '\0', '\u{1b}', '\u{7f}', '\u{85}', '\'', '#', ' ', '/', 'a', 'é',
];

/// Longer texts find nothing new, and shrinking them takes minutes.
const LONGEST: usize = 64;
