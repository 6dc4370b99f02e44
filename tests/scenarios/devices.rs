//! `agentmq mcp expose --mqtt`: devices that know nothing of MCP, as the documentation has them.

use std::path::PathBuf;
use std::process::Output;

use agentmq_client::{Client, Message, Options, Publish, QoS, SubscriptionOptions};
use agentmq_testkit::Broker;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::mcp_program::{Lines, bridge, names, text, url};
use crate::program::run;

/// The file of the documentation.
fn file(broker: &Broker) -> PathBuf {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/devices.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, behind) = page.split_once("```toml\n").unwrap();
    let path = broker.folder().join("tools.toml");
    std::fs::write(&path, behind.split_once("```").unwrap().0).unwrap();
    path
}

fn expose(broker: &Broker) -> Lines {
    let (url, file) = (url(broker), file(broker));
    let file = file.to_str().unwrap();
    let mut exposed = Lines::start(&["mcp", "expose", "--json", "--url", &url, "--mqtt", file]);
    let online = exposed.wait_for("online", |line| line["event"] == "online");
    assert_eq!(online["server"], "home");
    exposed
}

/// Devices that do what the file says of them. They stop when this is dropped.
struct House {
    runtime: Runtime,
    client: Client,
}

impl House {
    fn new(broker: &Broker) -> Self {
        let runtime = Runtime::new().unwrap();
        let options = Options::new(&url(broker)).unwrap();
        let client = runtime.block_on(async {
            let (client, mut messages) = Client::connect(options).await.unwrap();
            for filter in ["home/+/heating/set", "devices/+/measure", "home/boiler/diagnose"] {
                let options = SubscriptionOptions::at(QoS::AtLeastOnce);
                client.subscribe(filter, options).await.unwrap();
            }
            let acting = client.clone();
            tokio::spawn(async move {
                while let Some(message) = messages.next().await {
                    act(&acting, &message).await;
                }
            });
            client
        });
        Self { runtime, client }
    }

    fn say(&self, topic: &str, payload: &str, retain: bool) {
        let publish = Publish::new(topic, payload.to_owned()).qos(QoS::AtLeastOnce).retain(retain);
        self.runtime.block_on(async { say(&self.client, publish).await });
    }
}

async fn say(client: &Client, publish: Publish) {
    drop(client.publish(publish.qos(QoS::AtLeastOnce)).await.unwrap());
}

