//! Which addresses an upstream's name has. They are looked up when first needed and again in the background: the system's
//! resolver tells no time to live. A look-up that fails changes nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::error::UpstreamError;
use crate::config::plan::UpstreamUrl;

/// Between two look-ups of a name.
pub(super) const EVERY: Duration = Duration::from_secs(30);
/// The least between two look-ups that failed connections ask for.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// Addresses of a name that are used.
const ADDRESSES_MAX: usize = 32;

/// An upstream's host, and the addresses it has.
pub(super) struct Names {
    host: Box<str>,
    port: u16,
    /// Written as an address or `localhost`: what the operator wrote is what is meant.
    pub(super) literal: bool,
    /// Empty until the first look-up.
    known: ArcSwap<Vec<SocketAddr>>,
    turn: AtomicUsize,
    doubted: Notify,
}

impl Names {
    pub(super) fn new(url: &UpstreamUrl) -> Self {
        let address = url.host.parse::<IpAddr>().ok().map(|literal| SocketAddr::new(literal, url.port));
        Self {
            host: url.host.as_str().into(),
            port: url.port,
            literal: address.is_some() || url.host == "localhost",
            known: ArcSwap::from_pointee(address.into_iter().collect()),
            turn: AtomicUsize::new(0),
            doubted: Notify::new(),
        }
    }

    /// Whether it is an address, which needs no look-up.
    pub(super) fn is_fixed(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }

    /// Every address, each time beginning with the next, families taking turns after that (RFC 8305, section 4).
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, UpstreamError> {
        let mut known = self.known.load_full();
        if known.is_empty() {
            self.look_up().await.map_err(|_| UpstreamError::Name)?;
            known = self.known.load_full();
        }
        if known.is_empty() {
            return Err(UpstreamError::Name);
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % known.len();
        Ok(in_turn(known[first..].iter().chain(&known[..first]).copied()))
    }

    /// Whether the name still has `address`.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.known.load().contains(&address)
    }

    /// None of the addresses took a connection: they may be old.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Resolves when the addresses are in doubt.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Looks the name up; the addresses it had before and has no more.
    pub(super) async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((&*self.host, self.port)).await?;
        self.learn(found.take(ADDRESSES_MAX).collect())
    }

    fn learn(&self, mut found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
        if found.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        found.sort_unstable();
        found.dedup();
        let before = self.known.load_full();
        if *before == found {
            return Ok(vec![]);
        }
        let gone = before.iter().filter(|address| !found.contains(address)).copied().collect();
        self.known.store(found.into());
        Ok(gone)
    }
}

/// IPv4 and IPv6 by turns, beginning with the family of the first.
fn in_turn(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let all: Vec<_> = addresses.collect();
    let first = all.first().is_some_and(SocketAddr::is_ipv6);
    let (mut same, mut other): (Vec<_>, Vec<_>) = all.into_iter().rev().partition(|a| a.is_ipv6() == first);
    let mut ordered = Vec::with_capacity(same.len() + other.len());
    while !same.is_empty() || !other.is_empty() {
        ordered.extend(same.pop());
        ordered.extend(other.pop());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::UpstreamScheme;

    fn names(host: &str) -> Names {
        Names::new(&UpstreamUrl { scheme: UpstreamScheme::Http, host: host.into(), port: 80 })
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[tokio::test]
    async fn every_address_of_a_name_has_its_turn() {
        let names = names("a.test");
        let all = addresses(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
        names.learn(all.clone()).expect("addresses");
        let mut first = vec![];
        for _ in 0..4 {
            first.push(names.addresses().await.expect("known")[0]);
        }
        assert_eq!(first, [all[0], all[1], all[2], all[0]]);
    }

    #[tokio::test]
    async fn a_look_up_that_fails_keeps_the_last_good_answer() {
        let names = names("name.invalid");
        assert_eq!(names.addresses().await, Err(UpstreamError::Name));
        let all = addresses(&["10.0.0.1:80"]);
        names.learn(all.clone()).expect("addresses");
        assert!(names.look_up().await.is_err());
        assert!(names.learn(vec![]).is_err());
        assert_eq!(names.addresses().await, Ok(all));
    }

    #[test]
    fn addresses_that_a_name_lost_are_told() {
        let names = names("a.test");
        names.learn(addresses(&["10.0.0.1:80", "10.0.0.2:80"])).expect("addresses");
        let gone = names.learn(addresses(&["10.0.0.3:80", "10.0.0.2:80"])).expect("addresses");
        assert_eq!(gone, addresses(&["10.0.0.1:80"]));
        assert!(names.has(addresses(&["10.0.0.3:80"])[0]) && !names.has(gone[0]));
    }

    #[test]
    fn families_take_turns() {
        let mixed = addresses(&["10.0.0.1:80", "10.0.0.2:80", "[2001:db8::1]:80", "[2001:db8::2]:80"]);
        let ordered = in_turn(mixed.iter().copied());
        assert_eq!(ordered, [mixed[0], mixed[2], mixed[1], mixed[3]]);
    }

    #[tokio::test]
    async fn what_is_written_as_an_address_is_that_address() {
        for (host, literal) in [("127.0.0.1", true), ("::1", true), ("localhost", true), ("127.1", false)] {
            assert_eq!(names(host).literal, literal, "{host}");
        }
        assert_eq!(names("10.0.0.1").addresses().await, Ok(addresses(&["10.0.0.1:80"])));
    }
}
