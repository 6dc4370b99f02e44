//! Where the samples of the broker's CPU time fell, as `perf report` lists them.

use anyhow::{Result, ensure};

use super::watcher::SEPARATOR;

/// Shares of all samples, from 0 to 1.
#[derive(Debug, PartialEq)]
pub struct Samples {
    pub count: u64,
    pub kernel: f64,
    pub user: f64,
    /// Parts of the user's share.
    pub allocator: f64,
    pub copying: f64,
    /// The user's symbols with the most samples, most first.
    pub symbols: Vec<(String, f64)>,
}

impl Samples {
    /// Reads lines of samples, shared object and symbol; a symbol begins with `[k]` or `[.]`.
    pub fn parse(listed: &str) -> Result<Self> {
        let lines: Vec<Line<'_>> = listed.lines().filter_map(Line::parse).collect();
        let count: u64 = lines.iter().map(|line| line.samples).sum();
        ensure!(count > 0, "`perf` has no sample of the broker:\n{listed}");
        let share = |samples: u64| samples as f64 / count as f64;
        let share_of = |wanted: fn(&Line<'_>) -> bool| {
            share(lines.iter().filter(|line| wanted(line)).map(|line| line.samples).sum())
        };
        let mut symbols: Vec<(String, u64)> = Vec::new();
        for line in lines.iter().filter(|line| !line.kernel) {
            let name = short(line.symbol);
            match symbols.iter_mut().find(|(known, _)| *known == name) {
                Some((_, samples)) => *samples += line.samples,
                None => symbols.push((name, line.samples)),
            }
        }
        symbols.sort_by_key(|(_, samples)| std::cmp::Reverse(*samples));
        symbols.truncate(SYMBOLS);
        Ok(Self {
            count,
            kernel: share_of(|line| line.kernel),
            user: share_of(|line| !line.kernel),
            allocator: share_of(|line| !line.kernel && is_allocator(line.symbol)),
            copying: share_of(|line| !line.kernel && is_copying(line.symbol)),
            symbols: symbols.into_iter().map(|(name, samples)| (name, share(samples))).collect(),
        })
    }
}

#[derive(Debug)]
struct Line<'a> {
    samples: u64,
    kernel: bool,
    symbol: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(3, SEPARATOR);
        let samples = fields.next()?.trim().parse().ok()?;
        let (_object, symbol) = (fields.next()?, fields.next()?.trim());
        let (space, symbol) = symbol.split_once(' ')?;
        Some(Self { samples, kernel: space != "[.]", symbol: symbol.trim() })
    }
}

/// mimalloc's functions, and what else allocates and frees.
fn is_allocator(symbol: &str) -> bool {
    let own = ["mi_", "_mi_", "__rust_", "__rdl_", "__rg_"];
    own.iter().any(|start| symbol.starts_with(start))
        || ["malloc", "free", "realloc", "calloc", "cfree"].contains(&symbol)
        || symbol.contains("mimalloc")
}

fn is_copying(symbol: &str) -> bool {
    ["memmove", "memcpy"].iter().any(|name| symbol.contains(name))
}

/// `<agentmq_router::router::Router>::packet` is `Router::packet`: a type's path, an
/// implementation's trait and the compiler's hash say nothing that a reader looks for.
fn short(symbol: &str) -> String {
    let symbol = symbol.replace("<impl ", "<");
    let symbol = symbol.as_str();
    let symbol = match symbol.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 => name,
        _ => symbol,
    };
    let mut short = String::new();
    let mut word = String::new();
    let mut characters = symbol.chars().peekable();
    while let Some(character) = characters.next() {
        if character.is_alphanumeric() || character == '_' {
            word.push(character);
        } else if character == ':' && characters.peek() == Some(&':') {
            characters.next();
            // A module or a crate begins with a small letter; a type's name stays.
            if word.starts_with(char::is_uppercase) || word.is_empty() {
                short += &word;
                short += "::";
            }
            word.clear();
        } else {
            short += &std::mem::take(&mut word);
            short.push(character);
        }
    }
    short += &word;
    // Inherent methods, wherever they are written: `<Router>::packet`.
    match short.strip_prefix('<').and_then(|rest| rest.split_once(">::")) {
        Some((of, method)) if !of.contains([' ', '<', '&']) => format!("{of}::{method}"),
        _ => short,
    }
}

/// How many symbols are reported.
const SYMBOLS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "
         50;[kernel.kallsyms];[k] tcp_sendmsg
         20;agentmq;[.] <agentmq_router::router::Router>::packet
         12;libc.so.6;[.] __memmove_avx_unaligned_erms
          8;agentmq;[.] mi_free
          2;agentmq;[.] _mi_page_malloc_zero
          5;agentmq;[.] agentmq_router::router::Router::packet::h0123456789abcdef
          3;[vdso];[.] __vdso_clock_gettime
";

    #[test]
    fn shares_are_of_all_samples() {
        let samples = Samples::parse(LISTED).expect("parses");
        assert_eq!(samples.count, 100);
        let Samples { kernel, user, allocator, copying, .. } = samples;
        assert_eq!((kernel, user, allocator, copying), (0.5, 0.5, 0.1, 0.12));
    }

    #[test]
    fn the_heaviest_of_the_users_symbols_come_first() {
        let samples = Samples::parse(LISTED).expect("parses");
        let symbols: Vec<_> = samples.symbols.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(symbols[1], "__memmove_avx_unaligned_erms");
        assert_eq!(samples.symbols[0].1, 0.25); // both ways to write it
        assert!(!symbols.contains(&"tcp_sendmsg"), "the kernel's");
        let many: String = (0..20).map(|at| format!("{at};agentmq;[.] f{at}\n")).collect();
        let samples = Samples::parse(&many).expect("parses");
        assert_eq!(samples.symbols.len(), SYMBOLS);
        assert_eq!(samples.symbols[0].0, "f19");
    }

    #[test]
    fn no_sample_is_an_error() {
        assert!(Samples::parse("").is_err());
        assert!(Samples::parse("# nothing\n").is_err());
    }

    #[test]
    fn a_symbol_loses_its_path_and_its_hash() {
        let of = |symbol: &str, expected: &str| assert_eq!(short(symbol), expected, "{symbol}");
        of("<agentmq_router::router::Router>::packet", "Router::packet");
        of("agentmq_router::fan_out::<impl agentmq_router::router::Router>::send", "Router::send");
        of("agentmq_codec::frame::cut::h0123456789abcdef", "cut");
        of("<alloc::vec::Vec<u8> as core::ops::Drop>::drop", "<Vec<u8> as Drop>::drop");
        of("mi_free", "mi_free");
    }
}
