//! The admin listener's connections. Bounded in number and in life, so that no client that stops reading can keep
//! probes and operators out for long.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Admin;
use crate::base::drain::Drain;

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;
/// To send a request's head, and to stay silent between two.
const HEAD: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// A connection takes no new request after this.
const LIFE: Duration = Duration::from_secs(600);
/// What the last answer of a connection may take once no new request is taken.
const LAST_ANSWER: Duration = Duration::from_secs(60);
/// The same when the gateway stops.
const LAST_ANSWER_AT_STOP: Duration = Duration::from_secs(5);
/// After an accept that failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

impl Admin {
    /// Answers until `drain` starts. The drain is done when every answer under way was given, or a few seconds later.
    pub async fn serve(self: Arc<Self>, listener: std::net::TcpListener, drain: Drain) {
        let _serving = drain.guard();
        match asynchronous(listener) {
            Ok(listener) => self.accept(&listener, &drain).await,
            Err(error) => tracing::error!(%error, "the admin listener does not serve"),
        }
    }

    async fn accept(self: Arc<Self>, listener: &TcpListener, drain: &Drain) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // A permit, then a connection: what is not accepted waits in the kernel's queue, not in memory.
            let accepted = async {
                let permit = permits.clone().acquire_owned().await;
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                accepted = accepted => accepted,
                () = drain.wait() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (admin, guard) = (self.clone(), drain.guard());
                    tokio::spawn(async move {
                        admin.connection(stream, guard.drain()).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin listener cannot accept");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    async fn connection(&self, stream: TcpStream, drain: &Drain) {
        let service =
            service_fn(|request: Request<Incoming>| async { Ok::<_, Infallible>(self.answer(request).await) });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
        let last_answer = tokio::select! {
            // A client that breaks off or speaks something else ends its own connection.
            _ended = connection.as_mut() => return,
            () = tokio::time::sleep(LIFE) => LAST_ANSWER,
            () = drain.wait() => LAST_ANSWER_AT_STOP,
        };
        connection.as_mut().graceful_shutdown();
        let _ended = timeout(last_answer, connection).await;
    }
}

fn asynchronous(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
