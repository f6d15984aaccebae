//! What a build says while it runs: a spinner on a terminal, lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::ProgressBar;

/// Where the words go.
#[derive(Debug)]
pub enum Progress {
    /// A spinner on standard error, with lines above it.
    Spinner(ProgressBar),
    /// Lines on standard error.
    Lines,
    /// Nowhere, for callers that have words of their own.
    Silent,
}

impl Progress {
    /// What suits standard error.
    pub fn detect() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let spinner = ProgressBar::new_spinner();
        spinner.enable_steady_tick(Duration::from_millis(100));
        Self::Spinner(spinner)
    }

    /// Something worth keeping on the screen.
    pub(super) fn line(&self, line: &str) {
        match self {
            Self::Spinner(spinner) => spinner.suspend(|| eprintln!("{line}")),
            Self::Lines => eprintln!("{line}"),
            Self::Silent => {}
        }
    }

    /// What is going on right now.
    pub(super) fn step(&self, step: &str) {
        if let Self::Spinner(spinner) = self {
            spinner.set_message(step.to_owned());
        }
    }

    /// Whether whoever reads this sees colours.
    pub(super) fn colours(&self) -> bool {
        matches!(self, Self::Spinner(_)) && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Spinner(spinner) = self {
            spinner.finish_and_clear();
        }
    }
}
