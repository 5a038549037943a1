//! The SVG text that all pictures are made of.
//!
//! Written by hand: plotting crates pull in font parsers, and all that is needed is circles, lines and words.

use rankstill_core::text_table::display_width;
use std::fmt::{Arguments, Display, Write};

/// An SVG file that is being written.
pub(super) struct Svg(String);

impl Svg {
    /// Opens a file of this size on a white ground. `font`: attributes of all text; `style`: a style sheet or
    /// nothing.
    pub fn new(width: impl Display, height: impl Display, font: &str, style: &str) -> Self {
        Self(format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" {font}>
{style}<rect width="100%" height="100%" fill="#fff"/>
"##
        ))
    }

    /// Adds a line of elements. Texts within must be [`escape`]d.
    pub fn line(&mut self, elements: Arguments<'_>) {
        let _ = writeln!(self.0, "{elements}"); // writing to a string cannot fail
    }

    pub fn finish(self) -> String {
        self.0 + "</svg>\n"
    }
}

/// Distinguishable for colour-blind readers too (Okabe & Ito).
const PALETTE: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444"];

/// The colour of the `at`-th curve or group.
pub(super) fn colour(at: usize) -> &'static str {
    PALETTE[at % PALETTE.len()]
}

/// Approximate width in pixels at 12 px: fonts differ.
pub(super) fn text_width(text: &str) -> f64 {
    6.6 * display_width(text) as f64
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
