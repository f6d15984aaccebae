//! The real plugins and the guests that misbehave, each built from source when a test first asks for it: the whole pack is
//! some seventy, and a test that wants one should not wait for all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tollgate::cli::plugin_build::{self, Progress};

/// The folder all packages are in.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace").to_owned()
}

/// Cargo's target directory, as the running test tells: it is `TARGET/PROFILE/deps/NAME`.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a file");
    test.ancestors().nth(3).expect("a test is three folders deep").to_owned()
}

/// Where compiled components are kept from run to run.
pub fn cache() -> PathBuf {
    let cache = target().join("test-cache");
    fs::create_dir_all(&cache).expect("a cache folder");
    cache
}

/// The component of the plugin called `name`.
pub fn component(name: &str) -> PathBuf {
    build(&[name]);
    out().join(format!("{name}.wasm"))
}

/// The recorded requests of the plugin called `name`.
pub fn vectors(name: &str) -> String {
    build(&[name]);
    let file = out().join(format!("{name}.vectors.jsonl"));
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Whether a plugin is a verifier of the pack: its source says so, and it has vectors.
pub fn is_verifier(name: &str) -> bool {
    let folder = root().join("plugins").join(name);
    let source = fs::read_to_string(folder.join("src/lib.rs")).unwrap_or_default();
    source.contains("::verifier!(") && folder.join("vectors.jsonl").is_file()
}

/// The names of all there are.
pub fn names() -> Vec<String> {
    let folders = |parent: &str| fs::read_dir(root().join(parent)).expect("the plugins' sources");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
    let own = folders("plugins").filter_map(Result::ok).filter_map(name);
    let guests = folders("tests/guests").filter_map(Result::ok).filter_map(name).map(|guest| format!("guest-{guest}"));
    own.chain(guests).filter(|name| source(name).is_some()).collect()
}

/// Builds those of these that this run has not built yet, by one call of cargo.
pub fn build(names: &[impl AsRef<str>]) {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let new: Vec<&str> = names.iter().map(AsRef::as_ref).filter(|name| !built.contains(*name)).collect();
    let source = |name: &&str| source(name).unwrap_or_else(|| panic!("there is no plugin {name}"));
    let sources: Vec<PathBuf> = new.iter().map(source).collect();
    if sources.is_empty() {
        return;
    }
    let out = out();
    fs::create_dir_all(&out).expect("a folder for plugins");
    // Two test runs at once would build into each other's hands.
    let lock = File::create(out.join(".lock")).expect("a lock file");
    lock.lock().expect("the lock");
    if let Err(error) = plugin_build::build(&sources, Some(&out), &Progress::Silent) {
        panic!("the plugins do not build: {error}");
    }
    built.extend(new.into_iter().map(str::to_owned));
}

fn out() -> PathBuf {
    target().join("test-plugins")
}

/// The folder of the plugin called `name`, if there is one.
fn source(name: &str) -> Option<PathBuf> {
    let folder = match name.strip_prefix("guest-") {
        Some(guest) => root().join("tests/guests").join(guest),
        None => root().join("plugins").join(name),
    };
    fs::read_to_string(folder.join("Cargo.toml")).ok().filter(|manifest| manifest.contains("cdylib")).map(|_| folder)
}

/// The component of `name` as one that no cache has seen: with a few random bytes in a section that means nothing.
pub fn never_compiled(name: &str) -> Vec<u8> {
    let mut wasm = fs::read(component(name)).expect("a built plugin");
    let salt: [u8; 16] = std::array::from_fn(|_| fastrand::u8(..));
    // A custom section: its id, its size, its name (length first), its content.
    wasm.extend([0, 1 + 4 + 16, 4]);
    wasm.extend(b"salt");
    wasm.extend(salt);
    wasm
}
