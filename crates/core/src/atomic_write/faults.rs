//! Faults of the disk, for tests: the n-th change of the disk fails, or is the last one that the process makes.
//!
//! Within a thread a fault is set by [`with`]. A process gets one from the environment: `RANKSTILL_FAULT=N:KIND`, with a kind of
//! [`Fault`] in lower case. Only builds with the feature `testing` look for it.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process ends as by a kill: in a thread every later change fails too, a process exits with 137.
    Kill,
    /// Input/output error, once.
    Eio,
    /// The disk is full, from then on: only removing and renaming still work.
    Enospc,
    /// Permission denied, once.
    Eacces,
}

/// Every kind, with its name.
pub const KINDS: [(&str, Fault); 4] = [
    ("kill", Fault::Kill),
    ("eio", Fault::Eio),
    ("enospc", Fault::Enospc),
    ("eacces", Fault::Eacces),
];

#[derive(Clone, Copy)]
struct Plan {
    at: usize,
    fault: Fault,
    done: usize,
}

thread_local! {
    static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
}

/// Runs `task` in this thread with a fault at its `at`-th change of the disk, from 1; returns its result and whether the fault came.
pub fn with<T>(at: usize, fault: Fault, task: impl FnOnce() -> T) -> (T, bool) {
    PLAN.set(Some(Plan { at, fault, done: 0 }));
    let result = task();
    let plan = PLAN.take();
    (result, plan.is_some_and(|plan| plan.done >= at))
}

/// Whether the next change fails.
pub(super) fn strikes_next() -> bool {
    let strikes = |done: usize, at: usize, fault: Fault| done + 1 == at && fault != Fault::Eacces;
    match PLAN.get() {
        Some(plan) => strikes(plan.done, plan.at, plan.fault),
        None => {
            process().is_some_and(|(at, fault)| strikes(DONE.load(Ordering::Relaxed), at, fault))
        }
    }
}

/// Counts a change, and fails it if it is its turn.
pub(super) fn step(change: &str, path: &Path) -> io::Result<()> {
    if let Some(mut plan) = PLAN.get() {
        plan.done += 1;
        PLAN.set(Some(plan));
        return failed(plan.done, plan.at, plan.fault, change);
    }
    let Some((at, fault)) = process() else { return Ok(()) };
    let done = 1 + DONE.fetch_add(1, Ordering::Relaxed);
    if done == at {
        eprintln!("fault {at}: {change} {}", path.display());
        if fault == Fault::Kill {
            std::process::exit(137);
        }
    }
    failed(done, at, fault, change)
}

fn failed(done: usize, at: usize, fault: Fault, change: &str) -> io::Result<()> {
    let grows = !matches!(change, "remove" | "rename" | "cut");
    let error = match fault {
        Fault::Kill if done >= at => io::Error::other("killed"),
        Fault::Eio if done == at => io::Error::from_raw_os_error(libc::EIO),
        Fault::Enospc if done >= at && grows => io::Error::from_raw_os_error(libc::ENOSPC),
        Fault::Eacces if done == at => io::Error::from_raw_os_error(libc::EACCES),
        _ => return Ok(()),
    };
    Err(error)
}

static DONE: AtomicUsize = AtomicUsize::new(0);

/// The fault that the environment asks for.
fn process() -> Option<(usize, Fault)> {
    static PROCESS: OnceLock<Option<(usize, Fault)>> = OnceLock::new();
    *PROCESS.get_or_init(|| {
        let asked = std::env::var("RANKSTILL_FAULT").ok()?;
        let (at, kind) = asked.split_once(':')?;
        let (_, fault) = KINDS.iter().find(|(name, _)| *name == kind)?;
        Some((at.parse().ok()?, *fault))
    })
}
