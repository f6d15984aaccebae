//! Where a request's body ends (RFC 9112, sections 6 and 7), so that the next head is found where the library behind
//! will find it. Stricter than that library in every point, so that the two cannot part.

use super::head::{Framing, field};

/// What extensions of all chunks of a body may weigh together. Nobody sends any, and everybody ignores them.
const EXTENSIONS_MAX: u32 = 4096;
/// Digits of a chunk's size: more than any body needs, fewer than overflow.
const DIGITS_MAX: u8 = 15;

/// A body breaks its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadFraming;

/// Follows one body.
#[derive(Debug)]
pub(super) struct BodyReader {
    state: State,
    extensions: u32,
    /// The trailer line so far, and the bytes and lines before it.
    trailer: Vec<u8>,
    trailer_bytes: usize,
    trailer_lines: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Data { left: u64, chunked: bool },
    DataCr,
    DataLf,
    Size { size: u64, digits: u8 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Trailer,
    TrailerLf,
    Done,
}

impl BodyReader {
    pub(super) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(left) => State::Data { left, chunked: false },
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        Self { state, extensions: 0, trailer: vec![], trailer_bytes: 0, trailer_lines: 0 }
    }

    /// Whether all of it was seen.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many of `bytes`, which are not empty, belong to the body.
    pub(super) fn read(&mut self, bytes: &[u8], trailers: TrailerLimits) -> Result<usize, BadFraming> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            if let State::Data { left, chunked } = self.state {
                let taken = left.min((bytes.len() - at) as u64);
                at += usize::try_from(taken).map_err(|_| BadFraming)?;
                self.state = match (left - taken, chunked) {
                    (0, true) => State::DataCr,
                    (0, false) => State::Done,
                    (left, chunked) => State::Data { left, chunked },
                };
            } else {
                self.state = self.step(bytes[at], trailers)?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8, trailers: TrailerLimits) -> Result<State, BadFraming> {
        Ok(match (self.state, byte) {
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::Size { size, digits }, _) => size_byte(size, digits, byte)?,
            (State::Extension { size }, b'\r') => State::SizeLf { size },
            (State::Extension { .. }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extensions += 1;
                if self.extensions > EXTENSIONS_MAX {
                    return Err(BadFraming);
                }
                self.state
            }
            (State::SizeLf { size: 0 }, b'\n') => State::Trailer,
            (State::SizeLf { size }, b'\n') => State::Data { left: size, chunked: true },
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::Trailer, b'\n') => return Err(BadFraming),
            (State::Trailer, _) => {
                self.trailer.push(byte);
                self.trailer_bytes += 1;
                if self.trailer_bytes > trailers.bytes {
                    return Err(BadFraming);
                }
                State::Trailer
            }
            (State::TrailerLf, b'\n') if self.trailer.is_empty() => State::Done,
            (State::TrailerLf, b'\n') => {
                self.trailer_lines += 1;
                if self.trailer_lines > trailers.lines || field(&self.trailer).is_none() {
                    return Err(BadFraming);
                }
                self.trailer.clear();
                State::Trailer
            }
            _ => return Err(BadFraming),
        })
    }
}

/// How large a trailer section may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrailerLimits {
    pub(super) bytes: usize,
    pub(super) lines: usize,
}

fn size_byte(size: u64, digits: u8, byte: u8) -> Result<State, BadFraming> {
    if let Some(digit) = char::from(byte).to_digit(16) {
        let more = State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 };
        return if digits < DIGITS_MAX { Ok(more) } else { Err(BadFraming) };
    }
    match byte {
        _ if digits == 0 => Err(BadFraming),
        b'\r' => Ok(State::SizeLf { size }),
        b';' => Ok(State::Extension { size }),
        _ => Err(BadFraming),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRAILERS: TrailerLimits = TrailerLimits { bytes: 64, lines: 2 };

    /// Where the body ends, if it does.
    fn ends(framing: Framing, bytes: &[u8]) -> Result<Option<usize>, BadFraming> {
        let mut body = BodyReader::new(framing);
        let read = body.read(bytes, TRAILERS)?;
        Ok(body.is_done().then_some(read))
    }

    #[test]
    fn a_length_is_counted_down() {
        assert_eq!(ends(Framing::None, b"GET"), Ok(Some(0)));
        assert_eq!(ends(Framing::Length(2), b"hiGET"), Ok(Some(2)));
        assert_eq!(ends(Framing::Length(5), b"hi"), Ok(None));
    }

    #[test]
    fn chunks_end_with_an_empty_one() {
        for (body, rest) in [
            ("0\r\n\r\n", "GET"),
            ("2\r\nhi\r\n0\r\n\r\n", "GET"),
            ("00A;a=\"b\"\r\n0123456789\r\n000\r\nx-a: b\r\nx-c: d\r\n\r\n", "\r\n"),
        ] {
            assert_eq!(ends(Framing::Chunked, format!("{body}{rest}").as_bytes()), Ok(Some(body.len())), "{body:?}");
        }
    }

    #[test]
    fn what_could_end_elsewhere_is_refused() {
        for bad in [
            "\r\n",
            ";a\r\n",
            "g\r\n",
            "0x1\r\n",
            "-1\r\n",
            "+1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1\n",
            "1\r\r\n",
            "1;a\nb\r\n",
            "1;\0\r\n",
            "2\r\nhix",
            "2\r\nhi\n",
            "2\r\nhi\rx",
            "0000000000000001\r\n",
            "fffffffffffffffff\r\n",
            "0\r\nx-a\r\n",
            "0\r\nx-a : b\r\n",
            "0\r\n x: b\r\n",
            "0\r\nx-a: b\n",
            "0\r\n\rx",
            "0\r\na: 1\r\nb: 2\r\nc: 3\r\n",
        ] {
            assert_eq!(ends(Framing::Chunked, bad.as_bytes()), Err(BadFraming), "{bad:?}");
        }
        assert_eq!(ends(Framing::Chunked, format!("1;{}\r\n", "a".repeat(5000)).as_bytes()), Err(BadFraming));
        assert_eq!(ends(Framing::Chunked, format!("0\r\na: {}", "a".repeat(64)).as_bytes()), Err(BadFraming));
    }

    proptest! {
        #[test]
        fn how_a_body_is_cut_changes_nothing(body in "(1(;a)?\r\nx\r\n|2\r\nhi\r?\n){0,3}0\r\n(a: b\r\n)?\r\nGET", size in 1usize..9) {
            let mut reader = BodyReader::new(Framing::Chunked);
            let mut cut = Ok(0);
            for piece in body.as_bytes().chunks(size) {
                match (cut, reader.read(piece, TRAILERS)) {
                    (Ok(before), Ok(read)) => cut = Ok(before + read),
                    (_, bad) => cut = bad,
                }
                if cut.is_err() || reader.is_done() {
                    break;
                }
            }
            prop_assert_eq!(cut.map(Some), ends(Framing::Chunked, body.as_bytes()));
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            let _answered = ends(Framing::Chunked, &bytes);
        }
    }
}
