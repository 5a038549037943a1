//! What the command line runs: experiments, from a log to the table, and what people see meanwhile.
//!
//! Everything of the field is in the library, [`rankstill`]; the commands themselves are in the binary.

pub mod experiment;
pub mod progress;

/// An error and its causes on one line; a cause that the error tells already is not told again.
#[must_use]
pub fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
