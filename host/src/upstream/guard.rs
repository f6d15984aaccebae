//! Which addresses a *name* may lead to. A webhook's delivery is a request that a stranger caused: were its product's
//! name to resolve to the machine itself or to a metadata service, the stranger would reach what only we may reach.
//! What an operator wrote as an IP literal or `localhost` passes as written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The rule for addresses that a product's names resolve to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRule {
    /// Ranges that are allowed beside public ones.
    pub allow: Vec<IpNet>,
}

impl AddressRule {
    /// Whether a name may lead to `address`.
    pub fn allows(&self, address: IpAddr) -> bool {
        let real = unwrapped(address);
        is_public(real) || self.allow.iter().any(|range| range.contains(&real) || range.contains(&address))
    }
}

/// Whether `address` is one of the public Internet, by the registries of special addresses (RFC 6890, RFC 8190).
pub fn is_public(address: IpAddr) -> bool {
    match unwrapped(address) {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The IPv4 address that an IPv6 form carries, else the address itself: mapped (RFC 4291), compatible (RFC 4291),
/// NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let s = v6.segments();
    let low = || v4(s[6], s[7]);
    let carried = match s {
        [0, 0, 0, 0, 0, 0xffff, ..] => Some(low()),
        [0, 0, 0, 0, 0xffff, 0, ..] => Some(low()),
        [0, 0, 0, 0, 0, 0, 0, 0..=1] => None,
        [0, 0, 0, 0, 0, 0, ..] => Some(low()),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(low()),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    };
    carried.map_or(address, IpAddr::V4)
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18..=19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // The prefix for a network's own NAT64 (64:ff9b:1::/48, RFC 8215) may carry the address anywhere, so none of it is public.
    // Only 2000::/3 is given out; out of it come the ranges for protocols (Teredo and ORCHID among them), for
    // documentation and for 6to4, which `unwrapped` has already turned into the IPv4 address it carries.
    match address.segments() {
        [0x2001, 0..=0x1ff, ..] => false,
        [0x2001, 0xdb8, ..] => false,
        [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn public_addresses_are_public() {
        for public in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111", "2a00::1"] {
            assert!(is_public(ip(public)), "{public}");
        }
    }

    #[test]
    fn special_addresses_are_not() {
        for special in [
            "0.0.0.0",
            "127.0.0.1",
            "127.255.255.254",
            "10.1.2.3",
            "100.64.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(!is_public(ip(special)), "{special}");
        }
    }

    #[test]
    fn forms_that_carry_an_ipv4_address_are_judged_by_it() {
        for special in [
            "::ffff:127.0.0.1",
            "::ffff:0:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::10.0.0.1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!is_public(ip(special)), "{special}");
        }
        assert!(is_public(ip("::ffff:1.1.1.1")));
        assert!(is_public(ip("64:ff9b::8.8.8.8")));
    }

    #[test]
    fn an_allowed_range_is_allowed_in_every_form() {
        let rule = AddressRule { allow: vec!["10.0.0.0/8".parse().expect("a range")] };
        assert!(rule.allows(ip("10.1.1.1")));
        assert!(rule.allows(ip("::ffff:10.1.1.1")));
        assert!(!rule.allows(ip("127.0.0.1")));
        assert!(rule.allows(ip("9.9.9.9")));
    }
}
