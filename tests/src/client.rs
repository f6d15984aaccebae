//! Clients: one that speaks HTTP ([`Connection`]), one that sends bytes and shows what comes ([`Wire`]).

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::signing::Signed;
use crate::soon;

/// A whole response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// Its body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The status and, of an error, its code.
    pub fn code(&self) -> (u16, String) {
        let code = self.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        (self.status.as_u16(), code)
    }

    /// The status and what the gateway says became of the event.
    pub fn became(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["status"].as_str().unwrap_or_default().to_owned())
    }

    /// The id of the event, which must be kept: a 202 that names one.
    pub fn id(&self) -> String {
        assert_eq!(self.status, 202, "expected an accepted event, not {self:?}");
        let id = self.json()["id"].as_str().map(str::to_owned);
        id.unwrap_or_else(|| panic!("expected the event's id in {self:?}"))
    }

    /// A field's text; empty when it is not there.
    pub fn field(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A connection that is kept between requests.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Connects to a listener.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // What goes wrong on it is seen by whoever sends.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        Ok(Self { sender, host: address.to_string() })
    }

    /// Sends a request and reads its answer to the end.
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> io::Result<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", &self.host);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(io::Error::other)?;
        self.sender.ready().await.map_err(io::Error::other)?;
        let response = self.sender.send_request(request).await.map_err(io::Error::other)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Posts a signed request.
    pub async fn post(&mut self, path: &str, signed: &Signed) -> io::Result<Answer> {
        self.request(Method::POST, path, &signed.headers, signed.body.clone()).await
    }
}

/// What bytes are sent over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection seen as bytes.
pub struct Wire {
    stream: Box<dyn Stream>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    /// Connects to a listener.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.expect("the gateway accepts");
        stream.set_nodelay(true).expect("a socket");
        Self::over(stream)
    }

    /// A connection that is there.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream) }
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("sending", self.stream.write_all(bytes.as_ref())).await.expect("the gateway reads");
    }

    /// Sends what the gateway may no longer want to read.
    pub async fn send_unless_closed(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        soon("sending", self.stream.write_all(bytes.as_ref())).await
    }

    /// Sends no more.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("a socket");
    }

    /// Everything up to the end of a response's head, and of its body where it says how long that is.
    pub async fn response(&mut self) -> String {
        let mut read = Vec::new();
        let whole = |read: &[u8]| {
            let text = String::from_utf8_lossy(read);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
            let field = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned);
            let length = head.lines().find_map(field).and_then(|length| length.trim().parse().ok());
            body.len() >= length.unwrap_or(0)
        };
        while !whole(&read) {
            let count = soon("a response", self.stream.read_buf(&mut read)).await.unwrap_or(0);
            if count == 0 {
                break;
            }
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Everything up to `end`, and not a byte more.
    pub async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            read.push(soon("a byte", self.stream.read_u8()).await.expect("it is open"));
        }
        read
    }

    /// The next so many bytes.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut read = vec![0; count];
        soon("so many bytes", self.stream.read_exact(&mut read)).await.expect("it is open");
        read
    }

    /// Everything until the gateway closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        // A reset ends it as well as a close.
        let _ended = soon("the end", self.stream.read_to_end(&mut read)).await;
        read
    }
}
