//! Log lines on standard error: for people on a terminal, JSON for machines.

use std::fmt;
use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// Why logging cannot start.
#[derive(Debug)]
pub enum LoggingError {
    /// The level is neither a level nor a list of directives.
    Level(String),
    /// A logger is there already.
    Taken,
}

impl fmt::Display for LoggingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(level) => {
                write!(f, "expected a log level (error, warn, info, debug, trace) or directives, not {level:?}")
            }
            Self::Taken => f.write_str("a logger is installed already"),
        }
    }
}

impl std::error::Error for LoggingError {}

/// Whether `level` is one that [`start`] takes.
pub fn is_level(level: &str) -> bool {
    !level.is_empty() && EnvFilter::try_new(level).is_ok()
}

/// Starts logging for the whole process. Called once, by the binary.
pub fn start(lines: Lines, level: &str) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(level).map_err(|_| LoggingError::Level(level.to_owned()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let started = if is_pretty(lines, stderr().is_terminal()) {
        let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        builder.with_target(false).with_ansi(colours).finish().try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish().try_init()
    };
    started.map_err(|_| LoggingError::Taken)
}

fn is_pretty(lines: Lines, terminal: bool) -> bool {
    match lines {
        Lines::Auto => terminal,
        Lines::Pretty => true,
        Lines::Json => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_pretty_on_a_terminal_only() {
        assert!(is_pretty(Lines::Auto, true));
        assert!(!is_pretty(Lines::Auto, false));
        assert!(is_pretty(Lines::Pretty, false));
        assert!(!is_pretty(Lines::Json, true));
    }

    #[test]
    fn a_level_is_a_word_or_directives() {
        assert!(is_level("info"));
        assert!(is_level("warn,tollgate::upstream=debug"));
        assert!(!is_level("tollgate=loud"));
        assert!(!is_level(""));
    }
}
