//! Request paths in one form. Routes match it, upstreams get it and logs show it, so that nobody downstream reads a
//! path differently than the rule that let it pass.

use std::borrow::Cow;
use std::fmt;

/// Why a path has no normal form; the client gets a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It does not begin with a slash.
    NotAbsolute,
    /// A `%` without two hex digits after it.
    BadEscape,
    /// `%00`.
    Nul,
    /// A byte that a path may not carry as it is: control, space, non-ASCII, `\`, `#` or `?`.
    BadByte(u8),
    /// Its `..` segments lead above the root.
    AboveRoot,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAbsolute => f.write_str("a path begins with /"),
            Self::BadEscape => f.write_str("% must be followed by two hex digits"),
            Self::Nul => f.write_str("%00 is not allowed in a path"),
            Self::BadByte(byte) if byte.is_ascii_graphic() => {
                write!(f, "{} is not allowed in a path unless escaped as %{byte:02X}", char::from(*byte))
            }
            Self::BadByte(byte) => write!(f, "the byte 0x{byte:02X} is not allowed in a path unless escaped"),
            Self::AboveRoot => f.write_str("its .. segments lead above the root"),
        }
    }
}

impl std::error::Error for PathError {}

/// The normal form of `raw`, a path without its query: unreserved characters decoded, hex digits in upper case, dot
/// segments (RFC 3986, section 5.2.4) resolved. What else is escaped stays escaped, above all `%2F` and `%5C`; empty
/// segments and a trailing slash stay. The form of a normal form is itself.
pub fn normalise(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if let Some(bad) = raw.bytes().find(|byte| !is_path_byte(*byte)) {
        return Err(PathError::BadByte(bad));
    }
    let decoded = decode(raw)?;
    if decoded.contains("/.") { resolve(&decoded).map(Cow::Owned) } else { Ok(decoded) }
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'?')
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn decode(raw: &str) -> Result<Cow<'_, str>, PathError> {
    let Some((plain, _)) = raw.split_once('%') else { return Ok(Cow::Borrowed(raw)) };
    let mut out = String::with_capacity(raw.len());
    out.push_str(plain);
    for piece in raw[plain.len()..].split('%').skip(1) {
        let byte = escaped(piece.as_bytes())?;
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&piece[..2].to_ascii_uppercase());
        }
        out.push_str(&piece[2..]);
    }
    Ok(Cow::Owned(out))
}

/// The byte that the two hex digits at the front of `piece` stand for.
fn escaped(piece: &[u8]) -> Result<u8, PathError> {
    let digit = |at: usize| piece.get(at).and_then(|byte| char::from(*byte).to_digit(16)).ok_or(PathError::BadEscape);
    let byte = u8::try_from(digit(0)? << 4 | digit(1)?).map_err(|_| PathError::BadEscape)?;
    if byte == 0 { Err(PathError::Nul) } else { Ok(byte) }
}

fn resolve(path: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => out.truncate(out.rfind('/').ok_or(PathError::AboveRoot)?),
            _ => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        if last {
            out.push('/');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_normal_form_is_borrowed() {
        for plain in ["/", "/a", "/a/", "//", "/a//b", "/a;v=1/b@c:d,e=!$&'()*+"] {
            assert!(matches!(normalise(plain), Ok(Cow::Borrowed(same)) if same == plain), "{plain}");
        }
    }

    #[test]
    fn escapes_have_one_form() {
        for (raw, normal) in [
            ("/%61%2D%2e%5f%7E", "/a-._~"),
            ("/%c3%bc", "/%C3%BC"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%5cb", "/a%5Cb"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/a%20b%3f%23", "/a%20b%3F%23"),
            ("/%01", "/%01"),
        ] {
            assert_eq!(normalise(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn dot_segments_are_resolved() {
        for (raw, normal) in [
            ("/.", "/"),
            ("/./", "/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/a/b/../c", "/a/c"),
            ("/a/b/..", "/a/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a//../b", "/a/b"),
            ("/a/..//b", "//b"),
            ("/.a/..b/c./d..", "/.a/..b/c./d.."),
            ("/...", "/..."),
            ("/a/..%2Fb", "/a/..%2Fb"),
        ] {
            assert_eq!(normalise(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for (raw, error) in [
            ("", PathError::NotAbsolute),
            ("a", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("/%", PathError::BadEscape),
            ("/%4", PathError::BadEscape),
            ("/%zz", PathError::BadEscape),
            ("/%2%35", PathError::BadEscape),
            ("/%00", PathError::Nul),
            ("/a\\b", PathError::BadByte(b'\\')),
            ("/a#b", PathError::BadByte(b'#')),
            ("/a?b", PathError::BadByte(b'?')),
            ("/a b", PathError::BadByte(b' ')),
            ("/a\tb", PathError::BadByte(b'\t')),
            ("/a\x7f", PathError::BadByte(0x7f)),
            ("/ü", PathError::BadByte(0xc3)),
            ("/..", PathError::AboveRoot),
            ("/a/../..", PathError::AboveRoot),
            ("/a/%2e%2e/%2e%2e/b", PathError::AboveRoot),
        ] {
            assert_eq!(normalise(raw), Err(error), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn the_form_of_a_normal_form_is_itself(raw in "/([a./%~;]|%[0-9a-fA-F]{2}|%2[eEfF]|\\.\\.?/){0,24}") {
            if let Ok(normal) = normalise(&raw) {
                prop_assert_eq!(normalise(&normal), Ok(normal.clone()));
            }
        }

        #[test]
        fn nothing_dangerous_is_left(raw in "/([ab./]|%2[eEfF]|%5[cC]|\\.\\.?/|%2e){0,24}") {
            if let Ok(normal) = normalise(&raw) {
                prop_assert!(normal.starts_with('/'));
                prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."), "{}", normal);
                prop_assert!(!normal.contains("%2e") && !normal.contains("%2E"), "{}", normal);
            }
        }

        #[test]
        fn an_escaped_slash_never_separates(segments in prop::collection::vec("[a%]{0,3}", 1..6)) {
            let raw = format!("/{}", segments.join("/").replace('%', "%2f"));
            let normal = normalise(&raw).unwrap();
            prop_assert_eq!(normal[1..].split('/').count(), segments.len());
        }

        #[test]
        fn any_text_is_answered(raw in any::<String>()) {
            let _answered = normalise(&raw);
            let _answered = normalise(&format!("/{raw}"));
        }
    }
}
