//! Load averages for `$SYS/broker/load/…`, as Mosquitto made them known: what is counted, per
//! minute, averaged over the last 1, 5 and 15 minutes so that what is older weighs exponentially
//! less.

use agentmq_session::Time;

use crate::counters::Counters;

/// The averages of everything that has one.
#[derive(Debug, Default)]
pub(crate) struct LoadAverages {
    /// When they were last updated, and what was counted until then.
    last: Option<(Time, [u64; LOADS])>,
    averages: [[f64; WINDOWS.len()]; LOADS],
}

impl LoadAverages {
    /// Takes in what has been counted since the last update. The first one only remembers: before
    /// it there was no load.
    pub(crate) fn update(&mut self, counters: &Counters, now: Time) {
        let counts = NAMES.map(|(_, count)| count(counters));
        if let Some((then, before)) = self.last {
            let minutes = now.millis_since(then) as f64 / 60_000.0;
            if minutes <= 0.0 {
                return;
            }
            for (at, averages) in self.averages.iter_mut().enumerate() {
                let per_minute = counts[at].saturating_sub(before[at]) as f64 / minutes;
                for (average, (_, window)) in averages.iter_mut().zip(WINDOWS) {
                    *average = per_minute + (-minutes / window).exp() * (*average - per_minute);
                }
            }
        }
        self.last = Some((now, counts));
    }

    /// The topics below `$SYS/broker/load/`, in two levels, and their values.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
        NAMES.iter().zip(self.averages).flat_map(|(&(name, _), averages)| {
            WINDOWS.iter().zip(averages).map(move |(&(window, _), value)| (name, window, value))
        })
    }
}

/// A load's name and what it counts.
type Load = (&'static str, fn(&Counters) -> u64);

const LOADS: usize = 9;

const NAMES: [Load; LOADS] = [
    ("messages/received", |it| it.packets_received),
    ("messages/sent", |it| it.packets_sent),
    ("publish/received", |it| it.publish_received),
    ("publish/sent", |it| it.publish_sent),
    ("publish/dropped", Counters::dropped),
    ("bytes/received", |it| it.bytes_received),
    ("bytes/sent", |it| it.bytes_sent),
    ("connections", |it| it.connections + it.connections_refused),
    ("sockets", |it| it.sockets),
];

/// Each window and its minutes.
const WINDOWS: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

#[cfg(test)]
mod tests {
    use super::*;

    /// The averages of PUBLISH packets received.
    fn averages(loads: &LoadAverages) -> [f64; 3] {
        let mut rows = loads.rows().filter(|(name, ..)| *name == "publish/received");
        [(); 3].map(|()| rows.next().expect("a row for each window").2)
    }

    /// `rate` messages a minute for `minutes`, looked at every ten seconds.
    fn run(loads: &mut LoadAverages, at: &mut (u64, Counters), rate: u64, minutes: u64) {
        for _ in 0..minutes * 6 {
            at.0 += 10_000;
            at.1.publish_received += rate / 6;
            loads.update(&at.1, Time::from_millis(at.0));
        }
    }

    fn is_near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 0.01
    }

    #[test]
    fn a_steady_load_is_approached_by_1_minus_1_over_e_in_each_window() {
        let (mut loads, mut at) = (LoadAverages::default(), (0, Counters::default()));
        loads.update(&at.1, Time::ZERO);
        assert_eq!(averages(&loads), [0.0; 3]);
        let approached = 600.0 * (1.0 - (-1.0f64).exp());
        for (window, minutes) in [1, 4, 10].into_iter().enumerate() {
            run(&mut loads, &mut at, 600, minutes);
            let value = averages(&loads)[window];
            assert!(is_near(value, approached), "window {window}: {value}");
        }
        run(&mut loads, &mut at, 600, 600);
        assert!(averages(&loads).iter().all(|&value| is_near(value, 600.0)));
    }

    #[test]
    fn what_is_over_fades_the_sooner_the_shorter_the_window() {
        let (mut loads, mut at) = (LoadAverages::default(), (0, Counters::default()));
        loads.update(&at.1, Time::ZERO);
        run(&mut loads, &mut at, 600, 600);
        run(&mut loads, &mut at, 0, 5);
        let [one, five, fifteen] = averages(&loads);
        assert!(one < 5.0 && is_near(five, 600.0 * (-1.0f64).exp()) && fifteen > 400.0);
    }

    #[test]
    fn what_was_counted_before_the_first_look_is_no_load() {
        let mut loads = LoadAverages::default();
        let counters = Counters { publish_received: 1_000, ..Counters::default() };
        loads.update(&counters, Time::from_millis(60_000));
        loads.update(&counters, Time::from_millis(60_000));
        loads.update(&counters, Time::from_millis(70_000));
        assert_eq!(averages(&loads), [0.0; 3]);
    }

    #[test]
    fn looking_more_often_makes_no_difference() {
        let (mut seldom, mut often) = (LoadAverages::default(), LoadAverages::default());
        for loads in [&mut seldom, &mut often] {
            loads.update(&Counters::default(), Time::ZERO);
        }
        run(&mut often, &mut (0, Counters::default()), 60, 1);
        let counters = Counters { publish_received: 60, ..Counters::default() };
        seldom.update(&counters, Time::from_millis(60_000));
        let pairs = averages(&seldom).into_iter().zip(averages(&often));
        assert!(pairs.into_iter().all(|(a, b)| is_near(a, b)));
    }
}
