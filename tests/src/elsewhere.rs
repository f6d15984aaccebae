//! Peers in other languages. What they need may not be there: then a test says so and is skipped, except where
//! `TOLLGATE_TEST_ALL` is set, as it is where changes are checked before they land.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::plugins;

/// A process that ends with the test.
#[derive(Debug)]
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Says what is missing, and that the test is skipped; fails where nothing may be missing.
pub fn skipped(why: &str) {
    assert!(env::var_os("TOLLGATE_TEST_ALL").is_none(), "{why}");
    eprintln!("skipped: {why}");
}

/// What a command wrote, if it ended well; else why not.
pub fn ran(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let said = |Output { stdout, stderr, .. }: &Output| {
        String::from_utf8_lossy(stdout).into_owned() + &String::from_utf8_lossy(stderr)
    };
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(said(&output)),
        Ok(output) => Err(format!("{name}: {}\n{}", output.status, said(&output))),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// A folder that stays from run to run.
fn kept(name: &str) -> PathBuf {
    let folder = plugins::cache().with_file_name("test-peers").join(name);
    fs::create_dir_all(&folder).expect("a folder for peers");
    folder
}

/// A Python with these packages, or why there is none. They are installed once.
pub fn python(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = kept(name);
    let (python, done) = (folder.join("bin/python"), folder.join("installed"));
    if fs::read_to_string(&done).ok().as_deref() != Some(&packages.join(" ")) {
        ran(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
        ran(&mut install)?;
        fs::write(done, packages.join(" ")).map_err(|error| error.to_string())?;
    }
    Ok(python)
}

/// The program built of a Go file with Debian's packages of Go, or why there is none.
pub fn go(source: &Path) -> Result<PathBuf, String> {
    let folder = kept("go");
    let program = folder.join(source.file_stem().unwrap_or(OsStr::new("program")));
    let mut build = Command::new("go");
    build.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOCACHE", folder.join("cache"));
    ran(build.arg("build").arg("-o").arg(&program).arg(source))?;
    Ok(program)
}

/// The folder of a Node project, its packages installed as its lock file says, or why not.
pub fn node(project: &Path) -> Result<PathBuf, String> {
    let folder = kept(&project.file_name().unwrap_or(OsStr::new("node")).to_string_lossy());
    for file in fs::read_dir(project).map_err(|error| error.to_string())?.map_while(Result::ok) {
        fs::copy(file.path(), folder.join(file.file_name())).map_err(|error| error.to_string())?;
    }
    let lock = fs::read_to_string(folder.join("package-lock.json")).map_err(|error| error.to_string())?;
    let done = folder.join("installed");
    if fs::read_to_string(&done).ok().as_deref() != Some(&lock) {
        let mut install = Command::new("npm");
        install.args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
        ran(&mut install)?;
        fs::write(done, lock).map_err(|error| error.to_string())?;
    }
    Ok(folder)
}

/// Starts a server whose first line ends with its port.
pub fn serving(command: &mut Command) -> (Running, SocketAddr) {
    let name = format!("{command:?}");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a peer starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("it is piped");
    let running = Running(child);
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let port = line.trim().rsplit([' ', ':']).next().and_then(|port| port.parse().ok());
    let port: u16 = port.unwrap_or_else(|| panic!("expected a port of {name}, not {line:?}"));
    (running, SocketAddr::from(([127, 0, 0, 1], port)))
}
