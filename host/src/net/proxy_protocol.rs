//! The PROXY protocol, versions 1 and 2 (HAProxy's specification of 2.8): what a load balancer writes before a
//! connection's first byte to say whose connection it is.
//!
//! Invariant: exactly the header is taken from the socket, so that whatever comes next, TLS or HTTP, finds it whole.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// The longest line of version 1, with its end.
const LINE_MAX: usize = 107;
/// The most a header of version 2 may have. The specification allows 64 KiB; what is sent (addresses, a name, a
/// certificate's subject) is a few hundred bytes.
const HEADER_MAX: usize = 4096;
const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, the command, the family and the length of what follows.
const FIXED: usize = 16;

/// What was sent so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The beginning of a header.
    Part,
    /// A header of `length` bytes.
    Whole {
        /// Where the next byte belongs to whatever follows.
        length: usize,
        /// Whose connection it is; `None` is the proxy's own (LOCAL), or of a kind that has no such address.
        source: Option<SocketAddr>,
    },
}

/// What was sent is no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Takes the header from `stream`: whose connection it says it is.
pub async fn read(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut read = Vec::with_capacity(LINE_MAX);
    let mut chunk = [0; HEADER_MAX];
    loop {
        let count = match stream.peek(&mut chunk[read.len()..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => count,
        };
        let before = read.len();
        read.extend_from_slice(&chunk[before..before + count]);
        let sent = parse(&read).map_err(|Malformed| io::ErrorKind::InvalidData)?;
        let ours = if let Sent::Whole { length, .. } = sent { length - before } else { count };
        stream.read_exact(&mut chunk[before..before + ours]).await?;
        if let Sent::Whole { source, .. } = sent {
            return Ok(source);
        }
    }
}

/// Looks at the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Result<Sent, Malformed> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted);
    if begins(SIGNATURE) {
        binary(bytes)
    } else if begins(LINE_START) {
        line(bytes)
    } else {
        Err(Malformed)
    }
}

fn line(bytes: &[u8]) -> Result<Sent, Malformed> {
    let Some(end) = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
        return if bytes.len() < LINE_MAX { Ok(Sent::Part) } else { Err(Malformed) };
    };
    let line = bytes[..end].strip_suffix(b"\r").and_then(|line| line.strip_prefix(LINE_START)).ok_or(Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
    let whole = |source| Ok(Sent::Whole { length: end + 1, source });
    match line.split(' ').collect::<Vec<_>>()[..] {
        // What stands after it is to be ignored.
        ["UNKNOWN", ..] => whole(None),
        ["TCP4", source, target, port, target_port] => {
            whole(Some(ends::<Ipv4Addr>(source, target, port, target_port)?))
        }
        ["TCP6", source, target, port, target_port] => {
            whole(Some(ends::<Ipv6Addr>(source, target, port, target_port)?))
        }
        _ => Err(Malformed),
    }
}

/// The source, when both ends are addresses of one kind with their ports.
fn ends<A: FromStr + Into<IpAddr>>(
    source: &str,
    target: &str,
    port: &str,
    other: &str,
) -> Result<SocketAddr, Malformed> {
    let _target: A = target.parse().map_err(|_| Malformed)?;
    let source: A = source.parse().map_err(|_| Malformed)?;
    let port_of = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits).ok_or(Malformed)
    };
    port_of(other)?;
    Ok(SocketAddr::new(source.into(), port_of(port)?))
}

fn binary(bytes: &[u8]) -> Result<Sent, Malformed> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(Sent::Part) };
    let (command, family) = (fixed[12], fixed[13]);
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > HEADER_MAX || !matches!(command, 0x20 | 0x21) {
        return Err(Malformed);
    }
    let Some(addresses) = bytes.get(FIXED..length) else { return Ok(Sent::Part) };
    let source = match (command, family) {
        (0x21, 0x11) => Some(source::<4, Ipv4Addr>(addresses)?),
        (0x21, 0x21) => Some(source::<16, Ipv6Addr>(addresses)?),
        // LOCAL is the proxy's own health check; no other family has an address we could use.
        _ => None,
    };
    Ok(Sent::Whole { length, source })
}

