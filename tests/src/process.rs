//! A gateway in a process of its own: the real binary, with real signals.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::sync::watch;

use crate::client::{Answer, Connection};
use crate::setup::Setup;
use crate::{eventually, plugins, soon};

/// Log lines that are kept; the oldest go.
const LINES_MAX: usize = 10_000;

/// Passes the socket that is its standard input on as systemd does. Standard input is the one descriptor that can be handed
/// over safely; from there it is moved.
const PASSING: [&str; 3] = ["sh", "-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\""];

/// A running `tollgate run`. Killed when dropped.
#[derive(Debug)]
pub struct GatewayProcess {
    child: Child,
    lines: Arc<watch::Sender<Vec<String>>>,
    address: SocketAddr,
    admin: SocketAddr,
}

impl GatewayProcess {
    /// Starts `binary` and waits until it serves.
    pub async fn start(binary: &Path, setup: &Setup) -> Self {
        Self::start_with(binary, setup, None).await
    }

    /// As [`start`](Self::start), with a socket that listens already, passed as systemd does.
    pub async fn start_with(binary: &Path, setup: &Setup, passed: Option<&TcpListener>) -> Self {
        let mut process = match passed {
            None => Self::launch(&[], binary, setup),
            Some(passed) => {
                let socket = passed.try_clone().expect("a socket");
                Self::spawn(&PASSING, binary, setup, OwnedFd::from(socket).into())
            }
        };
        process.serves().await;
        process
    }

    /// Starts `binary` by way of `wrapper`, words of a command that becomes what follows them.
    pub fn launch(wrapper: &[&str], binary: &Path, setup: &Setup) -> Self {
        Self::spawn(wrapper, binary, setup, Stdio::null())
    }

    fn spawn(wrapper: &[&str], binary: &Path, setup: &Setup, stdin: Stdio) -> Self {
        let words: Vec<&OsStr> = wrapper.iter().map(OsStr::new).chain([binary.as_os_str()]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("run").arg("-c").arg(setup.config()).current_dir(setup.folder());
        command.env("TOLLGATE_CACHE_DIR", plugins::cache()).envs(&setup.environment);
        let mut child = command.stdin(stdin).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let lines = Arc::new(watch::Sender::new(Vec::new()));
        listen(child.stderr.take().expect("it is piped"), lines.clone());
        let nowhere = "127.0.0.1:0".parse().expect("an address");
        Self { child, lines, address: nowhere, admin: nowhere }
    }

    /// Waits until it serves; from then on its addresses are known.
    pub async fn serves(&mut self) {
        let line = self.line("tollgate serves").await;
        self.address = address_after(&line, "listeners");
        self.admin = address_after(&line, "admin");
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets no file grow or be written beyond `bytes`; `None` takes the limit away. A process that did not choose to
    /// ignore SIGXFSZ dies of its next write.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(self.pid()), Resource::Fsize, limit).expect("a child can be limited");
    }

    /// Waits for a log line that contains `text`.
    pub async fn line(&self, text: &str) -> String {
        let mut changes = self.lines.subscribe();
        let has = |lines: &Vec<String>| lines.iter().any(|line| line.contains(text));
        let waited = tokio::time::timeout(crate::PATIENCE, changes.wait_for(has)).await;
        if !matches!(waited, Ok(Ok(_))) {
            panic!("no log line says {text:?}; there are\n{}", self.lines.borrow().join("\n"));
        }
        self.lines.borrow().iter().find(|line| line.contains(text)).cloned().expect("it was there")
    }

    /// The log so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the configuration again, through the admin listener; answers once it serves, or says why not.
    pub async fn reload(&self, admin: &mut Connection) -> Answer {
        let json = [("content-type".to_owned(), "application/json".to_owned())];
        let reloading = admin.request(Method::POST, "/api/reload", &json, Bytes::new());
        soon("a reload", reloading).await.expect("the admin listener answers")
    }

    /// Where its admin listener is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// A connection to its admin listener.
    pub async fn connect_admin(&self) -> Connection {
        soon("a connection", Connection::open(self.admin)).await.expect("the admin listener accepts")
    }

    /// A sample of its metrics, as written; nothing when it is not there.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let mut admin = self.connect_admin().await;
        let answer = soon("metrics", admin.request(Method::GET, "/metrics", &[], Bytes::new())).await.expect("metrics");
        let text = String::from_utf8(answer.body.to_vec()).expect("metrics are text");
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// A connection that is kept.
    pub async fn connect(&self) -> Connection {
        soon("a connection", Connection::open(self.address)).await.expect("the gateway accepts")
    }

    /// Kills it at once, as a crash of the machine would, less the disk's cache.
    pub fn kill_9(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).expect("a child can be signalled");
    }

    /// Asks it to reload.
    pub fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).expect("a child can be signalled");
    }

    /// Waits until it ended.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the end of the process", async || self.child.try_wait().expect("a child")).await
    }

    /// A line of `/proc/PID/status` that is a size, in bytes: `VmHWM` is the most memory it ever held.
    pub fn memory(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process lives");
        let size =
            |text: &str| text.strip_prefix(line)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse::<u64>().ok();
        status.lines().find_map(size).expect("the kernel says how much") * 1024
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn listen(stderr: ChildStderr, lines: Arc<watch::Sender<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            lines.send_modify(|lines| {
                if lines.len() == LINES_MAX {
                    lines.remove(0);
                }
                lines.push(line);
            });
        }
    });
}

/// The first address after `what`, in the log line that says where it serves.
fn address_after(line: &str, what: &str) -> SocketAddr {
    let (_, rest) = line.split_once(what).unwrap_or_else(|| panic!("expected {what} in {line}"));
    let at = rest.find("127.0.0.1:").expect("a listener on loopback");
    let text = rest[at..].split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).next().unwrap_or_default();
    text.parse().unwrap_or_else(|_| panic!("expected an address in {line}"))
}
