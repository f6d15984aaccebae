//! TLS towards upstreams: whom to trust, who we are, what name to ask for. From the configuration or, which wins, from
//! the environment; the files are read again on every reload.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::pool::Version;
use crate::base::digest::Digest;
use crate::base::names::ProductName;
use crate::base::pem;
use crate::base::trust::{Anyone, system_roots};
use crate::config::plan::{self, Plan, Product, UpstreamUrl};
use crate::config::problem::Problems;

/// Reads a variable of the environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// TLS towards the upstreams of one product.
pub struct Tls {
    /// HTTP/2 or HTTP/1.1, as the upstream likes.
    negotiated: Arc<ClientConfig>,
    /// HTTP/2 and nothing else.
    multiplexed: Arc<ClientConfig>,
    /// HTTP/1.1 and nothing else.
    plain: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    /// Whether anyone may claim to be the upstream.
    pub insecure: bool,
    /// Of all it was made from: while this stays the same, so do connections.
    fingerprint: Digest,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Tls {}

impl Tls {
    pub(super) async fn connect(
        &self,
        url: &UpstreamUrl,
        stream: TcpStream,
        version: Version,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(url.host.clone()).map_err(io::Error::other)?,
        };
        let config = match version {
            Version::Multiplexed => &self.multiplexed,
            Version::Plain => &self.plain,
            Version::Negotiated => &self.negotiated,
        };
        TlsConnector::from(Arc::clone(config)).connect(name, stream).await
    }
}

/// What the configuration and the environment say together.
struct Wanted {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    server_name: Option<String>,
    insecure: bool,
}

impl Wanted {
    fn of(name: &ProductName, product: &Product, env: Env<'_>) -> Result<Self, String> {
        let variable = |ending: &str| format!("{}_TLS_{ending}", plan::environment_name(name));
        let set = |ending: &str| env(&variable(ending)).filter(|value| !value.is_empty());
        let file = |ending: &str, written: &Option<PathBuf>| set(ending).map(PathBuf::from).or_else(|| written.clone());
        let text = |ending: &str| match set(ending).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(format!("the environment variable {} is not text", variable(ending))),
        };
        let insecure = match text("INSECURE_SKIP_VERIFY")?.as_deref() {
            None | Some("0" | "false") => false,
            Some("1" | "true") => true,
            Some(_) => {
                let variable = variable("INSECURE_SKIP_VERIFY");
                return Err(format!("the environment variable {variable} should be 1, true, 0 or false"));
            }
        };
        let plan = &product.tls;
        Ok(Self {
            ca: file("CA_FILE", &plan.ca),
            certificate: file("CERT_FILE", &plan.certificate),
            key: file("KEY_FILE", &plan.key),
            server_name: text("SERVER_NAME")?.or_else(|| plan.server_name.clone()),
            insecure,
        })
    }
}

/// The products that have an upstream with TLS.
fn secure(plan: &Plan) -> impl Iterator<Item = (&ProductName, &Product)> {
    plan.products.iter().filter(|(_, product)| product.is_secure())
}

/// TLS of every product that has an upstream with it; or every problem with its files and variables.
pub fn load(plan: &Plan, env: Env<'_>) -> Result<BTreeMap<ProductName, Arc<Tls>>, Problems> {
    let mut problems = vec![];
    let mut loaded = BTreeMap::new();
    for (name, product) in secure(plan) {
        match Wanted::of(name, product, env).and_then(made) {
            Ok(tls) => {
                loaded.insert(name.clone(), Arc::new(tls));
            }
            Err(why) => problems.push(plan.source.problem_with(&place(name), format!("product {name}: {why}"))),
        }
    }
    Problems::new(problems).or(loaded)
}

/// The files TLS towards upstreams is read from: what to watch for changes.
pub fn files(plan: &Plan, env: Env<'_>) -> Vec<PathBuf> {
    let wanted = secure(plan).filter_map(|(name, product)| Wanted::of(name, product, env).ok());
    wanted.flat_map(|wanted| [wanted.ca, wanted.certificate, wanted.key]).flatten().collect()
}

fn place(name: &ProductName) -> String {
    format!("product.{name}.tls")
}

fn made(wanted: Wanted) -> Result<Tls, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let identity = match (&wanted.certificate, &wanted.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            Some(pem::identity(certificate, key, &provider).map_err(|error| error.to_string())?)
        }
        (Some(_), None) => return Err("TLS has a client certificate without a key".to_owned()),
        (None, Some(_)) => return Err("TLS has a client key without a certificate".to_owned()),
    };
    let name = wanted.server_name.clone().map(ServerName::try_from).transpose();
    let server_name = name.map_err(|_| "TLS expects a host name as server name".to_owned())?;
    let roots = match (&wanted.ca, wanted.insecure) {
        (Some(file), _) => pem::roots(file).map_err(|error| error.to_string())?,
        (None, true) => RootCertStore::empty(),
        (None, false) => system_roots().map_err(|why| format!("{why}, or write `ca` in its tls"))?,
    };
    let fingerprint = fingerprint(&wanted, &roots, identity.as_ref());
    let config = |protocols: &[&[u8]]| {
        let mut config = config(&provider, &roots, identity.as_ref(), wanted.insecure)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok::<_, String>(Arc::new(config))
    };
    Ok(Tls {
        negotiated: config(&[b"h2", b"http/1.1"])?,
        multiplexed: config(&[b"h2"])?,
        plain: config(&[b"http/1.1"])?,
        server_name,
        insecure: wanted.insecure,
        fingerprint,
    })
}

