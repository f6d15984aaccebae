//! Where one frame ends and the next begins (RFC 6455, section 5.2). Only heads are looked at; payloads are skipped by
//! their length, whatever extensions made of them.

/// The most a head has: two bytes, eight of length, four of mask.
pub(super) const HEAD_MAX: usize = 14;
/// The payload of our pings. A pong that answers one is no longer than a head, so that nothing more is ever held back.
pub(super) const PING: usize = 8;

/// The payload of a control frame (RFC 6455, section 5.5).
const CONTROL_MAX: u64 = 125;

const CLOSE: u8 = 8;
const PING_CODE: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// What of the bytes at hand may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// So many do.
    pub(super) pass: usize,
    /// And then?
    pub(super) then: Then,
}

/// What follows the bytes that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing.
    End,
    /// The beginning of a head: it waits for the rest.
    Hold,
    /// So many bytes that are not to go on: a pong that answers our own ping.
    Skip(usize),
    /// The head, so many bytes, of a frame that makes its message too large.
    TooLarge(usize),
}

/// Follows the frames of one direction.
#[derive(Debug)]
pub(super) struct Frames {
    /// Of the present frame's payload.
    left: u64,
    /// The payload of the message so far.
    message: u64,
    limit: u64,
    /// What our own pings say.
    ping: [u8; PING],
    asked: bool,
    closed: bool,
}

impl Frames {
    /// Of a direction that has just opened. Messages may have `limit` bytes; `ping` is what our own pings say.
    pub(super) fn new(limit: Option<u64>, ping: [u8; PING]) -> Self {
        Self { left: 0, message: 0, limit: limit.unwrap_or(u64::MAX), ping, asked: false, closed: false }
    }

    /// How much of the present frame is still to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Whether a Close frame has begun.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// A ping of ours went the other way: its pong is not to go on.
    pub(super) fn expect_pong(&mut self) {
        self.asked = true;
    }

    /// So much of `bytes` as belongs to the present frame.
    pub(super) fn finish(&mut self, bytes: &[u8]) -> usize {
        let rest = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.left -= rest as u64;
        rest
    }

    /// A frame begins: how large its message is with it.
    fn begin(&mut self, head: Head) -> u64 {
        if head.is_control() {
            self.closed |= head.code == CLOSE;
            // Up to its own limit it is the receiver's to judge; beyond, it is no way round the limit of messages.
            return if head.length > CONTROL_MAX { head.length } else { 0 };
        }
        let before = if head.code == 0 { self.message } else { 0 };
        self.message = before.saturating_add(head.length);
        self.message
    }

    /// Reads on in `bytes`, which begin where the last step ended.
    pub(super) fn walk(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        loop {
            at += self.finish(&bytes[at..]);
            if at == bytes.len() {
                return Step { pass: at, then: Then::End };
            }
            let Some(head) = Head::parse(&bytes[at..]) else { return Step { pass: at, then: Then::Hold } };
            if self.asked && head.code == PONG && head.length == PING as u64 {
                let Some(frame) = bytes[at..].get(..head.size + PING) else {
                    return Step { pass: at, then: Then::Hold };
                };
                if head.payload(frame) == Some(self.ping) {
                    self.asked = false;
                    return Step { pass: at, then: Then::Skip(frame.len()) };
                }
            }
            self.left = head.length;
            if self.begin(head) > self.limit {
                return Step { pass: at, then: Then::TooLarge(head.size) };
            }
            at += head.size;
        }
    }
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    code: u8,
    size: usize,
    length: u64,
    mask: Option<[u8; 4]>,
}

impl Head {
    /// `None` when it is not whole.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let [first, second, rest @ ..] = bytes else { return None };
        let (length, long) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
            short => (u64::from(short), 0),
        };
        let mask = if second & MASKED != 0 { Some(*rest[long..].first_chunk()?) } else { None };
        Some(Self { code: first & 0x0f, size: 2 + long + if mask.is_some() { 4 } else { 0 }, length, mask })
    }

    fn is_control(self) -> bool {
        self.code & 8 != 0
    }

    /// What the whole `frame` says, when that is as long as what our pings say.
    fn payload(self, frame: &[u8]) -> Option<[u8; PING]> {
        let mut payload: [u8; PING] = frame.get(self.size..)?.try_into().ok()?;
        for (byte, mask) in payload.iter_mut().zip(self.mask.unwrap_or_default().iter().cycle()) {
            *byte ^= mask;
        }
        Some(payload)
    }
}

/// A Close frame. Those to servers are masked (RFC 6455, section 5.3).
pub(super) fn close(code: u16, masked: bool) -> Vec<u8> {
    control(CLOSE, &code.to_be_bytes(), masked)
}

/// A Ping frame.
pub(super) fn ping(payload: [u8; PING], masked: bool) -> Vec<u8> {
    control(PING_CODE, &payload, masked)
}

