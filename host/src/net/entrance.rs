//! What a connection goes through before its first byte of HTTP: the PROXY protocol of a listed proxy, then TLS. One
//! [`Entrance`] is the state of a listener's configuration; a reload puts another in its place, for connections to come.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::proxy_protocol;
use super::stream::Stream;
use super::tls::{Tls, UNSENT_MAX, Unfit};
use crate::config::plan::{Listener, Timeouts};
use crate::telemetry::labels::Closed;

/// Waited where the configuration has no limit of its own: nobody holds a place for nothing.
const AT_MOST: Duration = Duration::from_secs(60);

/// The way into a listener.
#[derive(Debug)]
pub struct Entrance {
    tls: Option<Tls>,
    proxies: Vec<IpNet>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The other end; where a listed proxy stands there, the end it names.
    pub address: SocketAddr,
    /// Whether it is encrypted.
    pub secure: bool,
}

/// A connection that came in.
#[derive(Debug)]
pub struct Entered {
    /// Its bytes.
    pub stream: Stream,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether HTTP/2 was agreed on; `None` leaves it to the first bytes.
    pub multiplexed: Option<bool>,
}

impl Entrance {
    /// Reads the files that `plan` names. `before` is what it replaces.
    pub fn load(plan: &Listener, before: Option<&Self>) -> Result<Self, Vec<Unfit>> {
        let tls = plan.tls.as_ref().map(|tls| Tls::load(tls, before.and_then(|before| before.tls.as_ref())));
        Ok(Self { tls: tls.transpose()?, proxies: plan.proxies.clone() })
    }

    /// TLS, when it is spoken.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Whether it asks of clients what `other` does: the same proof of who they are, and of where they are from.
    pub fn asks_as(&self, other: &Self) -> bool {
        let same = match (&self.tls, &other.tls) {
            (Some(tls), Some(other)) => tls.asks_as(other),
            (None, None) => true,
            _ => false,
        };
        same && self.proxies == other.proxies
    }

    /// Lets a connection in, or says why it is closed.
    pub async fn enter(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
        timeouts: &Timeouts,
    ) -> Result<Entered, Closed> {
        let mut origin = Origin { address, secure: self.tls.is_some() };
        let peer = address.ip().to_canonical();
        if self.proxies.iter().any(|range| range.contains(&peer)) {
            let header = timeout(timeouts.header.unwrap_or(AT_MOST), proxy_protocol::read(&mut stream)).await;
            let said = header.map_err(io::Error::from).and_then(|read| read);
            let said = said.inspect_err(|error| tracing::debug!(%address, %error, "no PROXY protocol header"));
            origin.address = said.map_err(|_| Closed::ProxyProtocol)?.unwrap_or(address);
        }
        let Some(tls) = &self.tls else {
            return Ok(Entered { stream: Stream::Plain(stream), origin, multiplexed: None });
        };
        let mut begin = tls.acceptor.accept_with(stream, |session| session.set_buffer_limit(Some(UNSENT_MAX)));
        let stream = match timeout(timeouts.handshake.unwrap_or(AT_MOST), &mut begin).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(address = %origin.address, %error, "the TLS handshake failed");
                return Err(Closed::Handshake);
            }
            Err(_elapsed) => return Err(Closed::HandshakeTimeout),
        };
        let multiplexed = stream.get_ref().1.alpn_protocol().map(|protocol| protocol == b"h2");
        Ok(Entered { stream: Stream::Tls(Box::new(stream)), origin, multiplexed })
    }
}
