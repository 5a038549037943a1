//! The network: connections in, answers out, and an end that finishes what was taken.

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
    /// Port 0 = any that is free.
    pub address: SocketAddr,
    /// Threads of the network; 0 = one a core.
    pub threads: usize,
    /// What connections are encrypted with; none = plain HTTP.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::Tls>,
}

/// A server that listens and does not yet answer.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    #[cfg(feature = "tls")]
    tls: Option<Arc<crate::Tls>>,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// When it is taken or not ours.
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

    /// Where it listens: the port that was given, where 0 was asked for.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener
            .local_addr()
            .map_err(|source| Error::Network { what: "the address".into(), source })
    }

    /// Answers until `end`; then takes no more connections, finishes the answers that are owed, and returns. Says whether all
    /// were finished in time.
    pub async fn serve(self, end: impl Future<Output = ()>) -> bool {
        let Self { app, listener, .. } = self;
        #[cfg(feature = "tls")]
        let renewal = self.tls.clone().map(|tls| tokio::spawn(async move { tls.renew().await }));
        #[cfg(feature = "otlp")]
        let (ended, tracing) = {
            let ((ended, end), app) = (tokio::sync::oneshot::channel(), Arc::clone(&app));
            let send = async move {
                if let Some(traces) = &app.traces {
                    traces.send(&app.metrics, end).await;
                }
            };
            (ended, tokio::spawn(send))
        };
        let routes = router(Arc::clone(&app));
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(app.limits.connections));
        let mut end = std::pin::pin!(end);
        loop {
            let place = Arc::clone(&places).acquire_owned();
            let accepted = async {
                let place = place.await;
                (listener.accept().await, place)
            };
            let (stream, place) = tokio::select! {
                biased;
                () = &mut end => break,
                (Ok((stream, _)), place) = accepted => (stream, place),
                else => {
                    // Out of file descriptors, say: wait until some are free.
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
                    if let Ok(stream) = crate::tls::shake_hands(acceptor, stream, arrival).await {
                        _ = watcher.watch(connection(stream, routes, arrival)).await;
                    }
                    drop(place);
                });
                continue;
            }
            tokio::spawn(async move {
                // What the client did wrong is its own business.
                _ = watcher.watch(connection(stream, routes, arrival)).await;
                drop(place);
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
            _ = tracing.await; // it ends in time
        }
        finished
    }
}

type Connection<S> = http1::Connection<TokioIo<S>, TowerToHyperService<Router>>;

fn connection<S>(stream: S, routes: Router, arrival: Duration) -> Connection<S>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(arrival)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
}

/// Serves until the process gets SIGINT or SIGTERM; `ready` hears where. Blocks.
///
/// # Errors
/// When the address cannot be had.
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
    let runtime = runtime.map_err(network("starting the network's threads"))?;
    let app = Arc::new(app);
    runtime.block_on(async {
        let server = Server::bind(Arc::clone(&app), listen).await?;
        let signals = signals().map_err(network("listening for signals"))?;
        ready(server.address()?);
        if !server.serve(signals).await {
            tracing::warn!("some answers were not finished in time");
        }
        Ok(())
    })
}

/// Ends when the process is asked to.
fn signals() -> std::io::Result<impl Future<Output = ()>> {
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
