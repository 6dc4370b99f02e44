//! The profiles as text: for the terminal, and as the generated part of a page.

use std::path::Path;

use anyhow::{Context, Result};

use super::Profile;
use super::system_calls::KINDS;
use crate::compare::results::Surroundings;
use crate::compare::table::table;

pub const PATH: &str = "docs/performance.md";

/// What was found out about one scenario.
pub fn terminal(profile: &Profile) -> String {
    let Profile { scenario, unit, samples, calls, .. } = profile;
    let each = profile.nanoseconds_each.map(|each| format!(" {each:.0} ns each,"));
    let mut text = format!(
        "{scenario}:{} {} samples: kernel {}, user {}; of all: allocator {}, copying {}\n",
        each.unwrap_or_default(),
        samples.count,
        percent(samples.kernel),
        percent(samples.user),
        percent(samples.allocator),
        percent(samples.copying),
    );
    for (symbol, share) in &samples.symbols {
        text += &format!("  {:>6}  {symbol}\n", percent(*share));
    }
    let kinds = KINDS.iter().zip(&calls.each);
    let kinds: Vec<String> =
        kinds.map(|((kind, _), each)| format!("{kind} {}", rate(*each))).collect();
    let all = rate(calls.all);
    text + &format!("  system calls for each of the {unit}: {all}: {}\n", kinds.join(", "))
}

/// Replaces the generated part of the page; what is written by hand around it stays.
pub fn save(root: &Path, at: &Surroundings, profiles: &[Profile]) -> Result<()> {
    let path = root.join(PATH);
    let page = std::fs::read_to_string(&path).with_context(|| format!("read {PATH}"))?;
    let page = replace(&page, &generated(at, profiles))?;
    std::fs::write(path, page).with_context(|| format!("write {PATH}"))
}

fn replace(page: &str, generated: &str) -> Result<String> {
    let missing = || format!("{PATH} lacks the line {BEGIN} or {END}");
    let (before, rest) = page.split_once(BEGIN).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    Ok(format!("{before}{BEGIN}\n\n{generated}\n{END}{after}"))
}

fn generated(at: &Surroundings, profiles: &[Profile]) -> String {
    format!("{at}.\n\n{}\n{}\n{}", shares(profiles), system_calls(profiles), symbols(profiles))
}

fn shares(profiles: &[Profile]) -> String {
    let heads = ["Scenario", "ns each", "samples", "kernel", "user", "allocator", "copying"];
    let rows = profiles.iter().map(|profile| {
        let samples = &profile.samples;
        let each = profile.nanoseconds_each.map(|each| format!("{each:.0}"));
        let parts = [samples.kernel, samples.user, samples.allocator, samples.copying];
        let first = [
            profile.scenario.clone(),
            each.unwrap_or_else(|| "–".to_owned()),
            samples.count.to_string(),
        ];
        first.into_iter().chain(parts.map(percent)).collect()
    });
    format!("### Shares of the CPU time\n\n{}", table(&heads.map(str::to_owned), rows))
}

fn system_calls(profiles: &[Profile]) -> String {
    let kinds = KINDS.iter().map(|(kind, _)| (*kind).to_owned());
    let heads: Vec<String> =
        ["Scenario".to_owned()].into_iter().chain(kinds).chain(["all".to_owned()]).collect();
    let rows = profiles.iter().map(|profile| {
        let each = profile.calls.each.iter().chain([&profile.calls.all]).map(|each| rate(*each));
        [profile.scenario.clone()].into_iter().chain(each).collect()
    });
    format!("### System calls for each delivery\n\n{}", table(&heads, rows))
}

fn symbols(profiles: &[Profile]) -> String {
    let mut text =
        "### What the broker itself does\n\nThe user's symbols with the most samples, as \
                    shares of all samples.\n\n"
            .to_owned();
    for profile in profiles {
        let named = profile.samples.symbols.iter();
        let named: Vec<String> =
            named.map(|(symbol, share)| format!("`{symbol}` {}", percent(*share))).collect();
        text += &format!("* **{}**: {}\n", profile.scenario, named.join(", "));
    }
    text
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "–".to_owned(),
        few if few < 9.95 => format!("{few:.1} %"),
        many => format!("{many:.0} %"),
    }
}

/// Two digits: batches are as they come.
fn rate(each: f64) -> String {
    match each {
        0.0 => "–".to_owned(),
        each if each < 0.000_1 => "< 0.0001".to_owned(),
        each if each < 0.01 => format!("{each:.4}"),
        each if each < 0.1 => format!("{each:.3}"),
        each => format!("{each:.2}"),
    }
}

const BEGIN: &str = "<!-- profile: written by `cargo xtask profile --save` -->";
const END: &str = "<!-- profile: end -->";

#[cfg(test)]
mod tests {
    use super::super::samples::Samples;
    use super::super::system_calls::SystemCalls;
    use super::*;

    fn profile() -> Profile {
        let symbols = vec![("<Router>::packet".to_owned(), 0.25), ("mi_free".to_owned(), 0.05)];
        let samples =
            Samples { count: 900, kernel: 0.6, user: 0.4, allocator: 0.05, copying: 0.0, symbols };
        let calls = SystemCalls { each: vec![0.25, 1.0, 0.05, 0.0, 0.002, 0.000_01], all: 1.4 };
        Profile {
            scenario: "p2p-q0-64".to_owned(),
            unit: "deliveries".to_owned(),
            nanoseconds_each: Some(190.4),
            samples,
            calls,
        }
    }

    #[test]
    fn the_tables_have_a_row_for_each_scenario() {
        let page = generated(&Surroundings::example(), &[profile()]);
        for row in [
            "| p2p-q0-64 | 190 | 900 | 60 % | 40 % | 5.0 % | – |",
            "| p2p-q0-64 | 0.25 | 1.00 | 0.050 | – | 0.0020 | < 0.0001 | 1.40 |",
            "* **p2p-q0-64**: `<Router>::packet` 25 %, `mi_free` 5.0 %",
        ] {
            assert!(page.contains(row), "{row}\n{page}");
        }
    }

    #[test]
    fn what_is_written_by_hand_stays() {
        let page = format!("# Mine\n\n{BEGIN}\nold\n{END}\n\nmine too\n");
        let new = replace(&page, "new").expect("has the marks");
        assert_eq!(new, format!("# Mine\n\n{BEGIN}\n\nnew\n{END}\n\nmine too\n"));
        assert_eq!(replace(&new, "new").expect("still has them"), new);
        for broken in ["", BEGIN, END, &format!("{END}{BEGIN}")] {
            assert!(replace(broken, "new").is_err(), "{broken}");
        }
    }

    #[test]
    fn the_committed_page_can_be_written_anew() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let page = std::fs::read_to_string(root.join(PATH)).expect("the page is committed");
        replace(&page, "new").expect("has the marks");
    }
}
