//! `tollgate plugin build`: sources in, components out.
//!
//! A folder is a plugin, or holds plugins. Those of one cargo workspace are built by one call of cargo, in a target
//! directory of their own (`plugins` inside the workspace's), so that a build started from inside `cargo test` does not
//! wait for itself. A component appears under its final name in one step, after its vectors: whoever watches the folder
//! never sees half a file, nor new code with old vectors.

mod cargo;
mod progress;
mod sources;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use progress::Progress;
use sources::Source;

/// A plugin that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The plugin's name: its package's, without `tollgate-` or `tollgate-plugin-`.
    pub name: String,
    /// The folder of its sources.
    pub source: PathBuf,
    /// The component.
    pub wasm: PathBuf,
    /// The component's size in bytes.
    pub bytes: u64,
    /// Its vectors: beside the component where `out` was given, else where the author keeps them.
    pub vectors: Option<PathBuf>,
}

/// Why nothing, or not everything, was built.
#[derive(Debug)]
pub enum BuildError {
    /// The folder is no plugin and holds none.
    NoPlugin(PathBuf),
    /// The crate does not make a component.
    NotComponent(PathBuf),
    /// The package's name is no plugin's name.
    Name(PathBuf, String),
    /// Two folders would make the same file.
    SameName(String, PathBuf, PathBuf),
    /// A tool is not installed. What to install, in words.
    Missing(&'static str),
    /// The target could not be added; what rustup said.
    Target(String),
    /// Cargo could not build; what it said, as it said it.
    Cargo(String),
    /// A file could not be read or written.
    File(PathBuf, io::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPlugin(dir) => {
                write!(f, "{}: expected a plugin (a Cargo.toml), or a folder of plugins", dir.display())
            }
            Self::NotComponent(dir) => write!(
                f,
                "{}: not a plugin: expected `crate-type = [\"cdylib\", \"rlib\"]` under [lib] in its Cargo.toml",
                dir.display()
            ),
            Self::Name(dir, name) => write!(
                f,
                "{}: `{name}` cannot be a plugin's name: expected a-z, 0-9, `_` and `-`, at most 63",
                dir.display()
            ),
            Self::SameName(name, one, two) => {
                write!(f, "{} and {} are both called `{name}`: rename one package", one.display(), two.display())
            }
            Self::Missing(what) => f.write_str(what),
            Self::Target(said) => write!(f, "rustup could not add the target wasm32-wasip2:\n{said}"),
            Self::Cargo(said) => f.write_str(said),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BuildError {}

/// Builds every plugin in `dirs`. Each component goes to `out` as `NAME.wasm`, with its `vectors.jsonl` beside it as
/// `NAME.vectors.jsonl`; without `out` it goes into the plugin's own folder, where the vectors already are.
///
/// # Errors
/// On the first workspace that does not build. What was built before is in place.
pub fn build(dirs: &[PathBuf], out: Option<&Path>, progress: &Progress) -> Result<Vec<Built>, BuildError> {
    let workspaces = sources::find(dirs)?;
    if let Some(out) = out {
        fs::create_dir_all(out).map_err(|error| BuildError::File(out.to_owned(), error))?;
    }
    let mut built = Vec::new();
    for workspace in &workspaces {
        cargo::ensure_target(&workspace.root, progress)?;
        for (source, component) in cargo::build(workspace, progress)? {
            let plugin = place(source, &component, out)?;
            progress.line(&format!("built {} ({} KiB)", plugin.wasm.display(), plugin.bytes.div_ceil(1024)));
            built.push(plugin);
        }
    }
    built.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(built)
}

fn place(source: &Source, component: &Path, out: Option<&Path>) -> Result<Built, BuildError> {
    let vectors = source.dir.join("vectors.jsonl");
    let vectors = match (vectors.is_file(), out) {
        (false, _) => None,
        (true, None) => Some(vectors),
        (true, Some(out)) => Some(put(&vectors, out, &format!("{}.vectors.jsonl", source.name))?),
    };
    let wasm = put(component, out.unwrap_or(&source.dir), &format!("{}.wasm", source.name))?;
    let bytes = fs::metadata(&wasm).map_err(|error| BuildError::File(wasm.clone(), error))?.len();
    Ok(Built { name: source.name.clone(), source: source.dir.clone(), wasm, bytes, vectors })
}

/// Copies a file to `folder/name` so that it appears whole or not at all.
fn put(file: &Path, folder: &Path, name: &str) -> Result<PathBuf, BuildError> {
    let place = folder.join(name);
    let copy = || {
        // The dot and the ending keep it from being taken for a plugin. `copy` gives it the mode of the original.
        let draft = tempfile::Builder::new().prefix(".building-").suffix(".tmp").tempfile_in(folder)?.into_temp_path();
        fs::copy(file, &draft)?;
        draft.persist(&place).map_err(|error| error.error)
    };
    copy().map_err(|error| BuildError::File(place.clone(), error))?;
    Ok(place)
}
