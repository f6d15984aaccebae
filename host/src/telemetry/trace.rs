//! W3C trace context (<https://www.w3.org/TR/trace-context/>): which trace a request belongs to.

use std::fmt;

use http::HeaderValue;

/// The length of a version 00 `traceparent`.
const LENGTH: usize = 55;

/// A trace, one span in it, and whether it is recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceContext {
    /// Parses a `traceparent` field. `None` for what the specification says to ignore: an unknown form, upper case,
    /// version `ff`, an id of zeros. Later versions are read by the rules of version 00.
    pub fn parse(field: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(field).ok()?;
        let (head, rest) = (text.get(..LENGTH)?, text.get(LENGTH..)?);
        let mut parts = head.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let known = version == "00" && rest.is_empty();
        let later = version != "00" && version != "ff" && (rest.is_empty() || rest.starts_with('-'));
        if parts.next().is_some() || !is_hex(version, 2) || !(known || later) {
            return None;
        }
        if !(is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2)) {
            return None;
        }
        let context = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()? & 1,
        };
        (context.trace != 0 && context.span != 0).then_some(context)
    }

    /// The start of a new trace, not recorded. `chance` must be random.
    pub fn root(chance: [u64; 3]) -> Self {
        let trace = u128::from(chance[0]) << 64 | u128::from(chance[1]);
        Self { trace: trace.max(1), span: chance[2].max(1), flags: 0 }
    }

    /// The next span of this trace. `chance` must be random.
    pub fn child(self, chance: u64) -> Self {
        Self { span: chance.max(1), ..self }
    }

    /// The trace's id.
    pub fn trace_id(self) -> u128 {
        self.trace
    }

    /// The `traceparent` field that says so.
    pub fn field(self) -> HeaderValue {
        // Written by hand, because every request has one.
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], self.trace);
        write_hex(&mut text[36..52], self.span.into());
        write_hex(&mut text[53..], self.flags.into());
        HeaderValue::from_bytes(&text).expect("hex digits and dashes are a field value")
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Fills `text` with the last digits of `number`.
fn write_hex(text: &mut [u8], mut number: u128) {
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_child_keeps_the_trace_and_has_its_own_span() {
        let parent = TraceContext::parse(EXAMPLE.as_bytes()).expect("the specification's own example");
        assert_eq!(parent.field(), EXAMPLE);
        assert_eq!(parent.child(255).to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ff-01");
    }

    #[test]
    fn what_the_specification_says_to_ignore_is_ignored() {
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(TraceContext::parse(&[0xff; 55]), None);
        assert!(TraceContext::parse(format!("01{}-more", &EXAMPLE[2..]).as_bytes()).is_some(), "a later version");
    }

    #[test]
    fn a_new_trace_is_never_zero() {
        let root = TraceContext::root([0; 3]);
        assert_eq!(TraceContext::parse(root.to_string().as_bytes()), Some(root));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(chance in any::<[u64; 3]>(), span in any::<u64>()) {
            let trace = TraceContext::root(chance).child(span);
            prop_assert_eq!(TraceContext::parse(trace.field().as_bytes()), Some(trace));
        }

        #[test]
        fn what_is_read_is_well_formed(field in "[0-9a-fA-F]{2}-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{2}(-.*)?|\\PC{0,60}") {
            if let Some(trace) = TraceContext::parse(field.as_bytes()) {
                prop_assert_eq!(TraceContext::parse(trace.field().as_bytes()), Some(trace));
                let id = format!("{:032x}", trace.trace_id());
                prop_assert!(field.contains(&id));
            }
        }

        #[test]
        fn any_bytes_are_answered(field in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _answered = TraceContext::parse(&field);
        }
    }
}
