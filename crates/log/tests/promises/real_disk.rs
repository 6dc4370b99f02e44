//! The same log on a real folder.

use agentmq_log::{Log, Position, ReadError, RealDisk, SegmentReader, Settings};
use tempfile::tempdir;

use crate::harness::{Random, open};

/// One record, as another thread reads it.
fn read(log: &Log<RealDisk>, position: Position) -> Result<Vec<u8>, ReadError> {
    let mut reader = SegmentReader::open(log.disk(), position.segment)?;
    reader.read(position).map(<[u8]>::to_vec)
}

#[test]
fn records_come_back_after_a_restart_and_one_at_a_time() {
    let folder = tempdir().expect("a folder");
    let settings = Settings { segment_bytes: 1 << 20, reserve_bytes: 1 << 20, seed: 4 };
    let (mut random, mut records) = (Random(1), Vec::new());
    for _ in 0..3 {
        let disk = RealDisk::new(folder.path()).expect("a folder");
        let (mut log, recovered, shown) = open(disk, settings);
        assert_eq!((recovered.damage.len(), recovered.unfinished), (0, 0));
        assert!(shown.iter().map(|(_, content)| content).eq(&records));
        for _ in 0..100 {
            let mut offsets = Vec::new();
            for _ in 0..100 {
                let record = random.record(records.len() as u64);
                offsets.push(log.append(&record).expect("small"));
                records.push(record);
            }
            let commit = log.commit(true, false).expect("a real disk");
            for (index, offset) in (0..).zip(offsets).step_by(33) {
                let position = commit.position(index, offset);
                let record = read(&log, position).expect("readable");
                assert_eq!(record, records[position.sequence as usize - 1]);
            }
        }
        assert!(log.segments().count() > 1);
    }
}

#[test]
fn segments_go_in_order_and_their_records_with_them() {
    let folder = tempdir().expect("a folder");
    let settings = Settings { segment_bytes: 1 << 20, reserve_bytes: 0, seed: 4 };
    let (mut log, ..) = open(RealDisk::new(folder.path()).expect("a folder"), settings);
    let mut positions = Vec::new();
    for number in 0..400u32 {
        let offset = log.append(&[number as u8; 10_000]).expect("small");
        let commit = log.commit(true, false).expect("a real disk");
        positions.push(commit.position(0, offset));
    }
    let oldest = log.oldest_sealed().expect("several segments");
    let (mut in_oldest, mut offset) = (0, 0);
    while let Some(next) =
        log.read_block(oldest, offset, |_, content| in_oldest += content.len()).expect("readable")
    {
        offset = next;
    }
    assert!(in_oldest > 500_000);
    log.remove_oldest().expect("removed");
    assert!(matches!(read(&log, positions[0]), Err(ReadError::Gone(_))));
    let left = positions.iter().filter(|it| read(&log, **it).is_ok()).count();
    assert_eq!(left, positions.len() - in_oldest / 10_000);
    drop(log);
    let (_, recovered, shown) = open(RealDisk::new(folder.path()).expect("a folder"), settings);
    assert_eq!((recovered.damage.len(), shown.len()), (0, left));
}
