//! The strict reading of an HTTP/1.1 request head (RFC 9112). The library behind forgives what another server reads
//! otherwise: a length beside a transfer coding, lines that end in a bare LF, a `#` in the target. Here nothing is
//! forgiven, so that all who read a request after us read the same one.

use http::Uri;
use memchr::memchr;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It breaks the grammar, or its framing could be read in two ways.
    Malformed,
    /// Its target does.
    Target,
    /// It is larger than the limits.
    TooLarge,
    /// It asks for a transfer coding other than chunked.
    Coding,
}

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// From its first byte to the end of its last line.
    pub bytes: usize,
    /// Field lines.
    pub fields: usize,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Framing {
    /// Nothing.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Reads one head as it comes, each line once.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// Where the present line begins, and how far its end was looked for; from the start of the head.
    line: usize,
    searched: usize,
    fields: usize,
    /// The request line was read.
    begun: bool,
    version_10: bool,
    length: Option<u64>,
    chunked: bool,
}

impl HeadReader {
    /// Reads on in `head`, which begins with the head's first byte and is longer every time. With the last line comes
    /// the head's length, and what follows it.
    pub(super) fn read(&mut self, head: &[u8], limits: HeadLimits) -> Result<Option<(usize, Framing)>, Refusal> {
        while let Some(at) = memchr(b'\n', &head[self.searched..]) {
            let end = self.searched + at;
            let line = head[self.line..end].strip_suffix(b"\r").ok_or(Refusal::Malformed)?;
            (self.line, self.searched) = (end + 1, end + 1);
            if self.line > limits.bytes {
                return Err(Refusal::TooLarge);
            }
            match (self.begun, line.is_empty()) {
                // RFC 9112, section 2.2: empty lines before a request are not part of it.
                (false, true) => {}
                (false, false) => self.request_line(line)?,
                (true, false) => self.field(line, limits.fields)?,
                (true, true) => return self.framing().map(|framing| Some((self.line, framing))),
            }
        }
        self.searched = head.len();
        if head.len() > limits.bytes { Err(Refusal::TooLarge) } else { Ok(None) }
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.begun = true;
        let space = memchr(b' ', line).ok_or(Refusal::Malformed)?;
        let (method, rest) = (&line[..space], &line[space + 1..]);
        let space = memchr(b' ', rest).ok_or(Refusal::Malformed)?;
        let (target, version) = (&rest[..space], &rest[space + 1..]);
        self.version_10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Refusal::Malformed),
        };
        if !is_token(method) {
            return Err(Refusal::Malformed);
        }
        if is_target(method, target) { Ok(()) } else { Err(Refusal::Target) }
    }

    fn field(&mut self, line: &[u8], most: usize) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > most {
            return Err(Refusal::TooLarge);
        }
        let (name, value) = field(line).ok_or(Refusal::Malformed)?;
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.coding(value),
            _ => Ok(()),
        }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| digits && self.length.is_none());
        self.length =
            Some(text.and_then(|text| text.parse().ok()).filter(|n| *n <= LENGTH_MAX).ok_or(Refusal::Malformed)?);
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(Refusal::Malformed);
        }
        self.chunked = value.eq_ignore_ascii_case(b"chunked");
        if self.chunked {
            return Ok(());
        }
        let mut codings = value.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let chunked_last = codings.next().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
        let others = chunked_last && codings.all(|coding| is_token(coding) && !coding.eq_ignore_ascii_case(b"chunked"));
        Err(if others { Refusal::Coding } else { Refusal::Malformed })
    }

    fn framing(&self) -> Result<Framing, Refusal> {
        match (self.chunked, self.length) {
            (true, None) if !self.version_10 => Ok(Framing::Chunked),
            (true, _) => Err(Refusal::Malformed),
            (false, Some(length)) if length > 0 => Ok(Framing::Length(length)),
            (false, _) => Ok(Framing::None),
        }
    }
}

/// hyper keeps the two numbers above it for itself.
const LENGTH_MAX: u64 = u64::MAX - 2;

/// A field line's name and its value without the white space around it.
pub(super) fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr(b':', line)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    // A fold over all of them, because that is what the compiler makes wide instructions of.
    let bad = value.iter().fold(false, |bad, byte| bad | (*byte < b' ' && *byte != b'\t') | (*byte == 0x7f));
    (is_token(name) && !bad).then(|| (name, trimmed(value)))
}

/// Optional white space is space and tab only.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| TOKEN[usize::from(*byte)])
}

const TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
/// What every parser takes in a target. The rest is looked at closer.
const PLAIN: [bool; 256] =
    table(b"!$%&'()*+,-./:;=?@[]_|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

const fn table(members: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < members.len() {
        table[members[at] as usize] = true;
        at += 1;
    }
    table
}

fn is_target(method: &[u8], target: &[u8]) -> bool {
    if target.first() == Some(&b'/')
        && target.len() <= TARGET_PLAIN
        && target.iter().all(|byte| PLAIN[usize::from(*byte)])
    {
        return true;
    }
    // Whoever drops what follows a `#` serves another target than whoever does not.
    let raw = target.iter().any(|byte| *byte <= b' ' || matches!(*byte, 0x7f | b'#'));
    let Ok(uri) = Uri::try_from(target) else { return false };
    // A target in the form of an authority belongs to CONNECT (RFC 9112, section 3.2.3).
    let authority_form = uri.scheme().is_none() && uri.authority().is_some();
    !raw && (!authority_form || method == b"CONNECT")
}

/// Longer ones are left to the parser that has a limit.
const TARGET_PLAIN: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 512, fields: 4 };

    fn read(head: &str) -> Result<Option<(usize, Framing)>, Refusal> {
        HeadReader::default().read(head.as_bytes(), LIMITS)
    }

    fn with(fields: &str) -> Result<Option<Framing>, Refusal> {
        read(&format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n")).map(|read| read.map(|(_, framing)| framing))
    }

    #[test]
    fn a_head_ends_with_its_empty_line() {
        let head = "\r\n\r\nGET /a?b=c HTTP/1.1\r\nhost: a\r\nx-a:\t b ü\r\n\r\n";
        assert_eq!(read(&format!("{head}GET")), Ok(Some((head.len(), Framing::None))));
        for cut in 0..head.len() {
            assert_eq!(HeadReader::default().read(&head.as_bytes()[..cut], LIMITS), Ok(None), "{cut}");
        }
    }

    #[test]
    fn what_follows_has_one_reading() {
        assert_eq!(with("content-length: 007 "), Ok(Some(Framing::Length(7))));
        assert_eq!(with("Content-Length:0"), Ok(Some(Framing::None)));
        assert_eq!(with("transfer-encoding: Chunked"), Ok(Some(Framing::Chunked)));
        for bad in [
            "content-length: 5\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 5",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity",
            "transfer-encoding: identity",
            "transfer-encoding: chunked, identity",
            "transfer-encoding: chunked, chunked",
            "transfer-encoding: xchunked",
            "transfer-encoding: \"chunked\"",
            "transfer-encoding: chunked;q=1",
            "transfer-encoding:",
            "content-length: 5\r\ncontent-length: 5",
            "content-length: 5, 5",
            "content-length: +5",
            "content-length: -5",
            "content-length: 5 5",
            "content-length: 0x5",
            "content-length:",
            "content-length: 18446744073709551615",
            "content-length: 99999999999999999999",
            "content-length : 5",
            "content-length\t: 5",
            " content-length: 5",
            "x-a: b\r\n content-length: 5",
            "x-a: b\ncontent-length: 5",
            "x-a: b\rcontent-length: 5",
            "x-a: b\0",
            "x-a: b\x7f",
            ": b",
            "x-a",
            "x(a: b",
        ] {
            assert_eq!(with(bad), Err(Refusal::Malformed), "{bad:?}");
        }
        assert_eq!(with("transfer-encoding: gzip, chunked"), Err(Refusal::Coding));
        assert_eq!(read("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"), Err(Refusal::Malformed));
    }

    #[test]
    fn a_request_line_has_three_parts() {
        let line = |line: &str| read(&format!("{line}\r\n\r\n")).map(|read| read.is_some());
        for good in [
            "GET / HTTP/1.1",
            "GET /%zz\\^{} HTTP/1.0",
            "OPTIONS * HTTP/1.1",
            "CONNECT a:80 HTTP/1.1",
            "GET http://a/ HTTP/1.1",
        ] {
            assert_eq!(line(good), Ok(true), "{good}");
        }
        for bad in [
            "GET /",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET / HTTP/1.2",
            "GET / HTTP/2.0",
            "GET / http/1.1",
            " GET / HTTP/1.1",
            "G(T / HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET\t/\tHTTP/1.1",
        ] {
            assert_eq!(line(bad), Err(Refusal::Malformed), "{bad}");
        }
        for bad in [
            "GET /a#b HTTP/1.1",
            "GET /a?b#c HTTP/1.1",
            "GET /<a> HTTP/1.1",
            "GET a HTTP/1.1",
            "GET a:80 HTTP/1.1",
            "GET /\t HTTP/1.1",
            "GET http:// HTTP/1.1",
        ] {
            assert_eq!(line(bad), Err(Refusal::Target), "{bad}");
        }
    }

    #[test]
    fn a_head_has_an_end() {
        assert_eq!(read(&"x".repeat(513)), Err(Refusal::TooLarge));
        assert_eq!(read(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(512))), Err(Refusal::TooLarge));
        assert_eq!(read(&"\r\n".repeat(300)), Err(Refusal::TooLarge));
        assert_eq!(with(&"x-a: b\r\n".repeat(5)), Err(Refusal::TooLarge));
    }

    proptest! {
        #[test]
        fn how_a_head_is_cut_changes_nothing(head in "(GET|P\\(T) /[a#]{0,3} HTTP/1.1\r\n([a-c:]{0,4}: ?[ -~]{0,4}(\r\n|\n|\r)){0,5}\r\n", cuts in prop::collection::vec(0usize..64, 0..6)) {
            let whole = HeadReader::default().read(head.as_bytes(), LIMITS);
            let mut reader = HeadReader::default();
            let mut ends: Vec<_> = cuts.into_iter().map(|cut| cut.min(head.len())).collect();
            ends.push(head.len());
            ends.sort_unstable();
            let mut last = Ok(None);
            for end in ends {
                last = reader.read(&head.as_bytes()[..end], LIMITS);
                if last != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(last, whole);
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _answered = HeadReader::default().read(&bytes, LIMITS);
        }
    }
}
