//! Figures as in papers: panels side by side with curves, marks, error bars or bands, level lines, and bars
//! against a second axis.

mod legend;
mod plane;

pub use super::axis::Axis;

use super::svg::{Svg, colour, escape};
use legend::Legend;
use plane::Plane;

/// One file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// Above all panels; may be empty.
    pub title: String,
    /// Side by side.
    pub panels: Vec<Panel>,
}

/// One plane with its axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Along the bottom.
    pub x: Axis,
    /// Named positions along the bottom, evenly spaced: `x` of a point is then the index of its name.
    pub names: Option<Vec<String>>,
    /// Along the left.
    pub y: Axis,
    /// In the order of the legend.
    pub curves: Vec<Curve>,
    /// Label of the bars, which are drawn against a second axis on the right; `None` for no bars.
    pub bars: Option<String>,
}

/// One entry of the legend. Curves of the same name have the same colour in all panels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// In the legend.
    pub name: String,
    /// From left to right. A level line has one point, whose `x` does not matter.
    pub points: Vec<Point>,
    /// Draws a dashed line over the whole width at the first point's `y`: a value that does not vary.
    pub level: bool,
    /// The names of the points, shown when the pointer rests on one; may be empty.
    pub labels: Vec<String>,
    /// Draws marks without a line between them: points that are no series.
    pub scattered: bool,
    /// Draws a grey line around other curves, without marks, and writes the labels beside its points.
    pub outline: bool,
}

/// One value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Along the bottom.
    pub x: f64,
    /// Along the left.
    pub y: f64,
    /// Half the height of the error bar or band.
    pub deviation: Option<f64>,
    /// Height of the bar.
    pub bar: f64,
}

/// Width of a panel without an axis on the right.
const PANEL: f64 = 400.0;
const PLANE_HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 52.0;
const EDGE: f64 = 14.0;
const FONT: &str = r##"font-family="Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif" font-size="13" fill="#111""##;

impl Figure {
    /// The text of an SVG file.
    #[must_use]
    pub fn svg(&self) -> String {
        let names = self.names();
        let right = |panel: &Panel| if panel.bars.is_some() { 62.0 } else { EDGE };
        let wide = |panel: &Panel| LEFT + PANEL - LEFT - EDGE + right(panel);
        let width = self.panels.iter().map(wide).sum::<f64>().max(PANEL);
        let title = if self.title.is_empty() { 0.0 } else { 28.0 };
        let legend = Legend::new(&names, width - 2.0 * EDGE);
        let top = title + legend.height() + 14.0;
        let letters = if self.panels.len() > 1 { 22.0 } else { 0.0 };
        let height = top + PLANE_HEIGHT + BOTTOM + letters;

        let mut out = Svg::new(format!("{width:.0}"), format!("{height:.0}"), FONT, "");
        if title > 0.0 {
            out.line(format_args!(
                r#"<text x="{:.1}" y="22" font-size="15" font-weight="600" text-anchor="middle">{}</text>"#,
                width / 2.0,
                escape(&self.title)
            ));
        }
        legend.draw(&mut out, title + 6.0);
        let mut left = 0.0;
        for (at, panel) in self.panels.iter().enumerate() {
            let plane = Plane::new(panel, left + LEFT, top, left + PANEL - EDGE);
            plane.draw(&mut out, &names);
            if letters > 0.0 {
                out.line(format_args!(
                    r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">({})</text>"#,
                    plane.middle(),
                    height - 8.0,
                    char::from(b'a' + (at % 26) as u8)
                ));
            }
            left += wide(panel);
        }
        out.finish()
    }

    /// The names of all curves in the order of the legend, and whether they are level lines.
    fn names(&self) -> Vec<(&str, bool)> {
        let mut names: Vec<(&str, bool)> = Vec::new();
        let curves = self.panels.iter().flat_map(|panel| &panel.curves);
        for curve in curves.filter(|curve| !curve.outline) {
            if !names.iter().any(|(name, _)| *name == curve.name) {
                names.push((&curve.name, curve.level));
            }
        }
        names
    }
}

/// Attribute of level lines.
const DASHED: &str = r#" stroke-dasharray="7 4""#;

/// Draws a mark that tells its name when the pointer rests on it.
fn draw_named_mark(out: &mut Svg, curve: usize, (x, y): (f64, f64), name: &str) {
    out.line(format_args!("<g><title>{}</title>", escape(name)));
    draw_mark(out, curve, x, y);
    out.line(format_args!("</g>"));
}

/// Draws a mark. Its shape depends on the curve, so that curves can be distinguished without colour.
fn draw_mark(out: &mut Svg, curve: usize, x: f64, y: f64) {
    let fill = format!(r##"fill="{}" stroke="#fff" stroke-width="0.8""##, colour(curve));
    let corners: &[(f64, f64)] = match curve % 6 {
        0 => return out.line(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="4.2" {fill}/>"#)),
        1 => &[(-3.9, -3.9), (3.9, -3.9), (3.9, 3.9), (-3.9, 3.9)],
        2 => &[(0.0, -5.2), (4.8, 3.6), (-4.8, 3.6)],
        3 => &[(0.0, -5.4), (5.4, 0.0), (0.0, 5.4), (-5.4, 0.0)],
        4 => &[(0.0, 5.2), (4.8, -3.6), (-4.8, -3.6)],
        _ => &[(-2.4, -4.8), (2.4, -4.8), (5.0, 0.0), (2.4, 4.8), (-2.4, 4.8), (-5.0, 0.0)],
    };
    let corners = polyline(corners.iter().map(|(dx, dy)| (x + dx, y + dy)));
    out.line(format_args!(r#"<polygon points="{corners}" {fill}/>"#));
}

/// The `points` attribute of a polyline or polygon.
fn polyline(points: impl Iterator<Item = (f64, f64)>) -> String {
    points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
