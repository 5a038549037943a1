//! Encrypted connections to the database.
//!
//! `sslmode=require` in the URL turns encryption on. The certificate must then be signed by a trusted root
//! and match the host. This is libpq's `verify-full` (also accepted in the URL), and stricter than its
//! `require`, which accepts any certificate. `prefer`, the default, stays unencrypted: an attacker who can
//! listen could also claim that the server does not support encryption.

use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Trusts these root certificates (PEM), or those of the system.
///
/// # Errors
/// If there are none.
pub(super) fn trusting(pem: Option<&[u8]>) -> Result<MakeRustlsConnect, String> {
    let mut roots = RootCertStore::empty();
    match pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("invalid PEM: {error}"))?;
                roots.add(certificate).map_err(|error| error.to_string())?;
            }
            if roots.is_empty() {
                return Err("expected -----BEGIN CERTIFICATE-----, found no certificate".into());
            }
        }
        None => {
            // Some of the system's roots may have an unknown format.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(
                    "this system has no root certificates; set PGSSLROOTCERT to a file of them"
                        .into(),
                );
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}
