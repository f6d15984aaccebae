//! Upstreams that speak HTTP/2 and are answered by hand, a client that does, and certificates.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tollgate::config::plan::Plan;

use crate::support::{BASE, TestGateway, soon};

/// The plan of [`BASE`] and `toml`, read as if it were in `folder`.
pub fn plan_in(folder: &Path, toml: &str) -> Plan {
    let read = tollgate::config::parse(&format!("{BASE}{toml}"), &folder.join("tollgate.toml"));
    read.unwrap_or_else(|problems| panic!("{problems}"))
}

/// The plan of [`BASE`] and a product `up` at `urls`, serving every path; `rest` goes into its table.
pub fn plan_with(urls: &[String], rest: &str) -> Plan {
    let toml =
        format!("[route.up]\npath = \"/{{*rest}}\"\nproduct = \"up\"\n[product.up]\nupstreams = {urls:?}\n{rest}");
    plan_in(Path::new("/"), &toml)
}

/// A request as an HTTP/2 upstream gets it.
pub struct Asked {
    /// Which of the upstream's connections it came on, counted from 1.
    pub connection: usize,
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
}

impl Asked {
    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    pub fn ok(mut self, body: &str) {
        let mut stream = self.respond.send_response(Response::new(()), false).expect("takes a head");
        stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true).expect("takes a body");
    }

    pub fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// The whole body and its trailers.
    pub async fn body(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let mut read = vec![];
        let body = self.request.body_mut();
        while let Some(data) = soon(body.data()).await {
            let data = data.expect("not broken");
            body.flow_control().release_capacity(data.len()).expect("within the window");
            read.extend_from_slice(&data);
        }
        (read, soon(body.trailers()).await.expect("not broken"))
    }

    /// Resolves when the gateway gives the request up; how.
    pub async fn given_up(&mut self) -> Reason {
        soon(std::future::poll_fn(|cx| self.respond.poll_reset(cx))).await.expect("a reset")
    }
}

/// What an upstream's connection is told to do.
pub enum Order {
    /// Take no more requests, end those under way.
    GoAway,
    /// Break off.
    Cut,
}

/// An upstream that speaks HTTP/2.
pub struct H2Upstream {
    pub address: SocketAddr,
    asked: mpsc::UnboundedReceiver<Asked>,
    orders: mpsc::UnboundedReceiver<mpsc::UnboundedSender<Order>>,
}

impl H2Upstream {
    pub async fn start() -> Self {
        Self::taking(h2::server::Builder::new()).await
    }

    /// One that takes so many requests at once on a connection.
    pub async fn at_most(streams: u32) -> Self {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(streams);
        Self::taking(builder).await
    }

    async fn taking(builder: h2::server::Builder) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let (asks, asked) = mpsc::unbounded_channel();
        let (order_ends, orders) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            for number in 1.. {
                let Ok((stream, _)) = listener.accept().await else { break };
                let (sender, receiver) = mpsc::unbounded_channel();
                let _nobody_orders = order_ends.send(sender);
                tokio::spawn(serve(stream, builder.clone(), number, asks.clone(), receiver));
            }
        });
        Self { address, asked, orders }
    }

    pub fn url(&self) -> String {
        format!("h2c://{}", self.address)
    }

    pub async fn asked(&mut self) -> Asked {
        soon(self.asked.recv()).await.expect("the upstream runs")
    }

    /// Whether nothing was asked that was not looked at.
    pub fn is_untouched(&mut self) -> bool {
        self.asked.try_recv().is_err()
    }

    /// Orders for the next connection that was made.
    pub async fn connection(&mut self) -> mpsc::UnboundedSender<Order> {
        soon(self.orders.recv()).await.expect("the upstream runs")
    }
}

/// Serves one connection; ends when the gateway closes it.
pub async fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    builder: h2::server::Builder,
    number: usize,
    asks: mpsc::UnboundedSender<Asked>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            Some(order) = orders.recv() => match order {
                Order::GoAway => {
                    connection.graceful_shutdown();
                    continue;
                }
                Order::Cut => return,
            },
        };
        let Some(Ok((request, respond))) = accepted else { return };
        let _nobody_looks = asks.send(Asked { connection: number, request, respond });
    }
}

pub type BoxBody = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;
pub type H2Client = hyper::client::conn::http2::SendRequest<BoxBody>;

/// An HTTP/2 client: all it asks is served by one worker.
pub async fn client(gateway: &TestGateway) -> H2Client {
    let stream = TcpStream::connect(gateway.address).await.expect("connects");
    stream.set_nodelay(true).expect("sets");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("shakes hands");
    tokio::spawn(connection);
    sender
}

/// A GET, on its way.
pub fn get(client: &H2Client, path: &str) -> tokio::task::JoinHandle<(u16, String)> {
    let body = http_body_util::Empty::new().boxed_unsync();
    ask(client, Request::get(format!("http://api.test{path}")).body(body).expect("a request"))
}

/// A request, on its way: status and body.
pub fn ask(client: &H2Client, request: Request<BoxBody>) -> tokio::task::JoinHandle<(u16, String)> {
    let mut client = client.clone();
    tokio::spawn(async move {
        let response = soon(client.send_request(request)).await.expect("an answer");
        let status = response.status().as_u16();
        let body = soon(response.into_body().collect()).await.expect("whole").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    })
}
