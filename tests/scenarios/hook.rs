//! A service of the operator is asked who a client is: what it says counts, and that it is slow,
//! down or hostile harms nobody whom it is not asked about.

use std::time::{Duration, SystemTime};

use agentmq_testkit::codec::{
    Connect, Packet, PropertiesBuf, Property, PropertyId, ProtocolVersion, QoS, ReasonCode,
};
use agentmq_testkit::{Broker, RawClient, Received};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::hook_service::{Answer, Service, serve_tls};
use crate::program::{printed, printed_with_input};

/// Waits for as long as it takes.
const PATIENT: &str = "hook.timeout_ms = 60000\n[limits]\nconnect_timeout_ms = 120000\n";

/// A broker that asks this service, with these settings of `[access]` beside it.
fn broker(service: &Service, settings: &str) -> Broker {
    crate::broker(&access(service, settings))
}

fn access(service: &Service, settings: &str) -> String {
    format!("[access]\nhook.url = \"{}\"\n{settings}", service.url())
}

/// The same, with a file that has one user.
fn broker_with_user(service: &Service, settings: &str) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["user", "add", "filed", "--users", "users.toml"];
    printed_with_input(folder.path(), &arguments, "pencil");
    Broker::start_in(crate::BINARY, &with_user(service, settings), folder)
}

fn with_user(service: &Service, settings: &str) -> String {
    format!("{}{}", crate::TCP, access(service, &format!("users = \"users.toml\"\n{settings}")))
}

fn allow() -> Value {
    json!({"result": "allow"})
}

fn connect<'a>(client_id: &'a str, name: &'a str, password: &'a [u8]) -> Connect<'a> {
    let (username, password) = (Some(name), Some(password));
    let (version, clean_start) = (ProtocolVersion::V5, true);
    Connect { client_id, username, password, version, clean_start, ..Connect::default() }
}

fn login(broker: &Broker, name: &str) -> (RawClient, Received) {
    let mut client = broker.dial();
    let connack = client.connect_with(connect(name, name, b"canary-secret"));
    (client, connack)
}

fn verdict(broker: &Broker, name: &str) -> ReasonCode {
    login(broker, name).1.reason()
}

/// One that waits for its CONNACK.
fn begin(broker: &Broker, name: &str) -> RawClient {
    let mut client = broker.dial();
    client.speak(ProtocolVersion::V5);
    client.send(&Packet::Connect(Box::new(connect(name, name, b"canary-secret"))));
    client
}

fn reason_string(received: &Received) -> String {
    let properties = match received.packet() {
        Packet::ConnAck(packet) => packet.properties,
        Packet::Disconnect(packet) => packet.properties,
        other => panic!("{other:?}"),
    };
    properties.text(PropertyId::ReasonString).unwrap_or_default().to_owned()
}

fn reload(broker: &Broker) {
    let seen = broker.log().len();
    broker.signal(Signal::HUP);
    broker.wait_for_log("reload done", seen);
}

fn assert_put_out(mut client: RawClient) {
    let end = client.wait_for(|packet| matches!(packet, Packet::Disconnect(_)));
    assert_eq!(end.reason(), ReasonCode::NotAuthorized);
}

#[test]
fn it_is_asked_about_a_client_and_what_it_says_counts() {
    let service = Service::start(allow());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "canary-bearer\n").unwrap();
    let settings = access(&service, "hook.secret = \"secret\"\n");
    let broker = Broker::start_in(crate::BINARY, &format!("{}{settings}", crate::TCP), folder);
    assert_eq!(verdict(&broker, "scout"), ReasonCode::Success);
    let asked = &service.asked()[0];
    let expected = json!({
        "client_id": "scout", "username": "scout", "password": "canary-secret",
        "source": "127.0.0.1", "listener": 0, "protocol": "5",
    });
    assert_eq!(asked.question, expected);
    let head = asked.head.to_ascii_lowercase();
    assert!(head.starts_with("post /who?tenant=a http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer canary-bearer\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    for version in [ProtocolVersion::V31, ProtocolVersion::V311] {
        let mut client = broker.dial();
        client.speak(version);
        let connack = client.connect_with(Connect { version, ..connect("c", "c", &[0xff]) });
        assert_eq!(connack.reason(), ReasonCode::Success);
    }
    let asked = &service.asked()[2].question;
    assert_eq!((&asked["password_base64"], &asked["protocol"]), (&json!("/w=="), &json!("3.1.1")));
    service.answers(Answer::Status("204 No Content"));
    assert_eq!(verdict(&broker, "scout"), ReasonCode::Success);
    service.answers(Answer::Json(json!({"result": "deny", "reason": "ask for an account"})));
    let (_, connack) = login(&broker, "scout");
    assert_eq!(connack.reason(), ReasonCode::BadUserNameOrPassword);
    assert_eq!(reason_string(&connack), "ask for an account");
    for answer in [json!({"result": "deny"}), json!({"result": "ignore"})] {
        service.answers(Answer::Json(answer));
        let (_, connack) = login(&broker, "ranger");
        assert_eq!(connack.reason(), ReasonCode::BadUserNameOrPassword);
        assert_eq!(reason_string(&connack), "the user name or password is wrong");
    }
    assert_eq!(service.connections(), 1, "it is kept for the next question");
    assert!(!broker.log().contains("canary"), "{}", broker.log());
}