fn config(
    provider: &Arc<CryptoProvider>,
    roots: &RootCertStore,
    identity: Option<&CertifiedKey>,
    insecure: bool,
) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = if insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone::new(Arc::clone(provider))))
    } else {
        builder.with_root_certificates(roots.clone())
    };
    Ok(match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.clone()))),
    })
}

fn fingerprint(wanted: &Wanted, roots: &RootCertStore, identity: Option<&CertifiedKey>) -> Digest {
    let mut parts: Vec<Vec<u8>> = vec![vec![u8::from(wanted.insecure)]];
    parts.push(wanted.server_name.clone().unwrap_or_default().into_bytes());
    for root in &roots.roots {
        parts.push(root.subject.to_vec());
        parts.push(root.subject_public_key_info.to_vec());
    }
    parts.extend(identity.into_iter().flat_map(|identity| &identity.cert).map(|certificate| certificate.to_vec()));
    let mut joined = vec![];
    for part in parts {
        joined.extend_from_slice(&(part.len() as u64).to_be_bytes());
        joined.extend(part);
    }
    Digest::of(&joined)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CERTIFICATE: &str = include_str!("../base/pem/pkcs8.pem");

    fn plan(folder: &Path, tls: &str) -> Plan {
        let toml = format!(
            "[listener.a]\naddress = \"127.0.0.1:0\"\n[product.my-app]\nupstreams = [\"https://a\"]\n\
             [product.my-app.tls]\n{tls}\n[product.plain]\nupstreams = [\"http://a\"]\n"
        );
        crate::config::parse(&toml, &folder.join("f")).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), CERTIFICATE).expect("writes");
        folder
    }

    fn loaded(plan: &Plan, env: &[(&str, &str)]) -> Result<Arc<Tls>, String> {
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        let loaded = load(plan, &env).map_err(|problems| problems.to_string())?;
        assert_eq!(loaded.keys().map(ProductName::as_str).collect::<Vec<_>>(), ["my-app"]);
        Ok(loaded["my-app"].clone())
    }

    #[test]
    fn the_environment_wins_and_an_empty_variable_is_none() {
        let folder = folder();
        let plan = plan(folder.path(), "ca = \"none.pem\"\nserver_name = \"a.test\"");
        let ca = folder.path().join("ca.pem").display().to_string();
        let from_file = ("MY_APP_TLS_CA_FILE", ca.as_str());
        assert!(loaded(&plan, &[]).expect_err("there is no such file").contains("none.pem cannot be read"));
        let tls = loaded(&plan, &[from_file]).expect("good");
        assert_eq!(tls.server_name, ServerName::try_from("a.test").ok());
        assert!(!tls.insecure);
        let named = loaded(&plan, &[from_file, ("MY_APP_TLS_SERVER_NAME", "b.test")]).expect("good");
        assert_eq!(named.server_name, ServerName::try_from("b.test").ok());
        assert_ne!(tls, named);
        let empty = loaded(&plan, &[from_file, ("MY_APP_TLS_SERVER_NAME", "")]).expect("good");
        assert_eq!(tls, empty, "while nothing changes connections live on");
        assert_eq!(files(&plan, &|_| None), [folder.path().join("none.pem")]);
    }

    #[test]
    fn only_the_environment_lets_anyone_be_the_upstream_and_only_in_clear_words() {
        let folder = folder();
        let plan = plan(folder.path(), "ca = \"ca.pem\"");
        for (value, insecure) in [("1", true), ("true", true), ("0", false), ("false", false), ("", false)] {
            let tls = loaded(&plan, &[("MY_APP_TLS_INSECURE_SKIP_VERIFY", value)]).expect("good");
            assert_eq!(tls.insecure, insecure, "{value:?}");
        }
        for wrong in ["yes", "TRUE", "2"] {
            let problem = loaded(&plan, &[("MY_APP_TLS_INSECURE_SKIP_VERIFY", wrong)]).expect_err("wrong");
            assert!(problem.ends_with("should be 1, true, 0 or false"), "{problem}");
        }
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let folder = folder();
        let ca = "ca = \"ca.pem\"\n";
        for (keys, problem) in [
            ("certificate = \"ca.pem\"", "a client certificate without a key"),
            ("key = \"ca.pem\"", "a client key without a certificate"),
        ] {
            let found = loaded(&plan(folder.path(), &format!("{ca}{keys}")), &[]).expect_err("half a pair");
            assert!(found.ends_with(problem), "{found}");
            assert!(found.contains("f:5:1: product my-app: "), "{found}");
        }
        let whole = plan(folder.path(), &format!("{ca}certificate = \"ca.pem\"\nkey = \"ca.pem\""));
        assert!(loaded(&whole, &[]).is_ok());
    }
}
