//! gRPC-Web (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>): gRPC for browsers, which see no trailers, so
//! that these are the last frame of the body; and which may not see bytes either, so that all of it may be base64.
//! Translated as it comes: nothing is held but the rest of a group of four characters.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};

use super::{GRPC_MESSAGE, GRPC_STATUS, suffix};
use crate::exchange::headers::tokens;
use crate::upstream::body::BodyFault;

const GRPC: &str = "application/grpc";
const WEB: &str = "application/grpc-web";
const WEB_TEXT: &str = "application/grpc-web-text";
const STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// The flag of the frame that holds trailers.
const TRAILERS: u8 = 0x80;
/// What stands before a message: a flag and its length.
const PREFIX: usize = 5;
/// Characters of base64 that are decoded together.
const GROUP: usize = 4;

/// What a page must be allowed to read, where the status stands in a response's head.
pub const EXPOSED: [HeaderName; 3] = [GRPC_STATUS, GRPC_MESSAGE, STATUS_DETAILS];

/// How bodies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Binary,
    /// In base64, each part padded.
    Text,
}

impl Encoding {
    /// The encoding a media type names, with what follows its name.
    fn of(media: &[u8]) -> Option<(Self, &[u8])> {
        let text = suffix(media, WEB_TEXT.as_bytes()).map(|rest| (Self::Text, rest));
        text.or_else(|| suffix(media, WEB.as_bytes()).map(|rest| (Self::Binary, rest)))
    }

    const fn media(self) -> &'static str {
        match self {
            Self::Binary => WEB,
            Self::Text => WEB_TEXT,
        }
    }

    /// A part of a response's body.
    fn data(self, data: Bytes) -> Bytes {
        match self {
            Self::Binary => data,
            Self::Text => STANDARD.encode(&data).into(),
        }
    }

    /// A response's trailers, as the last part of its body.
    fn trailers(self, trailers: &HeaderMap) -> Bytes {
        let length: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 3).sum();
        let mut frame = BytesMut::with_capacity(5 + length);
        frame.put_u8(TRAILERS);
        frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        for (name, value) in trailers {
            frame.put_slice(name.as_str().as_bytes());
            frame.put_u8(b':');
            frame.put_slice(value.as_bytes());
            frame.put_slice(b"\r\n");
        }
        self.data(frame.freeze())
    }
}

/// Writes the answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    encoding: Encoding,
    /// Bytes of the present message's prefix that passed.
    prefix: usize,
    /// The message's length as far as its prefix tells, and then what is left of it.
    left: u32,
}

impl Writer {
    /// Writes in `encoding`.
    pub const fn new(encoding: Encoding) -> Self {
        Self { encoding, prefix: 0, left: 0 }
    }

    /// A part of the body.
    pub fn data(&mut self, data: Bytes) -> Bytes {
        self.pass(&data);
        self.encoding.data(data)
    }

    /// The trailers, as the last part of the body.
    pub fn trailers(self, trailers: &HeaderMap) -> Bytes {
        self.encoding.trailers(trailers)
    }

    /// Whether no message has begun that has not ended. Within one, trailers would be taken for the rest of it.
    pub const fn is_between(self) -> bool {
        self.prefix == 0
    }

    fn pass(&mut self, mut data: &[u8]) {
        while let Some((first, rest)) = data.split_first() {
            if self.prefix < PREFIX {
                // The first byte is a flag.
                self.left = if self.prefix == 0 { 0 } else { self.left << 8 | u32::from(*first) };
                self.prefix += 1;
                data = rest;
            } else {
                let length = data.len().min(self.left as usize);
                self.left -= length as u32;
                data = &data[length..];
            }
            if self.prefix == PREFIX && self.left == 0 {
                self.prefix = 0;
            }
        }
    }
}

/// A call in gRPC-Web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// How the client writes.
    pub request: Encoding,
    /// How it wants to be answered.
    pub response: Encoding,
}

impl Translation {
    /// `None` when the request is not in gRPC-Web.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let (request, _) = Encoding::of(headers.get(header::CONTENT_TYPE)?.as_bytes())?;
        let accepted = tokens(headers, &header::ACCEPT).find_map(|media| Encoding::of(media.as_bytes()));
        Some(Self { request, response: accepted.map_or(request, |(encoding, _)| encoding) })
    }

    /// Makes a request's head one of gRPC.
    pub fn outgoing(self, headers: &mut HeaderMap) {
        rename(headers, |media| Encoding::of(media).map(|(_, rest)| rest), GRPC);
        headers.remove(header::ACCEPT);
        if self.request == Encoding::Text {
            headers.remove(header::CONTENT_LENGTH);
        }
    }

    /// Makes the head of a response in gRPC one of gRPC-Web.
    pub fn returned(self, headers: &mut HeaderMap) {
        rename(headers, |media| suffix(media, GRPC.as_bytes()), self.response.media());
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRAILER);
    }
}

/// Gives the media type another name; `rest` says what of it stays.
fn rename(headers: &mut HeaderMap, rest: impl Fn(&[u8]) -> Option<&[u8]>, name: &str) {
    let Some(media) = headers.get_mut(header::CONTENT_TYPE) else { return };
    let renamed = rest(media.as_bytes()).map(|rest| [name.as_bytes(), rest].concat());
    if let Some(Ok(renamed)) = renamed.map(|renamed| HeaderValue::from_bytes(&renamed)) {
        *media = renamed;
    }
}

