//! Where the heads are in what an HTTP/2 client sends. Only that: the frames' meaning is the HTTP library's to judge.
//!
//! A head may be cut into as many frames as the client likes, and between two of them nothing else may come (RFC 9113,
//! section 6.10); a client that never ends one holds its connection for ever unless somebody times it.

const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Walks over the frames of one connection, preface included.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes to pass over: the preface, or a frame's payload.
    left: usize,
    header: [u8; FRAME_HEADER],
    /// How much of `header` is there.
    filled: usize,
    /// The frame at hand is a part of a head.
    head: Option<Part>,
    inside: bool,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    last: bool,
}

/// What some bytes did to heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heads {
    /// One ended among them.
    pub(super) ended: bool,
    /// One began and has not ended.
    pub(super) inside: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self { left: PREFACE, header: [0; FRAME_HEADER], filled: 0, head: None, inside: false }
    }
}

impl Frames {
    /// Walks over the next bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Heads {
        let mut ended = false;
        loop {
            let passed = self.left.min(bytes.len());
            self.left -= passed;
            bytes = &bytes[passed..];
            if self.left == 0 && self.head.take().is_some_and(|part| part.last) {
                (ended, self.inside) = (true, false);
            }
            if bytes.is_empty() {
                return Heads { ended, inside: self.inside };
            }
            bytes = self.read_header(bytes);
        }
    }

    fn read_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, rest) = bytes.split_at(bytes.len().min(FRAME_HEADER - self.filled));
        self.header[self.filled..self.filled + now.len()].copy_from_slice(now);
        self.filled += now.len();
        if self.filled == FRAME_HEADER {
            let [a, b, c, kind, flags, ..] = self.header;
            self.left = u32::from_be_bytes([0, a, b, c]) as usize;
            self.filled = 0;
            if matches!(kind, HEADERS | CONTINUATION) {
                self.head = Some(Part { last: flags & END_HEADERS != 0 });
                self.inside = true;
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        [&[0, 0, length, kind, flags, 0, 0, 0, 1][..], &vec![0xff; usize::from(length)]].concat()
    }

    proptest! {
        #[test]
        fn a_head_is_open_from_its_first_frame_to_the_end_of_its_last(
            frames in proptest::collection::vec((0..10_u8, any::<bool>(), any::<u8>()), 0..20),
            cut in 1..40_usize,
        ) {
            let mut bytes = vec![0; PREFACE];
            let mut open = false;
            for (kind, last, length) in frames {
                let flags = if last { END_HEADERS } else { 0 };
                bytes.extend(frame(kind, flags, length));
                if matches!(kind, HEADERS | CONTINUATION) {
                    open = !last;
                }
            }
            let (mut whole, mut pieces) = (Frames::default(), Frames::default());
            let heads = whole.take(&bytes);
            prop_assert_eq!(heads.inside, open);
            let mut ended = false;
            for piece in bytes.chunks(cut) {
                ended |= pieces.take(piece).ended;
            }
            prop_assert_eq!((ended, pieces.inside), (heads.ended, heads.inside));
        }
    }

    #[test]
    fn a_head_without_a_byte_ends_with_its_frame() {
        let mut frames = Frames::default();
        frames.take(&[0; PREFACE]);
        assert_eq!(frames.take(&frame(HEADERS, END_HEADERS, 0)), Heads { ended: true, inside: false });
        let half = frame(HEADERS, END_HEADERS, 8);
        assert_eq!(frames.take(&half[..12]), Heads { ended: false, inside: true });
        assert_eq!(frames.take(&half[12..]), Heads { ended: true, inside: false });
    }
}
