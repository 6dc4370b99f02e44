//! Which lines are logged.

use tracing_subscriber::EnvFilter;

/// The lines that `AGENTMQ_LOG__LEVEL` names; without it, or where it is not understood, the usual
/// ones. Whoever wants those of `rmcp` must name it: it tells the names of sessions, which are
/// secrets, and every client that hangs up.
pub(crate) fn log_filter(usual: &str) -> EnvFilter {
    filter(std::env::var("AGENTMQ_LOG__LEVEL").ok().as_deref(), usual)
}

fn filter(wanted: Option<&str>, usual: &str) -> EnvFilter {
    // A later word about the same target counts.
    let without_secrets = |level: &str| EnvFilter::try_new(format!("rmcp=off,{level}"));
    let wanted = wanted.and_then(|level| without_secrets(level).ok());
    wanted.or_else(|| without_secrets(usual).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sessions_are_told_to_whom_asks_for_them_only() {
        let rmcp = |wanted, usual| {
            let all = filter(wanted, usual).to_string();
            let of_it = all.split(',').filter(|it| it.starts_with("rmcp="));
            of_it.map(str::to_owned).collect::<Vec<_>>()
        };
        for wanted in [None, Some("trace"), Some("a=loud"), Some("my_rmcp=debug"), Some("a=b=c")] {
            assert_eq!(rmcp(wanted, "trace"), ["rmcp=off"], "{wanted:?}");
        }
        assert_eq!(rmcp(Some("info,rmcp=debug"), "trace"), ["rmcp=debug"]);
        assert_eq!(rmcp(None, "warn,rmcp=error"), ["rmcp=error"]);
        let level = |wanted| filter(wanted, "warn").max_level_hint();
        let (debug, warn) = (tracing::Level::DEBUG.into(), tracing::Level::WARN.into());
        assert_eq!((level(Some("debug")), level(Some("a=loud"))), (Some(debug), Some(warn)));
    }
}
