//! Finds the verifiers beside this folder that have vectors, so that none can be forgotten: each becomes a module of the
//! one test binary and a test.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the manifest is"));
    let plugins = here.parent().expect("this folder stands among the plugins");
    println!("cargo::rerun-if-changed={}", plugins.display());
    let mut folders: Vec<_> = fs::read_dir(plugins)
        .expect("the plugins' folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| folder.join("vectors.jsonl").is_file())
        .collect();
    folders.sort();
    let modules: String = folders.iter().filter_map(|folder| module(folder)).collect();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where to write"));
    fs::write(out.join("pack.rs"), modules).expect("a folder to write to");
}

/// None where the plugin is no verifier: those are tested where they stand.
fn module(folder: &Path) -> Option<String> {
    let source = folder.join("src/lib.rs");
    let vectors = folder.join("vectors.jsonl");
    let text = fs::read_to_string(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let (plugin, _) = text.split_once("::verifier!(")?.1.split_once(')')?;
    let name = folder.file_name().and_then(|name| name.to_str()).expect("a folder's name is text").replace('-', "_");
    let mut module = String::new();
    let _ = writeln!(module, "#[path = {source:?}]\nmod r#{name};");
    let _ = writeln!(module, "#[test]\nfn {name}_vectors() {{");
    let _ = writeln!(module, "    tollgate_sdk::testing::run_vectors::<r#{name}::{plugin}>({vectors:?});\n}}");
    Some(module)
}
