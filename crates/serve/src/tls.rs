//! TLS: a certificate and its key, from PEM files that are read anew when they change, so that a renewed certificate needs no
//! restart.
//!
//! TLS 1.2 and 1.3 by rustls with the primitives of ring; clients are not asked for certificates.

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

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What connections are encrypted with.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<ServerConfig>,
    read_at: Mutex<Stamps>,
}

/// When each file was changed last.
type Stamps = [Option<SystemTime>; 2];

impl Tls {
    /// Reads the server's certificate, with those between it and the root's behind it, and its private key (PKCS #8, PKCS #1 or
    /// SEC 1).
    ///
    /// # Errors
    /// When a file cannot be read or holds no such thing, or the key is not the certificate's.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let (read_at, config) = (stamps(certificate, key), config(certificate, key)?);
        Ok(Self {
            certificate: certificate.into(),
            key: key.into(),
            current: ArcSwap::from_pointee(config),
            read_at: Mutex::new(read_at),
        })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.load_full().into()
    }

    /// Looks at the files every minute, for ever.
    pub(crate) async fn renew(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.refresh() {
                Ok(true) => tracing::info!("the certificate was read anew"),
                Ok(false) => {}
                // Half of a renewal, perhaps; the last whole one stays, and the next look tries again.
                Err(error) => tracing::error!(%error, "the certificate stays as it was"),
            }
        }
    }

    /// Reads the files if they have changed, and says whether they had; connections that are open keep what they began with.
    fn refresh(&self) -> Result<bool> {
        let mut read_at = self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        let found = stamps(&self.certificate, &self.key);
        if found == *read_at {
            return Ok(false);
        }
        self.current.store(Arc::new(config(&self.certificate, &self.key)?));
        *read_at = found;
        Ok(true)
    }
}

fn stamps(certificate: &Path, key: &Path) -> Stamps {
    [certificate, key].map(|path| std::fs::metadata(path).and_then(|found| found.modified()).ok())
}

fn config(certificate: &Path, key: &Path) -> Result<ServerConfig> {
    let wrong = |path: &Path, problem: String| Error::Tls { path: path.into(), problem };
    let read = |path: &Path| std::fs::read(path).map_err(|error| wrong(path, error.to_string()));

    let chain: Result<Vec<_>, pem::Error> =
        CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.map_err(|error| wrong(certificate, format!("no PEM: {error}")))?;
    if chain.is_empty() {
        let problem = "holds no certificate; expected -----BEGIN CERTIFICATE-----";
        return Err(wrong(certificate, problem.into()));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| {
        let problem = match error {
            pem::Error::NoItemsFound => {
                "holds no private key; expected -----BEGIN PRIVATE KEY-----".into()
            }
            error => format!("no PEM: {error}"),
        };
        wrong(key, problem)
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                wrong(key, format!("is not the key of {}", certificate.display()))
            }
            error => wrong(certificate, error.to_string()),
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A connection after its handshake, which must be over in time.
pub(crate) async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: tokio::net::TcpStream,
    within: Duration,
) -> io::Result<tokio_rustls::server::TlsStream<tokio::net::TcpStream>> {
    tokio::time::timeout(within, acceptor.accept(stream)).await?
}