#[test]
fn claims_decide_about_topics() {
    let claims = json!({
        "agent_id": "scout", "roles": ["auditor"], "acl": {"subscribe": ["extra/#"]},
    });
    let service = Service::start(json!({"result": "allow", "name": "n", "claims": claims}));
    let folder = tempfile::tempdir().unwrap();
    let rules = "[[rules]]\neffect = \"allow\"\ntopics = [\"agents/{agent_id}/#\", \"{user}/#\"]\n\
                 [[rules]]\neffect = \"allow\"\nroles = [\"auditor\"]\ntopics = [\"audit/#\"]\n";
    std::fs::write(folder.path().join("policy.toml"), rules).unwrap();
    let settings = access(&service, "policy = \"policy.toml\"\n");
    let broker = Broker::start_in(crate::BINARY, &format!("{}{settings}", crate::TCP), folder);
    let (mut client, connack) = login(&broker, "c");
    assert_eq!(connack.reason(), ReasonCode::Success);
    for (filter, expected) in [
        ("agents/scout/#", ReasonCode::Success),
        ("n/#", ReasonCode::Success),
        ("audit/#", ReasonCode::Success),
        ("extra/#", ReasonCode::Success),
        ("agents/other/#", ReasonCode::NotAuthorized),
        ("c/#", ReasonCode::NotAuthorized),
        ("#", ReasonCode::NotAuthorized),
    ] {
        assert_eq!(client.subscribe(filter, QoS::AtMostOnce), expected, "{filter}");
    }
    service.answers(Answer::Json(allow()));
    let (mut plain, _) = login(&broker, "plain");
    assert_eq!(plain.subscribe("audit/#", QoS::AtMostOnce), ReasonCode::NotAuthorized);
}

#[test]
fn a_connection_ends_when_the_service_said() {
    let service = Service::start(allow());
    let broker = broker(&service, "");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    service.answers(Answer::Json(json!({"result": "allow", "expires_at": now + 3})));
    let (mut client, connack) = login(&broker, "scout");
    assert_eq!(connack.reason(), ReasonCode::Success);
    reload(&broker); // does not make it longer
    let end = client.wait_for(|packet| matches!(packet, Packet::Disconnect(_)));
    assert_eq!(end.reason(), ReasonCode::NotAuthorized);
    assert!(reason_string(&end).contains("has expired"), "{}", reason_string(&end));
    assert_eq!(verdict(&broker, "scout"), ReasonCode::ServerUnavailable, "it is over");
    broker.wait_for_log("`expires_at` of its answer is over", 0);
}

#[test]
fn who_is_not_its_business_is_not_asked_about() {
    let service = Service::start(json!({"result": "deny"}));
    let folder = tempfile::tempdir().unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let create = ["token", "create", "--agent", "scout", "--keys", "keys.json"];
    let token = printed(folder.path(), &create);
    printed_with_input(folder.path(), &["user", "add", "filed", "--users", "users.toml"], "pencil");
    let settings = access(&service, "users = \"users.toml\"\ntokens.keys = [\"keys.json\"]\n");
    let open = format!("{}allow_anonymous = true\n{settings}", crate::TCP);
    let broker = Broker::start_in(crate::BINARY, &open, folder);
    let mut reasons = Vec::new();
    let forged = format!("{token}x");
    for (name, password) in
        [("filed", "pencil"), ("filed", "wrong"), ("other", &token), ("other", &forged)]
    {
        let mut client = broker.dial();
        reasons.push(client.connect_with(connect("c", name, password.as_bytes())).reason());
    }
    broker.client("anonymous");
    let (good, bad) = (ReasonCode::Success, ReasonCode::BadUserNameOrPassword);
    assert_eq!((reasons, service.asked().len()), (vec![good, bad, good, bad], 0));
    // Where nobody comes in without credentials it is asked about those, too.
    broker.reload(&format!("{}{settings}", crate::TCP));
    broker.wait_for_log("reload done", 0);
    let nothing = Connect { username: None, password: None, ..connect("c", "", b"") };
    let refused = broker.dial().connect_with(nothing);
    assert_eq!(refused.reason(), ReasonCode::NotAuthorized);
    assert_eq!(service.asked()[0].question.get("username"), None);
}

