//! What people see while they wait: one line of progress with an estimate on a terminal, and silence when piped.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C was pressed. Long work looks here between two steps, keeps its state and ends.
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Makes the first Ctrl-C ask for an orderly end; the second one ends at once.
pub fn catch_interrupts() {
    // A second handler (in a program that uses the library) is not an error: then that program decides.
    _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        _ = writeln!(std::io::stderr(), "\nstopping; press Ctrl-C again to stop at once");
    });
}

/// Where to, and how much, a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Print nothing but errors and what was asked for.
    pub quiet: bool,
    /// Print results as JSON.
    pub json: bool,
}

impl Screen {
    /// As the options say; catches Ctrl-C.
    #[must_use]
    pub fn new(quiet: bool, json: bool) -> Self {
        catch_interrupts();
        Self { quiet, json }
    }

    /// Says nothing: for tests and for programs that use the library.
    #[must_use]
    pub fn silent() -> Self {
        Self { quiet: true, json: false }
    }

    /// One line for people, on standard error so that a pipe gets the result alone.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.quiet {
            _ = writeln!(std::io::stderr(), "{}", line.as_ref());
        }
    }

    /// The result itself, on standard output. A reader that hung up is not an error.
    pub fn print(&self, text: impl AsRef<str>) {
        _ = writeln!(std::io::stdout(), "{}", text.as_ref());
    }

    /// Ends a line that progress may have left.
    pub fn clear(&self) {
        if self.is_live() {
            _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    /// A bar over `total` steps of something; it shows itself only on a terminal.
    #[must_use]
    pub fn bar(&self, what: impl Into<String>, total: u64) -> Bar {
        let target = if self.is_live() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style =
            ProgressStyle::with_template("{prefix:24} {bar:30} {percent:>3}% {eta:>5} left  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        bar.set_prefix(what.into());
        bar.enable_steady_tick(Duration::from_millis(500));
        Bar(bar)
    }

    fn is_live(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }
}

/// A bar of progress; gone when dropped.
pub struct Bar(ProgressBar);

impl Bar {
    /// So much is done.
    pub fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// So much of so much is done.
    pub fn at_of(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// What stands behind the bar.
    pub fn note(&self, note: impl Into<String>) {
        self.0.set_message(note.into());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
