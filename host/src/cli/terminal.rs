//! What the terminal can show.

use std::io::IsTerminal as _;

/// Whether to colour what goes to standard error: a terminal, and nobody said NO_COLOR (<https://no-color.org>).
pub(super) fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}
