//! Which plugins there are in the folders named, and which workspaces they belong to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{BuildError, cargo};
use crate::base::names::is_name;

/// One plugin's sources.
#[derive(Debug)]
pub(super) struct Source {
    pub name: String,
    pub package: String,
    pub dir: PathBuf,
    pub manifest: PathBuf,
}

/// Plugins that one call of cargo builds.
#[derive(Debug)]
pub(super) struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
    pub sources: Vec<Source>,
}

/// What `cargo metadata` says, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

impl Package {
    fn is_plugin(&self) -> bool {
        self.targets.iter().any(|target| target.crate_types.iter().any(|kind| kind == "cdylib"))
    }
}

/// Every plugin in `dirs`, by workspace. A folder that is itself a crate must be a plugin; among the folders inside a
/// folder, crates that are none (a shared library) are passed over.
pub(super) fn find(dirs: &[PathBuf]) -> Result<Vec<Workspace>, BuildError> {
    let mut known: Vec<Metadata> = Vec::new();
    let mut workspaces: BTreeMap<PathBuf, Workspace> = BTreeMap::new();
    for dir in dirs {
        let dir = fs::canonicalize(dir).map_err(|error| BuildError::File(dir.clone(), error))?;
        let mut found = false;
        for manifest in manifests(&dir)? {
            let Some((metadata, package)) = package(&mut known, &manifest)? else { continue };
            if !package.is_plugin() {
                continue;
            }
            found = true;
            let workspace = workspaces.entry(metadata.workspace_root.clone()).or_insert_with(|| Workspace {
                root: metadata.workspace_root.clone(),
                target: metadata.target_directory.join("plugins"),
                sources: Vec::new(),
            });
            if workspace.sources.iter().all(|source| source.manifest != manifest) {
                workspace.sources.push(source(package, manifest)?);
            }
        }
        match (found, dir.join("Cargo.toml").is_file()) {
            (true, _) => {}
            (false, true) => return Err(BuildError::NotComponent(dir)),
            (false, false) => return Err(BuildError::NoPlugin(dir)),
        }
    }
    let workspaces: Vec<_> = workspaces.into_values().collect();
    distinct(&workspaces)?;
    Ok(workspaces)
}

/// The manifest of a folder that is a crate, else those of the folders in it.
fn manifests(dir: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let own = dir.join("Cargo.toml");
    if own.is_file() {
        return Ok(vec![own]);
    }
    let failed = |error| BuildError::File(dir.to_owned(), error);
    let mut manifests = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let manifest = entry.map_err(failed)?.path().join("Cargo.toml");
        if manifest.is_file() {
            manifests.push(manifest);
        }
    }
    manifests.sort();
    Ok(manifests)
}

/// The package of a manifest. Asks cargo once for each workspace. None for a workspace without a package of its own.
fn package<'a>(
    known: &'a mut Vec<Metadata>,
    manifest: &Path,
) -> Result<Option<(&'a Metadata, &'a Package)>, BuildError> {
    let of = |metadata: &Metadata| metadata.packages.iter().position(|package| package.manifest_path == manifest);
    if !known.iter().any(|metadata| of(metadata).is_some()) {
        known.push(cargo::metadata(manifest)?);
    }
    Ok(known.iter().find_map(|metadata| Some((metadata, &metadata.packages[of(metadata)?]))))
}

fn source(package: &Package, manifest: PathBuf) -> Result<Source, BuildError> {
    let dir = manifest.parent().unwrap_or(Path::new(".")).to_owned();
    let name = plugin_name(&package.name);
    if !is_name(name) {
        return Err(BuildError::Name(dir, name.to_owned()));
    }
    Ok(Source { name: name.to_owned(), package: package.name.clone(), dir, manifest })
}

fn plugin_name(package: &str) -> &str {
    let name = package.strip_prefix("tollgate-").unwrap_or(package);
    name.strip_prefix("plugin-").filter(|_| name != package).unwrap_or(name)
}

fn distinct(workspaces: &[Workspace]) -> Result<(), BuildError> {
    let mut names: BTreeMap<&str, &Path> = BTreeMap::new();
    for source in workspaces.iter().flat_map(|workspace| &workspace.sources) {
        if let Some(other) = names.insert(&source.name, &source.dir) {
            return Err(BuildError::SameName(source.name.clone(), other.to_owned(), source.dir.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_called_as_its_package_without_ours() {
        assert_eq!(plugin_name("tollgate-github"), "github");
        assert_eq!(plugin_name("tollgate-plugin-acme"), "acme");
        assert_eq!(plugin_name("acme"), "acme");
        assert_eq!(plugin_name("plugin-acme"), "plugin-acme");
    }
}
