//! A budget for HTTP/2 frames that ask for work and move nothing on: pings, settings, priorities, window updates,
//! unknown and empty frames. The library behind answers each, however many come (CVE-2019-9511 to 9518). And one for
//! streams that are opened and reset at once (CVE-2023-44487), which would cost an upstream what they do not cost the
//! client. Only the nine bytes before each frame are looked at.

use tokio::time::Instant;

/// Before a frame's payload (RFC 9113, section 4.1).
const HEADER: usize = 9;
/// What every HTTP/2 connection of a client begins with.
const PREFACE: u32 = 24;

/// Idle frames a connection may send at once, and how many more each second.
const IDLE_BURST: u32 = 4096;
const IDLE_A_SECOND: u32 = 256;
/// Written bytes that allow for one more idle frame: whoever reads a lot updates windows a lot.
const WRITTEN_A_FRAME: u32 = 512;
/// Resets are counted in halves of a stream: each takes two, each new stream gives one back. So a client may reset every
/// second stream for ever, and every one for a while.
const RESET_BURST: u32 = 2000;
const RESET_A_SECOND: u32 = 200;
/// A frame with more payload than this has some, however it is padded (RFC 9113, section 6.1).
const PADDING_MAX: u32 = 256;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// The connection asked for too much that moves nothing on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flooded;

/// What came and went on one connection.
#[derive(Debug)]
pub(super) struct FrameBudget {
    inward: Cursor,
    outward: Cursor,
    /// Left over from written bytes that were too few for a frame.
    written: u32,
    idle: Bucket,
    resets: Bucket,
    /// The last stream the client opened.
    stream: u32,
    /// The last frame is a part of a head, and whether the last one.
    head: Option<bool>,
}

impl FrameBudget {
    /// Of a connection that begins with the preface.
    pub(super) fn new() -> Self {
        Self {
            inward: Cursor { left: PREFACE, ..Cursor::default() },
            outward: Cursor::default(),
            written: 0,
            idle: Bucket::new(IDLE_BURST, IDLE_A_SECOND),
            resets: Bucket::new(RESET_BURST, RESET_A_SECOND),
            stream: 0,
            head: None,
        }
    }

    /// Bytes came; whether a head began among them.
    pub(super) fn received(&mut self, bytes: &[u8]) -> Result<bool, Flooded> {
        let Self { inward, idle, resets, stream, head, .. } = self;
        let mut began = false;
        inward.walk(bytes, |frame| {
            began |= frame.kind == HEADERS;
            *head = matches!(frame.kind, HEADERS | CONTINUATION).then_some(frame.flags & END_HEADERS != 0);
            // Trailers are no new stream.
            if frame.kind == HEADERS && frame.stream > *stream {
                *stream = frame.stream;
                resets.give(1);
            }
            if frame.kind == RST_STREAM {
                return resets.take(2);
            }
            if frame.moves_on() {
                idle.give(1);
                return Ok(());
            }
            idle.take(1)
        })?;
        Ok(began)
    }

    /// Whether a head began that has not ended. Between two of its frames nothing else may come (RFC 9113, section 6.10),
    /// so that one that never ends holds the connection.
    pub(super) fn is_in_head(&self) -> bool {
        self.head.is_some_and(|last| !last || self.inward.left > 0)
    }

    /// Bytes went.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        // Nothing that is sent is too much.
        let _never = self.outward.walk(bytes, |_| Ok(()));
        self.written = self.written.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.idle.give(self.written / WRITTEN_A_FRAME);
        self.written %= WRITTEN_A_FRAME;
    }

    /// GOAWAY with ENHANCE_YOUR_CALM, where a frame may be put in now.
    pub(super) fn goodbye(&self) -> Option<[u8; HEADER + 8]> {
        const CALM: u8 = 11;
        let [a, b, c, d] = self.stream.to_be_bytes();
        self.outward.is_between().then_some([0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, CALM])
    }
}

/// A frame, less its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    fn parse(header: [u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = header;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Self { length: u32::from_be_bytes([0, a, b, c]), kind, flags, stream }
    }

    /// Whether a request is nearer its end by it.
    fn moves_on(self) -> bool {
        let some = if self.flags & PADDED != 0 { self.length > PADDING_MAX } else { self.length > 0 };
        match self.kind {
            HEADERS => true,
            DATA => some || self.flags & END_STREAM != 0,
            _ => false,
        }
    }
}

/// Where in a sequence of frames the bytes are.
#[derive(Debug, Default)]
struct Cursor {
    header: [u8; HEADER],
    have: usize,
    /// Of the payload.
    left: u32,
}

impl Cursor {
    fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    fn walk(&mut self, mut bytes: &[u8], mut see: impl FnMut(Frame) -> Result<(), Flooded>) -> Result<(), Flooded> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = bytes.len().min(self.left as usize);
                self.left -= u32::try_from(skipped).unwrap_or(self.left);
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = bytes.len().min(HEADER - self.have);
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER {
                let frame = Frame::parse(self.header);
                (self.have, self.left) = (0, frame.length);
                see(frame)?;
            }
        }
        Ok(())
    }
}

/// Tokens; the clock is asked only when they run out.
#[derive(Debug)]
struct Bucket {
    left: u32,
    most: u32,
    a_second: u32,
    filled: Instant,
}

impl Bucket {
    fn new(most: u32, a_second: u32) -> Self {
        Self { left: most, most, a_second, filled: Instant::now() }
    }

    fn give(&mut self, more: u32) {
        self.left = self.left.saturating_add(more).min(self.most);
    }

