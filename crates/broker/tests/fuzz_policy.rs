//! No text makes the reading of a policy panic, and what it accepts has rules with topics.

use std::path::Path;

use agentmq_broker::parse_policy;

const SAMPLE: &str = "otherwise = \"deny\"\n\n[[rules]]\nname = \"own\"\neffect = \"allow\"\n\
                      actions = [\"publish\"]\ntopics = [\"agents/{client_id}/#\", \"news\"]\n\
                      literal = false\nsilent = true\nusers = [\"scout\"]\n\n[[rules]]\n\
                      effect = \"deny\"\ntopics = [\"$share/g/a\"]\n";

const PIECES: [&str; 24] = [
    "rules",
    "[[rules]]\n",
    "effect",
    "topics",
    "actions",
    "users",
    "literal",
    "silent",
    "name",
    "otherwise",
    " = ",
    "\"allow\"",
    "\"deny\"",
    "true",
    "1",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\n",
    "\"a/#\"",
    "\"{user}\"",
    "\"é",
];

fn check(text: &str) {
    match parse_policy(text, Path::new("p.toml")) {
        Ok(policy) => {
            assert!(!policy.rules().is_empty(), "{text}");
            assert!(policy.rules().iter().all(|rule| !rule.topics.is_empty()), "{text}");
        }
        Err(error) => assert!(error.to_string().starts_with("p.toml:"), "{error}"),
    }
}

#[test]
fn any_text_and_any_edit_of_a_policy() {
    bolero::check!().with_type::<(String, Vec<u8>, u16, u8)>().for_each(
        |(text, choices, at, length)| {
            check(text);
            let piece = |byte: &u8| PIECES[usize::from(byte % 24)];
            let pieces: String = choices.iter().take(200).map(piece).collect();
            check(&pieces);
            let from = usize::from(*at) % SAMPLE.len();
            let to = (from + usize::from(*length % 16)).min(SAMPLE.len());
            let replaced = choices.first().map_or("", piece);
            check(&[&SAMPLE[..from], replaced, &SAMPLE[to..]].concat());
        },
    );
}
