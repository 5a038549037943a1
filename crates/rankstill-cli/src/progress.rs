//! Progress: on a terminal, a bar with the estimated time left; nothing when piped.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C was pressed. Long tasks check this between two steps, save their state and stop.
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Makes the first Ctrl-C request an orderly stop; the second one exits at once.
pub fn catch_interrupts() {
    // Fails in a program that has a handler of its own; then that handler decides.
    _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        _ = writeln!(std::io::stderr(), "\nstopping; press Ctrl-C again to stop at once");
    });
}

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Print only errors and the result.
    pub quiet: bool,
    /// Print results as JSON.
    pub json: bool,
}

impl Screen {
    /// A screen for these options; catches Ctrl-C.
    #[must_use]
    pub fn new(quiet: bool, json: bool) -> Self {
        catch_interrupts();
        Self { quiet, json }
    }

    /// Prints no messages: for tests and for programs that use the library.
    #[must_use]
    pub fn silent() -> Self {
        Self { quiet: true, json: false }
    }

    /// Prints a message on standard error, so that a pipe gets only the result.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.quiet {
            _ = writeln!(std::io::stderr(), "{}", line.as_ref());
        }
    }

    /// Prints the result on standard output. A closed pipe is not an error.
    pub fn print(&self, text: impl AsRef<str>) {
        _ = writeln!(std::io::stdout(), "{}", text.as_ref());
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
        bar.set_prefix(title.into());
        bar.enable_steady_tick(Duration::from_millis(500));
        Bar(bar)
    }

    fn is_live(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }
}

/// A progress bar; disappears when dropped.
pub struct Bar(ProgressBar);

impl Bar {
    /// Sets the number of finished steps.
    pub fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Sets the number of finished steps and of all steps.
    pub fn at_of(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// Sets the text after the bar.
    pub fn note(&self, note: impl Into<String>) {
        self.0.set_message(note.into());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
