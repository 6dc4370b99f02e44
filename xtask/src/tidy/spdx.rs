//! SPDX licence expressions: may we use a crate under one of the licences we accept?

/// True if the expression can be satisfied with licences from `allowed` alone.
///
/// Understands `AND`, `OR`, `WITH`, parentheses, and the old `/` for `OR`. What it cannot read it
/// refuses.
pub fn is_satisfied(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    let verdict = any_of(&mut rest, allowed);
    rest.is_empty() && verdict.unwrap_or(false)
}

fn any_of(rest: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let mut verdict = all_of(rest, allowed)?;
    while take(rest, "OR") {
        verdict |= all_of(rest, allowed)?;
    }
    Some(verdict)
}

fn all_of(rest: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let mut verdict = one(rest, allowed)?;
    while take(rest, "AND") {
        verdict &= one(rest, allowed)?;
    }
    Some(verdict)
}

fn one(rest: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    if take(rest, "(") {
        let verdict = any_of(rest, allowed)?;
        return take(rest, ")").then_some(verdict);
    }
    let (name, after) = rest.split_first()?;
    if matches!(*name, "AND" | "OR" | "WITH" | ")") {
        return None;
    }
    *rest = after;
    if take(rest, "WITH") {
        let (exception, after) = rest.split_first()?;
        *rest = after;
        let whole = format!("{name} WITH {exception}");
        return Some(allowed.contains(&whole.as_str()));
    }
    Some(allowed.contains(name))
}

fn take(rest: &mut &[&str], token: &str) -> bool {
    match rest.split_first() {
        Some((first, after)) if *first == token => {
            *rest = after;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: &[&str] = &["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];

    #[test]
    fn expressions_are_read_as_written() {
        for (expression, satisfied) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("MIT/Apache-2.0", true),
            ("(MIT OR GPL-3.0) AND Apache-2.0", true),
            ("(MIT OR GPL-3.0) AND ISC", false),
            ("GPL-3.0 OR MIT AND Apache-2.0", true),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
            ("MIT WITH LLVM-exception", false),
            ("", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT MIT", false),
        ] {
            assert_eq!(is_satisfied(expression, ALLOWED), satisfied, "{expression}");
        }
    }
}
