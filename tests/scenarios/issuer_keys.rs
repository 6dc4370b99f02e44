//! Keys that an issuer publishes: fetched, rotated, out of reach, and hostile.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentmq_testkit::Broker;
use agentmq_testkit::codec::{Connect, ProtocolVersion, ReasonCode};
use tempfile::TempDir;

use crate::program::{printed, run};

/// What an issuer answers.
#[derive(Debug, Clone)]
enum Answer {
    Keys(String),
    Status(&'static str),
    /// Ten megabytes of a key set.
    Huge,
    /// A byte now and then, for ever.
    Drip,
    /// Something that is no key set.
    Garbage,
}

/// A server with keys, and the folder in which they are.
struct Issuer {
    folder: TempDir,
    url: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        printed(folder.path(), &["keys", "create", "keys.json"]);
        let keys = Answer::Keys(public(folder.path()));
        let (answer, asked) = (Arc::new(Mutex::new(keys)), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answers.lock().unwrap().clone();
                std::thread::spawn(move || serve(stream, &answer));
            }
        });
        Self { folder, url, answer, asked }
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn token(&self) -> String {
        printed(self.folder.path(), &["token", "create", "--agent", "scout", "--keys", "keys.json"])
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A broker that believes it.
    fn broker(&self) -> Broker {
        let settings = format!("[access]\ntokens.keys = [\"{}\"]\n", self.url);
        crate::broker(&settings)
    }
}

/// Answers one request; whoever asked may have gone.
fn serve(mut stream: TcpStream, answer: &Answer) {
    let mut head = [0; 4096];
    let _ = stream.read(&mut head);
    let whole = |status: &str, more: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\n\r\n{body}")
    };
    let _ = match answer {
        Answer::Keys(keys) => stream.write_all(whole("200 OK", "", keys).as_bytes()),
        Answer::Status(status) => {
            let elsewhere = "Location: http://169.254.169.254/latest/meta-data\r\n";
            stream.write_all(whole(status, elsewhere, "").as_bytes())
        }
        Answer::Garbage => stream.write_all(whole("200 OK", "", "<html>").as_bytes()),
        Answer::Huge => {
            let body = format!("{{\"keys\":[{}1]}}", "1,".repeat(5 * 1024 * 1024));
            stream.write_all(whole("200 OK", "", &body).as_bytes())
        }
        Answer::Drip => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            // Ends when the other side does.
            let mut ended = [0; 1];
            let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
            while stream.write_all(b" ").is_ok() {
                if matches!(stream.read(&mut ended), Ok(0)) {
                    break;
                }
            }
            Ok(())
        }
    };
}

fn public(folder: &Path) -> String {
    printed(folder, &["keys", "public", "--keys", "keys.json"])
}

fn login(broker: &Broker, token: &str) -> ReasonCode {
    let mut client = broker.dial();
    let connack = client.connect_with(Connect {
        client_id: "c",
        version: ProtocolVersion::V5,
        clean_start: true,
        password: Some(token.as_bytes()),
        ..Connect::default()
    });
    connack.reason()
}

#[test]
fn a_new_key_is_fetched_when_the_first_token_of_it_comes() {
    let issuer = Issuer::start();
    let broker = issuer.broker();
    let old = issuer.token();
    assert_eq!(login(&broker, &old), ReasonCode::Success);
    printed(issuer.folder.path(), &["keys", "rotate", "--keys", "keys.json"]);
    issuer.answers(Answer::Keys(public(issuer.folder.path())));
    let new = issuer.token();
    assert_eq!(login(&broker, &new), ReasonCode::Success, "without a second try");
    assert_eq!(login(&broker, &old), ReasonCode::Success, "both are published");
    assert_eq!(issuer.asked(), 2);
    // The issuer is down: who was known stays known.
    issuer.answers(Answer::Status("500 Internal Server Error"));
    for token in [&old, &new] {
        assert_eq!(login(&broker, token), ReasonCode::Success);
    }
}

#[test]
fn made_up_keys_do_not_make_the_broker_ask_again_and_again() {
    let issuer = Issuer::start();
    let broker = issuer.broker();
    assert_eq!(login(&broker, &issuer.token()), ReasonCode::Success);
    let before = issuer.asked();
    let other = Issuer::start();
    for _ in 0..50 {
        let refused = login(&broker, &other.token());
        assert_eq!(refused, ReasonCode::BadUserNameOrPassword);
    }
    assert!(issuer.asked() <= before + 1, "{} times", issuer.asked());
    assert_eq!(other.asked(), 0, "nobody asks where a token says");
}

#[test]
fn an_issuer_that_answers_wrongly_lets_nobody_in_and_harms_nobody() {
    for (answer, told) in [
        (Answer::Status("500 Internal Server Error"), "the answer is 500"),
        (Answer::Status("302 Found"), "a redirect, which is not followed"),
        (Answer::Garbage, "it is no JSON Web Key Set"),
        (Answer::Huge, "more than 1048576 bytes"),
        (Answer::Drip, "nothing whole came in 8 s"),
        (Answer::Keys("{\"keys\":[]}".into()), "it has no key"),
    ] {
        let issuer = Issuer::start();
        issuer.answers(answer.clone());
        let broker = issuer.broker();
        let refused = login(&broker, &issuer.token());
        assert_eq!(refused, ReasonCode::ServerUnavailable, "{answer:?}");
        broker.wait_for_log(told, 0);
        let resident = broker.gauges().resident_bytes;
        assert!(resident < 100 << 20, "{answer:?}: {resident} bytes");
    }
}

#[test]
fn an_address_that_anybody_could_answer_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[access]\ntokens.keys = [\"http://id.example/keys\"]\n";
    std::fs::write(folder.path().join("agentmq.toml"), config).unwrap();
    let output = run(folder.path(), &["config", "check"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("agentmq.toml:2:") && error.contains("write https://"), "{error}");
}
