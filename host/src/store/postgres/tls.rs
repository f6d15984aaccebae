//! TLS towards the database: whom to trust, who we are.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use super::super::StoreError;
use crate::base::pem;
use crate::base::trust::{Anyone, system_roots};
use crate::config::plan::{Postgres, PostgresTls};

/// What the driver asks for TLS.
#[derive(Clone)]
pub(super) struct Tls {
    /// `None` where nothing is encrypted.
    config: Option<Arc<ClientConfig>>,
}

impl Tls {
    pub(super) fn of(plan: &Postgres) -> Result<Self, StoreError> {
        if plan.tls == PostgresTls::Disable {
            return Ok(Self { config: None });
        }
        config(plan).map(|config| Self { config: Some(Arc::new(config)) }).map_err(StoreError::Failed)
    }
}

fn config(plan: &Postgres) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = match (&plan.root_certificate, plan.tls) {
        (Some(file), _) => pem::roots(file).map_err(|error| error.to_string())?,
        (None, PostgresTls::VerifyFull) => system_roots().map_err(|why| format!("{why}, or write sslrootcert"))?,
        (None, PostgresTls::Require | PostgresTls::Disable) => RootCertStore::empty(),
    };
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = match plan.tls {
        PostgresTls::VerifyFull => builder.with_root_certificates(roots),
        PostgresTls::Require | PostgresTls::Disable => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone::new(provider.clone())))
        }
    };
    Ok(match &plan.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let identity = pem::identity(certificate, key, &provider).map_err(|error| error.to_string())?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
        }
    })
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        // The driver asks before it knows whether there will be a handshake, and where the server's socket is a file, too.
        let name = ServerName::try_from(host.to_owned()).or_else(|_| ServerName::try_from("localhost"));
        let connector = self.config.clone().map(TlsConnector::from);
        Ok(Handshake { connector, name: name.map_err(io::Error::other)? })
    }
}

/// One handshake to be.
pub(super) struct Handshake {
    connector: Option<TlsConnector>,
    name: ServerName<'static>,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let plain = || io::Error::other("the connection is configured to be plain");
            let stream = self.connector.ok_or_else(plain)?.connect(self.name, socket).await?;
            Ok(Encrypted(Box::new(stream)))
        })
    }
}

/// An encrypted connection.
pub(super) struct Encrypted(Box<tokio_rustls::client::TlsStream<Socket>>);

impl TlsStream for Encrypted {
    /// SCRAM without binding to the channel: with verify-full the channel is the server's already.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}
