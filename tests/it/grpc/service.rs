//! A service of gRPC, written by hand on tonic, with its clients.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt as _, stream};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ClientConfig;
use tollgate_tests::{eventually, soon, tls};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::metadata::{KeyAndValueRef, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The one message there is.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Note {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) payload: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(crate) number: u32,
}

impl Note {
    pub(crate) fn new(payload: impl AsRef<[u8]>, number: u32) -> Self {
        Self { payload: payload.as_ref().to_vec(), number }
    }
}

pub(crate) fn codec() -> ProstCodec<Note, Note> {
    ProstCodec::default()
}

type Notes = Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;

/// What the service saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<State>);

#[derive(Debug)]
struct State {
    open: watch::Sender<usize>,
    sent: AtomicU64,
    taken: AtomicU64,
    metadata: Mutex<MetadataMap>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            open: watch::Sender::new(0),
            sent: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            metadata: Mutex::default(),
        }
    }
}

/// Held while a call is under way; hyper lets go of it when the stream is reset.
struct Open(Seen);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.open.send_modify(|count| *count -= 1);
    }
}

impl Seen {
    fn begin(&self) -> Open {
        self.0.open.send_modify(|count| *count += 1);
        Open(self.clone())
    }

    /// Waits until so many calls are under way.
    pub(crate) async fn under_way(&self, count: usize) {
        let what = format!("{count} calls under way");
        soon(&what, self.0.open.subscribe().wait_for(|open| *open == count)).await.unwrap();
    }

    /// Messages that were sent without end, so far.
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Messages taken of a client's stream, so far.
    pub(crate) fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// What came with the last call.
    pub(crate) fn metadata(&self) -> MetadataMap {
        self.0.metadata.lock().unwrap().clone()
    }

    async fn call(self, request: http::Request<Body>) -> http::Response<Body> {
        let path = request.uri().path().to_owned();
        if path.starts_with("/grpc.health.v1.Health/") {
            let (_reporter, mut health) = tonic_health::server::health_reporter();
            return health.call(request).await.unwrap();
        }
        if path.starts_with("/grpc.reflection.v1.ServerReflection/") {
            let known = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            return known.build_v1().unwrap().call(request).await.unwrap();
        }
        *self.0.metadata.lock().unwrap() = MetadataMap::from_headers(request.headers().clone());
        let mut grpc = tonic::server::Grpc::new(codec()).max_decoding_message_size(usize::MAX);
        match path.as_str() {
            "/test.Notes/Echo" => grpc.unary(Handler(move |note| self.clone().echo(note)), request).await,
            "/test.Notes/Fail" => grpc.unary(Handler(async |_: Request<Note>| failed()), request).await,
            "/test.Notes/Hang" => {
                let hang = move |_: Request<Note>| {
                    let open = self.begin();
                    async move {
                        let _open = open;
                        std::future::pending::<Result<Response<Note>, Status>>().await
                    }
                };
                grpc.unary(Handler(hang), request).await
            }
            "/test.Notes/Count" => grpc.server_streaming(Handler(async |note| count(note)), request).await,
            "/test.Notes/Sum" => grpc.client_streaming(Handler(sum), request).await,
            "/test.Notes/Chat" => grpc.streaming(Handler(move |notes| chat(notes, self.begin())), request).await,
            "/test.Notes/Flood" => grpc.server_streaming(Handler(move |_| self.clone().flood()), request).await,
            "/test.Notes/Slow" => grpc.client_streaming(Handler(move |notes| self.clone().slow(notes)), request).await,
            "/test.Notes/Refuse" => grpc.client_streaming(Handler(refuse), request).await,
            _ => Status::unimplemented("there is no such method").into_http(),
        }
    }

    /// The same note, and what metadata came with it.
    async fn echo(self, request: Request<Note>) -> Result<Response<Note>, Status> {
        let (metadata, _, Note { payload, number }) = request.into_parts();
        let mut response = Response::new(Note { payload, number: number + 1 });
        for entry in metadata.iter() {
            match entry {
                KeyAndValueRef::Ascii(name, value) if name.as_str().starts_with("x-") => {
                    response.metadata_mut().append(name.clone(), value.clone());
                }
                KeyAndValueRef::Binary(name, value) => {
                    response.metadata_mut().append_bin(name.clone(), value.clone());
                }
                KeyAndValueRef::Ascii(..) => {}
            }
        }
        Ok(response)
    }

    /// Notes of 64 KiB, without end.
    async fn flood(self) -> Result<Response<Notes>, Status> {
        let open = self.begin();
        let notes = stream::repeat(Note::new(vec![b'x'; 64 << 10], 0)).map(move |note| {
            open.0.0.sent.fetch_add(1, Ordering::Relaxed);
            Ok(note)
        });
        Ok(Response::new(notes.boxed()))
    }

