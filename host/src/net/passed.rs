//! Sockets that whoever started the process opened for it (systemd's socket activation).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use listenfd::ListenFd;

use super::listener::Bound;

/// Sockets that already listen. They stay open as long as this does, as they do with whoever passed them. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Passed(Arc<Vec<Socket>>);

#[derive(Debug)]
struct Socket {
    /// As `LISTEN_FDNAMES` says.
    name: Option<String>,
    address: SocketAddr,
    listener: TcpListener,
}

impl Passed {
    /// Those that the environment names (`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`), if they are for this process. What
    /// is no listening TCP socket is left alone.
    pub fn of_process() -> Self {
        // A file descriptor has one owner in a process, so it is taken from the environment once.
        static TAKEN: OnceLock<Passed> = OnceLock::new();
        TAKEN.get_or_init(Self::take).clone()
    }

    fn take() -> Self {
        let mut passed = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut sockets = Vec::new();
        for at in 0..passed.len() {
            let name = names.next().filter(|name| !name.is_empty());
            match passed.take_tcp_listener(at).and_then(|taken| taken.map(|listener| ready(listener, name)).transpose())
            {
                Ok(socket) => sockets.extend(socket),
                Err(error) => tracing::warn!(at, %error, "a passed socket cannot be used"),
            }
        }
        Self(Arc::new(sockets))
    }

    /// The socket passed under `name`, else the one at `address`, once for each of `count` workers.
    pub fn find(&self, name: &str, address: SocketAddr, count: usize) -> Option<io::Result<Bound>> {
        let named = |socket: &&Socket| socket.name.as_deref() == Some(name);
        let found = self.0.iter().find(named).or_else(|| self.0.iter().find(|socket| socket.address == address))?;
        let copies = (0..count).map(|_| found.listener.try_clone().map(OwnedFd::from)).collect();
        Some(Bound::passed(found.address, copies))
    }
}

fn ready(listener: TcpListener, name: Option<String>) -> io::Result<Socket> {
    if !socket2::SockRef::from(&listener).is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
    }
    listener.set_nonblocking(true)?;
    Ok(Socket { name, address: listener.local_addr()?, listener })
}
