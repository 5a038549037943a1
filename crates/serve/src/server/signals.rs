//! Signals that ask the process to stop.

/// The signals that ask the process to stop: SIGINT, SIGTERM, and SIGHUP unless it is ignored.
pub(super) struct Signals {
    #[cfg(unix)]
    listened_for: Vec<tokio::signal::unix::Signal>,
}

impl Signals {
    /// # Errors
    /// If the operating system refuses.
    pub fn listen() -> std::io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
            if !ignores_hangups() {
                kinds.push(SignalKind::hangup());
            }
            let listened_for = kinds.into_iter().map(signal).collect::<std::io::Result<_>>()?;
            Ok(Self { listened_for })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        std::future::poll_fn(|context| {
            let any = self.listened_for.iter_mut().any(|one| one.poll_recv(context).is_ready());
            if any { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        #[cfg(not(unix))]
        {
            _ = tokio::signal::ctrl_c().await;
        }
    }
}

/// Whether the process was started to outlive its terminal (`nohup`). Only Linux says so.
#[cfg(unix)]
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1) // SIGHUP is signal 1, the lowest bit
}
