//! The SDK and the interface, as this program was built with them: for plugins that are made where there is no checkout.

use std::fs;
use std::io;
use std::path::Path;

/// The workspace's manifest says what the SDK's only refers to.
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");
const MANIFEST: &str = include_str!("../../../../plugins/sdk/Cargo.toml");

macro_rules! sdk {
    ($($file:literal),* $(,)?) => { [$(($file, include_str!(concat!("../../../../plugins/sdk/src/", $file)))),*] };
}

const SOURCES: [(&str, &str); 32] = sdk![
    "about.rs",
    "crypto.rs",
    "encoding.rs",
    "guest/arena.rs",
    "guest/exports.rs",
    "guest/host.rs",
    "guest/mod.rs",
    "guest/process.rs",
    "json.rs",
    "lib.rs",
    "lookup.rs",
    "request.rs",
    "scheme/basic.rs",
    "scheme/content.rs",
    "scheme/described.rs",
    "scheme/form.rs",
    "scheme/jws.rs",
    "scheme/mac.rs",
    "scheme/mod.rs",
    "scheme/signed_at.rs",
    "scheme/source.rs",
    "scheme/stamped.rs",
    "scheme/standard.rs",
    "scheme/table.rs",
    "scheme/url.rs",
    "settings.rs",
    "testing/asymmetric.rs",
    "testing/crypto.rs",
    "testing/host.rs",
    "testing/mod.rs",
    "testing/vectors.rs",
    "verdict.rs",
];
const WIT: &str = include_str!("../../../../wit/v0.1/plugin.wit");

/// Writes them below `folder`, standing to each other as in a checkout.
pub(super) fn put(folder: &Path) -> io::Result<()> {
    let (sdk, wit) = (folder.join("plugins/sdk"), folder.join("wit/v0.1"));
    fs::create_dir_all(sdk.join("src/guest"))?;
    fs::create_dir_all(sdk.join("src/scheme"))?;
    fs::create_dir_all(sdk.join("src/testing"))?;
    fs::create_dir_all(&wit)?;
    fs::write(wit.join("plugin.wit"), WIT)?;
    fs::write(sdk.join("Cargo.toml"), manifest())?;
    SOURCES.iter().try_for_each(|(file, text)| fs::write(sdk.join("src").join(file), text))
}

/// The SDK's manifest with what it takes from the workspace written out.
fn manifest() -> String {
    let mut out = String::new();
    for line in MANIFEST.lines() {
        match line.split_once(".workspace = true") {
            _ if line == "[lints]" || line == "workspace = true" => continue,
            Some((key, _)) => out += &format!("{key} = {}", shared(key)),
            None => match line.split_once(" = { workspace = true") {
                Some((key, rest)) => out += &format!("{key} = {}{rest}", shared(key).trim_end_matches([' ', '}'])),
                None => out += line,
            },
        }
        out.push('\n');
    }
    out
}

/// What the workspace says of `key`.
fn shared(key: &str) -> &'static str {
    let said = WORKSPACE.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    said.unwrap_or("\"*\"")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_the_sdk_is_carried() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/sdk/src");
        let mut there = BTreeSet::new();
        let mut folders = vec![source.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the SDK's sources").map(|entry| entry.expect("an entry").path()) {
                if entry.is_dir() {
                    folders.push(entry);
                } else {
                    there.insert(entry.strip_prefix(&source).expect("inside").display().to_string());
                }
            }
        }
        let carried: BTreeSet<String> = SOURCES.iter().map(|(file, _)| (*file).to_owned()).collect();
        assert_eq!(carried, there);
    }

    #[test]
    fn its_manifest_refers_to_no_workspace() {
        let manifest = manifest();
        assert!(!manifest.contains("workspace") && !manifest.contains("\"*\""), "{manifest}");
        for line in ["edition = \"2024\"", "serde = { version = \"1\", features = [\"derive\"] }", "[features]"] {
            assert!(manifest.contains(line), "{line} in\n{manifest}");
        }
        let optional = manifest.lines().find(|line| line.starts_with("aws-lc-rs")).expect("there");
        assert!(optional.ends_with("], optional = true }"), "{optional}");
    }
}
