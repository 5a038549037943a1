//! The network: accepts connections, and shuts down gracefully.

#[cfg(feature = "tls")]
mod tls;

#[cfg(feature = "tls")]
pub use tls::Tls;

use crate::app::App;
use crate::http::router;
use crate::{Error, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Where and how a server listens.
#[derive(Debug)]
pub struct Listen {
    /// The address. Port 0 means any free port.
    pub address: SocketAddr,
    /// Number of network threads; 0 means one per core.
    pub threads: usize,
    /// Certificate for HTTPS. Without it, plain HTTP.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
}

/// A server that listens but does not answer yet.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    #[cfg(feature = "tls")]
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// If the address is in use or not local.
    pub async fn bind(app: Arc<App>, listen: Listen) -> Result<Self> {
        let listener = TcpListener::bind(listen.address).await;
        let listener = listener
            .map_err(|source| Error::Network { what: listen.address.to_string(), source })?;
        Ok(Self {
            app,
            listener,
            #[cfg(feature = "tls")]
            tls: listen.tls.map(Arc::new),
        })
    }

    /// The address that it listens on, with the actual port.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener
            .local_addr()
            .map_err(|source| Error::Network { what: "reading the address".into(), source })
    }

    /// Serves until `end`, then accepts no more connections and finishes the requests in progress. Returns
    /// whether all of them were finished in time.
    pub async fn serve(self, end: impl Future<Output = ()>) -> bool {
        let Self { app, listener, .. } = self;
        #[cfg(feature = "tls")]
        let renewal = self.tls.clone().map(|tls| tokio::spawn(async move { tls.renew().await }));
        #[cfg(feature = "otlp")]
        let (ended, exporter) = {
            let ((ended, end), app) = (tokio::sync::oneshot::channel(), Arc::clone(&app));
            let send = async move {
                if let Some(spans) = &app.spans {
                    spans.send(&app.metrics, end).await;
                }
            };
            (ended, tokio::spawn(send))
        };
        let routes = router(Arc::clone(&app));
        let graceful = GracefulShutdown::new();
        let slots = Arc::new(Semaphore::new(app.limits.connections));
        let mut end = std::pin::pin!(end);
        loop {
            let slot = Arc::clone(&slots).acquire_owned();
            let accepted = async {
                let slot = slot.await;
                (listener.accept().await, slot)
            };
            let (stream, slot) = tokio::select! {
                biased;
                () = &mut end => break,
                (Ok((stream, _)), slot) = accepted => (stream, slot),
                else => {
                    // For example, out of file descriptors: wait until some are free.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            _ = stream.set_nodelay(true); // an answer is one small write
            let (watcher, routes, arrival) =
                (graceful.watcher(), routes.clone(), app.limits.arrival);
            #[cfg(feature = "tls")]
            if let Some(tls) = &self.tls {
                let acceptor = tls.acceptor();
                tokio::spawn(async move {
                    if let Ok(stream) = tls::handshake(acceptor, stream, arrival).await {
                        _ = watcher.watch(connection(stream, routes, arrival)).await;
                    }
                    drop(slot);
                });
                continue;
            }
            tokio::spawn(async move {
                // Errors of the connection are the client's.
                _ = watcher.watch(connection(stream, routes, arrival)).await;
                drop(slot);
            });
        }
        #[cfg(feature = "tls")]
        if let Some(renewal) = renewal {
            renewal.abort();
        }
        app.draining.store(true, Ordering::Relaxed);
        drop(listener);
        let finished = tokio::time::timeout(app.limits.drain, graceful.shutdown()).await.is_ok();
        #[cfg(feature = "otlp")]
        {
            drop(ended);
            _ = exporter.await; // ends in time
        }
        finished
    }
}

type HttpConnection<S> = http1::Connection<TokioIo<S>, TowerToHyperService<Router>>;

fn connection<S>(stream: S, routes: Router, arrival: Duration) -> HttpConnection<S>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(arrival)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
}

/// Serves until the process receives SIGINT or SIGTERM. Blocks. Calls `ready` with the address once it listens.
///
/// # Errors
/// If the address cannot be bound, or threads cannot be started.
pub fn run(app: App, listen: Listen, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let network = |what: &str| {
        let what = what.to_owned();
        move |source| Error::Network { what, source }
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if listen.threads > 0 {
        runtime.worker_threads(listen.threads);
    }
    let runtime = runtime.enable_all().thread_name("network").build();
    let runtime = runtime.map_err(network("starting the network threads"))?;
    let app = Arc::new(app);
    runtime.block_on(async {
        let server = Server::bind(Arc::clone(&app), listen).await?;
        let stop = stop_signal().map_err(network("listening for signals"))?;
        ready(server.address()?);
        if !server.serve(stop).await {
            tracing::warn!("some requests were not finished in time");
        }
        Ok(())
    })
}

/// Completes when the process is asked to stop.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
        })
    }
    #[cfg(not(unix))]
    {
        Ok(async {
            _ = tokio::signal::ctrl_c().await;
        })
    }
}
