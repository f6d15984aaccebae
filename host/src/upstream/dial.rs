//! Handshakes: a socket becomes a connection that takes requests.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Outgoing;
use super::error::UpstreamError;
use super::multiplex::Shared;
use super::pool::{Endpoint, Version};
use super::slots::Slot;
use super::{Upstream, connect};
use crate::config::plan::UpstreamScheme;

/// The least that is read at once: a response's head must fit.
const READ_MIN: usize = 16 * 1024;

/// What one read of an HTTP/1.1 response takes at most. For a reader that is slow four of them wait (read, on its way,
/// handed over, being written); more, smaller reads cost a fast one time.
fn read_max(buffer: usize) -> usize {
    (buffer / 2).max(READ_MIN)
}

/// A connection just made.
pub(super) enum Dialled {
    /// For one request at a time.
    Plain(SendRequest<Outgoing>, SocketAddr, Slot),
    /// For many.
    Shared(Arc<Shared>),
}

impl Upstream {
    /// A new connection to `endpoint` in the place of `slot`.
    pub(super) async fn dial(
        &self,
        endpoint: &Arc<Endpoint>,
        version: Version,
        slot: Slot,
    ) -> Result<Dialled, UpstreamError> {
        let (stream, peer) = connect::tcp(&endpoint.names, self.plan.rule.as_ref()).await?;
        if endpoint.url.scheme != UpstreamScheme::Https {
            return match version {
                Version::Multiplexed => self.multiplexed(stream, peer, slot).await,
                Version::Plain | Version::Negotiated => self.plain(stream, peer, slot).await,
            };
        }
        let tls = self.plan.tls.as_ref().ok_or(UpstreamError::Tls)?;
        let stream = tls.connect(&endpoint.url, stream, version).await.map_err(|error| {
            tracing::warn!(product = %self.plan.product, upstream = %endpoint.url, %error, "no TLS with the upstream");
            UpstreamError::Tls
        })?;
        match (version, stream.get_ref().1.alpn_protocol()) {
            (Version::Plain, Some(b"h2")) => Err(UpstreamError::Protocol),
            (_, Some(b"h2")) => self.multiplexed(stream, peer, slot).await,
            // It passed over what it was offered.
            (Version::Multiplexed, _) => Err(UpstreamError::Protocol),
            (Version::Plain | Version::Negotiated, _) => self.plain(stream, peer, slot).await,
        }
    }

    async fn plain<T>(&self, io: T, peer: SocketAddr, slot: Slot) -> Result<Dialled, UpstreamError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(read_max(self.plan.buffer_bytes))
            .handshake(TokioIo::new(io))
            .await
            .map_err(|_| UpstreamError::Connect)?;
        // It ends when the sender is dropped, the upstream closes or switches; what went wrong is told to the sender.
        tokio::spawn(connection.with_upgrades());
        Ok(Dialled::Plain(sender, peer, slot))
    }

    async fn multiplexed<T>(&self, io: T, peer: SocketAddr, slot: Slot) -> Result<Dialled, UpstreamError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Shared::handshake(io, peer, self.plan.buffer_bytes, &self.slots, slot).await;
        shared.map(Dialled::Shared).map_err(|_| UpstreamError::Connect)
    }
}