    fn take(&mut self, count: u32) -> Result<(), Flooded> {
        if self.left < count {
            let now = Instant::now();
            let passed = now.duration_since(self.filled).as_millis() * u128::from(self.a_second) / 1000;
            if passed > 0 {
                self.give(u32::try_from(passed).unwrap_or(u32::MAX));
                self.filled = now;
            }
        }
        self.left = self.left.checked_sub(count).ok_or(Flooded)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn budget() -> FrameBudget {
        let mut budget = FrameBudget::new();
        assert_eq!(budget.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Ok(false));
        budget
    }

    /// How often the frames may come before they are too many; at most a million times.
    fn until_flooded(frames: &[Vec<u8>]) -> Option<u32> {
        let (mut budget, whole) = (budget(), frames.concat());
        (0..1_000_000).find(|_| budget.received(&whole) == Err(Flooded))
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_nothing_on_is_limited() {
        for idle in [
            frame(PING, 0, 0, &[0; 8]),
            frame(4, 0, 0, &[]),
            frame(2, 0, 1, &[0; 5]),
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
            frame(9, 0, 1, &[]),
            frame(99, 0, 0, b"unknown"),
            frame(DATA, 0, 1, &[]),
            frame(DATA, PADDED, 1, &[255; 256]),
        ] {
            assert_eq!(until_flooded(&[idle]), Some(IDLE_BURST));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_a_request_on_is_not() {
        let (request, data) = (frame(HEADERS, 5, 1, b"head"), frame(DATA, 0, 1, b"x"));
        let ping = frame(PING, 0, 0, &[0; 8]);
        for busy in [vec![request.clone()], vec![data.clone()], vec![data, ping], vec![frame(DATA, END_STREAM, 1, &[])]]
        {
            assert_eq!(until_flooded(&busy), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_second_stream_may_be_reset() {
        let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
        let opened = |stream| frame(HEADERS, 5, stream, b"head");
        let until = |frames: &dyn Fn(u32) -> Vec<u8>| {
            let mut budget = budget();
            (0..100_000).find(|at| budget.received(&frames(4 * at + 1)) == Err(Flooded))
        };
        assert_eq!(until(&|stream| [opened(stream), opened(stream + 2), reset.clone()].concat()), None);
        assert_eq!(until(&|stream| [opened(stream), reset.clone()].concat()), Some(RESET_BURST - 1));
        let with_trailers = |stream| [opened(stream), opened(stream), reset.clone()].concat();
        assert_eq!(until(&with_trailers), Some(RESET_BURST - 1), "trailers open no stream");
    }

    #[tokio::test(start_paused = true)]
    async fn reading_and_time_earn_more() {
        let mut budget = budget();
        let update = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]).repeat(IDLE_BURST as usize);
        assert_eq!(budget.received(&update), Ok(false));
        budget.sent(&frame(DATA, 0, 1, &[0; 1015]));
        assert_eq!(budget.received(&update[..13 * 2]), Ok(false));
        assert_eq!(budget.received(&update[..13]), Err(Flooded));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(budget.received(&update[..13 * IDLE_A_SECOND as usize]), Ok(false));
        assert_eq!(budget.received(&update[..13]), Err(Flooded));
    }

    #[test]
    fn goodbye_is_said_between_frames_only() {
        let mut budget = budget();
        budget.received(&frame(HEADERS, 5, 7, b"head")).unwrap();
        let goodbye = budget.goodbye().expect("nothing was sent");
        assert_eq!(goodbye.as_slice(), frame(7, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 11]));
        budget.sent(&frame(DATA, 0, 1, b"hi")[..10]);
        assert_eq!(budget.goodbye(), None);
        budget.sent(b"i");
        assert!(budget.goodbye().is_some());
    }

    proptest! {
        #[test]
        fn how_frames_are_cut_changes_nothing(frames in prop::collection::vec((any::<u8>(), 0u32..9, 0usize..40), 0..20), size in 1usize..30) {
            let bytes: Vec<_> = frames.iter().flat_map(|(kind, stream, length)| frame(*kind, 0, *stream, &vec![0; *length])).collect();
            let mut seen = Vec::new();
            let mut cursor = Cursor::default();
            for piece in bytes.chunks(size) {
                cursor.walk(piece, |frame| { seen.push((frame.kind, frame.stream, frame.length as usize)); Ok(()) }).unwrap();
            }
            prop_assert_eq!(seen, frames);
            prop_assert!(cursor.is_between());
        }
    }

    proptest! {
        #[test]
        fn a_head_is_open_from_its_first_frame_to_the_end_of_its_last(
            frames in proptest::collection::vec((0..10_u8, any::<bool>(), any::<u8>()), 0..20),
            cut in 1..40_usize,
        ) {
            let mut bytes = vec![0; PREFACE as usize];
            let (mut open, mut headers) = (false, 0);
            for (kind, last, length) in frames {
                let flags = if last { END_HEADERS } else { 0 };
                bytes.extend(frame(kind, flags, 1, &vec![0xff; usize::from(length)]));
                open = matches!(kind, HEADERS | CONTINUATION) && !last;
                headers += usize::from(kind == HEADERS);
            }
            let mut budget = FrameBudget::new();
            let mut began = 0;
            for piece in bytes.chunks(cut) {
                began += usize::from(budget.received(piece).expect("few frames"));
            }
            prop_assert_eq!(budget.is_in_head(), open);
            prop_assert!(began <= headers && (began > 0) == (headers > 0));
        }
    }

    #[test]
    fn a_head_is_open_while_its_last_frame_is_not_whole() {
        let mut budget = FrameBudget::new();
        budget.received(&[0; PREFACE as usize]).expect("the preface");
        let head = frame(HEADERS, END_HEADERS, 1, &[0xff; 8]);
        assert_eq!((budget.received(&head[..12]), budget.is_in_head()), (Ok(true), true));
        assert_eq!((budget.received(&head[12..]), budget.is_in_head()), (Ok(false), false));
    }
}
