//! New connections: name → addresses → the ones that are allowed → a socket. The address that was checked is the address
//! that is connected to, so a name cannot change its mind in between.

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;

use super::error::UpstreamError;
use super::guard::AddressRule;
use crate::config::plan::UpstreamUrl;

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A TCP connection to `url`. `rule` holds for names only.
pub(super) async fn tcp(url: &UpstreamUrl, rule: Option<&AddressRule>) -> Result<TcpStream, UpstreamError> {
    let addresses = addresses(url, rule).await?;
    for address in addresses {
        if let Ok(stream) = TcpStream::connect(address).await {
            // Without it small writes wait for acknowledgements; a socket that refuses still works.
            let _unset = stream.set_nodelay(true);
            return Ok(stream);
        }
    }
    Err(UpstreamError::Connect)
}

async fn addresses(url: &UpstreamUrl, rule: Option<&AddressRule>) -> Result<Vec<SocketAddr>, UpstreamError> {
    if let Ok(literal) = url.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(literal, url.port)]);
    }
    let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await.map_err(|_| UpstreamError::Name)?;
    let found: Vec<_> = found.take(ADDRESSES_MAX).collect();
    if found.is_empty() {
        return Err(UpstreamError::Name);
    }
    let rule = rule.filter(|_| url.host != "localhost");
    let allowed: Vec<_> =
        found.into_iter().filter(|address| rule.is_none_or(|rule| rule.allows(address.ip()))).collect();
    if allowed.is_empty() { Err(UpstreamError::Address) } else { Ok(allowed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::UpstreamScheme;

    fn url(host: &str) -> UpstreamUrl {
        UpstreamUrl { scheme: UpstreamScheme::Http, host: host.into(), port: 1 }
    }

    #[tokio::test]
    async fn what_is_written_as_an_address_or_localhost_passes_as_written() {
        let rule = AddressRule { allow: vec![] };
        for host in ["127.0.0.1", "::1", "10.0.0.1", "localhost"] {
            assert!(addresses(&url(host), Some(&rule)).await.is_ok_and(|found| !found.is_empty()), "{host}");
        }
    }
}
