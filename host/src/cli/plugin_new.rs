//! `tollgate plugin new`: sources of a plugin that builds, with vectors that hold.

mod carried;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::names::PluginName;
use crate::plugin::component::Kind;

/// Which kind of plugin.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum NewKind {
    /// Verifies webhooks
    Verifier,
    /// Edits what travels
    Propagator,
    /// Chooses where to
    Router,
}

/// Which language.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Language {
    /// Rust
    Rust,
}

impl NewKind {
    fn kind(self) -> Kind {
        match self {
            Self::Verifier => Kind::Verifier,
            Self::Propagator => Kind::Propagator,
            Self::Router => Kind::Router,
        }
    }

    /// The source and its vectors. `Acme` stands for the type, `ACME` for the plugin's name.
    fn sources(self) -> (&'static str, &'static str) {
        match self {
            Self::Verifier => (include_str!("plugin_new/verifier.rs.txt"), include_str!("plugin_new/verifier.jsonl")),
            Self::Propagator => {
                (include_str!("plugin_new/propagator.rs.txt"), include_str!("plugin_new/propagator.jsonl"))
            }
            Self::Router => (include_str!("plugin_new/router.rs.txt"), include_str!("plugin_new/router.jsonl")),
        }
    }

    /// How a route uses it.
    fn route(self) -> &'static str {
        match self {
            Self::Verifier => {
                "[secret.ACME]\nenv = \"WEBHOOK_SECRET\"\n\n[route.ACME]\npath = \"/hooks/ACME\"\nproduct = \"inbox\"\n\
                 [route.ACME.webhook]\nverifier = \"ACME\"\nsecrets = { signing = \"ACME\" }\n"
            }
            Self::Propagator => {
                "[route.api]\npath = \"/{*rest}\"\nproduct = \"app\"\n[[route.api.plugin]]\nuse = \"ACME\"\n\
                 options = { header = \"x-tenant\" }\n"
            }
            Self::Router => {
                "[route.api]\npath = \"/{*rest}\"\nproduct = \"app\"\n[[route.api.plugin]]\nuse = \"ACME\"\n\
                 options = { header = \"x-beta\", to = \"next\" }\ncandidates = [\"app\", \"next\"]\n"
            }
        }
    }
}

/// Why there is no new plugin.
#[derive(Debug)]
pub enum NewError {
    /// There is something of this name already.
    Exists(PathBuf),
    /// A file could not be written.
    File(PathBuf, io::Error),
}

impl std::fmt::Display for NewError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exists(path) => write!(f, "{} exists already", path.display()),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for NewError {}

/// Makes the folder `parent/NAME`. The SDK is that of the checkout `parent` lies in; elsewhere the one this program
/// carries is put beside the sources.
pub fn make(parent: &Path, name: &PluginName, kind: NewKind, _language: Language) -> Result<PathBuf, NewError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| NewError::File(path, error)
    };
    let parent = fs::canonicalize(parent).map_err(failed(parent))?;
    let folder = parent.join(name.as_str());
    match fs::create_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(NewError::Exists(folder)),
        created => created.map_err(failed(&folder))?,
    }
    let checkout = parent.ancestors().find(|outer| outer.join("plugins/sdk/Cargo.toml").is_file());
    let sdk = match checkout {
        Some(checkout) => relative(&parent, checkout) + "plugins/sdk",
        None => {
            carried::put(&folder.join("sdk")).map_err(failed(&folder))?;
            "sdk/plugins/sdk".into()
        }
    };
    // In a checkout's own folder of plugins it is one more member; anywhere else it stands alone.
    let is_member = checkout.is_some_and(|checkout| parent == checkout.join("plugins"));
    let (source, vectors) = kind.sources();
    let write = |file: &str, text: String| {
        let path = folder.join(file);
        fs::write(&path, text).map_err(failed(&path))
    };
    fs::create_dir(folder.join("src")).map_err(failed(&folder))?;
    write("Cargo.toml", manifest(name, &sdk, is_member))?;
    write("src/lib.rs", named(source, name))?;
    write("vectors.jsonl", named(vectors, name))?;
    write("README.md", readme(name, kind))?;
    write(".gitignore", "/target\n/*.wasm\n".into())?;
    Ok(folder)
}

