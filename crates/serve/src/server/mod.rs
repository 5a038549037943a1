//! The network: accepts connections, and shuts down gracefully.

mod descriptors;
mod door;
mod paced;
mod signals;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;

pub(crate) use door::is_health;
#[cfg(feature = "tls")]
pub use tls::Tls;

use crate::app::App;
use crate::http::{Hosts, routes_for};
use crate::{Error, Result};
use door::Door;
use signals::Signals;
use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

/// Where and how a server listens.
#[derive(Debug)]
pub struct Listen {
    /// The address. Port 0 means any free port.
    pub address: SocketAddr,
    /// Names by which clients may ask for the server (the header `Host`), besides those of loopback and the
    /// address itself. If there are none and the address is a wildcard, any name will do.
    pub hosts: Vec<String>,
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
    hosts: Hosts,
    answering: Handle,
    #[cfg(feature = "tls")]
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// If the address is in use or not local, or if a name of a host is invalid.
    pub async fn bind(app: Arc<App>, listen: Listen) -> Result<Self> {
        let hosts = Hosts::new(listen.address, &listen.hosts)?;
        let listener = TcpListener::bind(listen.address).await;
        let listener = listener
            .map_err(|source| Error::Network { what: listen.address.to_string(), source })?;
        Ok(Self {
            app,
            listener,
            hosts,
            answering: Handle::current(),
            #[cfg(feature = "tls")]
            tls: listen.tls.map(Arc::new),
        })
    }

    /// Answers requests on the threads of another runtime than [`serve`](Server::serve) runs on: accepting connections, health checks and
    /// metrics stay apart from all other work.
    #[must_use]
    pub fn answering_on(mut self, answering: Handle) -> Self {
        self.answering = answering;
        self
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
        self.serve_until(end, std::future::pending()).await
    }

    /// [`serve`](Server::serve), which `hurry` ends at once.
    async fn serve_until(
        self,
        end: impl Future<Output = ()>,
        hurry: impl Future<Output = ()>,
    ) -> bool {
        let app = self.app;
        #[cfg(feature = "tls")]
        let renewal = self.tls.clone();
        #[cfg(feature = "tls")]
        let renewal = renewal.map(|tls| self.answering.spawn(async move { tls.renew().await }));
        #[cfg(feature = "otlp")]
        let (ended, exporter) = {
            let ((ended, end), app) = (oneshot::channel(), Arc::clone(&app));
            let send = async move {
                if let Some(spans) = &app.spans {
                    spans.send(&app.metrics, end).await;
                }
            };
            (ended, tokio::spawn(send))
        };
        let door = Door {
            listener: self.listener,
            routes: routes_for(Arc::clone(&app), Some(self.hosts)),
            limits: app.limits.clone(),
            connections: descriptors::connections(app.limits.connections),
            answering: self.answering,
            #[cfg(feature = "tls")]
            tls: self.tls,
        };
        let (close, closing) = watch::channel(());
        let accepting = tokio::spawn(door.accept(closing));
        end.await;
        #[cfg(feature = "tls")]
        if let Some(renewal) = renewal {
            renewal.abort();
        }
        app.draining.store(true, Ordering::Relaxed);
        drop(close);
        let finish = async {
            match accepting.await {
                Ok(graceful) => {
                    graceful.shutdown().await;
                    true
                }
                Err(_) => false, // it panicked; the connections that it had accepted end with it
            }
        };
        let finished = tokio::select! {
            finished = tokio::time::timeout(app.limits.drain, finish) => finished.unwrap_or(false),
            () = hurry => return false,
        };
        #[cfg(feature = "otlp")]
        {
            drop(ended);
            _ = exporter.await; // ends in time
        }
        finished
    }
}

/// Serves until the process receives SIGINT, SIGTERM or SIGHUP, then finishes the requests in progress within [`Limits::drain`](crate::Limits::drain);
/// a second signal ends that at once. Blocks. Calls `ready` with the address once it listens. Returns whether every accepted request was
/// answered.
///
/// # Errors
/// If the address cannot be bound, or threads cannot be started.
pub fn run(app: App, listen: Listen, ready: impl FnOnce(SocketAddr)) -> Result<bool> {
    run_until(app, listen, ready, || Ok(Ending::Signals(Signals::listen()?)))
}

