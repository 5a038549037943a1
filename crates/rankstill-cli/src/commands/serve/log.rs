//! The log of a server. Whoever reads it must not be able to stop the server: a pipe whose reader is slow
//! would block each request that is logged, and one whose reader has gone would fail it.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// The most lines that wait to be written. More are dropped.
const WAITING: usize = 4096;

/// Takes lines to standard error, on a thread of its own. Never blocks.
#[derive(Clone)]
pub struct LogQueue {
    sender: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

enum Entry {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    End(SyncSender<()>),
}

impl LogQueue {
    /// # Errors
    /// If the thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let write = move || {
            for entry in receiver {
                match entry {
                    Entry::Line(line) => {
                        if io::stderr().write_all(&line).is_err() {
                            lost.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Entry::End(written) => _ = written.send(()),
                }
            }
        };
        std::thread::Builder::new().name("log".into()).spawn(write)?;
        Ok(Self { sender, dropped })
    }

    /// The number of lines that were dropped, for the metrics.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Waits until what was logged is written, but no longer than `within`.
    pub fn finish(&self, within: Duration) {
        let until = Instant::now() + within;
        let (written, end) = sync_channel(1);
        let mut entry = Entry::End(written);
        while let Err(TrySendError::Full(back)) = self.sender.try_send(entry) {
            if Instant::now() > until {
                return;
            }
            entry = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        _ = end.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// Each call is a line: a subscriber writes its events in one piece.
impl io::Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(Entry::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
