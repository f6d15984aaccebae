//! Certificates, keys and trusted roots, read from PEM files (RFC 7468). What listeners and upstreams both need; errors
//! name the file and what was expected in it, never what it has.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// The most a file may have; the roots of a whole operating system are a quarter of a MiB.
const FILE_MAX: u64 = 4 << 20;

/// The certificates in the file at `path`, in its order; at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let error = |why| PemError { file: path.to_owned(), why };
    let text = read(path).map_err(|cause| error(Why::Unreadable(cause)))?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match certificates.map_err(|cause| error(Why::Malformed(cause)))? {
        none if none.is_empty() => Err(error(Why::NoCertificate)),
        certificates => Ok(certificates),
    }
}

/// The first private key in the file at `path`: PKCS#8, PKCS#1 or SEC1, not encrypted.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let error = |why| PemError { file: path.to_owned(), why };
    let text = read(path).map_err(|cause| error(Why::Unreadable(cause)))?;
    let encrypted = || text.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
    match PrivateKeyDer::from_pem_slice(&text) {
        // PKCS#8 has a label of its own, the older forms a header inside.
        _ if encrypted() => Err(error(Why::EncryptedKey)),
        Err(pem::Error::NoItemsFound) => Err(error(Why::NoKey)),
        key => key.map_err(|cause| error(Why::Malformed(cause))),
    }
}

const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// The certificates in the file at `path` as roots to trust; at least one, and each can be one.
pub fn roots(path: &Path) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for (at, certificate) in certificates(path)?.into_iter().enumerate() {
        let added = roots.add(certificate);
        added.map_err(|cause| PemError { file: path.to_owned(), why: Why::NoRoot(at + 1, cause) })?;
    }
    Ok(roots)
}

/// The chain in the file at `certificate` with its key, which must belong to the first of the chain; ready to sign.
pub fn identity(certificate: &Path, key_file: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, PemError> {
    let (chain, key) = (certificates(certificate)?, key(key_file)?);
    let error = |file: &Path, why| PemError { file: file.to_owned(), why };
    CertifiedKey::from_der(chain, key, provider).map_err(|cause| match cause {
        rustls::Error::InconsistentKeys(_) => error(key_file, Why::OtherKey(certificate.to_owned())),
        cause @ rustls::Error::InvalidCertificate(_) => error(certificate, Why::BadCertificate(cause)),
        cause => error(key_file, Why::BadKey(cause)),
    })
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4MiB"));
    }
    Ok(text)
}

/// Why a PEM file does not serve.
#[derive(Debug)]
pub struct PemError {
    /// The file that is to be mended.
    pub file: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Unreadable(io::Error),
    Malformed(pem::Error),
    NoCertificate,
    NoKey,
    EncryptedKey,
    /// Which of the file's certificates, counted from 1.
    NoRoot(usize, rustls::Error),
    BadCertificate(rustls::Error),
    BadKey(rustls::Error),
    /// Whose key it should have been.
    OtherKey(PathBuf),
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.why {
            Why::Unreadable(cause) => write!(f, "the file {file} cannot be read: {cause}"),
            Why::Malformed(cause) => write!(f, "the file {file} is not well-formed PEM: {cause}"),
            Why::NoCertificate => write!(f, "the file {file} has no certificate (-----BEGIN CERTIFICATE-----)"),
            Why::NoKey => write!(f, "the file {file} has no private key (PEM of PKCS#8, PKCS#1 or SEC1)"),
            Why::EncryptedKey => {
                write!(f, "the private key in {file} is encrypted, expected one without a passphrase (openssl pkey)")
            }
            Why::NoRoot(at, cause) => write!(f, "certificate {at} in {file} cannot be a root to trust: {cause}"),
            Why::BadCertificate(cause) => write!(f, "the first certificate in {file} cannot be used: {cause}"),
            Why::BadKey(cause) => write!(f, "the private key in {file} cannot be used: {cause}"),
            Why::OtherKey(certificate) => {
                write!(f, "the private key in {file} is not that of the certificate in {}", certificate.display())
            }
        }
    }
}

impl std::error::Error for PemError {}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    /// Self-signed certificates of this test, each with its key in another form; they sign nothing else.
    const FILES: [(&str, &str); 4] = [
        ("pkcs8.pem", include_str!("pem/pkcs8.pem")),
        ("sec1.pem", include_str!("pem/sec1.pem")),
        ("pkcs1.pem", include_str!("pem/pkcs1.pem")),
        ("encrypted.pem", include_str!("pem/encrypted.pem")),
    ];

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in FILES.iter().chain(&[("text.pem", "no PEM here\n"), ("cut.pem", CUT)]) {
            std::fs::write(folder.path().join(name), text).expect("writes");
        }
        folder
    }

    const CUT: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n";

    #[test]
    fn every_form_of_key_is_read_and_fits_its_certificate() {
        let folder = folder();
        for name in ["pkcs8.pem", "sec1.pem", "pkcs1.pem"] {
            let file = folder.path().join(name);
            let identity = identity(&file, &file, &default_provider()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(identity.cert.len(), 1, "{name}");
            assert_eq!(roots(&file).expect("a root").len(), 1, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_names_the_file_and_what_was_expected() {
        let folder = folder();
        let file = |name: &str| folder.path().join(name);
        let shown = |error: PemError| error.to_string().replace(&format!("{}/", folder.path().display()), "");
        let provider = default_provider();
        let identity = |certificate: &str, key: &str| {
            shown(identity(&file(certificate), &file(key), &provider).expect_err("it does not fit"))
        };
        assert_eq!(
            identity("none.pem", "sec1.pem"),
            "the file none.pem cannot be read: No such file or directory (os error 2)"
        );
        assert_eq!(
            identity("text.pem", "sec1.pem"),
            "the file text.pem has no certificate (-----BEGIN CERTIFICATE-----)"
        );
        assert!(identity("cut.pem", "sec1.pem").starts_with("the file cut.pem is not well-formed PEM: "));
        assert_eq!(
            identity("sec1.pem", "text.pem"),
            "the file text.pem has no private key (PEM of PKCS#8, PKCS#1 or SEC1)"
        );
        assert_eq!(
            identity("sec1.pem", "encrypted.pem"),
            "the private key in encrypted.pem is encrypted, expected one without a passphrase (openssl pkey)"
        );
        assert_eq!(
            identity("sec1.pem", "pkcs8.pem"),
            "the private key in pkcs8.pem is not that of the certificate in sec1.pem"
        );
        std::fs::write(file("empty.pem"), "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
            .expect("writes");
        let no_root = shown(roots(&file("empty.pem")).expect_err("no certificate"));
        assert!(no_root.starts_with("certificate 1 in empty.pem cannot be a root to trust: "), "{no_root}");
        assert!(identity("empty.pem", "sec1.pem").starts_with("the first certificate in empty.pem cannot be used: "));
    }
}
