//! What stands behind the proxies: an origin in this process, on one thread.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

type Body = UnsyncBoxBody<Bytes, Infallible>;

const CHUNK: &[u8] = &[b'x'; 65_536];
/// A length-prefixed gRPC message of 32 bytes.
pub(crate) const MESSAGE: &[u8] = b"\0\0\0\0\x20\x0a\x1epppppppppppppppppppppppppppppp";

/// Where it listens.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) h1: u16,
    pub(crate) h2c: u16,
}

/// Starts it; it runs as long as the process.
pub(crate) fn start() -> Ports {
    let (told, ports) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let any: SocketAddr = ([127, 0, 0, 1], 0).into();
            let h1 = TcpListener::bind(any).await.expect("a free port");
            let h2c = TcpListener::bind(any).await.expect("a free port");
            let port = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
            told.send(Ports { h1: port(&h1), h2c: port(&h2c) }).expect("it is waited for");
            tokio::join!(serve(h1, false), serve(h2c, true));
        });
    });
    ports.recv().expect("the origin starts")
}

async fn serve(listener: TcpListener, multiplexed: bool) {
    while let Ok((stream, _)) = listener.accept().await {
        let _unset = stream.set_nodelay(true);
        tokio::spawn(async move {
            let io = TokioIo::new(stream);
            // A proxy that leaves is no error here.
            if multiplexed {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _left = builder.serve_connection(io, service_fn(answer)).await;
            } else {
                let _left = hyper::server::conn::http1::Builder::new().serve_connection(io, service_fn(answer)).await;
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path();
    if let Some(size) = path.strip_prefix("/bytes/").and_then(|size| size.parse::<usize>().ok()) {
        return Ok(sized(size));
    }
    let (grpc, sink) = (path.starts_with("/grpc/"), path == "/sink");
    if grpc || sink {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
    }
    if grpc {
        let trailers = HeaderMap::from_iter([(header::HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
        let frames = [Ok(Frame::data(Bytes::from_static(MESSAGE))), Ok(Frame::trailers(trailers))];
        let mut response = Response::new(StreamBody::new(stream::iter(frames)).boxed_unsync());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        return Ok(response);
    }
    Ok(Response::new(Full::new(Bytes::from_static(b"hello, world\n")).boxed_unsync()))
}

fn sized(size: usize) -> Response<Body> {
    let chunks = stream::unfold(size, |left| async move {
        let now = left.min(CHUNK.len());
        (now > 0).then(|| (Ok(Frame::data(Bytes::from_static(&CHUNK[..now]))), left - now))
    });
    let mut response = Response::new(StreamBody::new(chunks).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    response
}
