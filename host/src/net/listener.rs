//! Sockets that listen. Each worker has its own on the same port (`SO_REUSEPORT`), and the kernel spreads connections
//! over them. Each accepts one connection at a time beyond the places there are, and waits until it has one: a place that
//! a worker held before anybody came would be lost to the others; an accept that fails pauses and never ends the server.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::places::{Place, Places};
use crate::base::drain::Drain;

const BACKLOG: i32 = 4096;
/// After an error that is ours: no file descriptors, no memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Sockets bound to one address, one for each worker.
#[derive(Debug)]
pub struct Bound {
    address: SocketAddr,
    sockets: Vec<OwnedFd>,
}

impl Bound {
    /// Binds `count` sockets to `address`. Port 0 takes a free port, the same for all. `[::]` takes IPv4 too.
    pub fn bind(address: SocketAddr, count: usize) -> io::Result<Self> {
        let first = socket(address)?;
        let address = first.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut sockets = vec![OwnedFd::from(first)];
        for _ in 1..count {
            sockets.push(socket(address)?.into());
        }
        Ok(Self { address, sockets })
    }

    /// Sockets that listen on `address` already.
    pub(super) fn passed(address: SocketAddr, sockets: io::Result<Vec<OwnedFd>>) -> io::Result<Self> {
        Ok(Self { address, sockets: sockets? })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The sockets, one for each worker.
    pub fn into_sockets(self) -> Vec<OwnedFd> {
        self.sockets
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Gives every connection that comes to `serve`, until `drain` starts and nothing waits any more. Must run on the worker
/// that is to serve them.
pub async fn accept<F>(socket: OwnedFd, places: Arc<Places>, drain: Drain, serve: impl Fn(Client) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = match TcpListener::from_std(socket.into()) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listening socket cannot be used");
            return;
        }
    };
    let mut ended = std::pin::pin!(drain.wait());
    loop {
        let (stream, address) = tokio::select! {
            () = &mut ended => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            },
        };
        tokio::select! {
            biased;
            place = places.take() => hand_over(stream, address, place, &serve),
            () = &mut ended => break,
        }
    }
    serve_waiting(listener, &places, &serve);
}

/// Serves what waits in the queue, because closing the socket would reset it. The socket itself is asked: the runtime may
/// not have heard yet of what came last.
fn serve_waiting<F>(listener: TcpListener, places: &Arc<Places>, serve: &impl Fn(Client) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(listener) = listener.into_std() else { return };
    while let Some(place) = places.take_now() {
        let Ok((stream, address)) = listener.accept() else { return };
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        let Ok(stream) = stream else { continue };
        hand_over(stream, address, place, serve);
    }
}

fn hand_over<F>(stream: TcpStream, address: SocketAddr, place: Place, serve: &impl Fn(Client) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    // Without it small writes wait for acknowledgements; a socket that refuses still works.
    let _unset = stream.set_nodelay(true);
    tokio::spawn(serve(Client { stream, address, place }));
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Client {
    /// Its socket.
    pub stream: TcpStream,
    /// Its other end.
    pub address: SocketAddr,
    /// Its place among the connections the gateway may have.
    pub place: Place,
}

/// A connection that broke before it was taken is no reason to wait; anything else is.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        tracing::warn!(%error, "connections cannot be accepted now");
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_socket_listens_on_the_port_the_first_one_got() {
        let bound = Bound::bind("127.0.0.1:0".parse().expect("an address"), 3).expect("binds");
        let address = bound.address();
        assert_ne!(address.port(), 0);
        for socket in bound.into_sockets() {
            let listener = TcpListener::from_std(socket.into()).expect("a listener");
            assert_eq!(listener.local_addr().expect("an address"), address);
        }
    }

    #[tokio::test]
    async fn a_connection_waits_for_a_place_and_is_served_before_the_drain_ends() {
        let bound = Bound::bind("127.0.0.1:0".parse().expect("an address"), 1).expect("binds");
        let address = bound.address();
        let socket = bound.into_sockets().remove(0);
        let (places, drain) = (Places::new(1), Drain::default());
        let (served, mut seen) = tokio::sync::mpsc::channel(4);
        let serve = move |client: Client| {
            let served = served.clone();
            async move { served.send(client).await.expect("listened to") }
        };
        let accepting = tokio::spawn(accept(socket, Arc::clone(&places), drain.clone(), serve));
        let _one = TcpStream::connect(address).await.expect("connects");
        let _two = TcpStream::connect(address).await.expect("connects");
        let first = seen.recv().await.expect("served");
        tokio::task::yield_now().await;
        assert!(seen.try_recv().is_err(), "there is one place");
        drop(first);
        let second = seen.recv().await.expect("served");
        drop(second);
        drain.start();
        accepting.await.expect("ends");
    }
}
