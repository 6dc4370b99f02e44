//! What a program prints on standard error, in our log.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Logs every line until the end. A line that is too long is logged in parts: memory has a bound
/// whatever the program prints.
pub(crate) async fn log_lines(program: String, stderr: impl AsyncRead + Unpin) {
    let mut input = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut input).take(LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = harmless(String::from_utf8_lossy(&line).trim_end());
                if !text.is_empty() {
                    tracing::info!(target: "mcp_server", "{program}: {text}");
                }
            }
        }
    }
}

/// Text that cannot reprogram the terminal on which the log is read.
fn harmless(text: &str) -> String {
    let is_harmful = |c: char| {
        (c.is_control() && c != '\t')
            || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
            || matches!(c, '\u{200E}' | '\u{200F}')
    };
    text.chars().map(|c| if is_harmful(c) { '\u{FFFD}' } else { c }).collect()
}

/// Bytes of a line of the log.
const LINE_BYTES: u64 = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_cannot_reprogram_the_terminal() {
        assert_eq!(harmless("a\tb \x1b[2J\u{202E}c"), "a\tb \u{FFFD}[2J\u{FFFD}c");
    }
}
