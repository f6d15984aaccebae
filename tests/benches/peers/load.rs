//! The loads, each made by a tool that others use too: `wrk`, `h2load`, `openssl s_time`, `curl`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::origin::MESSAGE;
use super::proxies::Running;

const MIB: usize = 1 << 20;
/// Clients that read slowly, and how much there is to read.
const READERS: usize = 20;
const READ: usize = 100 * MIB;
const IDLE: usize = 1000;

/// A kind of load.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    H1,
    H2c,
    TlsH1,
    TlsH2,
    Handshake,
    Down,
    Up,
    SlowReader,
    Idle,
}

/// What a round of it came to.
#[derive(Default)]
pub(crate) struct Load {
    /// Requests, or GiB.
    pub(crate) units: f64,
    pub(crate) per_second: f64,
    pub(crate) failed: u64,
    /// Memory for each client.
    pub(crate) held_kib: f64,
}

impl Scenario {
    pub(crate) const ALL: [Self; 9] = [
        Self::H1,
        Self::H2c,
        Self::TlsH1,
        Self::TlsH2,
        Self::Handshake,
        Self::Down,
        Self::Up,
        Self::SlowReader,
        Self::Idle,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H2c => "h2c",
            Self::TlsH1 => "tls-h1",
            Self::TlsH2 => "tls-h2",
            Self::Handshake => "handshake",
            Self::Down => "down-1m",
            Self::Up => "up-1m",
            Self::SlowReader => "slow-reader",
            Self::Idle => "idle",
        }
    }

    /// Whether it is about memory held rather than time spent.
    pub(crate) fn is_held(self) -> bool {
        matches!(self, Self::SlowReader | Self::Idle)
    }

    pub(crate) fn unit(self) -> &'static str {
        if self.is_bulk() { "CPU ms/GiB" } else { "CPU µs/request" }
    }

    /// From seconds to [`Scenario::unit`].
    pub(crate) fn scale(self) -> f64 {
        if self.is_bulk() { 1e3 } else { 1e6 }
    }

    fn is_bulk(self) -> bool {
        matches!(self, Self::Down | Self::Up)
    }

    pub(crate) fn run(self, proxy: &Running, folder: &Path, lasts: Duration) -> Result<Load, String> {
        let h1 = format!("http://127.0.0.1:{}", proxy.ports.h1);
        let h2c = format!("http://127.0.0.1:{}", proxy.ports.h2c);
        let tls = format!("https://127.0.0.1:{}", proxy.ports.tls);
        match self {
            Self::H1 => wrk(&format!("{h1}/"), 32, None, lasts),
            Self::TlsH1 => wrk(&format!("{tls}/"), 32, None, lasts),
            Self::Down => wrk(&format!("{h1}/bytes/{MIB}"), 8, None, lasts).map(in_gib),
            Self::Up => wrk(&format!("{h1}/sink"), 8, Some(&folder.join("up.lua")), lasts).map(in_gib),
            Self::H2c => h2load(&format!("{h2c}/grpc/bench.Echo/Unary"), Some(&folder.join("message")), lasts),
            Self::TlsH2 => h2load(&format!("{tls}/"), None, lasts),
            Self::Handshake => handshakes(proxy.ports.tls, lasts),
            Self::SlowReader => slow_readers(proxy),
            Self::Idle => idle(proxy),
        }
    }
}

fn in_gib(load: Load) -> Load {
    Load { units: load.units / 1024.0, ..load }
}

/// Writes what the tools read: a certificate, bodies, scripts.
pub(crate) fn files(folder: &Path) -> Result<(), String> {
    let (key, certificate) = (folder.join("key.pem"), folder.join("cert.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"]);
    output(openssl.arg(&key).arg("-out").arg(&certificate))?;
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| error.to_string());
    let up = "wrk.method = \"POST\"\nlocal f = io.open(\"@BODY@\", \"rb\"); wrk.body = f:read(\"*a\"); f:close()\n";
    let body = folder.join("body");
    let files: [(&str, Vec<u8>); 4] = [
        ("both.pem", (read(&certificate)? + &read(&key)?).into_bytes()),
        ("up.lua", up.replace("@BODY@", &body.display().to_string()).into_bytes()),
        ("body", vec![b'x'; MIB]),
        ("message", MESSAGE.to_vec()),
    ];
    for (name, content) in files {
        fs::write(folder.join(name), content).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}; is it installed?"))?;
    Ok(String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr))
}

