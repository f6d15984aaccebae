//! The real plugins and the guests that misbehave, built from source once per run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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
    let file = built().join(format!("{name}.wasm"));
    assert!(file.is_file(), "no plugin {name}: there is no {}", file.display());
    file
}

/// The recorded requests of the plugin called `name`.
pub fn vectors(name: &str) -> String {
    let file = built().join(format!("{name}.vectors.jsonl"));
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Whether a plugin is a verifier of the pack: its source says so, and it has vectors.
pub fn is_verifier(name: &str) -> bool {
    let folder = root().join("plugins").join(name);
    let source = fs::read_to_string(folder.join("src/lib.rs")).unwrap_or_default();
    source.contains("::verifier!(") && folder.join("vectors.jsonl").is_file()
}

/// The names of all that were built.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(built()).expect("the built plugins");
    let file = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_suffix(".wasm").map(str::to_owned);
    entries.filter_map(Result::ok).filter_map(file).collect()
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

fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let out = target().join("test-plugins");
        fs::create_dir_all(&out).expect("a folder for plugins");
        // Two test runs at once would build into each other's hands.
        let lock = File::create(out.join(".lock")).expect("a lock file");
        lock.lock().expect("the lock");
        let sources = [root().join("plugins"), root().join("tests/guests")];
        if let Err(error) = plugin_build::build(&sources, Some(&out), &Progress::Silent) {
            panic!("the plugins do not build: {error}");
        }
        out
    })
}
