//! A log for which there is no room. In a process of its own: the limit holds for all of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use agentmq_audit::{Bounds, Row, Rows, Settings, ShardTrail, Trail, TrailError, Writer, verify};
use agentmq_codec::ProtocolVersion;
use agentmq_identity::Principal;
use agentmq_session::{AuditCondition, AuditEvent, AuditTrail, Deed, Ticket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Map;

fn start(folder: &Path, goes_on: bool) -> (Trail, ShardTrail, Receiver<()>, Writer) {
    let settings = Settings {
        folder: folder.to_owned(),
        bounds: Bounds::of(1 << 20),
        syncs: true,
        goes_on,
        connections: true,
        refusals: true,
    };
    let (wake, woken) = channel();
    let waker: Box<dyn Fn() + Send> = Box::new(move || {
        let _ = wake.send(());
    });
    let (trail, mut shards, writer) = Trail::start(settings, vec![waker]).expect("works");
    (trail, shards.remove(0), woken, writer)
}

fn connect(shard: &mut ShardTrail) -> Ticket {
    let deed = Deed::Connected { version: ProtocolVersion::V5, session_present: false };
    let principal = &Principal::ANONYMOUS;
    let ticket = shard.record(&AuditEvent { client_id: "c", principal, source: None, deed });
    shard.submit();
    ticket
}

fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).expect("works");
}

fn holds(folder: &Path, text: &str) -> usize {
    let rows = Rows::of(folder).expect("works").map(|row| row.expect("works").text);
    rows.filter(|row| row.contains(text)).count()
}

#[test]
fn without_room_nothing_is_answered_or_everything_goes_on() {
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false)))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refuse");
    let (trail, mut shard, woken, writer) = start(&path, false);
    limit(Some(250)); // the first row has room, and a part of the next
    assert_eq!(trail.append(Row::new("token", Map::new())), Err(TrailError));
    assert!(shard.condition() == AuditCondition::Failed && !shard.statistics().unwrap().is_good);
    let early = connect(&mut shard);
    assert!(shard.completed() < early, "who has not looked waits");
    limit(None);
    while shard.condition() != AuditCondition::Good {
        std::thread::yield_now(); // it tries again by itself
    }
    let ticket = connect(&mut shard);
    while shard.completed() < ticket {
        woken.recv_timeout(Duration::from_secs(30)).unwrap();
    }
    drop(writer);
    let kinds = ["resume", "connect", "left_out", "token"];
    let found = kinds.map(|kind| holds(&path, &format!("\"kind\":\"{kind}\"")));
    assert_eq!(found, [1, 2, 1, 0]);
    assert!(verify(&path, &[]).unwrap().is_ok());

    let path = folder.path().join("continue");
    let (trail, mut shard, _woken, writer) = start(&path, true);
    limit(Some(250));
    assert_eq!(trail.append(Row::new("token", Map::new())), Ok(()));
    assert!(shard.condition() == AuditCondition::Good && !shard.statistics().unwrap().is_good);
    assert_eq!(connect(&mut shard), Ticket(0));
    limit(None);
    drop(writer);
    assert_eq!(holds(&path, "\"kind\":\"left_out\",\"rows\":2"), 1);
    assert!(verify(&path, &[]).unwrap().is_ok());
}