fn control(code: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("our own payloads are short");
    let mut frame = vec![FIN | code, length | if masked { MASKED } else { 0 }];
    if !masked {
        frame.extend_from_slice(payload);
        return frame;
    }
    let mask = fastrand::u32(..).to_be_bytes();
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAYLOAD: [u8; PING] = *b"are you?";

    fn frames(limit: Option<u64>) -> Frames {
        Frames::new(limit, PAYLOAD)
    }

    /// A frame whose payload does not matter.
    fn frame(first: u8, length: u64, masked: bool) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(length as u8 | mask),
            126..0x1_0000 => {
                frame.push(126 | mask);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(127 | mask);
                frame.extend(length.to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        frame.extend((0..length).map(|at| at as u8));
        frame
    }

    #[test]
    fn a_message_is_as_large_as_its_frames_together() {
        let small =
            [frame(0x01, 60, true), frame(0x89, 9, true), frame(0x00, 30, true), frame(0x80, 10, true)].concat();
        assert_eq!(frames(Some(100)).walk(&small), Step { pass: small.len(), then: Then::End });
        let next = [small.clone(), frame(0x82, 100, true)].concat();
        assert_eq!(frames(Some(100)).walk(&next).then, Then::End, "the next message counts anew");
        assert_eq!(frames(Some(99)).walk(&small), Step { pass: 66 + 15 + 36, then: Then::TooLarge(6) });
        assert_eq!(frames(Some(99)).walk(&frame(0x8f, 126, false)[..5]), Step { pass: 0, then: Then::TooLarge(4) });
        assert_eq!(
            frames(Some(9)).walk(&frame(0x89, 100, false)).then,
            Then::End,
            "control frames have a limit of their own"
        );
    }

    #[test]
    fn lengths_that_add_up_to_more_than_there_is_do_not_wrap() {
        let mut huge = vec![0x01, 127];
        huge.extend((u64::MAX - 1).to_be_bytes());
        let mut frames = frames(Some(u64::MAX - 1));
        assert_eq!(frames.walk(&huge).then, Then::End);
        frames.left = 0;
        huge[0] = 0x00;
        assert_eq!(frames.walk(&huge).then, Then::TooLarge(10));
    }

    #[test]
    fn only_the_pong_to_our_own_ping_is_taken_out() {
        for masked in [false, true] {
            let other = control(PONG, b"not you!", masked);
            let ours = control(PONG, &PAYLOAD, masked);
            let bytes = [other.clone(), ours.clone(), ours.clone()].concat();
            assert_eq!(frames(None).walk(&bytes).then, Then::End, "nobody asked");
            let mut asking = frames(None);
            asking.expect_pong();
            for cut in other.len() + 1..other.len() + ours.len() {
                let mut cutting = frames(None);
                cutting.expect_pong();
                assert_eq!(cutting.walk(&bytes[..cut]), Step { pass: other.len(), then: Then::Hold });
            }
            assert_eq!(asking.walk(&bytes), Step { pass: other.len(), then: Then::Skip(ours.len()) });
            assert_eq!(asking.walk(&ours).then, Then::End, "once");
        }
    }

    #[test]
    fn what_we_say_is_well_formed() {
        for masked in [false, true] {
            let close = close(1001, masked);
            let head = Head::parse(&close).expect("whole");
            assert_eq!((head.code, head.size + 2, head.mask.is_some()), (CLOSE, close.len(), masked));
            let ping = ping(PAYLOAD, masked);
            assert_eq!(Head::parse(&ping).expect("whole").payload(&ping), Some(PAYLOAD));
            assert!(ping.len() <= HEAD_MAX);
        }
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![0..130u64, Just(125), Just(126), 65_530..65_540u64];
        (any::<u8>(), length, any::<bool>()).prop_map(|(first, length, masked)| frame(first, length, masked))
    }

    proptest! {
        /// However the bytes are cut, what passes is what came, and a step that passes all is between two frames exactly
        /// where one ends.
        #[test]
        fn cuts_change_nothing(all in proptest::collection::vec(any_frame(), 1..6), cuts in proptest::collection::vec(1..200usize, 1..40)) {
            let bytes = all.concat();
            let mut ends = vec![0];
            ends.extend(all.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }));
            let closes: Vec<_> = all.iter().map(|frame| frame[0] & 0x0f == CLOSE).collect();
            let mut frames = frames(None);
            let (mut passed, mut read) = (0, 0);
            for cut in cuts.iter().cycle() {
                if read == bytes.len() {
                    break;
                }
                read = (read + cut).min(bytes.len());
                let step = frames.walk(&bytes[passed..read]);
                passed += step.pass;
                match step.then {
                    Then::End => prop_assert_eq!(passed, read),
                    Then::Hold => prop_assert!(read - passed < HEAD_MAX),
                    other => prop_assert!(false, "{:?}", other),
                }
                prop_assert_eq!(frames.left() == 0, ends.contains(&passed));
                let begun = ends.iter().zip(&closes).any(|(start, close)| *close && *start < passed);
                prop_assert_eq!(frames.is_closed(), begun);
            }
            prop_assert_eq!(passed, bytes.len());
        }

        #[test]
        fn any_bytes_are_followed(bytes in proptest::collection::vec(any::<u8>(), 0..300), limit in proptest::option::of(0..1000u64)) {
            let mut frames = frames(limit);
            frames.expect_pong();
            let mut at = 0;
            for _ in 0..=bytes.len() {
                let step = frames.walk(&bytes[at..]);
                at += step.pass;
                match step.then {
                    Then::End | Then::Hold => break,
                    Then::Skip(size) | Then::TooLarge(size) => at += size,
                }
                prop_assert!(at <= bytes.len());
            }
        }
    }
}
