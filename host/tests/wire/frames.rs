//! An HTTP/2 client of the test's own, which sends what no library would.

use tokio::io::AsyncWriteExt as _;

use crate::support::{Client, TestGateway, soon};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame as it goes over the wire (RFC 9113, section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as HPACK literals that nobody needs to remember (RFC 7541, section 6.2.2).
pub(crate) fn block(fields: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) -> Vec<u8> {
    let mut bytes = vec![];
    for (name, value) in fields {
        bytes.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            length(&mut bytes, text.len());
            bytes.extend(text);
        }
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541, section 5.1).
fn length(bytes: &mut Vec<u8>, length: usize) {
    if length < 127 {
        bytes.push(u8::try_from(length).expect("small"));
        return;
    }
    bytes.push(127);
    let mut left = length - 127;
    while left >= 128 {
        bytes.push(u8::try_from(left % 128).expect("small") | 128);
        left /= 128;
    }
    bytes.push(u8::try_from(left).expect("small"));
}

/// A GET of `path`.
pub(crate) fn get(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)])
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Came {
    /// The error code of a RST_STREAM or a GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a response of this body.
    Answered(String),
    /// With RST_STREAM.
    Reset(u32),
    /// With the connection, which said GOAWAY before unless it was cut.
    Closed(Option<u32>),
}

/// A connection that speaks HTTP/2.
pub(crate) struct H2(pub(crate) Client);

impl H2 {
    pub(crate) async fn open(gateway: &TestGateway) -> Self {
        Self::with(gateway, &[]).await
    }

    /// With these settings.
    pub(crate) async fn with(gateway: &TestGateway, settings: &[u8]) -> Self {
        let mut client = gateway.connect().await;
        client.stream.set_nodelay(true).expect("a socket");
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send(frame(SETTINGS, 0, 0, settings)).await;
        Self(client)
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0.send(frame(kind, flags, stream, payload)).await;
    }

    /// The next frame; `None` when the gateway closed.
    pub(crate) async fn next(&mut self) -> Option<Came> {
        let header = self.0.at_least(9).await?;
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let bytes = self.0.at_least(9 + length).await?;
        let came = Came {
            kind: bytes[3],
            flags: bytes[4],
            stream: u32::from_be_bytes(bytes[5..9].try_into().expect("four bytes")),
            payload: bytes[9..].to_vec(),
        };
        self.0.read.drain(..9 + length);
        Some(came)
    }

    /// Reads until `stream` ends, or the connection does.
    pub(crate) async fn end(&mut self, stream: u32) -> End {
        let (mut body, mut goodbye) = (vec![], None);
        while let Some(came) = self.next().await {
            match came.kind {
                GOAWAY => goodbye = Some(came.code()),
                RST_STREAM if came.stream == stream => return End::Reset(came.code()),
                DATA if came.stream == stream => body.extend(&came.payload),
                _ => {}
            }
            if came.stream == stream && matches!(came.kind, DATA | HEADERS) && came.flags & END_STREAM != 0 {
                return End::Answered(String::from_utf8(body).expect("text"));
            }
        }
        End::Closed(goodbye)
    }

    /// Sends a whole request and waits for its end.
    pub(crate) async fn ask(&mut self, stream: u32, block: &[u8]) -> End {
        self.send(HEADERS, WHOLE, stream, block).await;
        self.end(stream).await
    }

    /// Sends these frames again and again until the gateway closes, at most so often; how often, and what it said.
    pub(crate) async fn flood(mut self, frames: &[u8], most: usize) -> (usize, Option<u32>) {
        let mut sent = 0;
        while sent < most && soon(self.0.stream.write_all(frames)).await.is_ok() {
            sent += 1;
        }
        let End::Closed(goodbye) = self.end(u32::MAX).await else { panic!("the stream does not exist") };
        (sent, goodbye)
    }
}