/// Source and target address, source and target port; what follows (TLVs) is skipped.
fn source<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(bytes: &[u8]) -> Result<SocketAddr, Malformed> {
    let address = *bytes.first_chunk::<N>().ok_or(Malformed)?;
    let ports = bytes.get(2 * N..2 * N + 4).ok_or(Malformed)?;
    Ok(SocketAddr::new(A::from(address).into(), u16::from_be_bytes([ports[0], ports[1]])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source_of(bytes: &[u8]) -> Option<SocketAddr> {
        match parse(bytes) {
            Ok(Sent::Whole { length, source }) if length == bytes.len() => source,
            other => panic!("expected a whole header, found {other:?} in {bytes:?}"),
        }
    }

    /// A header of version 2.
    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("a short header").to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    #[test]
    fn a_line_names_the_client() {
        assert_eq!(
            source_of(b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n"),
            Some("203.0.113.9:4711".parse().expect("an address"))
        );
        assert_eq!(
            source_of(b"PROXY TCP6 2001:db8::9 2001:db8::1 65535 443\r\n"),
            Some("[2001:db8::9]:65535".parse().expect("an address"))
        );
        assert_eq!(source_of(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(source_of(b"PROXY UNKNOWN ffff:f:f:f:f:f:f:f ffff:f:f:f:f:f:f:f 65535 65535\r\n"), None);
    }

    #[test]
    fn what_is_not_such_a_line_is_malformed() {
        for bad in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 4711\r\n",
            b"PROXY TCP4 203.0.113.9  10.0.0.1 4711 443\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 +4711 443\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 65536\r\n",
            b"PROXY TCP4 2001:db8::9 2001:db8::1 1 2\r\n",
            b"PROXY TCP6 203.0.113.9 10.0.0.1 1 2\r\n",
            b"PROXY UDP4 203.0.113.9 10.0.0.1 1 2\r\n",
            b"PROXY \xff\r\n",
            b"proxy UNKNOWN\r\n",
            &[LINE_START, &[b'x'; LINE_MAX]].concat(),
        ] {
            assert_eq!(parse(bad), Err(Malformed), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn the_binary_form_names_the_client_and_its_tlvs_are_skipped() {
        let ends = [203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x67, 1, 187];
        let client = Some("203.0.113.9:4711".parse().expect("an address"));
        assert_eq!(source_of(&version_2(0x21, 0x11, &ends)), client);
        assert_eq!(source_of(&version_2(0x21, 0x11, &[&ends[..], &[3, 0, 4, 1, 2, 3, 4]].concat())), client);
        assert_eq!(source_of(&version_2(0x20, 0x11, &ends)), None, "LOCAL");
        assert_eq!(source_of(&version_2(0x20, 0x00, &[])), None, "LOCAL");
        assert_eq!(source_of(&version_2(0x21, 0x31, &[0; 216])), None, "a Unix socket");
        for bad in [
            version_2(0x11, 0x11, &ends),
            version_2(0x22, 0x11, &ends),
            version_2(0x21, 0x11, &ends[..11]),
            version_2(0x21, 0x21, &ends),
            version_2(0x21, 0x11, &[0; HEADER_MAX]),
        ] {
            assert_eq!(parse(&bad), Err(Malformed), "{bad:?}");
        }
    }

    fn header() -> impl Strategy<Value = (Vec<u8>, Option<SocketAddr>)> {
        let line = |(source, target): (SocketAddr, SocketAddr)| {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), target.ip());
            let text = format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), target.port());
            (text.into_bytes(), Some(source))
        };
        let binary = |((source, target), tlvs): ((SocketAddr, SocketAddr), Vec<u8>)| {
            let octets = |address: SocketAddr| match address.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            let ports = [source.port().to_be_bytes(), target.port().to_be_bytes()].concat();
            let rest = [octets(source), octets(target), ports, tlvs].concat();
            (version_2(0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, &rest), Some(source))
        };
        let tlvs = proptest::collection::vec(any::<u8>(), 0..200);
        prop_oneof![both_ends().prop_map(line), (both_ends(), tlvs).prop_map(binary)]
    }

    /// Two addresses of one kind.
    fn both_ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        let end = |(ip, port): (IpAddr, u16)| SocketAddr::new(ip, port);
        let v4 = any::<(Ipv4Addr, u16)>().prop_map(move |(ip, port)| end((ip.into(), port)));
        let v6 = any::<(Ipv6Addr, u16)>().prop_map(move |(ip, port)| end((ip.into(), port)));
        prop_oneof![(v4.clone(), v4), (v6.clone(), v6)]
    }

    proptest! {
        #[test]
        fn a_header_is_read_whatever_follows_and_however_it_is_cut((bytes, source) in header(), rest: Vec<u8>) {
            for cut in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..cut]), Ok(Sent::Part));
            }
            let whole = Ok(Sent::Whole { length: bytes.len(), source });
            prop_assert_eq!(parse(&[&bytes[..], &rest[..]].concat()), whole);
        }

        #[test]
        fn no_bytes_are_too_strange_and_none_beyond_the_bound_are_waited_for(bytes: Vec<u8>, start in 0..3_usize) {
            let bytes = [[&b""[..], SIGNATURE, LINE_START][start], &bytes[..]].concat();
            match parse(&bytes) {
                Ok(Sent::Whole { length, .. }) => prop_assert!(length <= bytes.len()),
                Ok(Sent::Part) => prop_assert!(bytes.len() < HEADER_MAX),
                Err(Malformed) => {}
            }
        }
    }
}