/// The way from a folder in `parent` up to `checkout`, with its slash.
fn relative(parent: &Path, checkout: &Path) -> String {
    let depth = parent.strip_prefix(checkout).map_or(0, |inner| inner.components().count());
    "../".repeat(depth + 1)
}

fn manifest(name: &PluginName, sdk: &str, is_member: bool) -> String {
    let workspace = if is_member { "" } else { "\n[workspace]\n" };
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n\
         [lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n\n[dependencies]\ntollgate-sdk = {{ path = \"{sdk}\" }}\n{workspace}"
    )
}

/// The text of a template, for this plugin.
fn named(template: &str, name: &PluginName) -> String {
    template.replace("ACME", name.as_str()).replace("Acme", &type_name(name))
}

/// `my-provider` is a `MyProvider`; what begins with a digit gets a letter.
fn type_name(name: &PluginName) -> String {
    let capital = |part: &str| {
        let mut letters = part.chars();
        letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    let joined: String = name.as_str().split(['-', '_']).map(capital).collect();
    if joined.starts_with(|first: char| first.is_ascii_digit()) { format!("P{joined}") } else { joined }
}

fn readme(name: &PluginName, kind: NewKind) -> String {
    let route = named(kind.route(), name);
    format!(
        "# {name}\n\nA tollgate {}. What it does is in `src/lib.rs`; what it must answer is in `vectors.jsonl`, a request a line.\n\n\
         ```sh\ncargo test                                               # the vectors, natively\n\
         tollgate plugin build                                    # {name}.wasm\n\
         tollgate plugin inspect {name}.wasm\n\
         tollgate plugin test {name}.wasm --vectors vectors.jsonl   # the vectors, against the component\n```\n\n\
         Put `{name}.wasm`, and `vectors.jsonl` as `{name}.vectors.jsonl`, into the gateway's plugins folder. A route uses it:\n\n\
         ```toml\n{route}```\n",
        kind.kind()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_type_is_named_after_it() {
        let of = |name: &str| type_name(&PluginName::new(name).expect("a name"));
        assert_eq!([of("acme"), of("my-provider_2"), of("3scale")], ["Acme", "MyProvider2", "P3scale"]);
    }

    #[test]
    fn a_new_plugin_finds_the_sdk_of_its_checkout_or_brings_its_own() {
        let name = PluginName::new("acme").expect("a name");
        let elsewhere = tempfile::tempdir().expect("a folder");
        let folder = make(elsewhere.path(), &name, NewKind::Router, Language::Rust).expect("a plugin");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        assert!(manifest.contains("path = \"sdk/plugins/sdk\"") && manifest.contains("[workspace]"), "{manifest}");
        assert!(folder.join("sdk/wit/v0.1/plugin.wit").is_file());
        let again = make(elsewhere.path(), &name, NewKind::Router, Language::Rust);
        assert!(matches!(again, Err(NewError::Exists(_))));

        let checkout = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(checkout.path().join("plugins/sdk")).expect("folders");
        fs::create_dir_all(checkout.path().join("mine/deep")).expect("folders");
        fs::write(checkout.path().join("plugins/sdk/Cargo.toml"), "").expect("a file");
        let manifest = |parent: &str| {
            let folder =
                make(&checkout.path().join(parent), &name, NewKind::Verifier, Language::Rust).expect("a plugin");
            fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest")
        };
        let (member, alone) = (manifest("plugins"), manifest("mine/deep"));
        assert!(member.contains("path = \"../../plugins/sdk\"") && !member.contains("[workspace]"), "{member}");
        assert!(alone.contains("path = \"../../../plugins/sdk\"") && alone.contains("[workspace]"), "{alone}");
    }
}