/// The number before `after` in `text`.
fn before(text: &str, after: &str) -> Option<f64> {
    let (front, _) = text.split_once(after)?;
    front.rsplit(|c: char| !c.is_ascii_digit() && c != '.').find(|part| !part.is_empty())?.parse().ok()
}

fn wrk(url: &str, connections: usize, script: Option<&Path>, lasts: Duration) -> Result<Load, String> {
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{}s", lasts.as_secs()), "--timeout", "20s"]);
    if let Some(script) = script {
        command.arg("-s").arg(script);
    }
    let text = output(command.arg(url))?;
    let units = before(&text, " requests in").ok_or_else(|| format!("wrk said: {text}"))?;
    let answers = text
        .split_once("Non-2xx or 3xx responses:")
        .and_then(|(_, rest)| rest.trim().lines().next()?.trim().parse().ok());
    let sockets = text.split_once("Socket errors:").and_then(|(_, rest)| rest.lines().next()).map_or(0, |line| {
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|count| count.parse::<u64>().ok()).sum()
    });
    let failed = answers.unwrap_or(0) + sockets;
    Ok(Load { units, per_second: units / lasts.as_secs_f64(), failed, held_kib: 0.0 })
}

fn h2load(url: &str, body: Option<&Path>, lasts: Duration) -> Result<Load, String> {
    let mut command = Command::new("h2load");
    command.args(["-t1", "-c4", "-m16", &format!("-D{}", lasts.as_secs())]);
    if let Some(body) = body {
        command.args(["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"]).arg(body);
    }
    let text = output(command.arg(url))?;
    let units = before(&text, " succeeded").ok_or_else(|| format!("h2load said: {text}"))?;
    let failed = before(&text, " failed").unwrap_or(0.0)
        + before(&text, " 4xx").unwrap_or(0.0)
        + before(&text, " 5xx").unwrap_or(0.0);
    Ok(Load { units, per_second: units / lasts.as_secs_f64(), failed: failed as u64, held_kib: 0.0 })
}

/// Full handshakes and no request, one after the other.
fn handshakes(port: u16, lasts: Duration) -> Result<Load, String> {
    let mut command = Command::new("openssl");
    command.args(["s_time", "-new", "-connect", &format!("127.0.0.1:{port}"), "-time", &lasts.as_secs().to_string()]);
    let text = output(&mut command)?;
    let units = before(&text, " connections in").ok_or_else(|| format!("openssl said: {text}"))?;
    Ok(Load { units, per_second: units / lasts.as_secs_f64(), failed: u64::from(units == 0.0), held_kib: 0.0 })
}

fn slow_readers(proxy: &Running) -> Result<Load, String> {
    let url = format!("http://127.0.0.1:{}/bytes/{READ}", proxy.ports.h1);
    let before = proxy.process.held_kib();
    let reader = |_| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "--limit-rate", "2M", "--max-time", "3", &url]);
        curl.stdin(Stdio::null()).spawn().map_err(|error| format!("curl: {error}; is it installed?"))
    };
    let readers = (0..READERS).map(reader).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(Duration::from_secs(2));
    let held = proxy.process.held_kib() - before;
    for mut reader in readers {
        let _left = reader.wait();
    }
    Ok(Load { units: READERS as f64, held_kib: held / READERS as f64, ..Load::default() })
}

/// Connections that made one request and wait.
fn idle(proxy: &Running) -> Result<Load, String> {
    let open = |count: usize| -> Result<Vec<TcpStream>, String> {
        let one = |_| {
            let mut stream = TcpStream::connect(("127.0.0.1", proxy.ports.h1))?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"hello, world\n") {
                let mut part = [0; 1024];
                let count = stream.read(&mut part)?;
                if count == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                answer.extend_from_slice(&part[..count]);
            }
            Ok(stream)
        };
        (0..count).map(one).collect::<std::io::Result<_>>().map_err(|error| error.to_string())
    };
    let _first = open(100)?;
    let before = proxy.process.held_kib();
    let _more = open(IDLE)?;
    let held = proxy.process.held_kib() - before;
    Ok(Load { units: IDLE as f64, held_kib: held / IDLE as f64, ..Load::default() })
}
