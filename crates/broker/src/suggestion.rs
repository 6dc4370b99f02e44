//! What the author of a misspelt name may have meant.

/// The candidate that is nearest to `name`, if any is near enough to be worth saying.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(LONGEST + 1).collect();
    if name.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.chars().collect();
            let distance = distance(&name, &letters);
            // A third of the letters may differ: more, and the words only look alike.
            let bound = (name.len().max(letters.len()) / 3).max(1);
            (distance <= bound).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, removals, replacements and swaps of neighbours that turn one word into the other
/// (optimal string alignment).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let at =
                |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&last, column) + usize::from(letter != other);
            let mut best = replaced.min(at(&last, column + 1) + 1).min(at(&current, column) + 1);
            let swapped = row > 0
                && column > 0
                && from.get(row - 1) == Some(other)
                && to.get(column - 1) == Some(letter);
            if swapped {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or_default()
}

/// Letters of a name that is compared at most: no key comes near.
const LONGEST: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("shards", "shards", 0),
            ("shrads", "shards", 1),
            ("lisener", "listeners", 2),
            ("kitten", "sitting", 3),
        ] {
            let letters = |word: &str| word.chars().collect::<Vec<_>>();
            assert_eq!(distance(&letters(from), &letters(to)), expected, "{from} {to}");
            assert_eq!(distance(&letters(to), &letters(from)), expected, "{to} {from}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["listeners", "limits", "log"];
        assert_eq!(nearest("lisener", names), Some("listeners"));
        assert_eq!(nearest("limit", names), Some("limits"));
        assert_eq!(nearest("completely_else", names), None);
        assert_eq!(nearest(&"l".repeat(1_000_000), names), None);
        assert_eq!(nearest("", names), None);
    }
}
