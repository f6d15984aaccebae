//! TLS towards clients: certificates chosen by the name they ask for, client certificates, resumption by tickets.
//!
//! Nothing of a session is kept here: tickets are sealed by a key that all workers share and that changes by itself. A
//! listener's tickets are of no use on another, nor after what it asks of clients changed, because a resumed session is
//! not asked for a certificate again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerConfig, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureScheme};
use tokio_rustls::TlsAcceptor;

use super::certificate;
use crate::base::clock::Timestamp;
use crate::base::pem::{self, PemError};
use crate::config::plan::{CertificateFiles, ClientAuth, ListenerTls};
use crate::config::problem::Span;

/// The protocols that are spoken, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The most of a response that waits encrypted for the socket.
pub(super) const UNSENT_MAX: usize = 64 << 10;

/// How a listener speaks TLS.
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
    tickets: Arc<dyn ProducesTickets>,
    clients: Option<(ClientAuth, RootCertStore)>,
    certificates: Vec<Certificate>,
}

/// A certificate that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where it came from.
    pub file: PathBuf,
    /// `None` when its end cannot be read.
    pub expires: Option<Timestamp>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

/// What cannot be served, and the place of the key that asks for it.
pub type Unfit = (Span, String);

impl Tls {
    /// Reads the files that `plan` names. What clients resumed with `before` goes on, where they are asked for the same.
    pub fn load(plan: &ListenerTls, before: Option<&Self>) -> Result<Self, Vec<Unfit>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut unfit = Vec::new();
        let mut served = Served::default();
        for files in &plan.certificates {
            match pem::identity(&files.certificate.path, &files.key.path, &provider) {
                Ok(identity) => served.add(files, identity, &mut unfit),
                Err(error) => unfit.push((place(files, &error), error.to_string())),
            }
        }
        let clients = plan.client_ca.as_ref().and_then(|ca| match pem::roots(&ca.path) {
            Ok(roots) => Some((plan.client_auth, roots)),
            Err(error) => {
                unfit.push((ca.at, error.to_string()));
                None
            }
        });
        if !unfit.is_empty() {
            return Err(unfit);
        }
        let Served { names, default, certificates } = served;
        let tickets = match before.filter(|before| before.asks_for(&clients)) {
            Some(before) => Arc::clone(&before.tickets),
            None => aws_lc_rs::Ticketer::new().map_err(|error| here(plan, &error))?,
        };
        let resolver = Arc::new(Certificates { names, default });
        let config =
            config(&provider, clients.as_ref(), resolver, Arc::clone(&tickets)).map_err(|why| here(plan, &why))?;
        Ok(Self { acceptor: Arc::new(config).into(), tickets, clients, certificates })
    }

    /// The certificates in use.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Whether it asks clients for the same certificates.
    pub(super) fn asks_as(&self, other: &Self) -> bool {
        self.asks_for(&other.clients)
    }

    fn asks_for(&self, clients: &Option<(ClientAuth, RootCertStore)>) -> bool {
        match (&self.clients, clients) {
            (None, None) => true,
            (Some((auth, roots)), Some((other_auth, others))) => auth == other_auth && roots.roots == others.roots,
            _ => false,
        }
    }
}

/// The key of the pair that names the file that is to be mended.
fn place(files: &CertificateFiles, error: &PemError) -> Span {
    if error.file == files.certificate.path { files.certificate.at } else { files.key.at }
}

/// A problem with no file of its own.
fn here(plan: &ListenerTls, why: &dyn std::fmt::Display) -> Vec<Unfit> {
    let at = plan.client_ca.as_ref().or(plan.certificates.first().map(|first| &first.certificate));
    vec![(at.map(|file| file.at).unwrap_or_default(), format!("TLS cannot be served: {why}"))]
}

fn config(
    provider: &Arc<CryptoProvider>,
    clients: Option<&(ClientAuth, RootCertStore)>,
    resolver: Arc<Certificates>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some((auth, roots)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), Arc::clone(provider));
            let verifier = match auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.ticketer = tickets;
    // Tickets are enough, and a cache would be a lock that all workers share.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

type Names = HashMap<String, Vec<Arc<CertifiedKey>>>;

/// What the configured certificates come to.
#[derive(Default)]
struct Served {
    names: Names,
    default: Vec<Arc<CertifiedKey>>,
    certificates: Vec<Certificate>,
}

impl Served {
    /// The first one is the default, and so are others for the same names, which differ in the kind of their key.
    fn add(&mut self, files: &CertificateFiles, identity: CertifiedKey, unfit: &mut Vec<Unfit>) {
        let (identity, leaf) = (Arc::new(identity.clone()), &identity.cert[0]);
        let (names, file) = (certificate::names(leaf), files.certificate.path.clone());
        let first = self.default.first().map(|first| certificate::names(&first.cert[0]));
        if first.is_none() || first.as_ref() == Some(&names) {
            self.default.push(Arc::clone(&identity));
        } else if names.is_empty() {
            let message = format!(
                "the certificate in {} names no host (subjectAltName), so that it is never chosen",
                file.display()
            );
            unfit.push((files.certificate.at, message));
        }
        for name in names {
            self.names.entry(name).or_default().push(Arc::clone(&identity));
        }
        self.certificates.push(Certificate { file, expires: certificate::expires(leaf) });
    }
}

/// Chooses by the name a client asks for: exact, then by wildcard, then the default.
#[derive(Debug)]
struct Certificates {
    names: Names,
    default: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    fn of(&self, name: &str) -> &[Arc<CertifiedKey>] {
        let name = name.to_ascii_lowercase();
        let wildcard = || Some(format!("*.{}", name.split_once('.')?.1));
        let found = self.names.get(&name).or_else(|| self.names.get(&wildcard()?));
        found.unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = hello.server_name().map_or(&self.default[..], |name| self.of(name));
        best(candidates, hello.signature_schemes())
    }
}

/// The first whose key the client can check, else the first, with which the handshake fails and says why.
fn best(candidates: &[Arc<CertifiedKey>], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
    let fits = |identity: &&Arc<CertifiedKey>| identity.key.choose_scheme(schemes).is_some();
    candidates.iter().find(fits).or(candidates.first()).cloned()
}
