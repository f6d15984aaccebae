//! New TCP connections: name → addresses → the ones that are allowed → a socket. The address that was checked is the
//! address that is connected to, so a name cannot change its mind in between.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::error::UpstreamError;
use super::guard::AddressRule;
use super::resolve::Names;

/// Addresses that are tried for one connection.
const TRIES_MAX: usize = 8;
/// After this the next address is tried beside the one that has not answered (RFC 8305, section 8).
const STAGGER: Duration = Duration::from_millis(250);
/// A peer that is gone without a word is noticed after about a minute, also under a stream that is silent for long.
const ALIVE_AFTER: Duration = Duration::from_secs(30);
const ALIVE_EVERY: Duration = Duration::from_secs(10);
const ALIVE_TRIES: u32 = 3;
/// What was sent is acknowledged within this, or the peer is gone.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// A TCP connection to one of the addresses of `names`. `rule` holds for names only.
pub(super) async fn tcp(names: &Names, rule: Option<&AddressRule>) -> Result<(TcpStream, SocketAddr), UpstreamError> {
    let mut addresses = names.addresses().await?;
    if let Some(rule) = rule.filter(|_| !names.literal) {
        addresses.retain(|address| rule.allows(address.ip()));
    }
    if addresses.is_empty() {
        return Err(UpstreamError::Address);
    }
    let connected = match addresses.as_slice() {
        [only] => open(*only).await.ok(),
        several => first_of(several).await,
    };
    connected.ok_or_else(|| {
        names.doubt();
        UpstreamError::Connect
    })
}

/// The first that takes the connection: the next is tried when one fails, or does not answer for a while.
async fn first_of(addresses: &[SocketAddr]) -> Option<(TcpStream, SocketAddr)> {
    let mut left = addresses.iter().take(TRIES_MAX);
    let mut trying = FuturesUnordered::new();
    loop {
        let next = left.next();
        trying.extend(next.map(|address| open(*address)));
        loop {
            let ended = match next {
                Some(_) => tokio::time::timeout(STAGGER, trying.next()).await,
                None => Ok(trying.next().await),
            };
            match ended {
                Ok(Some(Ok(connected))) => return Some(connected),
                Ok(None) if next.is_none() => return None,
                Ok(Some(Err(_))) if next.is_none() => {}
                Ok(_) | Err(_) => break,
            }
        }
    }
}

async fn open(address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::connect(address).await?;
    // Without it small writes wait for acknowledgements; a socket that refuses either still works.
    let _unset = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(ALIVE_AFTER).with_interval(ALIVE_EVERY).with_retries(ALIVE_TRIES);
    let socket = SockRef::from(&stream);
    let _unset = socket.set_tcp_keepalive(&keepalive);
    // Nothing probes a peer that owes an acknowledgement.
    let _unset = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
    Ok((stream, address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::{UpstreamScheme, UpstreamUrl};

    fn names(host: &str, port: u16) -> Names {
        Names::new(&UpstreamUrl { scheme: UpstreamScheme::Http, host: host.into(), port })
    }

    #[tokio::test]
    async fn what_is_written_as_an_address_or_localhost_passes_as_written() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("an address").port();
        let rule = AddressRule { allow: vec![] };
        for host in ["127.0.0.1", "localhost"] {
            assert!(tcp(&names(host, port), Some(&rule)).await.is_ok(), "{host}");
        }
        // The resolver reads this as 127.0.0.1, so it is a name like any other.
        assert_eq!(tcp(&names("127.1", port), Some(&rule)).await.err(), Some(UpstreamError::Address));
        let allowed = AddressRule { allow: vec!["127.0.0.0/8".parse().expect("a range")] };
        assert!(tcp(&names("127.1", port), Some(&allowed)).await.is_ok());
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_fails() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let open = listener.local_addr().expect("an address");
        let closed = SocketAddr::new("127.0.0.2".parse().expect("an address"), open.port());
        let (_, reached) = first_of(&[closed, closed, open]).await.expect("one of them answers");
        assert_eq!(reached, open);
        assert!(first_of(&[closed, closed]).await.is_none());
    }
}
