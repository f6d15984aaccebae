//! Products: real HTTP servers that answer by a script and remember every delivery.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::signing::hex;
use crate::soon;

/// How much of a body is kept; its digest is over all of it.
const KEPT_MAX: usize = 64 * 1024;

/// What a peer does with one request, once it has read it.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers this status.
    Status(u16),
    /// Answers this status with a field.
    With(u16, &'static str, String),
    /// Waits to be [released](Peer::release), then answers 200.
    Hold,
    /// Streams an event at once, and one each such time until it is [released](Peer::release); without a time just the
    /// one, and then nothing.
    Events(Option<Duration>),
    /// Never answers.
    Hang,
    /// Closes the connection.
    Close,
}

/// One request that reached a peer whole.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// Its fields.
    pub headers: HeaderMap,
    /// The first 64 KiB of its body.
    pub body: Bytes,
    /// The length of its body.
    pub length: u64,
    /// The hex SHA-256 of its body.
    pub sha256: String,
}

impl Delivery {
    /// A field's text; empty when it is not there.
    pub fn field(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The event it is of.
    pub fn id(&self) -> &str {
        self.field("tollgate-id")
    }

    /// Which attempt it is.
    pub fn attempt(&self) -> u32 {
        self.field("tollgate-attempt").parse().expect("a number")
    }
}

/// A product.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    script: Mutex<VecDeque<Reply>>,
    then: Reply,
    deliveries: watch::Sender<Vec<Arc<Delivery>>>,
    /// Requests read and not answered yet: now, and the most at once.
    open: watch::Sender<(usize, usize)>,
    released: watch::Sender<bool>,
}

impl Peer {
    /// Answers the next requests by `script`, and whatever comes after with 200.
    pub async fn scripted<const N: usize>(script: [Reply; N]) -> Self {
        Self::serve("127.0.0.1:0".parse().expect("an address"), script.into(), Reply::Status(200)).await
    }

    /// Answers every request alike.
    pub async fn answering(reply: Reply) -> Self {
        Self::serve("127.0.0.1:0".parse().expect("an address"), VecDeque::new(), reply).await
    }

    /// Listens where another did, and answers 200.
    pub async fn at(address: SocketAddr) -> Self {
        Self::serve(address, VecDeque::new(), Reply::Status(200)).await
    }

    async fn serve(address: SocketAddr, script: VecDeque<Reply>, then: Reply) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port to listen on");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            then,
            deliveries: watch::Sender::new(Vec::new()),
            open: watch::Sender::new((0, 0)),
            released: watch::Sender::new(false),
        });
        let serving = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Self { address, shared, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A product table for it.
    pub fn product(&self, name: &str) -> String {
        format!("[product.{name}]\nupstreams = [\"http://{}\"]\n", self.address)
    }

    /// What reached it so far.
    pub fn deliveries(&self) -> Vec<Arc<Delivery>> {
        self.shared.deliveries.borrow().clone()
    }

    /// What reached it of one event so far.
    pub fn deliveries_of(&self, id: &str) -> Vec<Arc<Delivery>> {
        self.deliveries().into_iter().filter(|delivery| delivery.id() == id).collect()
    }

    /// Waits until at least so many reached it.
    pub async fn delivered(&self, count: usize) -> Vec<Arc<Delivery>> {
        let mut changes = self.shared.deliveries.subscribe();
        let enough = changes.wait_for(|deliveries| deliveries.len() >= count);
        soon(&format!("{count} deliveries"), enough).await.expect("the peer lives").clone()
    }

    /// Waits until so many requests are read and not answered.
    pub async fn holds(&self, count: usize) {
        let mut changes = self.shared.open.subscribe();
        let _held = soon(&format!("{count} held requests"), changes.wait_for(|open| open.0 >= count)).await;
    }

    /// The most requests that were read and not answered at once.
    pub fn most_at_once(&self) -> usize {
        self.shared.open.borrow().1
    }

    /// Answers what is held, and from now on holds nothing.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, &shared));
            // A connection that breaks, or is closed by the script, is the gateway's to notice.
            let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Answered = Response<BoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>, shared: &Shared) -> io::Result<Answered> {
    let delivery = read(request).await?;
    let reply = {
        let mut script = shared.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.pop_front().unwrap_or_else(|| shared.then.clone())
    };
    shared.open.send_modify(|(now, most)| {
        *now += 1;
        *most = (*most).max(*now);
    });
    shared.deliveries.send_modify(|deliveries| deliveries.push(Arc::new(delivery)));
    let answered = reply_with(reply, shared).await;
    shared.open.send_modify(|(now, _)| *now -= 1);
    answered
}

async fn reply_with(reply: Reply, shared: &Shared) -> io::Result<Answered> {
    let response = match reply {
        Reply::Status(status) => Response::builder().status(status),
        Reply::With(status, name, value) => Response::builder().status(status).header(name, value),
        Reply::Hold => {
            let mut released = shared.released.subscribe();
            let waited = released.wait_for(|released| *released).await.map(|_| ());
            waited.map_err(io::Error::other)?;
            Response::builder()
        }
        Reply::Events(every) => {
            let response = Response::builder().header("content-type", "text/event-stream");
            let events = BodyExt::boxed(Events::start(every, shared.released.subscribe()));
            return response.body(events).map_err(io::Error::other);
        }
        Reply::Hang => std::future::pending::<Result<_, Infallible>>().await.expect("never comes"),
        Reply::Close => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    response.body(Full::new(Bytes::from_static(b"ok")).boxed()).map_err(io::Error::other)
}

/// A stream of events.
struct Events(mpsc::Receiver<Bytes>);

impl Events {
    /// It ends when it is released.
    fn start(every: Option<Duration>, mut released: watch::Receiver<bool>) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            for number in 1.. {
                if sender.send(format!("data: {number}\n\n").into()).await.is_err() {
                    return;
                }
                let pause = async {
                    match every {
                        Some(every) => tokio::time::sleep(every).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = pause => {}
                    _ = released.wait_for(|released| *released) => return,
                    () = sender.closed() => return,
                }
            }
        });
        Self(receiver)
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

async fn read(request: Request<Incoming>) -> io::Result<Delivery> {
    let (head, mut body) = request.into_parts();
    let (mut digest, mut kept, mut length) = (Sha256::new(), Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
        digest.update(&data);
        length += data.len() as u64;
        let room = KEPT_MAX - kept.len();
        kept.extend_from_slice(&data[..room.min(data.len())]);
    }
    Ok(Delivery {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers,
        body: kept.into(),
        length,
        sha256: hex(&digest.finalize()),
    })
}
