//! What the terminal can show, and what becomes of what is shown when nobody reads it.

use std::io::{self, IsTerminal as _, Write as _};

/// Whether to colour what goes to standard error: a terminal, and nobody said NO_COLOR (<https://no-color.org>).
pub(super) fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// Characters of a line on standard output; `None` when it is no terminal, and nothing need be cut.
pub(super) fn width() -> Option<usize> {
    console::Term::stdout().size_checked().map(|(_rows, columns)| usize::from(columns))
}

/// Writes to standard output. A reader that has left, like `head`, has seen what it wanted.
pub(super) fn say(bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        said => said,
    }
}
