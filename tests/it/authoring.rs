//! An author's way: from nothing to a component whose vectors hold, outside of any checkout.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tollgate_tests::plugins;

use crate::BINARY;

/// Runs the program as an author does, in `folder`.
fn tollgate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .current_dir(folder)
        // Where the project's own plugins are built: most of what a new one needs is there.
        .env("CARGO_TARGET_DIR", plugins::cache().parent().unwrap())
        .env("CARGO_NET_OFFLINE", "true")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_new_plugin_of_each_kind_builds_and_its_vectors_hold() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    plugins::component("canary");
    for (name, kind, vectors) in
        [("new-verifier", "verifier", 6), ("new-propagator", "propagator", 4), ("new-router", "router", 2)]
    {
        let new = tollgate(folder, &["plugin", "new", name, "--kind", kind]);
        assert!(new.status.success(), "{}", said(&new));
        let again = tollgate(folder, &["plugin", "new", name, "--kind", kind]);
        assert!(!again.status.success() && said(&again).contains("exists already"), "{}", said(&again));
        let built = tollgate(folder, &["plugin", "build", name]);
        assert!(built.status.success(), "{}", said(&built));
        let component = format!("{name}/{name}.wasm");
        let tested = tollgate(folder, &["plugin", "test", &component, "--vectors", &format!("{name}/vectors.jsonl")]);
        assert!(said(&tested).contains(&format!("{vectors} passed, 0 failed")), "{}", said(&tested));
        let inspected = tollgate(folder, &["plugin", "inspect", &component, "--json"]);
        let told: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
        assert_eq!((&told["name"], &told["kind"]), (&name.into(), &kind.into()), "{told}");
    }
}

#[test]
fn the_policies_of_the_project_hold_their_vectors() {
    for (name, kind) in [("request-context", "propagator"), ("canary", "router")] {
        let folder = plugins::component(name).parent().unwrap().to_owned();
        let (component, vectors) = (format!("{name}.wasm"), format!("{name}.vectors.jsonl"));
        let tested = tollgate(&folder, &["plugin", "test", &component, "--vectors", &vectors]);
        assert!(tested.status.success() && said(&tested).contains("passed, 0 failed"), "{}", said(&tested));
        let inspected = tollgate(&folder, &["plugin", "inspect", &component]);
        assert!(said(&inspected).contains(&format!("kind        {kind}")), "{}", said(&inspected));
        assert!(!said(&inspected).contains("wasi:"), "each import is paid for by every call: {}", said(&inspected));
        // A wrong expectation is found.
        let wrong = fs::read_to_string(folder.join(&vectors))
            .unwrap()
            .replace("\"expect\": \"reject\"", "\"expect\": \"accept\"");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), wrong).unwrap();
        let tested = tollgate(&folder, &["plugin", "test", &component, "--vectors", file.path().to_str().unwrap()]);
        assert!(!tested.status.success() && said(&tested).contains("expected accept, got reject"), "{}", said(&tested));
    }
}
