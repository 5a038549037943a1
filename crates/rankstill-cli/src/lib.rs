//! The library behind the command line: experiments, from the log to the report, and their progress on the terminal.
//!
//! Models, distillers, metrics and the server are in [`rankstill`]. The program is [`cli::main_with`]; other programs that have the
//! command line in them, such as the Python package, call it too.

pub mod batch;
pub mod cli;
mod commands;
pub mod experiment;
pub mod progress;
pub mod reading;
pub mod recorded_lists;
pub mod sealed;
pub mod shards;

/// An error and its causes on one line, without causes that the message already ends with.
#[must_use]
pub fn error_line(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