#[test]
fn five_denials_lock_out() {
    let service = Service::start(json!({"result": "deny"}));
    let broker = broker(&service, "");
    for _ in 0..5 {
        assert_eq!(verdict(&broker, "scout"), ReasonCode::BadUserNameOrPassword);
    }
    service.answers(Answer::Json(allow()));
    assert_eq!(verdict(&broker, "scout"), ReasonCode::QuotaExceeded);
    reload(&broker);
    assert_eq!(verdict(&broker, "scout"), ReasonCode::QuotaExceeded, "no new guesses");
    assert_eq!(service.asked().len(), 5);
    assert_eq!(verdict(&broker, "ranger"), ReasonCode::Success);
}

#[test]
fn while_it_is_down_nobody_comes_in_by_it_and_then_all_goes_on() {
    let mut service = Service::start(allow());
    let broker = broker_with_user(&service, "");
    let (mut here, connack) = login(&broker, "here");
    assert_eq!(connack.reason(), ReasonCode::Success);
    service.stop();
    for _ in 0..8 {
        let (_, connack) = login(&broker, "scout");
        assert_eq!(connack.reason(), ReasonCode::ServerUnavailable);
        assert_eq!(
            reason_string(&connack),
            "this server cannot find out now who you are: try again"
        );
    }
    let log = broker.wait_for_log("the hook does not say who a client is", 0);
    assert!(log.contains("refused") && !log.contains("canary"), "{log}");
    assert!(log.matches("the hook does not say").count() <= 2, "a line now and then: {log}");
    let mut filed = broker.dial();
    let connack = filed.connect_with(connect("filed", "filed", b"pencil"));
    assert_eq!(connack.reason(), ReasonCode::Success, "who is not its business");
    here.ping();
    let asked = service.asked().len();
    service.go_on();
    // It is left alone for some seconds; then somebody's question finds it there.
    while verdict(&broker, "scout") != ReasonCode::Success {
        let is_asked = service.is_asked_within(asked + 1, Duration::from_millis(100));
        assert!(!is_asked, "it answers what it is asked");
    }
    broker.wait_for_log("the hook answers again", 0);
    assert_eq!(verdict(&broker, "ranger"), ReasonCode::Success);
}

#[test]
fn a_slow_service_holds_up_nobody_but_those_who_wait_for_it() {
    let service = Service::start(allow());
    service.hold();
    let settings = format!("{PATIENT}[threads]\nlogins = 1\nshards = 1\n");
    let broker = broker_with_user(&service, &settings);
    let mut waiting: Vec<_> = (0..8).map(|number| begin(&broker, &format!("w{number}"))).collect();
    service.wait_asked(8);
    // The only thread that hashes passwords is free, and so is the shard.
    let mut filed = broker.dial();
    let connack = filed.connect_with(connect("filed", "filed", b"pencil"));
    assert_eq!(connack.reason(), ReasonCode::Success);
    filed.ping();
    service.release();
    for client in &mut waiting {
        assert_eq!(client.receive().reason(), ReasonCode::Success);
    }
}

/// Both may get a session: it is on one shard, whoever is decided first.
#[test]
fn two_logins_of_one_client_at_once_are_one_client_on_whatever_shard() {
    let service = Service::start(allow());
    let settings = format!("{PATIENT}[threads]\nshards = 2\nplacement = \"spread\"\n");
    let broker = broker(&service, &settings);
    for number in 0..4 {
        let name = format!("w{number}");
        service.hold();
        let mut both = [begin(&broker, &name), begin(&broker, &name)];
        service.wait_asked(3 * number + 2);
        service.release();
        for client in &mut both {
            assert_eq!(client.receive().reason(), ReasonCode::Success);
        }
        let again = login(&broker, &name);
        assert_eq!(again.1.reason(), ReasonCode::Success);
        for mut client in both {
            let end = client.receive();
            assert_eq!(end.reason(), ReasonCode::SessionTakenOver, "{name}");
        }
    }
}