/// What asks a server to stop.
enum Ending {
    /// Signals of the process.
    Signals(Signals),
    /// A [`Running`] in the same process; `None` once it has asked.
    Handle(Option<oneshot::Receiver<()>>),
}

impl Ending {
    /// Waits for the next request to stop.
    async fn next(&mut self) {
        match self {
            Self::Signals(signals) => signals.next().await,
            Self::Handle(asked) => match asked.take() {
                Some(asked) => _ = asked.await,
                None => std::future::pending().await,
            },
        }
    }
}

/// A server on a thread of its own, in a program that goes on. It serves until it is stopped or dropped.
pub struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<bool>>>,
}

/// Serves in the background; returns once the server listens. Unlike [`run`] it leaves signals to the program.
///
/// # Errors
/// As [`run`].
pub fn start(app: App, listen: Listen) -> Result<Running> {
    let (stop, asked) = oneshot::channel();
    let (tell, told) = mpsc::channel();
    let serve = move || {
        run_until(app, listen, |address| _ = tell.send(address), || Ok(Ending::Handle(Some(asked))))
    };
    let what = || "starting the network threads".to_owned();
    let thread = std::thread::Builder::new().name("server".into()).spawn(serve);
    let thread = thread.map_err(|source| Error::Network { what: what(), source })?;
    match told.recv() {
        Ok(address) => Ok(Running { address, stop: Some(stop), thread: Some(thread) }),
        // It ended before it listened.
        Err(_) => match thread.join() {
            Ok(Err(error)) => Err(error),
            _ => Err(Error::Network { what: what(), source: std::io::ErrorKind::Other.into() }),
        },
    }
}

impl Running {
    /// The address that it listens on, with the actual port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it once the requests in progress are answered. Returns whether all of them were.
    pub fn stop(&mut self) -> bool {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        ended.is_none_or(|ended| matches!(ended, Ok(Ok(true))))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run_until(
    app: App,
    listen: Listen,
    ready: impl FnOnce(SocketAddr),
    ending: impl FnOnce() -> std::io::Result<Ending>,
) -> Result<bool> {
    let network = |what: &str| {
        let what = what.to_owned();
        move |source| Error::Network { what, source }
    };
    descriptors::raise_limit();
    // Answering has threads of its own. This thread accepts connections and answers health checks; it never computes and never waits for a
    // disk, so it notices signals whatever hangs.
    let mut answering = tokio::runtime::Builder::new_multi_thread();
    if listen.threads > 0 {
        answering.worker_threads(listen.threads);
    }
    let answering = answering.enable_all().thread_name("network").build();
    let answering = answering.map_err(network("starting the network threads"))?;
    let door = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let door = door.map_err(network("starting the network threads"))?;
    let app = Arc::new(app);
    let stopped_at = Cell::new(Instant::now());
    let finished = door.block_on(async {
        let server = Server::bind(Arc::clone(&app), listen).await?;
        let server = server.answering_on(answering.handle().clone());
        let mut ending = ending().map_err(network("listening for signals"))?;
        ready(server.address()?);
        let ((stop, stopped), (hurry, hurried)) = (oneshot::channel(), oneshot::channel());
        tokio::spawn(async move {
            ending.next().await;
            _ = stop.send(());
            ending.next().await;
            _ = hurry.send(());
        });
        let end = async {
            _ = stopped.await;
            stopped_at.set(Instant::now());
        };
        Ok::<_, Error>(server.serve_until(end, async { _ = hurried.await }).await)
    })?;
    // What hangs now, such as a disk, is left behind: the process ends without it.
    let left = if finished { app.limits.drain } else { Duration::ZERO };
    let left = || left.saturating_sub(stopped_at.get().elapsed());
    let written = app.writer.as_ref().is_none_or(|writer| writer.finish(left()));
    answering.shutdown_timeout(left().min(Duration::from_secs(1)));
    door.shutdown_background();
    Ok(finished && written)
}
