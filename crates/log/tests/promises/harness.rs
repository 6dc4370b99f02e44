//! A log, what was put into it, and what comes back.

use agentmq_log::{Disk, Log, Position, Recovered, Settings, SimulatedDisk};

/// Numbers that look random, from a seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A record that tells its number, and is as long as it happens to be.
    pub(crate) fn record(&mut self, number: u64) -> Vec<u8> {
        let mut content = number.to_le_bytes().to_vec();
        let len = self.below(300);
        content.extend((0..len).map(|_| self.next() as u8));
        content
    }
}

/// Small segments, so that a test has several.
pub(crate) fn settings(seed: u64) -> Settings {
    Settings { segment_bytes: 8 * 1024, reserve_bytes: 0, seed }
}

/// Records and where they lie.
pub(crate) type Shown = Vec<(Position, Vec<u8>)>;

/// Opens the log and returns all that it shows.
pub(crate) fn open<D: Disk>(disk: D, settings: Settings) -> (Log<D>, Recovered, Shown) {
    let mut shown = Vec::new();
    let visit = |position, content: &[u8]| shown.push((position, content.to_vec()));
    let (log, recovered) = Log::open(disk, settings, visit).expect("a log always opens");
    (log, recovered, shown)
}

/// A disk with a log of `commits` commits of up to eight records, and the records.
pub(crate) fn written(seed: u64, commits: u64) -> (SimulatedDisk, Vec<Vec<u8>>) {
    let (disk, mut random) = (SimulatedDisk::default(), Random(seed));
    let (mut log, ..) = open(disk.clone(), settings(seed));
    let mut records = Vec::new();
    for _ in 0..commits {
        for _ in 0..=random.below(8) {
            let record = random.record(records.len() as u64);
            log.append(&record).expect("small");
            records.push(record);
        }
        log.commit(true, false).expect("nothing is wrong with the disk");
    }
    (disk, records)
}
