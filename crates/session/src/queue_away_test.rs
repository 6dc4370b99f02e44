//! A queue whose tail is on the disk alone is the queue that it would be in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentmq_codec::QoS;
use proptest::prelude::*;

use crate::{Delivery, Message, Queue, QueueBound, QueueMemory, Recalled, Time};

#[derive(Debug, Clone)]
enum Step {
    /// Appends a message: payload bytes, seconds until it expires, group, whether it survives.
    Push(usize, Option<u32>, Option<u32>, bool),
    /// What stands at this place leaves memory.
    LetGo(usize),
    Pop,
    PopQos0,
    /// The group's messages go to another member.
    TakeShared(u32),
    Cursor,
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let seconds = prop_oneof![Just(None), (1..20u32).prop_map(Some)];
    let group = prop_oneof![3 => Just(None), 1 => (0..2u32).prop_map(Some)];
    prop_oneof![
        8 => (0..300usize, seconds, group, prop::bool::weighted(0.8))
            .prop_map(|(bytes, expires, group, survives)| {
                Step::Push(bytes, expires, group, survives)
            }),
        6 => (0..40usize).prop_map(Step::LetGo),
        3 => Just(Step::Pop),
        1 => Just(Step::PopQos0),
        1 => (0..2u32).prop_map(Step::TakeShared),
        1 => Just(Step::Cursor),
        1 => (1..9u32).prop_map(Step::Wait),
    ]
}

/// What the disk has.
type Disk = BTreeMap<u64, Delivery>;

fn recall(queue: &mut Queue<()>, ordinals: &[u64], disk: &Disk) {
    let recalled = ordinals.iter().map(|ordinal| {
        let Delivery { message, qos, retain, ids, .. } = disk[ordinal].clone();
        // The packet does not tell when it expires.
        let message = message.expiring_at(None);
        (*ordinal, Recalled { message, qos, retain, ids })
    });
    queue.fill(recalled.collect::<Vec<_>>());
}

fn pop(queue: &mut Queue<()>, disk: &Disk, portion: usize) -> Option<Delivery> {
    if queue.front_away().is_some() {
        let ordinals = queue.first_away(portion);
        assert!(!ordinals.is_empty());
        recall(queue, &ordinals, disk);
        assert!(queue.front().is_some(), "it is in memory now");
    }
    queue.pop()
}

proptest! {
    #[test]
    fn it_behaves_like_one_in_memory(
        steps in prop::collection::vec(step(), 1..120),
        portion in 0..2_000usize,
    ) {
        let memory = Arc::new(QueueMemory::default());
        let (mut away, mut whole): (Queue<()>, Queue<()>) = Default::default();
        away.survives(&memory);
        let (mut disk, mut now, mut newest) = (Disk::new(), Time::ZERO, 0);
        let kept = QueueBound { messages: usize::MAX, bytes: 3_000 };
        let others = QueueBound { messages: 4, bytes: 1_000 };
        for step in steps {
            match step {
                Step::Push(bytes, seconds, group, survives) => {
                    newest += 1;
                    let message = Message::plain("t", &vec![7; bytes], QoS::AtLeastOnce, false)
                        .expiring_at(seconds.map(|it| now.after_secs(it)));
                    let qos = if survives { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                    let ordinal = if survives { newest } else { 0 };
                    let (retain, ids) = (false, None);
                    let delivery = Delivery { message, qos, retain, ids, group, ordinal };
                    disk.insert(ordinal, delivery.clone());
                    let bound = if survives { kept } else { others };
                    let made_room = away.push(delivery.clone(), bound, now);
                    prop_assert_eq!(made_room, whole.push(delivery, bound, now));
                }
                Step::LetGo(back) => away.let_go(newest.saturating_sub(back as u64).max(1)),
                Step::Pop => {
                    prop_assert_eq!(pop(&mut away, &disk, portion), whole.pop());
                }
                Step::PopQos0 => prop_assert_eq!(away.pop_qos0(), whole.pop_qos0()),
                Step::TakeShared(group) => {
                    let (wanted, mut taken) = (|it| it == group, Vec::new());
                    let mut has_more = true;
                    while has_more {
                        let ordinals;
                        (ordinals, has_more) = away.shared_away(&mut (portion + 1), wanted);
                        prop_assert!(!has_more || !ordinals.is_empty(), "each portion has some");
                        recall(&mut away, &ordinals, &disk);
                        taken.extend(away.take_shared(wanted));
                    }
                    prop_assert_eq!(taken, whole.take_shared(wanted));
                }
                Step::Cursor => {
                    away.push_cursor(());
                    whole.push_cursor(());
                }
                Step::Wait(seconds) => now = now.after_secs(seconds),
            }
            prop_assert_eq!(away.len(), whole.len());
            prop_assert_eq!(away.bytes(), whole.bytes());
            prop_assert_eq!(away.is_empty(), whole.is_empty());
            prop_assert_eq!(away.has_qos0(), whole.has_qos0());
            prop_assert_eq!(memory.resident(), away.resident_bytes() as u64);
            prop_assert!(memory.all() >= memory.resident());
        }
        while !whole.is_empty() {
            prop_assert_eq!(pop(&mut away, &disk, portion), whole.pop());
        }
        prop_assert_eq!((away.len(), away.bytes(), away.away()), (0, 0, 0));
        prop_assert_eq!((memory.all(), memory.resident()), (0, 0));
    }
}

#[test]
fn what_is_lost_leaves_the_line_and_its_memory() {
    let memory = Arc::new(QueueMemory::default());
    let mut queue: Queue<()> = Queue::default();
    queue.survives(&memory);
    let bound = QueueBound { messages: usize::MAX, bytes: 10_000 };
    for ordinal in 1..=4 {
        let message = Message::plain("t", b"payload", QoS::AtLeastOnce, false);
        let qos = QoS::AtLeastOnce;
        let delivery = Delivery { message, qos, retain: false, ids: None, group: None, ordinal };
        queue.push(delivery, bound, Time::ZERO);
        queue.let_go(ordinal);
    }
    assert_eq!((queue.away(), queue.resident_bytes(), memory.resident()), (4, 0, 0));
    queue.forget_away(&[1, 3]);
    assert_eq!(queue.first_away(usize::MAX), [2, 4]);
    assert_eq!(queue.pop_away().map(|it| it.ordinal), Some(2));
    drop(queue);
    assert_eq!(memory.all(), 0, "a session that ends gives back what it had");
}
