//! `tollgate plugin build`, with the real cargo.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use tollgate::cli::plugin_build::{BuildError, Built, Progress, build};
use wasmparser::{Parser, Payload};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A crate without dependencies, outside any workspace.
fn sketch(dir: &Path, package: &str, code: &str) -> PathBuf {
    let dir = dir.join(package);
    fs::create_dir_all(dir.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"{package}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n"
    );
    fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    fs::write(dir.join("src/lib.rs"), code).unwrap();
    dir
}

/// The pages of each memory in the component.
fn memories(component: &Path) -> Vec<u64> {
    let bytes = fs::read(component).unwrap();
    let mut pages = Vec::new();
    for payload in Parser::new(0).parse_all(&bytes) {
        if let Payload::MemorySection(section) = payload.unwrap() {
            pages.extend(section.into_iter().map(|memory| memory.unwrap().initial));
        }
    }
    pages
}

#[test]
fn every_first_party_plugin_starts_in_one_page() {
    let out = tempfile::tempdir().unwrap();
    let built =
        build(&[root().join("plugins"), root().join("tests/guests")], Some(out.path()), &Progress::Lines).unwrap();
    let names: Vec<_> = built.iter().map(|plugin| plugin.name.as_str()).collect();
    for expected in ["github", "guest-misbehaver", "slack", "standardwebhooks", "stripe"] {
        assert!(names.contains(&expected), "{expected} is not among {names:?}");
    }
    assert!(!names.contains(&"sdk"), "the SDK is no plugin");
    for Built { name, wasm, bytes, vectors, .. } in &built {
        println!("{name}: {bytes} bytes");
        assert_eq!(*wasm, out.path().join(format!("{name}.wasm")));
        assert_eq!(memories(wasm), [1], "{name}");
        assert!(*bytes < 200_000, "{name} has {bytes} bytes");
        assert_eq!(vectors.is_some(), !name.starts_with("guest-"), "{name}");
    }
    assert!(out.path().join("stripe.vectors.jsonl").is_file());
}

#[test]
fn a_crate_outside_any_workspace_builds_into_its_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    let dir = sketch(folder.path(), "tollgate-plugin-acme", "pub fn nothing() {}");
    fs::write(dir.join("vectors.jsonl"), "").unwrap();
    let dir = fs::canonicalize(dir).unwrap();
    let built = build(std::slice::from_ref(&dir), None, &Progress::Silent).unwrap();
    let [plugin] = built.as_slice() else { panic!("expected one plugin, not {built:?}") };
    assert_eq!((plugin.name.as_str(), &plugin.wasm), ("acme", &dir.join("acme.wasm")));
    assert_eq!(plugin.vectors, Some(dir.join("vectors.jsonl")));
    assert_eq!(memories(&plugin.wasm), [1]);
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
}

#[test]
fn what_the_compiler_says_is_shown_and_the_old_component_stays() {
    let folder = tempfile::tempdir().unwrap();
    let dir = sketch(folder.path(), "broken", "pub fn broken() -> u8 { \"no\" }");
    fs::write(dir.join("broken.wasm"), "old").unwrap();
    let error = build(std::slice::from_ref(&dir), None, &Progress::Silent).unwrap_err();
    let BuildError::Cargo(said) = &error else { panic!("expected cargo's words, not {error:?}") };
    assert!(said.contains("mismatched types") && said.contains("src/lib.rs:1"), "{said}");
    assert_eq!(fs::read(dir.join("broken.wasm")).unwrap(), b"old");
}

#[test]
fn what_is_no_plugin_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let try_build = |dir: &Path| build(&[dir.to_owned()], None, &Progress::Silent).unwrap_err().to_string();
    assert!(try_build(folder.path()).ends_with("expected a plugin (a Cargo.toml), or a folder of plugins"));
    assert!(try_build(&root().join("plugins/sdk")).contains("not a plugin: expected `crate-type"));
    sketch(folder.path(), "Loud", "");
    assert!(try_build(folder.path()).contains("`Loud` cannot be a plugin's name"));
}

#[test]
fn two_plugins_cannot_have_one_name() {
    let folder = tempfile::tempdir().unwrap();
    sketch(folder.path(), "acme", "");
    sketch(folder.path(), "tollgate-acme", "");
    let error = build(&[folder.path().to_owned()], None, &Progress::Silent).unwrap_err();
    assert!(matches!(&error, BuildError::SameName(name, ..) if name == "acme"), "{error:?}");
}