/// A namesake of another organisation who is not decided upon yet draws nobody to another shard.
#[test]
fn a_login_under_way_cuts_no_namesake_off_his_session() {
    let claims = json!({"agent_id": "scout", "org_id": "evil"});
    let service = Service::start(json!({"result": "allow", "name": "n", "claims": claims}));
    let folder = tempfile::tempdir().unwrap();
    printed(folder.path(), &["keys", "create", "keys.json"]);
    let arguments = ["token", "create", "--agent", "scout", "--org", "acme"];
    let settings = format!(
        "tokens.keys = [\"keys.json\"]\nisolate_organizations = true\n{PATIENT}\
         [threads]\nshards = 2\nplacement = \"spread\"\n"
    );
    let config = format!("{}{}", crate::TCP, access(&service, &settings));
    let broker = Broker::start_in(crate::BINARY, &config, folder);
    let token = printed(broker.folder(), &arguments);
    let enter = |name: &str| {
        let mut client = broker.dial();
        let password = Some(token.as_bytes());
        let connack =
            client.connect_with(Connect { username: None, password, ..connect(name, "", b"") });
        assert_eq!(connack.reason(), ReasonCode::Success);
        client
    };
    for number in 0..4 {
        let name = format!("w{number}");
        service.hold();
        let mut evil = begin(&broker, &name);
        service.wait_asked(number + 1);
        let mut before = enter(&name);
        service.release();
        assert_eq!(evil.receive().reason(), ReasonCode::Success);
        let mut after = enter(&name);
        assert_eq!(before.receive().reason(), ReasonCode::SessionTakenOver, "{name}");
        after.ping();
        evil.ping();
    }
}

