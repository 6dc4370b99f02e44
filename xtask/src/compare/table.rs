//! Tables and figures as text.

use super::results::{Measured, Results, Row};

/// A table in Markdown.
pub fn table(heads: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", heads.join(" | "), " --- |".repeat(heads.len()));
    for row in rows {
        text += &format!("| {} |\n", row.join(" | "));
    }
    text
}

/// Three digits: more would be noise.
pub fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e5 => format!("{:.0} k", v / 1e3),
        v if v >= 1e4 => format!("{:.1} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

pub fn names(results: &Results) -> impl Iterator<Item = &str> {
    results.brokers.iter().map(|broker| broker.name.as_str())
}

/// A cell for each broker; a dash where there is nothing to say, and `n/a` where it took no part.
pub fn each(
    results: &Results,
    row: &Row,
    cell: impl Fn(&Measured) -> Option<String>,
) -> Vec<String> {
    let of = |name: &str| match row.brokers.get(name) {
        Some(measured) => cell(measured).unwrap_or_else(|| "–".to_owned()),
        None if row.absent.contains_key(name) => "n/a".to_owned(),
        None => "–".to_owned(),
    };
    names(results).map(of).collect()
}

/// Work per CPU-second of every broker, with the ratio, for the terminal.
pub fn terminal(results: &Results) -> String {
    let mut text = format!("{:<14} {:>6}", "per CPU-second", "ratio");
    for name in names(results) {
        text += &format!(" {name:>12}");
    }
    text += "   bytes each, and what went wrong\n";
    for row in &results.scenarios {
        let ratio = row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        text += &format!("{:<14} {ratio:>6}", row.scenario);
        let (mut integrity, mut bytes) = (Vec::new(), Vec::new());
        for name in names(results) {
            let Some(measured) = row.brokers.get(name) else {
                let failed = row.absent.get(name).is_none_or(|why| why.starts_with(FAILED));
                text += &format!(" {:>12}", if failed { "failed" } else { "n/a" });
                continue;
            };
            let value = measured.per_cpu_second.map(short).unwrap_or_default();
            text += &format!(" {value:>12}");
            integrity.extend(measured.misdeeds().map(|what| format!("{name}: {what}.")));
            bytes.extend(measured.bytes_each.map(|bytes| format!("{bytes:.0} B")));
        }
        text += &format!("   {}   {}\n", bytes.join(" "), integrity.join(" "));
    }
    text
}

/// How the reason begins if a broker is absent because every round failed.
pub const FAILED: &str = "a round failed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let shown = [999.4, 12_345.0, 123_456.0, 1_234_567.0].map(short);
        assert_eq!(shown, ["999", "12.3 k", "123 k", "1.23 M"]);
    }
}
