//! A gateway before it starts: a folder with its configuration, its plugins and its store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::plugins;

/// Free ports, nothing on a fixed address.
const LISTENERS: &str = "[listener.public]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n";

/// What a gateway starts from. Its folder lives as long as this does.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) compile_cache: bool,
}

impl Setup {
    /// A folder with this configuration (listener and admin address are added) and every built plugin it names.
    pub fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let setup = Self { folder, environment: BTreeMap::new(), compile_cache: true };
        fs::create_dir(setup.plugins()).expect("a plugins folder");
        setup.write(toml);
        let named = plugins::names().into_iter().filter(|name| toml.contains(&format!("\"{name}\"")));
        let named: Vec<String> = named.collect();
        plugins::build(&named);
        for name in &named {
            fs::copy(plugins::component(name), setup.plugin(name)).expect("a plugin is copied");
        }
        setup
    }

    /// Writes another configuration, whole from the first moment.
    pub fn write(&self, toml: &str) {
        self.write_whole(&format!("{LISTENERS}{toml}"));
    }

    /// As [`write`](Self::write), with listeners and admin address of its own.
    pub fn write_whole(&self, toml: &str) {
        let draft = self.folder().join(".tollgate.toml.draft");
        fs::write(&draft, toml).expect("a draft is written");
        fs::rename(draft, self.config()).expect("a configuration is put in place");
    }

    /// Sets a variable of the gateway's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Components compile anew, as on a machine that never saw them.
    pub fn without_compile_cache(mut self) -> Self {
        self.compile_cache = false;
        self
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder().join("tollgate.toml")
    }

    /// Its plugins folder.
    pub fn plugins(&self) -> PathBuf {
        self.folder().join("plugins")
    }

    /// The file of the plugin called `name`.
    pub fn plugin(&self, name: &str) -> PathBuf {
        self.plugins().join(format!("{name}.wasm"))
    }

    /// Puts `wasm` in place as the plugin called `name`, whole from the first moment.
    pub fn place(&self, name: &str, wasm: &[u8]) {
        let draft = self.plugins().join(format!(".{name}.draft"));
        fs::write(&draft, wasm).expect("a draft is written");
        fs::rename(draft, self.plugin(name)).expect("a draft is renamed");
    }
}
