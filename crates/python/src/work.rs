//! Long work on a pool of threads, while the interpreter is free and listens for Ctrl-C.

use crate::error::Result;
use pyo3::prelude::*;
use rankstill::core::{EpochReport, Model, Stop, Watch};
use rankstill_cli::progress::{self, Screen};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

/// How often signals are looked at and progress is shown.
const POLL: Duration = Duration::from_millis(50);
/// What a bar counts to.
const STEPS: f64 = 1000.0;

/// The threads of this process. A forked child has none of its parent's, so it makes its own.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

fn pool() -> PyResult<Arc<ThreadPool>> {
    let mut pool = locked(&POOL);
    let process = std::process::id();
    if let Some((owner, pool)) = &*pool
        && *owner == process
    {
        return Ok(Arc::clone(pool));
    }
    let built = ThreadPoolBuilder::new().thread_name(|n| format!("rankstill {n}")).build();
    let built =
        Arc::new(built.map_err(|error| crate::error::RankstillError::new_err(error.to_string()))?);
    // The parent's pool is not dropped: it would wait for threads that are not there.
    std::mem::forget(pool.replace((process, Arc::clone(&built))));
    Ok(built)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Work that takes microseconds: on the pool, with the interpreter free, but deaf to Ctrl-C.
pub fn briefly<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let pool = pool()?;
    Ok(py.detach(|| pool.install(work)))
}

/// What work and whoever waits for it share.
#[derive(Clone, Default)]
pub struct Task(Arc<Shared>);

#[derive(Default)]
struct Shared {
    stop: Stop,
    /// Of [`STEPS`].
    done: AtomicU64,
    note: Mutex<String>,
    /// Messages that were not shown yet.
    lines: Mutex<Vec<String>>,
    /// The first exception of a callback.
    raised: Mutex<Option<PyErr>>,
}

impl Task {
    /// Stopped by what others look at too.
    pub fn stopping(stop: Stop) -> Self {
        Self(Arc::new(Shared { stop, ..Shared::default() }))
    }

    /// What asks the work to stop.
    pub fn stop(&self) -> &Stop {
        &self.0.stop
    }

    /// Tells how far the work is.
    pub fn at(&self, share: f64, note: impl Into<String>) {
        self.0.done.store((share.clamp(0.0, 1.0) * STEPS) as u64, Ordering::Relaxed);
        *locked(&self.0.note) = note.into();
    }

    /// Says a line, which is shown with the share that is done.
    pub fn say(&self, line: &str) {
        locked(&self.0.lines).push(line.to_owned());
    }

    /// A callback has failed: its exception is raised in the end, whatever the work returns.
    pub fn raise(&self, error: PyErr) {
        locked(&self.0.raised).get_or_insert(error);
        self.0.stop.ask();
    }

    /// `Break` when asked to stop, else `Continue`; for callbacks that tell how far work is.
    pub fn flow(&self) -> ControlFlow<()> {
        if self.0.stop.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Runs `work` on the pool.
    ///
    /// # Errors
    /// Those of the work; an exception of a callback or of a signal's handler, which stop the work.
    pub fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Self) -> Result<T> + Send,
    ) -> PyResult<T> {
        self.watched(py, None, work)
    }

    /// The same with progress: `True` shows a bar with this title, a function is called with the share that is done and a text.
    ///
    /// # Errors
    /// As [`Task::run`], and an exception of the function.
    pub fn run_shown<T: Send>(
        &self,
        py: Python<'_>,
        (progress, title): (Option<&Bound<'_, PyAny>>, &str),
        work: impl FnOnce(&Self) -> Result<T> + Send,
    ) -> PyResult<T> {
        let Some(progress) = progress else { return self.run(py, work) };
        let bar = py.import("rankstill._progress")?.call_method1("bar", (progress, title))?;
        let shown = bar.call_method0("__enter__")?;
        let result = self.watched(py, Some(&shown).filter(|shown| !shown.is_none()), work);
        bar.call_method1("__exit__", (py.None(), py.None(), py.None()))?;
        result
    }

    fn watched<T: Send>(
        &self,
        py: Python<'_>,
        progress: Option<&Bound<'_, PyAny>>,
        work: impl FnOnce(&Self) -> Result<T> + Send,
    ) -> PyResult<T> {
        let pool = pool()?;
        let (ended, waiting) = (AtomicBool::new(false), thread::current());
        let result = thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let _wakes = Wakes { ended: &ended, waiting };
                pool.install(|| work(self))
            });
            while !ended.load(Ordering::Acquire) {
                py.detach(|| thread::park_timeout(POLL));
                if let Err(error) = py.check_signals().and_then(|()| self.show(progress)) {
                    self.raise(error);
                }
            }
            if let Err(error) = self.show(progress) {
                self.raise(error);
            }
            py.detach(|| worker.join())
        });
        if let Some(error) = locked(&self.0.raised).take() {
            return Err(error);
        }
        match result {
            Ok(result) => result.map_err(PyErr::from),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn show(&self, progress: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let Some(progress) = progress else { return Ok(()) };
        let share = self.0.done.load(Ordering::Relaxed) as f64 / STEPS;
        for line in std::mem::take(&mut *locked(&self.0.lines)) {
            progress.call1((share, line))?;
        }
        let note = locked(&self.0.note).clone();
        if note.is_empty() { Ok(()) } else { progress.call1((share, note)).map(drop) }
    }
}

/// Wakes who waits when the work has ended, in panic too.
struct Wakes<'a> {
    ended: &'a AtomicBool,
    waiting: Thread,
}

impl Drop for Wakes<'_> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.waiting.unpark();
    }
}

/// A task that stops the command line's library where it stops.
pub fn stoppable() -> Task {
    Task::stopping(progress::stop().clone())
}

/// Runs a [`stoppable`] task by the command line's library: its messages go to `progress`, Ctrl-C stops it.
pub fn heard<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    task: &Task,
    work: impl FnOnce(&Screen) -> Result<T> + Send,
) -> Result<T> {
    progress::start_anew();
    let heard = task.clone();
    progress::listen(Some(Arc::new(move |line: &str| heard.say(line))));
    let result = task.run_shown(py, (progress, ""), |_| work(&Screen::silent()));
    progress::listen(None);
    progress::start_anew();
    Ok(result?)
}

/// Shows the epochs of a training, which is the part of the task after `from`.
pub struct Epochs<'a> {
    pub task: &'a Task,
    pub from: f64,
    pub epochs: usize,
    pub note: String,
}

impl Epochs<'_> {
    fn at(&self, epochs: f64) {
        let share = epochs / self.epochs.max(1) as f64;
        self.task.at(self.from + (1.0 - self.from) * share, self.note.clone());
    }
}

impl Watch for Epochs<'_> {
    fn epoch(
        &mut self,
        report: &EpochReport,
        _model: &dyn Model,
    ) -> rankstill::core::Result<ControlFlow<()>> {
        let valid = report.valid.map_or(String::new(), |valid| format!("  valid {valid:.4}"));
        let (epoch, epochs) = (report.epoch + 1, report.epochs);
        self.note = format!("epoch {epoch}/{epochs}  loss {:.4}{valid}", report.loss);
        self.at(epoch as f64);
        Ok(self.task.flow())
    }

    fn step(&mut self, epoch: usize, done: usize, total: usize) -> bool {
        self.at(epoch as f64 + done as f64 / total.max(1) as f64);
        self.task.stop().asked()
    }
}
