//! Progress: on a terminal, a bar with the estimated time left, and a line for each step of a run; nothing when piped.

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rankstill::core::Stop;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fmt;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Once, PoisonError, RwLock};
use std::time::Duration;

/// The number of the signal that asked to stop; 0 as long as none did.
static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// What is asked to stop along with it.
static STOP: LazyLock<Stop> = LazyLock::new(Stop::default);
/// Whether signals are somebody else's to answer.
static LEFT: AtomicBool = AtomicBool::new(false);

/// Leaves signals to the server, which answers what it has accepted before it ends.
pub fn leave_signals() {
    LEFT.store(true, Ordering::Relaxed);
}

/// Whether Ctrl-C was pressed, or the process was asked to end (SIGTERM). Long tasks check this between two steps, save their state
/// and stop.
#[must_use]
pub fn interrupted() -> bool {
    SIGNAL.load(Ordering::Relaxed) != 0 || STOP.asked()
}

/// What a signal asks to stop. A program with the command line in it may ask as well; the next task needs [`start_anew`] then.
#[must_use]
pub fn stop() -> &'static Stop {
    &STOP
}

/// Forgets that tasks were asked to stop.
pub fn start_anew() {
    STOP.withdraw();
}

/// The exit code of a command that was stopped by a signal: 130 for Ctrl-C, 143 for SIGTERM.
#[must_use]
pub fn exit_code() -> u8 {
    128 + SIGNAL.load(Ordering::Relaxed) as u8
}

/// Makes the first Ctrl-C or SIGTERM request an orderly stop; the second one exits at once.
pub fn catch_interrupts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(catch);
}

#[cfg(not(windows))]
fn catch() {
    // Where signals cannot be caught, they end the process as they do by themselves.
    let signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]);
    let Ok(mut signals) = signals else { return };
    let wait = move || {
        for signal in signals.forever() {
            if LEFT.load(Ordering::Relaxed) {
                continue;
            }
            if SIGNAL.swap(signal as usize, Ordering::Relaxed) != 0 {
                std::process::exit(128 + signal);
            }
            STOP.ask();
            _ = writeln!(std::io::stderr(), "\nstopping; press Ctrl-C again to stop at once");
        }
    };
    _ = std::thread::Builder::new().name("signals".into()).spawn(wait);
}

#[cfg(windows)]
fn catch() {
    for signal in [SIGINT, SIGTERM] {
        _ = signal_hook::flag::register_usize(signal, Arc::clone(&SIGNAL), signal as usize);
    }
}

/// Takes the messages of [`Screen::say`].
pub type Listener = dyn Fn(&str) + Send + Sync;

/// Who takes messages instead of standard error.
static LISTENER: RwLock<Option<Arc<Listener>>> = RwLock::new(None);

/// Gives the messages of this process to `listener`, whether screens are silent or not; `None`: to standard error again.
pub fn listen(listener: Option<Arc<Listener>>) {
    *LISTENER.write().unwrap_or_else(PoisonError::into_inner) = listener;
}

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Print only errors and the result.
    pub quiet: bool,
    /// Print results as JSON.
    pub json: bool,
    /// The step of a long command whose bars these are.
    stage: Option<Stage>,
}

/// A step of a long command. Displays as `3/14`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// From 1.
    pub step: usize,
    /// Of so many.
    pub steps: usize,
    /// About how long the later steps take, where that can be told.
    pub later: Option<Duration>,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.step, self.steps)
    }
}

/// `40 s`, `5 min`, `1.5 h`.
#[must_use]
pub fn short_time(time: Duration) -> String {
    match time.as_secs_f64() {
        s @ ..9.95 => format!("{s:.1} s"),
        s @ ..119.5 => format!("{s:.0} s"),
        s @ ..5970.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

impl Screen {
    /// A screen for these options; catches Ctrl-C.
    #[must_use]
    pub fn new(quiet: bool, json: bool) -> Self {
        catch_interrupts();
        Self { quiet, json, stage: None }
    }

    /// Prints no messages: for tests and for programs that use the library.
    #[must_use]
    pub fn silent() -> Self {
        Self { quiet: true, json: false, stage: None }
    }

    /// The same screen at a step of a long command.
    #[must_use]
    pub fn at(self, stage: Stage) -> Self {
        Self { stage: Some(stage), ..self }
    }

    /// Prints a line of progress: on a terminal only.
    pub fn tell(&self, line: impl AsRef<str>) {
        if self.is_live() {
            self.say(line);
        }
    }

    /// Prints a message on standard error, so that a pipe gets only the result.
    pub fn say(&self, line: impl AsRef<str>) {
        if let Some(listener) = &*LISTENER.read().unwrap_or_else(PoisonError::into_inner) {
            listener(line.as_ref());
        } else if !self.quiet {
            _ = writeln!(std::io::stderr(), "{}", line.as_ref());
        }
    }

    /// Prints the result on standard output. A closed pipe is not an error.
    ///
    /// # Errors
    /// If it cannot be written, as to a full disk.
    pub fn print(&self, text: impl AsRef<str>) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(error).context("standard output")
            }
            _ => Ok(()),
        }
    }

    /// Clears a line that a bar may have left.
    pub fn clear(&self) {
        if self.is_live() {
            _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    /// A bar over `total` steps, visible only on a terminal.
    #[must_use]
    pub fn bar(&self, title: impl Into<String>, total: u64) -> Bar {
        let target = if self.is_live() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style =
            ProgressStyle::with_template("{prefix:24} {bar:30} {percent:>3}% {eta:>5} left  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        let title = title.into();
        bar.set_prefix(match self.stage {
            Some(stage) => format!("{stage} {title}"),
            None => title,
        });
        bar.enable_steady_tick(Duration::from_millis(500));
        let later = self.stage.and_then(|stage| stage.later);
        let later = later.map_or(String::new(), |later| format!("  then {}", short_time(later)));
        let bar = Bar { bar, later };
        bar.note("");
        bar
    }

    fn is_live(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }
}

/// A progress bar; disappears when dropped.
pub struct Bar {
    bar: ProgressBar,
    /// How long the later steps take.
    later: String,
}

impl Bar {
    /// Sets the number of finished steps.
    pub fn at(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// Sets the number of finished steps and of all steps.
    pub fn at_of(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// Sets the text after the bar.
    pub fn note(&self, note: impl Into<String>) {
        self.bar.set_message(note.into() + &self.later);
    }

    /// Takes the bar away while something else is printed.
    pub fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let texts = [0.24, 9.96, 119.0, 120.0, 5969.0, 5400.0 * 2.0]
            .map(|seconds| short_time(Duration::from_secs_f64(seconds)));
        assert_eq!(texts, ["0.2 s", "10 s", "119 s", "2 min", "99 min", "3.0 h"]);
    }
}
