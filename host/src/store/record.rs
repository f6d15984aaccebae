//! How an event's head and its lists of names are kept: one compact blob each, the same in every engine.
//!
//! A blob is a format byte, then texts and counts; a text is its length and its bytes, a number seven bits a byte, the
//! lowest first. A blob that does not read back to its last byte is refused as a whole.

use bytes::Bytes;

use super::Head;

const FORMAT: u8 = 1;

/// The blob of a head.
pub(super) fn encode_head(head: &Head) -> Vec<u8> {
    let fields: usize = head.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let mut out = Vec::with_capacity(fields + head.target.len() + head.path.len() + 128);
    out.push(FORMAT);
    for text in [&head.method, &head.scheme, &head.authority, &head.target, &head.path, &head.client] {
        put(&mut out, text.as_bytes());
    }
    put_number(&mut out, head.headers.len());
    for (name, value) in &head.headers {
        put(&mut out, name.as_bytes());
        put(&mut out, value);
    }
    out
}

/// The head in a blob, when it is one.
pub(super) fn decode_head(blob: &[u8]) -> Option<Head> {
    let mut rest = blob.strip_prefix(&[FORMAT])?;
    let method = take_text(&mut rest)?;
    let scheme = take_text(&mut rest)?;
    let authority = take_text(&mut rest)?;
    let target = take_text(&mut rest)?;
    let path = take_text(&mut rest)?;
    let client = take_text(&mut rest)?;
    let mut headers = Vec::new();
    for _ in 0..take_number(&mut rest)? {
        headers.push((take_text(&mut rest)?, Bytes::copy_from_slice(take(&mut rest)?)));
    }
    rest.is_empty().then_some(Head { method, scheme, authority, target, path, headers, client })
}

/// The blob of a list of names; `None` for an empty list.
pub(super) fn encode_names(names: &[String]) -> Option<Vec<u8>> {
    if names.is_empty() {
        return None;
    }
    let mut out = vec![FORMAT];
    put_number(&mut out, names.len());
    names.iter().for_each(|name| put(&mut out, name.as_bytes()));
    Some(out)
}

/// The names in a blob, when it is one.
pub(super) fn decode_names(blob: Option<&[u8]>) -> Option<Vec<String>> {
    let Some(blob) = blob else { return Some(Vec::new()) };
    let mut rest = blob.strip_prefix(&[FORMAT])?;
    let mut names = Vec::new();
    for _ in 0..take_number(&mut rest)? {
        names.push(take_text(&mut rest)?);
    }
    rest.is_empty().then_some(names)
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_number(rest)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(take(rest)?.to_vec()).ok()
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heads() -> impl Strategy<Value = Head> {
        let field = ("[a-z-]{1,40}", proptest::collection::vec(any::<u8>(), 0..300));
        let fields = proptest::collection::vec(field, 0..40);
        (any::<String>(), any::<String>(), any::<String>(), fields).prop_map(|(method, target, client, fields)| Head {
            method,
            scheme: "https".into(),
            authority: "example.com".into(),
            path: target.clone(),
            target,
            headers: fields.into_iter().map(|(name, value)| (name, value.into())).collect(),
            client,
        })
    }

    proptest! {
        #[test]
        fn a_head_reads_back_as_it_was(head in heads()) {
            prop_assert_eq!(decode_head(&encode_head(&head)), Some(head));
        }

        #[test]
        fn a_cut_head_is_refused(head in heads(), share in 0.0..1.0f64) {
            let blob = encode_head(&head);
            let cut = (blob.len() as f64 * share) as usize;
            prop_assert_eq!(decode_head(&blob[..cut]), None);
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either = decode_head(&bytes);
            let _either = decode_names(Some(&bytes));
        }

        #[test]
        fn names_read_back(names in proptest::collection::vec(any::<String>(), 0..20)) {
            let blob = encode_names(&names);
            prop_assert_eq!(decode_names(blob.as_deref()), Some(names));
        }
    }
}
