//! `agentmq mcp expose --http`: a server that is reached by HTTP, on the bus. The server is another
//! broker's `/mcp`, which wants a token.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use agentmq_testkit::{Broker, free_port};
use rustix::process::Signal;
use serde_json::json;

use crate::authority::Authority;
use crate::mcp_program::{Lines, bridge, fixture, names, text, url};
use crate::program::{printed, run};

/// A broker with `/mcp`, whose port stays when it starts again, and a file with a token for it.
fn far() -> (Broker, String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), "profiles = [\"mcp\"]\n").unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let admin = format!("http://127.0.0.1:{}", free_port());
    let config = format!(
        "[[listeners]]\nurl = \"mqtt://127.0.0.1:{}\"\n[access]\npolicy = \"policy.toml\"\n\
         tokens.keys = [\"keys.json\"]\nrevocations = \"revocations.toml\"\n\
         [admin]\nurl = \"{admin}\"\n",
        free_port()
    );
    let broker = Broker::start_in(crate::BINARY, &config, folder);
    let token = printed(broker.folder(), &["token", "create", "--agent", "gate"]);
    let file = broker.folder().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    (broker, format!("{admin}/mcp"), file.to_string_lossy().into_owned())
}

fn serve_far(far: &Broker) -> Lines {
    let (url, program) = (url(far), fixture());
    let token = printed(far.folder(), &["token", "create", "--server", "calc"]);
    let words = ["mcp", "expose", "--json", "--url", &url, "--password", &token];
    let program = ["--id", "calc-1", "--name", "calc", "--", "python3", &program[1]];
    let mut exposed = Lines::start(&[&words[..], &program].concat());
    exposed.wait_for("online", |line| line["event"] == "online");
    exposed
}

/// The words that expose it.
fn words<'w>(near: &'w str, far: &'w str, token_file: &'w str) -> Vec<&'w str> {
    let words = ["mcp", "expose", "--json", "--url", near, "--name", "far", "--http", far];
    [&words[..], &["--token-file", token_file]].concat()
}

fn is(event: &'static str) -> impl Fn(&serde_json::Value) -> bool {
    move |line| line["event"] == event
}

#[test]
fn its_tools_are_called_while_it_can_be_reached() {
    let near = crate::broker("");
    let (far, endpoint, token_file) = far();
    let _calc = serve_far(&far);
    let near_url = url(&near);
    let mut exposed = Lines::start(&words(&near_url, &endpoint, &token_file));
    exposed.wait_for("online", is("online"));
    let mut host = bridge(&near_url, &[]);
    let tools = host.request("tools/list", &json!({}));
    assert_eq!(names(&tools, "tools").len(), 10, "{tools}");
    let sum = host.call("far__calc__add", &json!({ "a": 40, "b": 2 }));
    assert_eq!(text(&sum), "42");
    let failed = host.call("far__calc__fail", &json!({}));
    assert_eq!(failed["result"]["isError"], true, "{failed}");
    let params = json!({
        "name": "far__calc__steps", "arguments": { "count": 20 }, "_meta": { "progressToken": 7 },
    });
    let id = host.ask("tools/call", &params);
    host.answer(id);
    let told = host.printed.iter().filter(|line| line["method"] == "notifications/progress");
    let steps: Vec<f64> = told.map(|line| line["params"]["progress"].as_f64().unwrap()).collect();
    assert_eq!(steps, (1..=20).map(f64::from).collect::<Vec<_>>());

    // While it cannot be reached it is not on the bus, and who waits for it is told at once.
    let waiting = host.ask("tools/call", &json!({ "name": "far__calc__wait", "arguments": {} }));
    host.call("far__calc__echo", &json!({ "message": "x" })); // so the first one is under way
    let _far = far.restart();
    let offline = exposed.wait_for("offline", is("offline"));
    assert!(offline["why"].as_str().unwrap().contains("/mcp"), "{offline}");
    let lost = host.answer(waiting);
    assert_eq!(lost["error"]["data"]["reason"], "server_gone", "{lost}");
    exposed.wait_for("online", is("online"));
    exposed.signal(Signal::TERM);
    assert!(exposed.end().success());
}

