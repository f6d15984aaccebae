//! `application/x-www-form-urlencoded`, for schemes that sign parameters rather than bytes.

use crate::request::Call;
use crate::verdict::Refusal;

/// The largest form a plugin reads. It has to be decoded in the plugin's own memory.
pub const SIZE_MAX: u64 = 256 * 1024;

/// The names and values of a form or a query, in order, decoded as the URL standard says, save that an escape which is
/// none, or bytes that are not UTF-8, make the whole unreadable: what a provider sends has neither.
pub fn read(text: &[u8]) -> Option<Vec<(String, String)>> {
    let pair = |pair: &[u8]| {
        let equals = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = equals.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
        Some((decode(name)?, decode(value)?))
    };
    text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

/// The form in the body.
pub fn body(call: &Call<'_>) -> Result<Vec<(String, String)>, Refusal> {
    let size = u32::try_from(call.body_size()).ok().filter(|size| u64::from(*size) <= SIZE_MAX);
    let form = size.and_then(|size| read(&call.read_body(0, size)));
    form.ok_or_else(|| Refusal::malformed("form"))
}

/// The only value of `name`. None where there is none, or more than one.
pub fn only<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
    values.next().filter(|_| values.next().is_none())
}

fn decode(text: &[u8]) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(text: &str) -> String {
        let escape = |byte: u8| match byte {
            b' ' => "+".to_owned(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(escape).collect()
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read(pairs in proptest::collection::vec((".{0,8}", ".{1,8}"), 0..6)) {
            let written: Vec<_> = pairs.iter().map(|(name, value)| encode(name) + "=" + &encode(value)).collect();
            prop_assert_eq!(read(written.join("&").as_bytes()), Some(pairs));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let pieces = bytes.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()).count();
            if let Some(pairs) = read(&bytes) {
                prop_assert_eq!(pairs.len(), pieces);
            }
        }
    }

    #[test]
    fn a_form_with_broken_escapes_is_none() {
        assert_eq!(read(b"a=%zz"), None);
        assert_eq!(read(b"a=%4"), None);
        assert_eq!(read(b"a=%ff"), None);
        assert_eq!(read(b"a&b=&&c=d=e").map(|pairs| pairs.len()), Some(3));
    }

    #[test]
    fn a_name_that_comes_twice_has_no_only_value() {
        let pairs = read(b"a=1&b=2&a=3").unwrap();
        assert_eq!((only(&pairs, "a"), only(&pairs, "b"), only(&pairs, "c")), (None, Some("2"), None));
    }
}
