//! The legend of a figure.

use super::{DASHED, EDGE, draw_mark};
use crate::report::svg::{Svg, colour, escape, text_width};

/// The names of all curves with their lines and marks, in as many rows as needed.
pub(super) struct Legend<'a> {
    entries: Vec<Entry<'a>>,
    rows: usize,
}

struct Entry<'a> {
    x: f64,
    row: usize,
    /// Index of the curve.
    curve: usize,
    name: &'a str,
    level: bool,
}

const LINE_HEIGHT: f64 = 20.0;

impl<'a> Legend<'a> {
    pub fn new(names: &[(&'a str, bool)], width: f64) -> Self {
        let wide = |name: &str| 50.0 + text_width(name);
        let mut rows: Vec<Vec<(usize, &'a str, bool)>> = vec![Vec::new()];
        let mut used = 0.0;
        for (curve, &(name, level)) in names.iter().enumerate() {
            if used > 0.0 && used + wide(name) > width {
                rows.push(Vec::new());
                used = 0.0;
            }
            used += wide(name);
            rows.last_mut().expect("never empty").push((curve, name, level));
        }
        let mut entries = Vec::new();
        for (row, names) in rows.iter().enumerate() {
            let total: f64 = names.iter().map(|(_, name, _)| wide(name)).sum();
            let mut x = EDGE + ((width - total) / 2.0).max(0.0);
            for &(curve, name, level) in names {
                entries.push(Entry { x, row, curve, name, level });
                x += wide(name);
            }
        }
        Self { entries, rows: rows.len() }
    }

    pub fn height(&self) -> f64 {
        self.rows as f64 * LINE_HEIGHT
    }

    pub fn draw(&self, out: &mut Svg, top: f64) {
        for entry in &self.entries {
            let (x, y) = (entry.x, top + LINE_HEIGHT * (entry.row as f64 + 0.5));
            let (colour, dash) = (colour(entry.curve), if entry.level { DASHED } else { "" });
            out.line(format_args!(
                r#"<line x1="{x:.1}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}" stroke="{colour}" stroke-width="2"{dash}/>"#,
                x + 28.0
            ));
            if !entry.level {
                draw_mark(out, entry.curve, x + 14.0, y);
            }
            out.line(format_args!(
                r#"<text x="{:.1}" y="{:.1}">{}</text>"#,
                x + 34.0,
                y + 4.5,
                escape(entry.name)
            ));
        }
    }
}
