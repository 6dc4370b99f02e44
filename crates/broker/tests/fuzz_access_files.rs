//! Fuzz target: any text as a file of users, revocations or plans. It is read, or an error says
//! where it is wrong; what was read is printed and read again. Runs as a plain test, or under a
//! fuzzer.

use std::path::Path;

use agentmq_broker::{
    parse_plans, parse_revocations, parse_users, print_plans, print_revocations, print_users,
};

const WORDS: [&str; 29] = [
    "[scout]\n",
    "[\"a.b\"]\n",
    "password = ",
    "scram = ",
    "agent_id = ",
    "tool_id = ",
    "roles = ",
    "acl = ",
    "'a'\n",
    "['a', 'b']\n",
    "{ publish = ['a/#'] }\n",
    "'$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'\n",
    "7\n",
    "[scout.client]\n",
    "messages_per_day = ",
    "queue_bytes = ",
    "connections = ",
    "client = ",
    "[[revoked]]\n",
    "agent = ",
    "token = ",
    "address = ",
    "'10.0.0.1'\n",
    "ends = ",
    "made_until = ",
    "1800000000\n",
    "\n",
    "\u{e9}",
    "=",
];

#[test]
fn any_file_is_read_or_told_where_it_is_wrong() {
    let any = bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>();
    any.with_iterations(15_000).for_each(|(words, bytes)| {
        let written: String =
            words.iter().take(24).map(|word| WORDS[usize::from(*word) % WORDS.len()]).collect();
        for text in [written, String::from_utf8_lossy(bytes).into_owned()] {
            match parse_users(&text, Path::new("f")) {
                Ok(users) => {
                    let again = parse_users(&print_users(&users), Path::new("f"));
                    assert_eq!(again.expect("what was printed"), users);
                }
                Err(error) => assert!(error.to_string().starts_with("f:"), "{error}"),
            }
            match parse_plans(&text, Path::new("f")) {
                Ok(plans) => {
                    let again = parse_plans(&print_plans(&plans), Path::new("f"));
                    assert_eq!(again.expect("what was printed"), plans);
                }
                Err(error) => assert!(error.to_string().starts_with("f:"), "{error}"),
            }
            match parse_revocations(&text, Path::new("f")) {
                Ok(all) => {
                    let again = parse_revocations(&print_revocations(&all), Path::new("f"));
                    assert_eq!(again.expect("what was printed"), all);
                }
                Err(error) => assert!(error.to_string().starts_with("f:"), "{error}"),
            }
        }
    });
}
