//! The result of a scenario, as text and as JSON.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::bench::process::Usage;
use crate::failure::Failure;
use crate::output::Output;

/// Everything a scenario found out. Absent parts are `None` and not printed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    pub(crate) at: String,
    /// The parameters of the run.
    pub(crate) parameters: Map<String, Value>,
    /// Length of the measured interval.
    pub(crate) seconds: f64,
    /// What `count` counts: deliveries, calls, connections.
    pub(crate) unit: &'static str,
    /// How many were completed in the interval.
    pub(crate) count: u64,
    pub(crate) per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) live: Option<LiveLatency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) integrity: Option<Integrity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker: Option<Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generator_cpu_seconds: Option<f64>,
    /// Figures of one scenario only.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) more: Map<String, Value>,
}

/// Percentiles in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    pub(crate) mean_us: f64,
    /// Nanoseconds, and how many took so long: with `--histogram`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) histogram: Vec<(u64, u64)>,
}

/// Of messages that went on beside the scenario.
#[derive(Debug, Serialize)]
pub(crate) struct LiveLatency {
    /// Before it.
    pub(crate) quiet: Option<Latency>,
    /// While it lasted.
    pub(crate) busy: Option<Latency>,
}

/// Over the whole run, warm-up included.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Integrity {
    pub(crate) sent: u64,
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    /// Times that nothing came for 250 ms although messages were under way.
    pub(crate) stalls: u64,
    /// Acknowledgements with an error code.
    pub(crate) refused: u64,
}

/// What the interval cost the broker.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) cpu_seconds: f64,
    /// `count` divided by `cpu_seconds`; absent when the interval was too short to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_cpu_second: Option<f64>,
    pub(crate) rss_kib: u64,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let us = |nanos: u64| nanos as f64 / 1e3;
        (!histogram.is_empty()).then(|| Self {
            p50_us: us(histogram.value_at_quantile(0.5)),
            p99_us: us(histogram.value_at_quantile(0.99)),
            p999_us: us(histogram.value_at_quantile(0.999)),
            max_us: us(histogram.max()),
            mean_us: histogram.mean() / 1e3,
            histogram: Vec::new(),
        })
    }

    /// The same with each latency that was seen, if that is `wanted`.
    pub(crate) fn whole(histogram: &Histogram<u64>, wanted: bool) -> Option<Self> {
        let seen = histogram.iter_recorded().filter(|_| wanted);
        let seen = seen.map(|it| (it.value_iterated_to(), it.count_at_value())).collect();
        Self::of(histogram).map(|latency| Self { histogram: seen, ..latency })
    }
}

/// A histogram of nanoseconds up to two minutes, with three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 120_000_000_000, 3).expect("the bounds are valid constants")
}

/// CPU usage at the start of an interval.
#[derive(Debug)]
pub(crate) struct Meter {
    pid: Option<u32>,
    broker: Option<Usage>,
    own: Option<Usage>,
}

impl Meter {
    pub(crate) fn start(pid: Option<u32>) -> Result<Self, Failure> {
        Ok(Self { pid, broker: pid.map(Usage::of).transpose()?, own: Usage::own() })
    }

    /// Resident memory of the broker at the start.
    pub(crate) fn rss_kib(&self) -> Option<u64> {
        self.broker.map(|usage| usage.rss_kib)
    }

    /// Fills in what the interval up to now cost.
    pub(crate) fn stop(&self, report: &mut Report) -> Result<(), Failure> {
        if let (Some(pid), Some(before)) = (self.pid, self.broker) {
            let now = Usage::of(pid)?;
            let cpu_seconds = now.cpu_seconds - before.cpu_seconds;
            // Below one step of the kernel's clock the quotient would mean nothing.
            let per_cpu_second = (cpu_seconds > 0.0).then(|| report.count as f64 / cpu_seconds);
            report.broker = Some(Cost { cpu_seconds, per_cpu_second, rss_kib: now.rss_kib });
        }
        report.generator_cpu_seconds =
            Usage::own().zip(self.own).map(|(now, before)| now.cpu_seconds - before.cpu_seconds);
        Ok(())
    }
}

impl Report {
    pub(crate) fn parameter(&mut self, name: &str, value: impl Into<Value>) {
        self.parameters.insert(name.into(), value.into());
    }

    pub(crate) fn more(&mut self, name: &str, value: impl Into<Value>) {
        self.more.insert(name.into(), value.into());
    }

    /// Sets the interval's length and what was done in it.
    pub(crate) fn set(&mut self, unit: &'static str, count: u64, seconds: f64) {
        (self.unit, self.count, self.seconds) = (unit, count, seconds);
        self.per_second = if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    }

    pub(crate) fn print(&self, output: &Output) -> Result<(), Failure> {
        output.result(self.text().trim_end(), &json!(self))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let parameters: Vec<_> = self.parameters.iter().map(|(n, v)| format!("{n} {v}")).collect();
        let _ = writeln!(text, "{} at {}: {}", self.scenario, self.at, parameters.join(", "));
        let (count, unit, seconds) = (self.count, self.unit, self.seconds);
        let rate = short(self.per_second);
        let _ = writeln!(text, "  {rate} {unit}/s ({count} in {seconds:.2} s)");
        if let Some(latency) = &self.latency {
            let Latency { p50_us, p99_us, p999_us, max_us, .. } = latency;
            let _ = writeln!(
                text,
                "  latency p50 {p50_us:.0} µs, p99 {p99_us:.0} µs, p99.9 {p999_us:.0} µs, \
                 max {max_us:.0} µs"
            );
        }
        if let Some(LiveLatency { quiet: Some(quiet), busy: Some(busy) }) = &self.live {
            let (quiet, busy) = (quiet.p99_us, busy.p99_us);
            let _ = writeln!(text, "  others: p99 {quiet:.0} µs before it, {busy:.0} µs beside it");
        }
        if let Some(Integrity { sent, lost, duplicates, out_of_order, stalls, refused, .. }) =
            &self.integrity
        {
            let _ = writeln!(
                text,
                "  sent {sent}: {lost} lost, {duplicates} duplicates, {out_of_order} out of \
                 order, {refused} refused, {stalls} stalls"
            );
        }
        if let Some(Cost { cpu_seconds, per_cpu_second, rss_kib }) = &self.broker {
            let efficiency = per_cpu_second
                .map(|value| format!(", {} {unit}/CPU-s", short(value)))
                .unwrap_or_default();
            let mib = *rss_kib as f64 / 1024.0;
            let _ = writeln!(
                text,
                "  broker: {cpu_seconds:.2} CPU-s{efficiency}, {mib:.1} MiB resident"
            );
        }
        if let Some(cpu) = self.generator_cpu_seconds {
            let _ = writeln!(text, "  generator: {cpu:.2} CPU-s");
        }
        for (name, value) in &self.more {
            let _ = writeln!(text, "  {}: {value}", name.replace('_', " "));
        }
        text
    }
}

/// Three digits are all that such a measurement is worth.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e4 => format!("{:.1} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}
