//! The house keeps its order: who may import whom is what `host/src/lib.rs` says, and no one else is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tollgate_tests::plugins::root;

/// Crates that live in some rooms only, by how they begin.
const BOUND: [(&str, &[&str]); 6] = [
    ("wasmtime", &["plugin"]),
    ("rusqlite", &["store"]),
    ("libsqlite3", &["store"]),
    ("tokio_postgres", &["store"]),
    ("toml::", &["config"]),
    ("tokio_rustls", &["net", "store", "upstream"]),
];

/// What a room may import: its layer, counted from the lowest.
type Layers = BTreeMap<String, usize>;

#[test]
fn layers_are_one_way() {
    let source = root().join("host/src");
    let layers = layers(&fs::read_to_string(source.join("lib.rs")).unwrap());
    let mut wrong = Vec::new();
    let mut edges = 0;
    for file in files(&source) {
        let Some(room) = room(&source, &file) else { continue };
        let own = *layers.get(&room).unwrap_or_else(|| panic!("lib.rs does not say where `{room}` stands"));
        let text = code(&fs::read_to_string(&file).unwrap());
        for imported in imported(&text) {
            let Some(other) = layers.get(&imported) else { continue };
            edges += 1;
            if imported != room && *other >= own {
                wrong.push(format!("{}: `{room}` imports `{imported}`", file.display()));
            }
        }
        for (begins, homes) in BOUND {
            if !homes.contains(&room.as_str()) && names_crate(&text, begins) {
                wrong.push(format!("{}: `{begins}` lives in `{}`", file.display(), homes.join("` and `")));
            }
        }
    }
    assert!(edges > 100, "only {edges} imports were found: the search is broken");
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_import_is_found_however_it_is_written() {
    let found = |text: &str| imported(&code(text));
    assert_eq!(found("use crate::plugin::call;"), ["plugin"]);
    assert_eq!(found("use crate::{base::clock, store::{self, Lease}};"), ["base", "store"]);
    assert_eq!(found("fn f() -> crate::edge::Edge {}"), ["edge"]);
    assert_eq!(found("// crate::edge\n/// [`crate::app`]"), Vec::<String>::new());
    assert!(names_crate("use wasmtime_wasi::p2;", "wasmtime"));
    assert!(names_crate("a: toml::Value", "toml::"));
    assert!(!names_crate("let atoml::x; my_wasmtime", "toml::"));
}

/// Reads `a ← {b, c} ← d` out of lib.rs.
fn layers(lib: &str) -> Layers {
    let line = lib.lines().find(|line| line.contains('←')).expect("lib.rs draws the layers");
    let drawn = line.split('`').nth(1).expect("the drawing is code");
    let mut layers = Layers::new();
    for (height, names) in drawn.split('←').enumerate() {
        for name in names.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|name| !name.is_empty()) {
            layers.insert(name.to_owned(), height);
        }
    }
    assert!(layers.len() >= 14, "expected every room in {drawn}");
    layers
}

/// The first folder or file below `src`; lib.rs and main.rs stand outside.
fn room(source: &Path, file: &Path) -> Option<String> {
    let first = file.strip_prefix(source).ok()?.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!["lib", "main"].contains(&name)).then(|| name.to_owned())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect()
}

/// The text without comments, which may speak of anything.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// The rooms that `crate::…` names.
fn imported(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push(word(rest)),
            Some(group) => found.extend(members(group)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// The first words of the members of a group, up to its closing brace.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut members, mut member) = (1, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => members.push(std::mem::take(&mut member)),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if c != ',' || depth > 1 {
            member.push(c);
        }
    }
    members.push(member);
    members.iter().map(|member| word(member.trim())).collect()
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// Whether code names a crate whose name begins so, at the start of a word.
fn names_crate(text: &str, begins: &str) -> bool {
    let mut hits = text.match_indices(begins);
    hits.any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let starts = before.is_none_or(|c| !(c.is_ascii_alphanumeric() || c == '_' || c == '"'));
        let rest = &text[at..];
        let path = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        starts && path.starts_with("::")
    })
}
