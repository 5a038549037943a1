#![allow(clippy::unwrap_used)]

use super::Tls;
use crate::testing::{Kind, snapshot};
use crate::{App, Limits, Listen, Server, Setup};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Writes a self-signed certificate for `localhost`, and its key.
fn issue(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.join("certificate.pem"), cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

fn read(folder: &Path) -> crate::Result<Tls> {
    Tls::read(&folder.join("certificate.pem"), &folder.join("key.pem"))
}

/// The whole answer to one request by a client that trusts only `root`.
async fn get(address: SocketAddr, root: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request = "GET /v1/users/u3/recommendations?k=2 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn app(limits: Limits) -> Arc<App> {
    let models = vec![snapshot(Kind::Factors)];
    let setup = Setup { models, limits, threads: 1, ..Setup::default() };
    Arc::new(App::new(setup).unwrap())
}

#[tokio::test]
async fn only_clients_that_speak_tls_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path());
    let listen = Listen {
        address: ([127, 0, 0, 1], 0).into(),
        hosts: Vec::new(),
        threads: 0,
        tls: Some(read(folder.path()).unwrap()),
    };
    let limits = Limits { arrival: Duration::from_millis(300), ..Limits::default() };
    let server = Server::bind(app(limits), listen).await.unwrap();
    let address = server.address().unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async {
        _ = ended.await;
    }));

    // A silent client is disconnected, and blocks no other client.
    let mut silent = TcpStream::connect(address).await.unwrap();
    let answer = get(address, &root).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"items\":[{\"item\":\"i"), "{answer}");
    let mut nothing = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut nothing))
        .await
        .unwrap()
        .unwrap();
    assert!(nothing.is_empty(), "{nothing:?}");

    // Plain HTTP gets at most a TLS alert, and no answer.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    _ = plain.read_to_end(&mut answer).await;
    assert!(answer.len() < 16 && !answer.starts_with(b"HTTP"), "{answer:?}");

    let stranger = tempfile::tempdir().unwrap();
    let error = get(address, &issue(stranger.path())).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");

    end.send(()).unwrap();
    assert!(serving.await.unwrap(), "all requests were finished");
}

#[tokio::test]
async fn a_renewed_certificate_is_loaded_only_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path());
    let tls = read(folder.path()).unwrap();
    let first = tls.current.load_full();
    assert!(!tls.refresh().unwrap(), "nothing has changed");

    // File times are coarse: pretend that a minute has passed.
    let later = |name: &str| {
        let file = fs::File::options().write(true).open(folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();
    };
    fs::write(folder.path().join("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    later("key.pem");
    let error = tls.refresh().unwrap_err().to_string();
    assert!(error.contains("key.pem: is not the key of"), "{error}");
    assert!(Arc::ptr_eq(&first, &tls.current.load_full()));

    issue(folder.path());
    later("certificate.pem");
    assert!(tls.refresh().unwrap());
    assert!(!Arc::ptr_eq(&first, &tls.current.load_full()));
    assert!(!tls.refresh().unwrap(), "once");
}

#[test]
fn unusable_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |folder: &Path| read(folder).unwrap_err().to_string();
    assert!(error(folder.path()).contains("certificate.pem: No such file"));
    issue(folder.path());
    fs::write(folder.path().join("certificate.pem"), "not a certificate\n").unwrap();
    let message = error(folder.path());
    assert!(message.contains("certificate.pem: expected -----BEGIN"), "{message}");
    let broken = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    fs::write(folder.path().join("certificate.pem"), broken).unwrap();
    assert!(
        error(folder.path()).contains("certificate.pem: invalid PEM: "),
        "{}",
        error(folder.path())
    );
    issue(folder.path());
    fs::copy(folder.path().join("certificate.pem"), folder.path().join("key.pem")).unwrap();
    let message = error(folder.path());
    assert!(message.contains("key.pem: expected -----BEGIN PRIVATE KEY"), "{message}");
}
