//! Power loss at any moment: what was committed is there, in order, and nothing else is but a
//! beginning of what was being committed.

use agentmq_log::SimulatedDisk;

use crate::harness::{Random, open, settings};

/// Runs a log until the power is gone, restarts it, and so on.
fn run(seed: u64) {
    let disk = SimulatedDisk::default();
    let mut random = Random(seed);
    // All records of all runs that count, or may count: acknowledged up to `acknowledged`.
    let mut records: Vec<Vec<u8>> = Vec::new();
    let mut acknowledged = 0;
    for life in 0..4 {
        let budget = random.below(60);
        disk.power_for(budget);
        let mut shown = Vec::new();
        let opened = agentmq_log::Log::open(disk.clone(), settings(seed ^ life), |_, content| {
            shown.push(content.to_vec());
        });
        if let Ok((mut log, recovered)) = opened {
            assert_eq!(recovered.damage, [], "a crash is no damage, seed {seed}");
            assert!(shown.len() >= acknowledged, "lost {} of {acknowledged}", shown.len());
            assert_eq!(shown, records[..shown.len()], "seed {seed}");
            records.truncate(shown.len());
            acknowledged = shown.len();
            'life: loop {
                let mut fresh = Vec::new();
                for _ in 0..=random.below(6) {
                    let record = random.record((records.len() + fresh.len()) as u64);
                    log.append(&record).expect("small");
                    fresh.push(record);
                }
                records.extend(fresh);
                let sync = random.below(4) > 0;
                match log.commit(sync, false) {
                    Ok(_) if sync => acknowledged = records.len(),
                    Ok(_) => {}
                    Err(_) => break 'life,
                }
                if random.below(200) == 0 {
                    break 'life;
                }
            }
        }
        disk.crash(&mut || random.next());
    }
    let (_, recovered, shown) = open(disk, settings(seed));
    assert_eq!(recovered.damage, []);
    assert!(shown.len() >= acknowledged, "lost {} of {acknowledged}, seed {seed}", shown.len());
    for ((_, shown), record) in shown.iter().zip(&records) {
        assert_eq!(shown, record, "seed {seed}");
    }
}

#[test]
fn acknowledged_records_survive_power_loss() {
    for seed in 0..3_000 {
        run(seed);
    }
}

/// Recovery itself may be interrupted at each of its steps, any number of times.
#[test]
fn recovery_can_be_interrupted() {
    let (disk, records) = crate::harness::written(5, 60);
    let mut random = Random(9);
    for step in 0..40 {
        disk.power_for(step);
        let _ = agentmq_log::Log::open(disk.clone(), settings(step), |_, _| {});
        disk.crash(&mut || random.next());
    }
    let (_, recovered, shown) = open(disk, settings(1));
    assert_eq!((recovered.damage.len(), shown.len()), (0, records.len()));
}