async fn act(client: &Client, message: &Message) {
    let levels: Vec<&str> = message.topic.split('/').collect();
    let told: Value = serde_json::from_slice(&message.payload).unwrap();
    match levels.as_slice() {
        ["home", room, "heating", "set"] if *room != "kitchen" => {
            // On the way there it says something else.
            for target in [json!(-1), told["target"].clone()] {
                let state = json!({ "target": target, "valve": "open" }).to_string();
                say(client, Publish::new(format!("home/{room}/heating"), state)).await;
            }
        }
        ["devices", device, "measure"] => {
            let said = format!("{} of {device}", told["samples"]);
            say(client, Publish::new(format!("devices/{device}/measured"), said)).await;
        }
        ["home", "boiler", "diagnose"] => {
            let topic = message.response_topic().expect("MQTT 5 says where").to_owned();
            let correlation = message.correlation_data().expect("and what");
            let answer = Publish::new(topic, r#"{"bar":1.4}"#).correlation_data(correlation);
            say(client, answer).await;
        }
        _ => {}
    }
}

fn call(broker: &Broker, tool: &str, arguments: &Value) -> Output {
    let (url, arguments) = (url(broker), arguments.to_string());
    run(broker.folder(), &["tools", "call", tool, "--args", &arguments, "--url", &url])
}

fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn an_agent_works_devices() {
    let broker = crate::broker("");
    let house = House::new(&broker);
    house.say("home/outside/temperature", "21.5", true);
    let mut exposed = expose(&broker);
    let mut host = bridge(&url(&broker), &[]);
    let list = host.request("tools/list", &json!({}));
    let all = ["diagnose", "measure", "outside_temperature", "set_temperature", "show"];
    assert_eq!(names(&list, "tools"), all.map(|name| format!("home__{name}")));

    let read = host.call("home__outside_temperature", &json!({}));
    assert_eq!(text(&read), "21.5 °C", "what is retained");
    assert_eq!(read["result"]["structuredContent"], json!({ "value": 21.5, "unit": "°C" }));
    let set = host.call("home__set_temperature", &json!({ "room": "hall", "celsius": 19 }));
    assert_eq!(text(&set), "19", "when the state is so: {set}");
    let asked = host.call("home__diagnose", &json!({}));
    assert_eq!(asked["result"]["structuredContent"], json!({ "bar": 1.4 }), "{asked}");
    let mut display = broker.client("display");
    display.subscribe("home/hall/display", QoS::AtLeastOnce);
    assert_eq!(text(&host.call("home__show", &json!({ "line": "4 {x}" }))), "sent");
    let shown = display.receive_publish();
    assert_eq!(shown.publish().payload, b"4 {x}");

    exposed.signal(Signal::TERM);
    assert!(exposed.end().success());
}

#[test]
fn answers_that_say_nothing_of_their_request_are_not_mixed_up() {
    let broker = crate::broker("");
    let _house = House::new(&broker);
    let _exposed = expose(&broker);
    let mut host = bridge(&url(&broker), &[]);
    host.request("tools/list", &json!({}));
    let asked: Vec<(i64, u32)> = (0..20)
        .map(|samples| {
            let arguments = json!({ "device": "scale", "samples": samples });
            let params = json!({ "name": "home__measure", "arguments": arguments });
            (host.ask("tools/call", &params), samples)
        })
        .collect();
    for _ in &asked {
        let answer = host.wait_for("answer", |line| line.get("result").is_some());
        let (_, samples) = asked.iter().find(|(id, _)| answer["id"] == json!(id)).unwrap();
        assert_eq!(text(&answer), format!("{samples} of scale"));
    }
}

#[test]
fn what_cannot_be_done_is_told() {
    let broker = crate::broker("");
    let house = House::new(&broker);
    let _exposed = expose(&broker);
    let wrong = failed(&call(&broker, "home/set_temperature", &json!({ "room": "hall" })));
    assert!(wrong.contains("-32602") && wrong.contains("celsius"), "{wrong}");
    for device in ["a/b", "+", "#", "", "a\u{0}"] {
        let wrong = failed(&call(&broker, "home/measure", &json!({ "device": device })));
        assert!(wrong.contains("-32602") && wrong.contains("the argument device"), "{wrong}");
    }
    let kitchen = json!({ "room": "kitchen", "celsius": 20 });
    let late = failed(&call(&broker, "home/set_temperature", &kitchen));
    assert!(late.contains("came on home/kitchen/heating within 5s"), "{late}");
    house.runtime.block_on(house.client.disconnect());
    let nobody = failed(&call(&broker, "home/diagnose", &json!({})));
    assert!(nobody.contains("nobody has subscribed to home/boiler/diagnose"), "{nobody}");
}

#[test]
fn a_file_that_is_wrong_is_not_served() {
    let broker = crate::broker("");
    let file = broker.folder().join("tools.toml");
    let tool = "[tools.t]\ndescription = 'd'\nrequest.topic = 'a/{x}'\n\n[tools.u]\n";
    std::fs::write(&file, tool).unwrap();
    let url = url(&broker);
    let expose = |more: &[&str]| {
        let words = ["mcp", "expose", "--url", &url, "--mqtt"];
        let output = run(broker.folder(), &[&words[..], more].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let wrong = expose(&["tools.toml"]);
    let lines: Vec<&str> = wrong.lines().collect();
    let expected = "error: tools.toml:3:17: tools.t.request.topic: x is no argument: there are";
    assert!(lines[0].starts_with(expected), "{wrong}");
    assert!(lines[1].starts_with("tools.toml:5:8: tools.u.description: say in a line"), "{wrong}");
    assert!(wrong.contains("fix: correct the file"), "{wrong}");
    assert!(expose(&["none.toml"]).contains("cannot read none.toml"));
    expose(&["tools.toml", "--", "cat"]);
    expose(&["tools.toml", "--replicas", "2"]);
}
