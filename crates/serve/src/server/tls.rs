//! TLS: a certificate and its key in PEM files. They are reloaded when they change, so a renewed certificate
//! needs no restart.
//!
//! TLS 1.2 and 1.3 by rustls, with the cryptography of ring. Client certificates are not requested.

#[cfg(test)]
mod tests;

use crate::{Error, Result};
use arc_swap::ArcSwap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::{self, ServerConfig};

/// Interval between checks of the files.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// A certificate and its key, for HTTPS.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<ServerConfig>,
    read_at: Mutex<ModifiedTimes>,
}

/// Modification time of each file.
type ModifiedTimes = [Option<SystemTime>; 2];

impl Tls {
    /// Reads the server's certificate, followed by any intermediate certificates, and its private key (PKCS
    /// #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    /// If a file cannot be read or parsed, or the key does not match the certificate.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let (read_at, config) = (modified(certificate, key), config(certificate, key)?);
        Ok(Self {
            certificate: certificate.into(),
            key: key.into(),
            current: ArcSwap::from_pointee(config),
            read_at: Mutex::new(read_at),
        })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.load_full().into()
    }

    /// Checks the files every minute, forever.
    pub(super) async fn renew(&self) {
        loop {
            tokio::time::sleep(CHECK_EVERY).await;
            match self.refresh() {
                Ok(true) => tracing::info!("the certificate was reloaded"),
                Ok(false) => {}
                // Perhaps only one file has been replaced so far: keep the old pair, and try again at the
                // next check.
                Err(error) => {
                    tracing::error!(%error, "the certificate could not be reloaded; the old one stays in use")
                }
            }
        }
    }

    /// Reloads the files if they have changed, and returns whether they had. Open connections keep their
    /// certificate.
    fn refresh(&self) -> Result<bool> {
        let mut read_at = self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        let found = modified(&self.certificate, &self.key);
        if found == *read_at {
            return Ok(false);
        }
        self.current.store(Arc::new(config(&self.certificate, &self.key)?));
        *read_at = found;
        Ok(true)
    }
}

fn modified(certificate: &Path, key: &Path) -> ModifiedTimes {
    [certificate, key].map(|path| std::fs::metadata(path).and_then(|found| found.modified()).ok())
}

fn config(certificate: &Path, key: &Path) -> Result<ServerConfig> {
    let invalid = |path: &Path, problem: String| Error::Tls { path: path.into(), problem };
    let read = |path: &Path| std::fs::read(path).map_err(|error| invalid(path, error.to_string()));

    let chain: Result<Vec<_>, pem::Error> =
        CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.map_err(|error| invalid(certificate, format!("invalid PEM: {error}")))?;
    if chain.is_empty() {
        let problem = "expected -----BEGIN CERTIFICATE-----, found no certificate";
        return Err(invalid(certificate, problem.into()));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| {
        let problem = match error {
            pem::Error::NoItemsFound => {
                "expected -----BEGIN PRIVATE KEY-----, found no private key".into()
            }
            error => format!("invalid PEM: {error}"),
        };
        invalid(key, problem)
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                invalid(key, format!("is not the key of {}", certificate.display()))
            }
            error => invalid(certificate, error.to_string()),
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Performs the TLS handshake, with a time limit.
pub(super) async fn handshake(
    acceptor: TlsAcceptor,
    stream: tokio::net::TcpStream,
    within: Duration,
) -> io::Result<tokio_rustls::server::TlsStream<tokio::net::TcpStream>> {
    tokio::time::timeout(within, acceptor.accept(stream)).await?
}
