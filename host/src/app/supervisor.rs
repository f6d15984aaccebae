//! What systemd is told (sd_notify): ready, reloading, stopping, and that the workers still answer. Without
//! `$NOTIFY_SOCKET` nobody is told anything.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;

use super::Environment;

/// Whoever supervises the process.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How long it waits for a sign of life.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names.
    pub(super) fn of(environment: &Environment) -> Self {
        let Some(name) = environment("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Self::default() };
        let socket = match socket(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(?name, %error, "NOTIFY_SOCKET cannot be written to");
                None
            }
        };
        let number = |name: &str| environment(name)?.to_str()?.parse::<u64>().ok();
        let ours = environment("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(std::process::id().into());
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// The gateway serves.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// A reload begins; it ends with [`ready`](Self::ready).
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000));
    }

    /// A stop begins.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    /// Tells twice in the time the watchdog waits that every one of `workers` answers, as long as each does.
    pub(super) async fn feed(&self, workers: Vec<Handle>) {
        let Some(patience) = self.watchdog else { return };
        loop {
            let answered = async {
                for worker in &workers {
                    // A runtime that is gone answers no more than one that hangs.
                    worker.spawn(std::future::ready(())).await.ok()?;
                }
                Some(())
            };
            match tokio::time::timeout(patience / 2, answered).await {
                Ok(Some(())) => self.tell("WATCHDOG=1"),
                _ => tracing::error!("a worker does not answer: the watchdog is not told that all is well"),
            }
            tokio::time::sleep(patience / 2).await;
        }
    }

    fn tell(&self, state: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::debug!(%error, state, "the supervisor was not told");
        }
    }
}

/// `@` begins the name of an abstract socket, anything else is a path.
fn socket(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address?))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::sync::Arc;

    use super::*;

    fn environment(variables: &[(&'static str, String)]) -> Environment {
        let variables = variables.to_vec();
        Arc::new(move |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    fn told(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        let length = socket.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn a_socket_is_a_path_or_abstract() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let name = format!("tollgate-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        for (socket, variable) in [
            (UnixDatagram::bind(&path).expect("binds"), path.display().to_string()),
            (UnixDatagram::bind_addr(&address).expect("binds"), format!("@{name}")),
        ] {
            let supervisor = Supervisor::of(&environment(&[("NOTIFY_SOCKET", variable)]));
            supervisor.ready("serving");
            assert_eq!(told(&socket), "READY=1\nSTATUS=serving");
            supervisor.reloading();
            let reloading = told(&socket);
            let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
            assert!(since.parse::<u64>().expect("a number") > 0);
        }
    }

    #[tokio::test]
    async fn the_watchdog_is_fed_when_it_is_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("binds");
        let variables = |pid: u32| {
            let path = path.display().to_string();
            [("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "100000".into()), ("WATCHDOG_PID", pid.to_string())]
        };
        let ours = Supervisor::of(&environment(&variables(std::process::id())));
        let fed = tokio::task::spawn_blocking(move || [told(&socket), told(&socket)]);
        tokio::select! {
            () = ours.feed(vec![Handle::current()]) => panic!("it ended"),
            fed = fed => assert_eq!(fed.expect("heard"), ["WATCHDOG=1", "WATCHDOG=1"]),
        }
        let other = Supervisor::of(&environment(&variables(1)));
        other.feed(vec![]).await;
    }
}
