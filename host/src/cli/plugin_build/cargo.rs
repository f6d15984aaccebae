//! Calls of cargo, rustc and rustup.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::progress::Progress;
use super::sources::{Metadata, Source, Workspace};
use super::{BuildError, BuildError::Missing};

const TARGET: &str = "wasm32-wasip2";

const NO_CARGO: &str = "cargo is not installed: Rust plugins are built with it; install Rust from https://rustup.rs";
const NO_RUSTUP: &str = "the Rust target wasm32-wasip2 is not installed, and rustup, which could add it, neither: \
    install rustup from https://rustup.rs, or the target from where your Rust comes";

/// Fast and lean components, whatever the author's manifest says or does not say.
const PROFILE: [&str; 7] = [
    "profile.plugin.inherits='release'",
    "profile.plugin.opt-level=3",
    "profile.plugin.debug=false",
    "profile.plugin.lto=true",
    "profile.plugin.codegen-units=1",
    "profile.plugin.panic='abort'",
    "profile.plugin.strip=true",
];

/// 16 KiB of stack, so that all of an instance's state fits into one page.
const ONE_PAGE: &str = "target.wasm32-wasip2.rustflags=['-Clink-arg=-zstack-size=16384']";
/// An author who needs more stack says so here; then nothing is added.
const OWN_FLAGS: &str = "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS";

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // They would replace the target's own flags, and are meant for the machine this runs on.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

fn missing(what: &'static str) -> impl Fn(io::Error) -> BuildError {
    move |error| match error.kind() {
        io::ErrorKind::NotFound => Missing(what),
        _ => BuildError::Cargo(error.to_string()),
    }
}

/// What cargo knows of the workspace that a manifest belongs to.
pub(super) fn metadata(manifest: &Path) -> Result<Metadata, BuildError> {
    let mut asked = cargo();
    asked.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(manifest);
    asked.current_dir(manifest.parent().unwrap_or(Path::new(".")));
    let answer = asked.output().map_err(missing(NO_CARGO))?;
    if !answer.status.success() {
        return Err(BuildError::Cargo(String::from_utf8_lossy(&answer.stderr).into_owned()));
    }
    serde_json::from_slice(&answer.stdout).map_err(|error| BuildError::Cargo(format!("cargo metadata: {error}")))
}

/// Adds the target to the toolchain that builds in `root`, where it is missing.
pub(super) fn ensure_target(root: &Path, progress: &Progress) -> Result<(), BuildError> {
    let mut asked = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    asked.args(["--print", "target-libdir", "--target", TARGET]).current_dir(root);
    let answer = asked.output().map_err(missing(NO_CARGO))?;
    if Path::new(String::from_utf8_lossy(&answer.stdout).trim()).is_dir() {
        return Ok(());
    }
    progress.line("adding the Rust target wasm32-wasip2 with rustup");
    let added = Command::new("rustup").args(["target", "add", TARGET]).current_dir(root).output();
    let added = added.map_err(missing(NO_RUSTUP))?;
    if added.status.success() {
        Ok(())
    } else {
        Err(BuildError::Target(String::from_utf8_lossy(&added.stderr).into_owned()))
    }
}

/// A line of cargo's JSON.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    message: Option<Diagnostic>,
}

#[derive(Debug, Deserialize)]
struct Diagnostic {
    rendered: Option<String>,
}

/// Builds the plugins of one workspace. Returns each with its component.
pub(super) fn build<'a>(
    workspace: &'a Workspace,
    progress: &Progress,
) -> Result<Vec<(&'a Source, PathBuf)>, BuildError> {
    let names: Vec<_> = workspace.sources.iter().map(|source| source.name.as_str()).collect();
    progress.line(&format!("building {}", names.join(", ")));
    let mut running = command(workspace, progress).spawn().map_err(missing(NO_CARGO))?;
    let (words, messages) = (running.stderr.take(), running.stdout.take());

    let (said, messages) = std::thread::scope(|scope| {
        let said = scope.spawn(|| words.map(|words| listen(words, progress)).unwrap_or_default());
        let messages = messages.map(read).unwrap_or_default();
        (said.join().unwrap_or_default(), messages)
    });
    let status = running.wait().map_err(missing(NO_CARGO))?;

    let rendered = messages.iter().filter_map(|message| message.message.as_ref()?.rendered.as_deref());
    let rendered: String = rendered.collect();
    if !status.success() {
        return Err(BuildError::Cargo(rendered + errors(&said)));
    }
    if !rendered.is_empty() {
        progress.line(rendered.trim_end());
    }
    workspace.sources.iter().map(|source| Ok((source, component(source, &messages)?))).collect()
}

fn command(workspace: &Workspace, progress: &Progress) -> Command {
    let mut command = cargo();
    let format = if progress.colours() { "json-diagnostic-rendered-ansi" } else { "json" };
    command.args(["build", "--lib", "--target", TARGET, "--profile", "plugin", "--color", "never"]);
    command.args(["--message-format", format, "--target-dir"]).arg(&workspace.target);
    for setting in PROFILE {
        command.args(["--config", setting]);
    }
    if std::env::var_os(OWN_FLAGS).is_none() {
        command.args(["--config", ONE_PAGE]);
    }
    for source in &workspace.sources {
        command.args(["--package", &source.package]);
    }
    command.current_dir(&workspace.root).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Passes on what cargo is doing, and keeps it.
fn listen(words: impl Read, progress: &Progress) -> String {
    let mut said = String::new();
    for line in BufReader::new(words).lines().map_while(Result::ok) {
        progress.step(line.trim());
        said.push_str(&line);
        said.push('\n');
    }
    said
}

fn read(messages: impl Read) -> Vec<Message> {
    let lines = BufReader::new(messages).lines().map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
}

/// Cargo's own errors, without the list of what it compiled before them.
fn errors(said: &str) -> &str {
    let from = if said.starts_with("error") { Some(0) } else { said.find("\nerror").map(|at| at + 1) };
    from.and_then(|at| said.get(at..)).unwrap_or(said)
}

fn component(source: &Source, messages: &[Message]) -> Result<PathBuf, BuildError> {
    let own = |message: &&Message| {
        message.reason == "compiler-artifact" && message.manifest_path.as_ref() == Some(&source.manifest)
    };
    let mut files = messages.iter().filter(own).flat_map(|message| &message.filenames);
    let component = files.find(|file| file.extension().is_some_and(|ending| ending == "wasm")).cloned();
    component.ok_or_else(|| BuildError::NotComponent(source.dir.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_own_errors_are_kept_and_its_progress_is_not() {
        assert_eq!(errors("   Compiling thiserror v2\nerror: a\n\nCaused by:\n  b\n"), "error: a\n\nCaused by:\n  b\n");
        assert_eq!(errors("error: at once"), "error: at once");
        assert_eq!(errors("killed"), "killed");
    }
}
