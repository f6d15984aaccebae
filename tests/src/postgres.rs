//! A PostgreSQL server of the tests' own: its folder, its socket, its port. It goes with the process that started it,
//! however that ends, because a shell holds it only while a pipe to that process is open.
//!
//! This file stands alone: the tests of `tollgate`'s store and its benchmark take it in as well.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Where this variable is set, a missing PostgreSQL is a failure.
const REQUIRED: &str = "TOLLGATE_TEST_POSTGRES";

/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does what it is told on its standard input, and takes the server and its folder away when that ends.
const KEEPER: &str = r#"
cd "$1"
start() { "$0/postgres" -D data -p "$2" -k "$1" $3 >>log 2>&1 & pid=$!; }
start "$@"
echo started
while read -r word; do
    case $word in
        stop) kill -QUIT $pid; wait $pid; echo stopped ;;
        start) start "$@"; echo started ;;
    esac
done
kill -QUIT $pid; wait $pid
cd / && rm -rf "$1"
"#;

/// A running server.
#[derive(Debug)]
pub struct Server {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    keeper: Mutex<Keeper>,
    databases: AtomicU32,
}

#[derive(Debug)]
struct Keeper {
    _shell: Child,
    says: BufReader<ChildStdout>,
    hears: ChildStdin,
}

impl Server {
    /// The server that the tests of this process share; `None`, and a word on why, where PostgreSQL is not installed.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&["-c", "fsync=off"])).as_ref()
    }

    /// A server with these arguments.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(
                std::env::var_os(REQUIRED).is_none(),
                "{REQUIRED} is set, but PostgreSQL's initdb is not installed"
            );
            eprintln!("skipped: PostgreSQL is not installed (Debian: apt-get install postgresql)");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("tollgate-pg-{}-{:x}", std::process::id(), number()));
        fs::create_dir(&folder).expect("a folder for the server");
        let user = unprivileged(&folder);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let log = File::create(folder.with_extension("initdb")).expect("a log");
        let data = folder.join("data");
        let mut initdb = as_user(&user, &programs.join("initdb"));
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "--pgdata"]).arg(&data);
        initdb.current_dir("/").stdout(log.try_clone().expect("a log")).stderr(log);
        assert!(initdb.status().expect("initdb runs").success(), "initdb failed: see {}.initdb", folder.display());
        let _no_longer_needed = fs::remove_file(folder.with_extension("initdb"));
        let mut shell = as_user(&user, Path::new("/bin/sh"));
        let all = ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"];
        let arguments = all.iter().chain(arguments).copied().collect::<Vec<_>>().join(" ");
        shell.arg("-c").arg(KEEPER).arg(&programs).arg(&folder).arg(port.to_string()).arg(arguments);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let hears = shell.stdin.take().expect("it is piped");
        let says = BufReader::new(shell.stdout.take().expect("it is piped"));
        let keeper = Mutex::new(Keeper { _shell: shell, says, hears });
        let server = Self { programs, folder, port, keeper, databases: AtomicU32::new(0) };
        server.hear("started");
        server.wait();
        Some(server)
    }

    /// The folder of its socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its port on loopback, and the number at its socket's end.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new, empty database's name.
    pub fn database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// The URL of a database over loopback.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs statements, one row a line, columns apart by `|`.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let output = self.psql(database, statements);
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Stops it as a crash would.
    pub fn stop(&self) {
        self.tell("stop");
        self.hear("stopped");
    }

    /// Starts it again, and returns once it takes connections.
    pub fn start_again(&self) {
        self.tell("start");
        self.hear("started");
        self.wait();
    }

    fn psql(&self, database: &str, statements: &str) -> std::process::Output {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string(), "-U", "postgres", "-d", database]);
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", statements]);
        psql.output().expect("psql runs")
    }

    fn wait(&self) {
        let started = Instant::now();
        while !self.psql("postgres", "SELECT 1").status.success() {
            assert!(started.elapsed() < PATIENCE, "the server does not come up: see {}/log", self.folder.display());
            // Nobody says when it is up; each look takes some milliseconds by itself.
            std::thread::yield_now();
        }
    }

    fn tell(&self, word: &str) {
        let mut keeper = self.keeper.lock().expect("no panic while telling");
        writeln!(keeper.hears, "{word}").expect("the keeper lives");
    }

    fn hear(&self, word: &str) {
        let mut line = String::new();
        self.keeper.lock().expect("no panic while hearing").says.read_line(&mut line).expect("the keeper lives");
        assert_eq!(line.trim(), word, "see {}/log", self.folder.display());
    }
}

fn number() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0)
}

/// The folder of PostgreSQL's programs, the newest there is.
fn programs() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut debian: Vec<PathBuf> = debian.map(|version| version.join("bin")).collect();
    let version = |bin: &PathBuf| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    debian.sort_by_key(|bin| std::cmp::Reverse(version(bin)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = std::env::split_paths(&path).collect();
    let has_all = |bin: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|program| bin.join(program).exists());
    debian.into_iter().chain(on_path).find(has_all)
}

/// The user that the server runs as: not root, who is refused. The folder becomes theirs.
fn unprivileged(folder: &Path) -> Option<String> {
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() != 0) {
        return None;
    }
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user =
        ["postgres", "nobody"].into_iter().find(|user| known.lines().any(|it| it.starts_with(&format!("{user}:"))));
    let user = user.expect("a user postgres or nobody");
    let owned = Command::new("chown").arg(user).arg(folder).status().expect("chown runs");
    assert!(owned.success(), "chown {user} {}", folder.display());
    Some(user.to_owned())
}

fn as_user(user: &Option<String>, program: &Path) -> Command {
    match user {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", "nogroup", "--clear-groups", "--"]).arg(program);
            command
        }
    }
}
