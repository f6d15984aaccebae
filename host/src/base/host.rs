//! Host names in one form, for routes, the admin listener and upstreams alike.

use std::net::Ipv6Addr;

/// The longest name DNS can carry (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// The host of `authority` (a Host field or `:authority`) in the form that is compared: lower case, without port and
/// trailing dot, IPv6 in brackets and in its shortest form. `None` when it is no host: user information, an empty label,
/// a bad port or anything beside letters, digits, `-` and `_` (names outside ASCII come as A-labels).
pub fn normalise_host(authority: &str) -> Option<String> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address = address.parse::<Ipv6Addr>().ok()?;
        return (port.is_empty() || is_port(port.strip_prefix(':')?)).then(|| format!("[{address}]"));
    }
    let name = match authority.split_once(':') {
        Some((name, port)) => is_port(port).then_some(name)?,
        None => authority,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    is_host_name(name).then(|| name.to_ascii_lowercase())
}

/// Whether `name` is a host name without port or trailing dot; an IPv4 literal is one.
pub fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= NAME_MAX && name.split('.').all(is_label)
}

/// RFC 3986 lets a port be empty.
fn is_port(text: &str) -> bool {
    text.is_empty() || (text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_have_one_form() {
        for (raw, host) in [
            ("example.com", "example.com"),
            ("EXAMPLE.com:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:443", "example.com"),
            ("example.com:", "example.com"),
            ("localhost", "localhost"),
            ("my_service:80", "my_service"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("127.0.0.1:9090", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0:0:0:0:0:0:1]:9090", "[::1]"),
            ("[2001:DB8::A]", "[2001:db8::a]"),
        ] {
            assert_eq!(normalise_host(raw).as_deref(), Some(host), "{raw}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let (long_label, long_name) = ("a".repeat(64), "a.".repeat(127) + "a");
        for bad in [
            "",
            ".",
            "a..b",
            ".a",
            "a..",
            "user@host",
            "a b",
            "a/b",
            "a%2e",
            "a:b",
            "a:99999",
            "a:+1",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[a]",
            "[fe80::1%eth0]",
            "bücher.example",
            "*.example.com",
            &long_label,
            &long_name,
        ] {
            assert_eq!(normalise_host(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_form_of_a_host_is_itself(raw in "[a-zA-Z0-9.:_\\[\\]-]{0,20}|\\PC{0,12}") {
            if let Some(host) = normalise_host(&raw) {
                prop_assert_eq!(normalise_host(&host), Some(host));
            }
        }
    }
}
