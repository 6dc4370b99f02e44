//! The log of a running broker: what waits for it, and what happens when it cannot be written.

use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use agentmq_audit::{Bounds, Row, Rows, Settings, ShardTrail, Trail, Writer, verify};
use agentmq_codec::{ProtocolVersion, ReasonCode};
use agentmq_identity::Principal;
use agentmq_session::{Attempt, AuditEvent, AuditTrail, Deed, Ticket};
use serde_json::Map;

struct Log {
    trail: Trail,
    shard: ShardTrail,
    woken: Receiver<()>,
    writer: Option<Writer>,
}

fn start(folder: &Path, change: impl FnOnce(&mut Settings)) -> Log {
    let mut settings = Settings {
        folder: folder.to_owned(),
        bounds: Bounds::of(1 << 20),
        syncs: true,
        goes_on: false,
        connections: true,
        refusals: true,
    };
    change(&mut settings);
    let (wake, woken) = channel();
    let waker: Box<dyn Fn() + Send> = Box::new(move || {
        let _ = wake.send(());
    });
    let (trail, mut shards, writer) = Trail::start(settings, vec![waker]).expect("works");
    Log { trail, shard: shards.remove(0), woken, writer: Some(writer) }
}

impl Log {
    fn connect(&mut self) -> Ticket {
        let deed = Deed::Connected { version: ProtocolVersion::V5, session_present: false };
        self.record(deed)
    }

    fn refuse(&mut self) -> Ticket {
        let (attempt, topic) = (Attempt::Publish, "secret");
        self.record(Deed::Refused { attempt, topic, reason: ReasonCode::NotAuthorized, why: "no" })
    }

    fn record(&mut self, deed: Deed<'_>) -> Ticket {
        let (client_id, principal) = ("c", &Principal::ANONYMOUS);
        let source = Some(IpAddr::from([127, 0, 0, 1]));
        self.shard.record(&AuditEvent { client_id, principal, source, deed })
    }

    /// Waits until a ticket is complete.
    fn wait(&self, ticket: Ticket) {
        while self.shard.completed() < ticket {
            self.woken.recv_timeout(Duration::from_secs(30)).expect("is woken");
        }
    }
}

fn kinds(folder: &Path) -> Vec<String> {
    let rows = Rows::of(folder).expect("works").map(|row| {
        let row: Map<_, _> = serde_json::from_str(&row.expect("works").text).expect("works");
        row["kind"].as_str().expect("works").to_owned()
    });
    rows.collect()
}

#[test]
fn a_ticket_is_complete_when_its_row_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = start(folder.path(), |_| {});
    let first = log.connect();
    assert_eq!(log.shard.completed(), Ticket(0), "nothing is submitted");
    log.shard.submit();
    log.wait(first);
    assert_eq!(kinds(folder.path()), ["begin", "connect"]);
    let second = log.refuse();
    assert!(second > first);
    log.shard.submit();
    log.trail.append(Row::new("token", Map::new())).unwrap();
    log.wait(second);
    assert_eq!(kinds(folder.path()), ["begin", "connect", "refuse", "token"]);
    let told = log.shard.statistics().unwrap();
    assert_eq!((told.is_good, told.rows, told.left_out), (true, 4, 0));
    let head = told.head.parse().unwrap();
    assert!(verify(folder.path(), &[head]).unwrap().is_ok());
}

#[test]
fn what_is_not_wanted_is_not_put_down() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = start(folder.path(), |it| (it.connections, it.refusals) = (false, false));
    assert_eq!((log.connect(), log.refuse()), (Ticket(0), Ticket(0)));
    log.trail.refused(Map::new());
    log.trail.append(Row::new("token", Map::new())).unwrap();
    assert_eq!(kinds(folder.path()), ["begin", "token"]);
}

#[test]
fn a_flood_of_refusals_leaves_a_count() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = start(folder.path(), |_| {});
    for _ in 0..1_000 {
        log.refuse();
    }
    log.shard.submit();
    drop(log.writer.take());
    let kinds = kinds(folder.path());
    let refused = kinds.iter().filter(|kind| *kind == "refuse").count();
    assert!((100..=200).contains(&refused), "{refused}"); // a minute may have ended meanwhile
    assert!(kinds.contains(&"left_out".to_owned()));
    assert_eq!(log.shard.statistics().unwrap().left_out, 1_000 - refused as u64);
}
