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

/// The same picture for a page whose style sheet sets the colours, so that it follows a dark theme: `--paper`, `--ink`, `--muted`,
/// `--line`, and `--curve-0` to `--curve-6`. Texts have no quotes of their own ([`escape`]), so only attributes match.
pub(super) fn themed(picture: &str) -> String {
    let greys = [
        ("#fff", "paper"),
        ("#111", "ink"),
        ("#222", "ink"),
        ("#333", "muted"),
        ("#444", "muted"),
        ("#999", "muted"),
        ("#e6e6e6", "line"),
    ];
    let curves = PALETTE.iter().enumerate().map(|(at, colour)| (*colour, format!("curve-{at}")));
    let all = greys.into_iter().map(|(colour, name)| (colour, name.to_owned())).chain(curves);
    all.fold(picture.to_owned(), |picture, (colour, name)| {
        picture.replace(&format!("=\"{colour}\""), &format!("=\"var(--{name})\""))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_themed_picture_has_no_colour_of_its_own_and_texts_stay() {
        let mut svg = Svg::new(1, 1, r##"fill="#111""##, "");
        svg.line(format_args!(
            r##"<path stroke="#e6e6e6" fill="{}"/><text>{}</text>"##,
            colour(8),
            escape(r##"="#111""##)
        ));
        let themed = themed(&svg.finish());
        assert!(themed.contains(r#"fill="var(--ink)""#) && themed.contains("var(--curve-1)"));
        assert!(themed.contains("<text>=&quot;#111&quot;</text>"), "{themed}");
        assert_eq!(themed.matches('#').count(), 1, "{themed}");
    }
}
