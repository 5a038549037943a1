//! Whether what is said to a database is encrypted, and who it is that hears it.
//!
//! `sslmode=require` in the URL asks for it. The certificate must then lead to a root that is trusted and be for the host that was named:
//! libpq's `verify-full`, as which it may stand in the URL too, and stricter than its `require`, which takes any certificate. (The URL's
//! `prefer`, which is what no word means, leaves it plain: whoever can listen can also say that there is no encryption.)

use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Trusts these roots, as PEM; the system's without them.
///
/// # Errors
/// When there are none.
pub(super) fn trusting(pem: Option<&[u8]>) -> Result<MakeRustlsConnect, String> {
    let mut roots = RootCertStore::empty();
    match pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("no PEM: {error}"))?;
                roots.add(certificate).map_err(|error| error.to_string())?;
            }
            if roots.is_empty() {
                return Err("no certificate; expected -----BEGIN CERTIFICATE-----".into());
            }
        }
        None => {
            // Some of a system's roots may be of a form that is not understood.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(
                    "this system trusts nobody; name a file of roots in PGSSLROOTCERT".into()
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