#[test]
fn who_is_let_in_no_more_is_taken_off_the_bus() {
    let near = crate::broker("");
    let (far, endpoint, token_file) = far();
    let near_url = url(&near);
    let mut exposed = Lines::start(&words(&near_url, &endpoint, &token_file));
    exposed.wait_for("online", is("online"));
    printed(far.folder(), &["revoke", "--agent", "gate"]);
    far.signal(Signal::HUP);
    let offline = exposed.wait_for("offline", is("offline"));
    assert!(offline["why"].as_str().unwrap().contains("401"), "{offline}");
}

#[test]
fn over_tls_it_is_one_whom_an_authority_knows() {
    let (authority, near) = (Authority::new(), crate::broker(""));
    authority.issue("server");
    let path = |name: &str| authority.path(name).to_string_lossy().into_owned();
    let admin = format!(
        "[admin]\nurl = \"https://127.0.0.1:0\"\ncert = \"{}\"\nkey = \"{}\"\n",
        path("server.pem"),
        path("server.key")
    );
    let far = crate::broker(&admin);
    let near_url = url(&near);
    let endpoint = format!("https://{}/mcp", far.admin().replace("127.0.0.1", "localhost"));
    let words = ["mcp", "expose", "--json", "--url", &near_url, "--name", "far"];
    let words = [&words[..], &["--http", &endpoint]].concat();
    let known = path("ca.pem");
    let mut exposed = Lines::start_with(&words, &[("SSL_CERT_FILE", &known)]);
    exposed.wait_for("online", is("online"));
    let refused = run(near.folder(), &words);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("TLS: "), "{error}");
}

#[test]
fn what_cannot_work_is_an_error_with_its_cause() {
    let near = crate::broker("");
    let (far, endpoint, token_file) = far();
    let near_url = url(&near);
    let fails = |words: &[&str], code: i32, why: &str| {
        let output = run(near.folder(), words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(why) && error.contains("fix"), "{error}");
    };
    std::fs::write(near.folder().join("wrong"), "a.b.c").unwrap();
    fails(&words(&near_url, &endpoint, "wrong"), 1, "401");
    let nowhere = endpoint.replace("/mcp", "/nothing");
    fails(&words(&near_url, &nowhere, &token_file), 1, "404");
    let nobody = format!("http://127.0.0.1:{}/mcp", free_port());
    fails(&words(&near_url, &nobody, &token_file), 1, "refused");
    fails(&words(&near_url, "http://mcp.example/mcp", &token_file), 2, "https://");
    fails(&words(&near_url, &endpoint, "no such file"), 2, "no such file");
    drop(far);
}

#[test]
fn a_token_goes_nowhere_else() {
    let near = crate::broker("");
    let (here, elsewhere) = (listener(), listener());
    let (address, other) = (here.local_addr().unwrap(), elsewhere.local_addr().unwrap());
    let redirecting = std::thread::spawn(move || {
        let (mut stream, _) = here.accept().unwrap();
        let mut input = BufReader::new(stream.try_clone().unwrap());
        let mut token = None;
        loop {
            let mut line = String::new();
            input.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" => break,
                line if line.to_ascii_lowercase().starts_with("authorization:") => {
                    token = Some(line.to_owned());
                }
                _ => {}
            }
        }
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{other}/mcp\r\n\
             Content-Length: 0\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).unwrap();
        token
    });
    std::fs::write(near.folder().join("token"), "secret").unwrap();
    let (near_url, endpoint) = (url(&near), format!("http://{address}/mcp"));
    let output = run(near.folder(), &words(&near_url, &endpoint, "token"));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("not followed"), "{error}");
    assert!(!error.contains("secret"), "{error}");
    let token = redirecting.join().unwrap();
    assert!(token.is_some_and(|line| line.ends_with("Bearer secret")));
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "nobody has come");
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}
