//! Layer 1: text → [`plan::Plan`], or every problem at once. Invariant: a plan exists only for a file without a problem;
//! `toml` types never leave this module.

mod check;
pub mod plan;
pub mod problem;
mod raw;
pub mod secrets;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use toml::de::DeTable;

use self::plan::Plan;
use self::problem::{Problem, Problems, Source};
use self::raw::{Reading, Section};

/// The most a configuration file may have; the largest that people write are a hundredth of it.
const FILE_MAX: u64 = 4 << 20;

/// Reads the configuration in the file at `path`.
pub fn load(path: &Path) -> Result<Plan, Problems> {
    let text = text(path).map_err(|error| {
        let problem = Problem::with_file(path, format!("cannot be read: {error}"));
        match error.kind() {
            io::ErrorKind::NotFound => problem.help("name the file with -c FILE"),
            _ => problem,
        }
    })?;
    parse(&text, path)
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4MiB"));
    }
    Ok(text)
}

/// Reads `text`, the configuration in `file`; the file itself is not touched.
pub fn parse(text: &str, file: &Path) -> Result<Plan, Problems> {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let (document, errors) = DeTable::parse_recoverable(text);
    let document = document.into_inner();
    let reading = Reading::new(Source::new(file, text, raw::places(&document)), folder, &errors);
    let plan = Section::root(&reading, &document, |root| check::plan(root, &absolute));
    Problems::new(reading.end()).or(plan)
}

#[cfg(test)]
mod tests;
