//! MQTT over a Unix socket.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use agentmq_testkit::codec::QoS;
use agentmq_testkit::{Broker, RawClient};

#[test]
fn clients_of_both_kinds_meet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.sock");
    let url = format!("unix://{}", path.display());
    let config = format!("{}[[listeners]]\nurl = {url:?}\nmode = \"0660\"\n", crate::TCP);
    let mut broker = Broker::start(crate::BINARY, &config);
    assert!(broker.urls().contains(&url), "{:?}", broker.urls());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);

    let mut local = RawClient::over(UnixStream::connect(&path).unwrap());
    local.connect("local");
    assert!(!local.subscribe("to/local", QoS::ExactlyOnce).is_error());
    let mut remote = broker.client("remote");
    remote.publish("to/local", &[7; 300_000], QoS::AtLeastOnce);
    assert_eq!(local.receive_publish().publish().payload, [7; 300_000]);
    assert!(!remote.subscribe("to/remote", QoS::AtLeastOnce).is_error());
    local.publish("to/remote", b"hello", QoS::ExactlyOnce);
    assert_eq!(remote.receive_publish().publish().payload, b"hello");

    broker.terminate();
    assert!(broker.wait().success());
    assert!(!path.exists(), "the socket's file goes with the broker");
}

#[test]
fn a_file_that_a_dead_broker_left_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.sock");
    let config = format!("[[listeners]]\nurl = \"unix://{}\"\n", path.display());
    drop(Broker::start(crate::BINARY, &config)); // killed
    assert!(path.exists());
    let _broker = Broker::start(crate::BINARY, &config);
    let mut client = RawClient::over(UnixStream::connect(&path).unwrap());
    client.connect("client");
    client.ping();
}
