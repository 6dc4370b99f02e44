//! Any damage to a log's files: it opens, shows nothing that was not written, in order, and says
//! what is missing; it can be written on, and a further start finds the same.

use std::sync::LazyLock;

use agentmq_log::{Disk, Log, Position, Recovered, Settings, SimulatedDisk};
use bolero::TypeGenerator;

/// Something that happens to a file.
#[derive(Debug, Clone, TypeGenerator)]
enum Edit {
    Flip {
        file: u8,
        at: u16,
        bit: u8,
    },
    Write {
        file: u8,
        at: u16,
        bytes: [u8; 12],
    },
    Zero {
        file: u8,
        at: u16,
        len: u16,
    },
    CutOff {
        file: u8,
        at: u16,
    },
    Append {
        file: u8,
        bytes: Vec<u8>,
    },
    /// A part of one file gets into another, or into another place of the same.
    Copy {
        from: u8,
        from_at: u16,
        to: u8,
        to_at: u16,
        len: u16,
    },
    Remove {
        file: u8,
    },
    /// A file appears again under another number.
    Again {
        file: u8,
        number: u8,
    },
    Unreadable {
        file: u8,
        at: u16,
        len: u16,
    },
    Foreign {
        name: u8,
        bytes: Vec<u8>,
    },
}

struct Written {
    files: Vec<(String, Vec<u8>)>,
    records: Vec<Vec<u8>>,
}

static WRITTEN: LazyLock<Written> = LazyLock::new(|| {
    let disk = SimulatedDisk::default();
    let mut records = Vec::new();
    // Two runs, so that a file has been cut off; the second ends without a sync.
    for run in 0..2u64 {
        let (mut log, ..) = open(disk.clone(), run).expect("a log");
        for commit in 0..20u64 {
            for record in 0..=commit % 4 {
                let number = records.len() as u64;
                let mut content = number.to_le_bytes().to_vec();
                content.resize(8 + (number * 37 % 150) as usize, (number + record) as u8);
                log.append(&content).expect("small");
                records.push(content);
            }
            log.commit(commit % 5 != 4, false).expect("works");
        }
    }
    let mut names = disk.list().expect("a list");
    names.sort();
    assert!(names.len() >= 5, "{names:?}");
    let content = |name: &String| (name.clone(), disk.content(name).expect("there"));
    Written { files: names.iter().map(content).collect(), records }
});

type Shown = Vec<(Position, Vec<u8>)>;

fn open(
    disk: SimulatedDisk,
    seed: u64,
) -> Result<(Log<SimulatedDisk>, Recovered, Shown), agentmq_log::LogError> {
    let mut shown = Vec::new();
    let settings = Settings { segment_bytes: 2048, reserve_bytes: 0, seed };
    let visit = |position, content: &[u8]| shown.push((position, content.to_vec()));
    let (log, recovered) = Log::open(disk, settings, visit)?;
    Ok((log, recovered, shown))
}

fn apply(disk: &mut SimulatedDisk, edit: &Edit) {
    let files = &WRITTEN.files;
    let name = |file: u8| files[usize::from(file) % files.len()].0.as_str();
    let put = |bytes: &mut Vec<u8>, at: usize, new: &[u8]| {
        let at = at % (bytes.len() + 1);
        let end = bytes.len().min(at + new.len());
        bytes[at..end].copy_from_slice(&new[..end - at]);
    };
    match edit {
        Edit::Flip { file, at, bit } => disk.damage(name(*file), |bytes| {
            if !bytes.is_empty() {
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= 1 << (bit % 8);
            }
        }),
        Edit::Write { file, at, bytes: new } => {
            disk.damage(name(*file), |bytes| put(bytes, usize::from(*at), new));
        }
        Edit::Zero { file, at, len } => {
            let zeros = vec![0; usize::from(*len) % 1024];
            disk.damage(name(*file), |bytes| put(bytes, usize::from(*at), &zeros));
        }
        Edit::CutOff { file, at } => disk.damage(name(*file), |bytes| {
            bytes.truncate(usize::from(*at) % (bytes.len() + 1));
        }),
        Edit::Append { file, bytes: new } => {
            disk.damage(name(*file), |bytes| bytes.extend_from_slice(new));
        }
        Edit::Copy { from, from_at, to, to_at, len } => {
            let Some(source) = disk.content(name(*from)) else { return };
            let at = usize::from(*from_at) % (source.len() + 1) / 8 * 8;
            let end = source.len().min(at + usize::from(*len) % 1024);
            let to_at = usize::from(*to_at) / 8 * 8;
            disk.damage(name(*to), |bytes| put(bytes, to_at, &source[at..end]));
        }
        Edit::Remove { file } => disk.remove(name(*file)).expect("removed"),
        Edit::Again { file, number } => {
            let Some(source) = disk.content(name(*file)) else { return };
            let name = format!("{number:010}.log");
            disk.create(&name, 0).expect("room");
            disk.damage(&name, |bytes| *bytes = source);
        }
        Edit::Unreadable { file, at, len } => {
            let at = u64::from(*at) % 4096;
            disk.make_unreadable(name(*file), at..at + 1 + u64::from(*len) % 512);
        }
        Edit::Foreign { name, bytes: content } => {
            let names = ["9.log", "0000000001.log.bad", "reserve", "notes", "0000000200.log"];
            let name = names[usize::from(*name) % names.len()];
            disk.create(name, 0).expect("room");
            disk.damage(name, |bytes| bytes.clone_from(content));
        }
    }
}

#[test]
fn fuzz_recovery() {
    bolero::check!().with_type::<Vec<Edit>>().with_iterations(20_000).for_each(|edits| {
        let mut disk = SimulatedDisk::default();
        for (name, content) in &WRITTEN.files {
            disk.create(name, 0).expect("room");
            disk.damage(name, |bytes| bytes.clone_from(content));
        }
        edits.iter().take(6).for_each(|edit| apply(&mut disk, edit));
        let (mut log, recovered, shown) = match open(disk.clone(), 77) {
            Ok(opened) => opened,
            Err(error) => panic!("{error}"),
        };
        check(&recovered, &shown);
        // It goes on, if the disk lets it, and what was there stays.
        if log.failed().is_none() {
            log.append(b"a new one").expect("small");
            log.commit(true, false).expect("works");
            drop(log);
            let (_, again, more) = open(disk, 78).expect("it has opened before");
            assert_eq!(more.split_last().expect("one at least").1, shown);
            assert_eq!(more.last().map(|it| &*it.1), Some(&b"a new one"[..]));
            let lost = |it: &Recovered| it.damage.iter().map(|it| it.records).sum::<u64>();
            assert_eq!(lost(&again), lost(&recovered), "{again:?} {recovered:?}");
        }
    });
}

fn check(recovered: &Recovered, shown: &Shown) {
    for (position, content) in shown {
        let written = WRITTEN.records.get(position.sequence as usize - 1);
        assert_eq!(Some(content), written, "at {position:?}");
    }
    assert!(shown.is_sorted_by(|one, other| one.0.sequence < other.0.sequence), "in order");
    assert_eq!(recovered.records, shown.len() as u64);
    // What is missing between the first and the last is told. Nothing tells of first files that
    // are gone: they could have been let go; and the end is cut off, or told by its header.
    let (Some(first), Some(last)) = (shown.first(), shown.last()) else { return };
    let missing = last.0.sequence - first.0.sequence + 1 - shown.len() as u64;
    let told: u64 = recovered.damage.iter().map(|it| it.records).sum();
    assert!(told >= missing, "{missing} are missing, and told is {:?}", recovered.damage);
}
