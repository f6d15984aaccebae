//! WebSocket peers: a server that echoes, and clients.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client;
use tokio_tungstenite::tungstenite::handshake::server;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
pub use tokio_tungstenite::tungstenite::{Error, Message};
pub use tokio_tungstenite::{WebSocketStream, tungstenite};

use crate::client::Stream;
use crate::soon;

/// What is read and written over.
pub type Socket = WebSocketStream<Box<dyn Stream>>;

const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");

/// A server that sends back what it gets. Of the subprotocols it is offered it takes the last.
#[derive(Debug)]
pub struct EchoPeer {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    handshakes: watch::Sender<Vec<HeaderMap>>,
    /// Sockets that are open.
    open: watch::Sender<usize>,
}

impl EchoPeer {
    /// Starts one.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts one that speaks TLS.
    pub async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::<Shared>::default();
        let serving = tokio::spawn(accept(listener, tls, Arc::clone(&shared)));
        Self { address, shared, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The fields of every handshake so far.
    pub fn handshakes(&self) -> Vec<HeaderMap> {
        self.shared.handshakes.borrow().clone()
    }

    /// Waits until so many sockets are open.
    pub async fn has_open(&self, count: usize) {
        let mut changes = self.shared.open.subscribe();
        let _open = soon(&format!("{count} open sockets"), changes.wait_for(|open| *open == count)).await;
    }
}

impl Drop for EchoPeer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut sockets = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while sockets.try_join_next().is_some() {}
        stream.set_nodelay(true).expect("a socket");
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        sockets.spawn(async move {
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    Err(_) => return,
                },
            };
            // Whoever breaks off is the other side's to notice.
            let _ended = echo(stream, &shared).await;
        });
    }
}

#[allow(clippy::result_large_err, reason = "the library's own type of a refusal, never made here")]
async fn echo(stream: Box<dyn Stream>, shared: &Shared) -> Result<(), Error> {
    let note = |request: &server::Request, mut response: server::Response| {
        shared.handshakes.send_modify(|handshakes| handshakes.push(request.headers().clone()));
        if let Some(offered) = request.headers().get(PROTOCOL).and_then(|offered| offered.to_str().ok()) {
            let last = offered.rsplit(',').next().unwrap_or_default().trim();
            response.headers_mut().insert(PROTOCOL, HeaderValue::from_str(last).expect("it was one before"));
        }
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async_with_config(stream, note, Some(unlimited())).await?;
    shared.open.send_modify(|open| *open += 1);
    let ended = async {
        while let Some(message) = socket.next().await {
            let message = message?;
            if message.is_text() || message.is_binary() {
                socket.send(message).await?;
            }
        }
        Ok(())
    }
    .await;
    shared.open.send_modify(|open| *open -= 1);
    ended
}

/// No limit of the library's own.
pub fn unlimited() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(None).max_frame_size(None)
}

/// Opens a WebSocket on `path`, with these fields in its handshake.
pub async fn connect(
    address: SocketAddr,
    path: &str,
    fields: &[(&str, &str)],
) -> Result<(Socket, client::Response), Error> {
    let stream = soon("a connection", TcpStream::connect(address)).await.map_err(Error::Io)?;
    stream.set_nodelay(true).map_err(Error::Io)?;
    over(Box::new(stream), path, fields).await
}

/// The same over a connection that is there.
pub async fn over(
    stream: Box<dyn Stream>,
    path: &str,
    fields: &[(&str, &str)],
) -> Result<(Socket, client::Response), Error> {
    let mut request = format!("ws://a.test{path}").into_client_request()?;
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    soon("a handshake", tokio_tungstenite::client_async_with_config(request, stream, Some(unlimited()))).await
}

/// Sends a message and reads the next.
pub async fn ask(socket: &mut Socket, message: Message) -> Message {
    soon("sending", socket.send(message)).await.expect("it is open");
    hear(socket).await
}

/// The next message.
pub async fn hear(socket: &mut Socket) -> Message {
    soon("a message", socket.next()).await.expect("it is open").expect("a message")
}

/// The code of the Close that comes, with nothing before it.
pub async fn closed(socket: &mut Socket) -> u16 {
    match hear(socket).await {
        Message::Close(Some(frame)) => frame.code.into(),
        other => panic!("expected a Close, not {other:?}"),
    }
}

/// Resets the connection instead of closing it.
pub fn reset(stream: TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}