/// A request's body out of base64.
#[derive(Debug)]
pub struct Decoded<B> {
    body: B,
    /// The beginning of a group.
    rest: Vec<u8>,
}

impl<B> Decoded<B> {
    /// `body` is base64; each part of it may be padded.
    pub fn new(body: B) -> Self {
        Self { body, rest: Vec::new() }
    }

    /// What the whole groups up to the end of `data` stand for.
    fn decode(&mut self, data: &[u8]) -> Result<Bytes, BodyFault> {
        let joined;
        let text = if self.rest.is_empty() {
            data
        } else {
            joined = [self.rest.as_slice(), data].concat();
            &joined[..]
        };
        let (mut whole, rest) = text.split_at(text.len() - text.len() % GROUP);
        let mut decoded = Vec::with_capacity(whole.len() / GROUP * 3);
        while !whole.is_empty() {
            // A padded group ends a part, and the next one begins after it.
            let end = memchr::memchr(b'=', whole).map_or(whole.len(), |at| (at / GROUP + 1) * GROUP);
            STANDARD.decode_vec(&whole[..end], &mut decoded).map_err(|_| BodyFault::Cut)?;
            whole = &whole[end..];
        }
        self.rest = rest.to_vec();
        Ok(decoded.into())
    }
}

impl<B: Body<Data = Bytes, Error = BodyFault> + Unpin> Body for Decoded<B> {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)?) else {
                let cut = !std::mem::take(&mut self.rest).is_empty();
                return Poll::Ready(cut.then_some(Err(BodyFault::Cut)));
            };
            let data = match frame.into_data() {
                Ok(data) => self.decode(&data)?,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn the_media_types_are_those_of_the_other_side() {
        for (asked, accept, passed, answered, returned) in [
            ("application/grpc-web", "*/*", "application/grpc", "application/grpc", "application/grpc-web"),
            (
                "application/grpc-web+proto",
                "application/grpc-web+proto",
                "application/grpc+proto",
                "application/grpc+proto",
                "application/grpc-web+proto",
            ),
            (
                "application/grpc-web-text",
                "application/grpc-web-text",
                "application/grpc",
                "application/grpc; a=b",
                "application/grpc-web-text; a=b",
            ),
            (
                "application/grpc-web-text+proto",
                "application/grpc-web",
                "application/grpc+proto",
                "application/grpc",
                "application/grpc-web",
            ),
        ] {
            let mut request = headers(&[("content-type", asked), ("accept", accept), ("content-length", "8")]);
            let translation = Translation::of(&request).expect("gRPC-Web");
            translation.outgoing(&mut request);
            assert_eq!(request[header::CONTENT_TYPE], passed);
            assert_eq!(request.contains_key(header::CONTENT_LENGTH), translation.request == Encoding::Binary);
            let mut response = headers(&[("content-type", answered), ("content-length", "8")]);
            translation.returned(&mut response);
            assert_eq!(response[header::CONTENT_TYPE], returned);
            assert!(!response.contains_key(header::CONTENT_LENGTH));
        }
        assert_eq!(Translation::of(&headers(&[("content-type", "application/grpc")])), None);
    }

    #[test]
    fn trailers_are_the_last_frame() {
        let trailers = headers(&[("grpc-status", "0"), ("grpc-message", "")]);
        let expected = b"\x80\0\0\0\x1egrpc-status:0\r\ngrpc-message:\r\n";
        assert_eq!(&Encoding::Binary.trailers(&trailers)[..], expected);
        assert_eq!(Encoding::Text.trailers(&trailers), STANDARD.encode(expected));
    }

    #[test]
    fn trailers_go_between_messages() {
        let mut writer = Writer::new(Encoding::Binary);
        assert!(writer.is_between());
        for (part, between) in [
            (&b"\0\0\0\0\x02hi"[..], true),
            (b"\0\0\0", false),
            (b"\0\x03a", false),
            (b"bc", true),
            (b"\0\0\0\0\0", true),
            (b"\0\0\0\0\x01x\x01\0\0\x01\0", false),
            (&[b'y'; 255], false),
            (b"z\0", false),
        ] {
            assert_eq!(writer.data(Bytes::copy_from_slice(part)), part);
            assert_eq!(writer.is_between(), between, "{part:?}");
        }
    }

    fn body(parts: Vec<Bytes>) -> impl Body<Data = Bytes, Error = BodyFault> + Unpin {
        StreamBody::new(futures_util::stream::iter(parts.into_iter().map(|part| Ok(Frame::data(part)))))
    }

    #[tokio::test]
    async fn what_is_not_base64_is_cut() {
        for text in ["AAA", "A===", "AA=A", "!AAA", "AAAAA"] {
            let decoded = Decoded::new(body(vec![Bytes::from_static(text.as_bytes())]));
            assert_eq!(decoded.collect().await.err(), Some(BodyFault::Cut), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_is_decoded_however_it_is_padded_and_cut(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6),
            cuts in proptest::collection::vec(1_usize..9, 1..40),
        ) {
            let text: String = parts.iter().map(|part| STANDARD.encode(part)).collect();
            let (mut rest, mut cut) = (text.as_bytes(), Vec::new());
            for size in cuts.iter().cycle() {
                let (start, after) = rest.split_at((*size).min(rest.len()));
                cut.push(Bytes::copy_from_slice(start));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let decoded = runtime.block_on(Decoded::new(body(cut)).collect()).expect("decodes");
            prop_assert_eq!(decoded.to_bytes().to_vec(), parts.concat());
        }
    }
}
