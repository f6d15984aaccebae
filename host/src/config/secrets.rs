//! Secrets, read from where the plan says they are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::plan::{Plan, SecretPlace, SecretSource};
use super::problem::{Problem, Problems};
use crate::base::names::SecretName;
use crate::base::secret::{Secret, SecretText, SecretValue};

/// The most a secret may have; certificates and keys are a few KiB.
const SECRET_MAX: u64 = 64 << 10;

/// Reads every secret of `plan`, variables through `env`. One that is unset, unreadable or empty is a problem at its
/// place; problems name the variable or the file, never a value.
pub fn resolve(plan: &Plan, env: &dyn Fn(&str) -> Option<OsString>) -> Result<BTreeMap<SecretName, Secret>, Problems> {
    let mut problems = Vec::new();
    let mut secrets = BTreeMap::new();
    for (name, secret) in &plan.secrets {
        let signs = plan.products.values().any(|product| product.sign.as_ref() == Some(name));
        let read = |source| {
            value(plan, source, env).and_then(|value| if signs { signing(plan, source, value) } else { Ok(value) })
        };
        let values: Vec<_> = secret.values.iter().map(read).collect();
        let (good, bad): (Vec<_>, Vec<_>) = values.into_iter().partition(Result::is_ok);
        problems.extend(bad.into_iter().filter_map(Result::err));
        let values = good.into_iter().filter_map(Result::ok).collect();
        secrets.insert(name.clone(), Secret { name: name.as_str().into(), values });
    }
    Problems::new(problems).or(secrets)
}

/// The files that secrets are read from, each once: what to watch for changes.
pub fn files(plan: &Plan) -> Vec<PathBuf> {
    let places = plan.secrets.values().flat_map(|secret| &secret.values).map(|source| &source.place);
    let mut files: Vec<_> = places
        .filter_map(|place| match place {
            SecretPlace::File(path) => Some(path.clone()),
            SecretPlace::Env(_) => None,
        })
        .collect();
    files.sort();
    files.dedup();
    files
}

fn value(plan: &Plan, source: &SecretSource, env: &dyn Fn(&str) -> Option<OsString>) -> Result<SecretValue, Problem> {
    let problem = |message: String| plan.source.problem(source.at, message);
    let (bytes, what) = match &source.place {
        SecretPlace::Env(name) => {
            let what = format!("the environment variable {name}");
            let value = env(name).ok_or_else(|| {
                problem(format!("{what} is not set")).help(format!("export {name}, or name a file with `file`"))
            })?;
            (value.into_vec(), what)
        }
        SecretPlace::File(path) => {
            let what = format!("the file {}", path.display());
            let bytes = read(path).map_err(|error| problem(format!("{what} cannot be read: {error}")))?;
            (bytes, what)
        }
    };
    let text = SecretText::new(bytes).ok_or_else(|| problem(format!("{what} is empty")))?;
    Ok(SecretValue { text, until: source.until })
}

/// A value that products check signatures with must be one that their libraries take.
fn signing(plan: &Plan, source: &SecretSource, value: SecretValue) -> Result<SecretValue, Problem> {
    if value.text.signing_key().is_some() {
        return Ok(value);
    }
    let problem = plan.source.problem(source.at, "a product's `sign` expects a Standard Webhooks secret here");
    Err(problem.help("whsec_ and the base64 of 24 to 64 random bytes: echo whsec_$(openssl rand -base64 32)"))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SECRET_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SECRET_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64KiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(folder: &Path) -> Plan {
        let text = "[listener.a]\naddress = \"127.0.0.1:0\"\n[secret.x]\nvalues = [{ env = \"NEW\" }, { file = \"old\", until = 2026-12-31T00:00:00Z }]\n[secret.y]\nfile = \"old\"\n";
        super::super::parse(text, &folder.join("tollgate.toml")).expect("a plan")
    }

    #[test]
    fn values_come_from_variables_and_files_newest_first() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("old"), "b\n").expect("writes");
        let plan = plan(folder.path());
        let secrets = resolve(&plan, &|name| (name == "NEW").then(|| "a".into())).expect("all are there");
        let secret = &secrets["x"];
        let texts: Vec<_> = secret.values.iter().map(|value| value.text.expose().to_vec()).collect();
        assert_eq!(texts, [b"a".to_vec(), b"b".to_vec()]);
        assert!(secret.values[0].until.is_none() && secret.values[1].until.is_some());
        assert_eq!(files(&plan), [folder.path().join("old")]);
    }

    #[test]
    fn every_missing_or_empty_value_is_named_with_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("old"), "\n").expect("writes");
        let file = folder.path().display().to_string();
        let problems = resolve(&plan(folder.path()), &|_| None).expect_err("nothing is there").to_string();
        assert_eq!(
            problems,
            format!(
                "{file}/tollgate.toml:4:19: the environment variable NEW is not set (export NEW, or name a file with `file`)\n\
                 {file}/tollgate.toml:4:37: the file {file}/old is empty\n\
                 {file}/tollgate.toml:6:8: the file {file}/old is empty"
            )
        );
        std::fs::remove_file(folder.path().join("old")).expect("removes");
        let problems = resolve(&plan(folder.path()), &|_| Some("".into())).expect_err("nothing is there").to_string();
        assert!(problems.contains("the environment variable NEW is empty"), "{problems}");
        assert!(problems.contains("old cannot be read: No such file"), "{problems}");
    }
}