#[test]
fn what_it_does_not_answer_in_time_or_as_agreed_lets_nobody_in() {
    let huge = "x".repeat(10 << 20);
    let raw = |text: &str| Answer::Raw(text.into());
    let headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Y: z\r\n".repeat(10_000));
    for (answer, told) in [
        (Answer::Status("500 Internal Server Error"), "status 500"),
        (Answer::Status("401 Unauthorized"), "status 401"),
        (Answer::Status("302 Found"), "status 302: a redirect, which is not followed"),
        (Answer::Status("201 Created"), "status 201"),
        (Answer::Json(json!({"result": "yes"})), "`result` of its answer is none of"),
        (Answer::Json(json!([allow()])), "its answer is no JSON object"),
        (Answer::Json(json!({"result": "allow", "claims": {"agent_id": 7}})), "`agent_id` is no"),
        (Answer::Json(json!({"result": "allow", "more": huge})), "more than 16384 bytes"),
        (raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n<>"), "its answer is no JSON object"),
        (raw("it works!\r\n\r\n"), "the hook does not say"),
        (raw(&headers), "the hook does not say"),
        (Answer::Half, "nothing whole came in 300 ms"),
    ] {
        let service = Service::start(allow());
        service.answers(answer.clone());
        let is_half = matches!(answer, Answer::Half);
        let settings = if is_half { "hook.timeout_ms = 300\n" } else { "hook.timeout_ms = 5000\n" };
        let broker = broker(&service, settings);
        let shown: String = format!("{answer:?}").chars().take(100).collect();
        assert_eq!(verdict(&broker, "scout"), ReasonCode::ServerUnavailable, "{shown}");
        let log = broker.wait_for_log(told, 0);
        assert!(!log.contains("canary"), "{log}");
        let resident = broker.gauges().resident_bytes;
        assert!(resident < 100 << 20, "{shown}: {resident} bytes");
        // Six times, and it is not left alone: it is there, and another client may be right.
        if !is_half {
            for _ in 0..5 {
                assert_eq!(verdict(&broker, "scout"), ReasonCode::ServerUnavailable, "{shown}");
            }
            service.answers(Answer::Json(allow()));
            assert_eq!(verdict(&broker, "scout"), ReasonCode::Success, "{shown}");
        }
    }
}

#[test]
fn who_was_let_in_is_remembered_if_the_settings_say_so() {
    let service = Service::start(allow());
    let broker = broker(&service, "hook.remember_secs = 3600\n");
    for _ in 0..3 {
        assert_eq!(verdict(&broker, "scout"), ReasonCode::Success);
    }
    assert_eq!(service.asked().len(), 1);
    for other in
        [connect("scout", "scout", b"another"), connect("other", "scout", b"canary-secret")]
    {
        broker.dial().connect_with(other);
    }
    assert_eq!(service.asked().len(), 3, "another password, another client");
    reload(&broker);
    service.answers(Answer::Json(json!({"result": "deny"})));
    assert_eq!(verdict(&broker, "scout"), ReasonCode::BadUserNameOrPassword, "a reload forgets");
}

/// Connects with a session that lasts; whether it was there already.
fn resume(broker: &Broker, name: &str) -> (RawClient, bool) {
    let lasting = PropertiesBuf::new().with(Property::U32(PropertyId::SessionExpiryInterval, 3600));
    let connect = connect(name, name, b"canary-secret");
    let mut client = broker.dial();
    let properties = lasting.view();
    let connack = client.connect_with(Connect { properties, clean_start: false, ..connect });
    let Packet::ConnAck(packet) = connack.packet() else { panic!("{connack:?}") };
    assert_eq!(packet.reason, ReasonCode::Success);
    (client, packet.session_present)
}

#[test]
fn who_came_by_it_stays_until_it_is_gone_or_he_is_revoked() {
    let service = Service::start(json!({"result": "allow", "claims": {"agent_id": "scout"}}));
    let broker = broker_with_user(&service, "revocations = \"revocations.toml\"\n");
    let (mut here, _) = resume(&broker, "here");
    drop(resume(&broker, "away"));
    let (ranger, _) = resume(&broker, "ranger");
    reload(&broker);
    here.ping();
    assert_eq!(service.asked().len(), 3, "nobody is asked at a reload");
    printed(broker.folder(), &["revoke", "--name", "ranger", "--ban"]);
    reload(&broker);
    assert_put_out(ranger);
    here.ping();
    let broker = broker.restart();
    let (here, was_there) = resume(&broker, "here");
    assert!(was_there && resume(&broker, "away").1, "they survive a crash");
    printed(broker.folder(), &["revoke", "--agent", "scout", "--ban"]);
    reload(&broker);
    assert_put_out(here);
    assert_eq!(verdict(&broker, "here"), ReasonCode::NotAuthorized);
    printed(broker.folder(), &["revoke", "--agent", "scout", "--ban", "--lift"]);
    reload(&broker);
    let (here, was_there) = resume(&broker, "here");
    assert!(!was_there, "his session has ended");
    broker.reload(&format!("{}[access]\nusers = \"users.toml\"\n", crate::TCP));
    assert_put_out(here);
    assert_eq!(verdict(&broker, "here"), ReasonCode::BadUserNameOrPassword);
}

#[test]
fn a_login_that_began_before_a_reload_begins_again() {
    let service = Service::start(allow());
    service.hold();
    let broker = broker(&service, PATIENT);
    let mut client = begin(&broker, "scout");
    service.wait_asked(1);
    reload(&broker);
    service.release();
    assert_eq!(client.receive().reason(), ReasonCode::ServerBusy);
    assert_eq!(verdict(&broker, "scout"), ReasonCode::Success);
}

#[test]
fn over_tls_it_must_be_who_it_says() {
    let authority = Authority::new();
    let (url, serving) = serve_tls(&authority, allow());
    let settings = |ca: &Authority| {
        let ca = ca.path("ca.pem");
        format!("{}[access]\nhook.url = \"{url}\"\nhook.ca = \"{}\"\n", crate::TCP, ca.display())
    };
    let stranger = Authority::new();
    let broker = Broker::start(crate::BINARY, &settings(&stranger));
    assert_eq!(verdict(&broker, "scout"), ReasonCode::ServerUnavailable);
    broker.wait_for_log("invalid peer certificate", 0);
    broker.reload(&settings(&authority));
    broker.wait_for_log("reload done", 0);
    assert_eq!(verdict(&broker, "scout"), ReasonCode::Success);
    serving.join().unwrap();
}

/// A certificate that the handshake has verified: the service sees it, and decides or leaves it.
#[test]
fn it_is_asked_about_a_certificate_before_that_counts() {
    let service = Service::start(json!({"result": "ignore"}));
    let authority = Authority::new();
    for name in ["server", "client"] {
        authority.issue(name);
    }
    let path = |name: &str| authority.path(name).display().to_string();
    let listener = format!(
        "[[listeners]]\nurl = \"mqtts://127.0.0.1:0\"\ntls.cert = {:?}\ntls.key = {:?}\n\
         tls.client_ca = {:?}\n",
        path("server.pem"),
        path("server.key"),
        path("ca.pem"),
    );
    let settings = access(&service, "certificates.agent_id = \"dns\"\n");
    let broker = Broker::start(crate::BINARY, &format!("{listener}{settings}"));
    let reason = || {
        let stream = authority.dial(broker.port("mqtts"), Some(&authority)).unwrap();
        let nothing = Connect { username: None, password: None, ..connect("c", "", b"") };
        RawClient::over(stream).connect_with(nothing).reason()
    };
    assert_eq!(reason(), ReasonCode::Success, "the certificate names him");
    assert!(service.asked()[0].question["certificate"].as_str().is_some_and(|it| it.len() > 100));
    service.answers(Answer::Json(json!({"result": "deny"})));
    assert_eq!(reason(), ReasonCode::NotAuthorized);
}