    /// Takes one note and then no more.
    async fn slow(self, request: Request<Streaming<Note>>) -> Result<Response<Note>, Status> {
        let _open = self.begin();
        let mut notes = request.into_inner();
        notes.message().await?;
        self.0.taken.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

/// A refusal with text, details and metadata, in a response that is nothing else.
fn failed() -> Result<Response<Note>, Status> {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-why", "because".parse().unwrap());
    metadata.insert_bin("x-why-bin", MetadataValue::from_bytes(b"\0\xff"));
    Err(Status::with_details_and_metadata(Code::NotFound, "no \u{201c}note\u{201d}: 100 %", "details".into(), metadata))
}

/// As many notes as the first says, then an end as its payload says.
fn count(request: Request<Note>) -> Result<Response<Notes>, Status> {
    let Note { payload, number } = request.into_inner();
    let notes = stream::iter((0..number).map(|number| Ok(Note::new(b"", number))));
    if payload.is_empty() {
        return Ok(Response::new(notes.boxed()));
    }
    let mut end = Status::data_loss("lost the rest");
    end.metadata_mut().insert("x-lost", "7".parse().unwrap());
    Ok(Response::new(notes.chain(stream::once(async move { Err(end) })).boxed()))
}

async fn sum(request: Request<Streaming<Note>>) -> Result<Response<Note>, Status> {
    let mut notes = request.into_inner();
    let mut sum = Note::default();
    while let Some(note) = notes.message().await? {
        sum.number += note.number;
        sum.payload.extend(note.payload);
    }
    Ok(Response::new(sum))
}

/// Each note again, once it has come.
async fn chat(request: Request<Streaming<Note>>, open: Open) -> Result<Response<Notes>, Status> {
    let said = request.into_inner().map(move |note| {
        let _open = &open;
        note
    });
    Ok(Response::new(said.boxed()))
}

/// Says no without having read anything.
async fn refuse(_: Request<Streaming<Note>>) -> Result<Response<Note>, Status> {
    Err(Status::permission_denied("not you"))
}

/// A function as a service.
#[derive(Clone)]
struct Handler<F>(F);

impl<F, Fut, R, A, E> Service<R> for Handler<F>
where
    F: FnMut(R) -> Fut,
    Fut: Future<Output = Result<A, E>>,
{
    type Response = A;
    type Error = E;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Fut {
        (self.0)(request)
    }
}

/// Serves the service; with TLS when there is an acceptor.
pub(crate) async fn serve(seen: &Seen, acceptor: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let (seen, acceptor) = (seen.clone(), acceptor.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let seen = seen.clone();
                    async move { Ok::<_, Infallible>(seen.call(request.map(Body::new)).await) }
                });
                let builder = http2::Builder::new(TokioExecutor::new());
                // Whoever leaves early leaves.
                let _left = match acceptor {
                    None => builder.serve_connection(TokioIo::new(stream), service).await,
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(stream) => builder.serve_connection(TokioIo::new(stream), service).await,
                        Err(_) => return,
                    },
                };
            });
        }
    });
    address
}

/// A client of the service at `address`.
pub(crate) async fn connect(address: SocketAddr) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    Client { grpc: grpc(soon("a connection", endpoint.connect()).await.unwrap()) }
}

/// A client that asks for `host` over TLS.
pub(crate) async fn connect_tls(address: SocketAddr, host: &'static str, config: Arc<ClientConfig>) -> Client {
    let endpoint = Endpoint::from_shared(format!("https://{host}")).unwrap();
    let connector = Handler(move |_: http::Uri| {
        let config = config.clone();
        async move { tls::connect(address, host, &config).await.map(TokioIo::new) }
    });
    Client { grpc: grpc(soon("a connection", endpoint.connect_with_connector(connector)).await.unwrap()) }
}

fn grpc(channel: Channel) -> tonic::client::Grpc<Channel> {
    tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX)
}

/// Calls the service.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    grpc: tonic::client::Grpc<Channel>,
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/test.Notes/{method}").parse().unwrap()
}

impl Client {
    pub(crate) fn channel(address: SocketAddr) -> Channel {
        Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
    }

    async fn ready(&self) -> tonic::client::Grpc<Channel> {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.unwrap();
        grpc
    }

    pub(crate) async fn unary(&self, method: &str, request: Request<Note>) -> Result<Response<Note>, Status> {
        let mut grpc = self.ready().await;
        soon(method, grpc.unary(request, path(method), codec())).await
    }

    pub(crate) async fn server_stream(&self, method: &str, note: Note) -> Result<Response<Streaming<Note>>, Status> {
        let mut grpc = self.ready().await;
        soon(method, grpc.server_streaming(Request::new(note), path(method), codec())).await
    }

    pub(crate) async fn client_stream(
        &self,
        method: &str,
        notes: impl Stream<Item = Note> + Send + 'static,
    ) -> Result<Response<Note>, Status> {
        let mut grpc = self.ready().await;
        soon(method, grpc.client_streaming(Request::new(notes), path(method), codec())).await
    }

    pub(crate) async fn both_ways(
        &self,
        method: &str,
        notes: impl Stream<Item = Note> + Send + 'static,
    ) -> Result<Response<Streaming<Note>>, Status> {
        let mut grpc = self.ready().await;
        soon(method, grpc.streaming(Request::new(notes), path(method), codec())).await
    }
}

/// Waits until `count` no longer changes.
pub(crate) async fn at_rest(count: impl Fn() -> u64) -> u64 {
    let rest = std::time::Duration::from_millis(500);
    eventually("a rest", async || {
        let before = count();
        tokio::time::sleep(rest).await;
        (count() == before).then_some(before)
    })
    .await
}
