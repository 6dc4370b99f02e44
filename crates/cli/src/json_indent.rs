//! Indents JSON for people without touching its values: a number keeps its digits, an object its
//! order and its repeated names, all of which a parsed value would lose.

use serde::de::IgnoredAny;

/// An object or array with a line for each of its values; `None` when `text` is anything else, or
/// nested so deeply that the indentation would outgrow the text.
pub(crate) fn indent(text: &str) -> Option<String> {
    let text = text.trim();
    if !text.starts_with(['{', '[']) || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return None;
    }
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut previous = ' ';
    for letter in text.chars() {
        if quoted {
            out.push(letter);
            quoted = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            continue;
        }
        if letter.is_ascii_whitespace() {
            continue;
        }
        let opened = matches!(previous, '{' | '[');
        let closes = matches!(letter, '}' | ']');
        depth = depth.saturating_sub(usize::from(closes));
        // An empty object or array stays on its line.
        if opened != closes || previous == ',' {
            new_line(&mut out, depth);
        }
        out.push(letter);
        match letter {
            '{' | '[' => depth += 1,
            ':' => out.push(' '),
            '"' => quoted = true,
            _ => {}
        }
        if depth > DEEPEST {
            return None;
        }
        previous = letter;
    }
    Some(out)
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Levels that are indented; nobody reads deeper ones.
const DEEPEST: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn values_are_left_alone() {
        let text =
            r#"{"z":12345678901234567890123,"a":1.10, "a":-0,"s":"a \"b\" {,:} \\","é":1e400}"#;
        let shown = "{\n  \"z\": 12345678901234567890123,\n  \"a\": 1.10,\n  \"a\": -0,\n  \
                     \"s\": \"a \\\"b\\\" {,:} \\\\\",\n  \"é\": 1e400\n}";
        assert_eq!(indent(text).as_deref(), Some(shown));
    }

    #[test]
    fn it_looks_like_everybody_elses_json() {
        for text in ["{}", "[]", "[ ]", "[[],{}]", r#"[1,[2,{"a":[],"b":{"c":null}}],true]"#] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(indent(text), serde_json::to_string_pretty(&value).ok(), "{text}");
        }
    }

    #[test]
    fn other_texts_are_not_json() {
        let deep = "[".repeat(DEEPEST + 1) + &"]".repeat(DEEPEST + 1);
        for text in ["", "plain", "3.14", "\"text\"", "[broken", "{} {}", &*deep] {
            assert_eq!(indent(text), None, "{text}");
        }
    }
}
