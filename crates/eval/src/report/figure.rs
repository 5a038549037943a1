//! A figure as one puts into a paper: panels side by side with lines, marks, error bars or bands, level lines, and bars against
//! a second axis. As SVG, written by hand like [`super::chart`].

use super::chart::{Axis, PALETTE, Scale, escape, number, text_width};
use std::fmt::Write;

/// One file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// Over everything; may be empty.
    pub title: String,
    /// Side by side.
    pub panels: Vec<Panel>,
}

/// One plane with its axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// Along the bottom.
    pub x: Axis,
    /// Places along the bottom by name: `x` of a point is then the number of its name, and all are equally far apart.
    pub names: Option<Vec<String>>,
    /// Along the left.
    pub y: Axis,
    /// In the order of the legend.
    pub curves: Vec<Curve>,
    /// What the bars stand for; drawn against an axis of their own on the right.
    pub bars: Option<String>,
}

/// One line of the legend. A curve of the same name has the same colour in all panels.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// In the legend.
    pub name: String,
    /// From left to right. A single point of a level line has any `x`.
    pub points: Vec<Point>,
    /// A dashed line over the whole width, at the first point's `y`: something that does not vary.
    pub level: bool,
}

/// One value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Along the bottom.
    pub x: f64,
    /// Along the left.
    pub y: f64,
    /// Drawn up and down from it.
    pub deviation: Option<f64>,
    /// The height of its bar.
    pub bar: f64,
}

/// More points than this are drawn with a band instead of bars of error, and with a few marks.
const MANY: usize = 14;

/// Bars stay in this lower part of the plane: the lines are what is to be read.
const BARS: f64 = 0.55;

const PANEL: f64 = 400.0;
const PLANE_HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 52.0;
const EDGE: f64 = 14.0;
const LEGEND_LINE: f64 = 20.0;

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

        let mut out = format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" role="img" font-family="Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif" font-size="13" fill="#111">
<rect width="100%" height="100%" fill="#fff"/>
"##
        );
        if title > 0.0 {
            let _ = writeln!(
                out,
                r#"<text x="{:.1}" y="22" font-size="15" font-weight="600" text-anchor="middle">{}</text>"#,
                width / 2.0,
                escape(&self.title)
            );
        }
        legend.draw(&mut out, title + 6.0);
        let mut left = 0.0;
        for (at, panel) in self.panels.iter().enumerate() {
            let plane = Plane::new(panel, left + LEFT, top, left + PANEL - EDGE);
            plane.draw(&mut out, &names);
            if letters > 0.0 {
                let _ = writeln!(
                    out,
                    r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">({})</text>"#,
                    (plane.left + plane.right) / 2.0,
                    height - 8.0,
                    char::from(b'a' + (at % 26) as u8)
                );
            }
            left += wide(panel);
        }
        out.push_str("</svg>\n");
        out
    }

    /// Every curve of any panel, and whether it is a level line.
    fn names(&self) -> Vec<(&str, bool)> {
        let mut names: Vec<(&str, bool)> = Vec::new();
        for curve in self.panels.iter().flat_map(|panel| &panel.curves) {
            if !names.iter().any(|(name, _)| *name == curve.name) {
                names.push((&curve.name, curve.level));
            }
        }
        names
    }
}

fn colour(at: usize) -> &'static str {
    PALETTE[at % PALETTE.len()]
}

/// The names with their lines and marks, in as many rows as they need.
struct Legend<'a> {
    /// x, row, number, name, level.
    places: Vec<(f64, usize, usize, &'a str, bool)>,
    rows: usize,
}

impl<'a> Legend<'a> {
    fn new(names: &[(&'a str, bool)], width: f64) -> Self {
        let wide = |name: &str| 50.0 + text_width(name);
        let mut rows: Vec<Vec<(usize, &'a str, bool)>> = vec![Vec::new()];
        let mut used = 0.0;
        for (at, &(name, level)) in names.iter().enumerate() {
            if used > 0.0 && used + wide(name) > width {
                rows.push(Vec::new());
                used = 0.0;
            }
            used += wide(name);
            rows.last_mut().expect("never empty").push((at, name, level));
        }
        let mut places = Vec::new();
        for (row, names) in rows.iter().enumerate() {
            let total: f64 = names.iter().map(|(_, name, _)| wide(name)).sum();
            let mut x = EDGE + ((width - total) / 2.0).max(0.0);
            for &(at, name, level) in names {
                places.push((x, row, at, name, level));
                x += wide(name);
            }
        }
        Self { places, rows: rows.len() }
    }

    fn height(&self) -> f64 {
        self.rows as f64 * LEGEND_LINE
    }

    fn draw(&self, out: &mut String, top: f64) {
        for &(x, row, at, name, level) in &self.places {
            let y = top + LEGEND_LINE * (row as f64 + 0.5);
            let (colour, dash) = (colour(at), if level { DASHED } else { "" });
            let _ = writeln!(
                out,
                r#"<line x1="{x:.1}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}" stroke="{colour}" stroke-width="2"{dash}/>"#,
                x + 28.0
            );
            if !level {
                mark(out, at, x + 14.0, y);
            }
            let _ = writeln!(
                out,
                r#"<text x="{:.1}" y="{:.1}">{}</text>"#,
                x + 34.0,
                y + 4.5,
                escape(name)
            );
        }
    }
}

const DASHED: &str = r#" stroke-dasharray="7 4""#;

/// A shape of its own for each curve: told apart without colour too.
fn mark(out: &mut String, at: usize, x: f64, y: f64) {
    let fill = format!(r##"fill="{}" stroke="#fff" stroke-width="0.8""##, colour(at));
    let polygon = |corners: &[(f64, f64)]| {
        let corners: Vec<String> =
            corners.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy)).collect();
        format!(r#"<polygon points="{}" {fill}/>"#, corners.join(" "))
    };
    let shape = match at % 6 {
        0 => format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="4.2" {fill}/>"#),
        1 => polygon(&[(-3.9, -3.9), (3.9, -3.9), (3.9, 3.9), (-3.9, 3.9)]),
        2 => polygon(&[(0.0, -5.2), (4.8, 3.6), (-4.8, 3.6)]),
        3 => polygon(&[(0.0, -5.4), (5.4, 0.0), (0.0, 5.4), (-5.4, 0.0)]),
        4 => polygon(&[(0.0, 5.2), (4.8, -3.6), (-4.8, -3.6)]),
        _ => {
            polygon(&[(-2.4, -4.8), (2.4, -4.8), (5.0, 0.0), (2.4, 4.8), (-2.4, 4.8), (-5.0, 0.0)])
        }
    };
    let _ = writeln!(out, "{shape}");
}

/// A panel in its place.
struct Plane<'a> {
    panel: &'a Panel,
    x: Scale<'a>,
    y: Scale<'a>,
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    highest_bar: f64,
}

impl<'a> Plane<'a> {
    fn new(panel: &'a Panel, left: f64, top: f64, right: f64) -> Self {
        let curves = || panel.curves.iter();
        let ys = curves().flat_map(|curve| {
            let shown = if curve.level { 1 } else { curve.points.len() };
            curve.points.iter().take(shown).flat_map(|point| {
                let spread = point.deviation.unwrap_or(0.0);
                [point.y - spread, point.y + spread]
            })
        });
        let ys: Vec<f64> = ys.filter(|y| panel.y.shows(*y)).collect();
        let xs: Vec<f64> = match &panel.names {
            Some(names) => vec![-0.5, names.len() as f64 - 0.5],
            None => {
                let moving = curves().filter(|curve| !curve.level);
                let xs = moving.flat_map(|curve| curve.points.iter().map(|point| point.x));
                xs.filter(|x| panel.x.shows(*x)).collect()
            }
        };
        let room = if panel.names.is_some() { 0.0 } else { 0.05 };
        let bars = curves().flat_map(|curve| curve.points.iter().map(|point| point.bar));
        Self {
            panel,
            x: Scale::with_room(&panel.x, &xs, room),
            y: Scale::with_room(&panel.y, &ys, 0.08),
            left,
            top,
            right,
            bottom: top + PLANE_HEIGHT,
            highest_bar: bars.filter(|bar| bar.is_finite()).fold(0.0, f64::max),
        }
    }

    fn at_x(&self, x: f64) -> f64 {
        self.left + self.x.share(x) * (self.right - self.left)
    }

    fn at_y(&self, y: f64) -> f64 {
        self.bottom - self.y.share(y).clamp(0.0, 1.0) * (self.bottom - self.top)
    }

    fn draw(&self, out: &mut String, names: &[(&str, bool)]) {
        self.axes(out);
        self.bars(out, names);
        let number_of = |curve: &Curve| {
            names.iter().position(|(name, _)| *name == curve.name).unwrap_or_default()
        };
        // Level lines lie beneath.
        for curve in self.panel.curves.iter().filter(|curve| curve.level) {
            let Some(point) = curve.points.first().filter(|p| self.panel.y.shows(p.y)) else {
                continue;
            };
            let (y, colour) = (self.at_y(point.y), colour(number_of(curve)));
            let (left, right) = (self.left, self.right);
            if let Some(deviation) = point.deviation.filter(|deviation| *deviation > 0.0) {
                let (high, low) = (self.at_y(point.y + deviation), self.at_y(point.y - deviation));
                let _ = writeln!(
                    out,
                    r#"<path d="M{left:.1} {high:.1}H{right:.1}V{low:.1}H{left:.1}Z" fill="{colour}" fill-opacity="0.12"/>"#
                );
            }
            let _ = writeln!(
                out,
                r#"<line x1="{left:.1}" y1="{y:.1}" x2="{right:.1}" y2="{y:.1}" stroke="{colour}" stroke-width="2"{DASHED}/>"#
            );
        }
        for curve in self.panel.curves.iter().filter(|curve| !curve.level) {
            self.curve(out, curve, number_of(curve));
        }
    }

    fn curve(&self, out: &mut String, curve: &Curve, at: usize) {
        let shown = |point: &&Point| self.panel.x.shows(point.x) && self.panel.y.shows(point.y);
        let points: Vec<&Point> = curve.points.iter().filter(shown).collect();
        let colour = colour(at);
        let many = points.len() > MANY;
        let places: Vec<(f64, f64)> =
            points.iter().map(|point| (self.at_x(point.x), self.at_y(point.y))).collect();
        let joined = |places: &mut dyn Iterator<Item = (f64, f64)>| {
            places.map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
        };
        let end =
            |point: &Point, sign: f64| self.at_y(point.y + sign * point.deviation.unwrap_or(0.0));
        if many && points.iter().any(|point| point.deviation.is_some()) {
            let up = points.iter().map(|point| (self.at_x(point.x), end(point, 1.0)));
            let down = points.iter().rev().map(|point| (self.at_x(point.x), end(point, -1.0)));
            let _ = writeln!(
                out,
                r#"<polygon points="{}" fill="{colour}" fill-opacity="0.16"/>"#,
                joined(&mut up.chain(down))
            );
        }
        let _ = writeln!(
            out,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>"#,
            joined(&mut places.iter().copied())
        );
        if many {
            // A few marks, so that lines are told apart without colour.
            for (x, y) in places.iter().skip(places.len() / 16).step_by(places.len().div_ceil(8)) {
                mark(out, at, *x, *y);
            }
            return;
        }
        for (point, (x, y)) in points.iter().zip(&places) {
            if point.deviation.is_some_and(|deviation| deviation > 0.0) {
                let (high, low) = (end(point, 1.0), end(point, -1.0));
                let (l, r) = (x - 3.5, x + 3.5);
                let _ = writeln!(
                    out,
                    r#"<path d="M{l:.1} {high:.1}H{r:.1}M{x:.1} {high:.1}V{low:.1}M{l:.1} {low:.1}H{r:.1}" fill="none" stroke="{colour}" stroke-width="1.3"/>"#
                );
            }
            mark(out, at, *x, *y);
        }
    }

    /// Behind everything: groups of bars, against the axis on the right.
    fn bars(&self, out: &mut String, names: &[(&str, bool)]) {
        let Some(label) = &self.panel.bars else { return };
        let curves: Vec<&Curve> = self.panel.curves.iter().filter(|curve| !curve.level).collect();
        let mut xs: Vec<f64> = curves
            .iter()
            .flat_map(|curve| curve.points.iter().map(|point| self.at_x(point.x)))
            .filter(|x| x.is_finite())
            .collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup_by(|a, b| (*a - *b).abs() < 0.5);
        let apart = xs.windows(2).map(|pair| pair[1] - pair[0]).fold(70.0, f64::min);
        let wide = (0.72 * apart / curves.len().max(1) as f64).min(26.0);
        let scale = Scale::bars(self.highest_bar / BARS);
        let high = |bar: f64| {
            let share = scale.share(bar).clamp(0.0, 1.0);
            if share.is_finite() { share * (self.bottom - self.top) } else { 0.0 }
        };
        for (nth, curve) in curves.iter().enumerate() {
            let at = names.iter().position(|(name, _)| *name == curve.name).unwrap_or_default();
            let shown = |point: &&Point| {
                self.panel.x.shows(point.x) && point.bar > 0.0 && point.bar.is_finite()
            };
            for point in curve.points.iter().filter(shown) {
                let left = self.at_x(point.x) + wide * (nth as f64 - curves.len() as f64 / 2.0);
                let tall = high(point.bar);
                let _ = writeln!(
                    out,
                    r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{tall:.1}" fill="{colour}" fill-opacity="0.20" stroke="{colour}" stroke-opacity="0.45" stroke-width="0.8"><title>{}: {} {}</title></rect>"#,
                    left + 0.5,
                    self.bottom - tall,
                    (wide - 1.0).max(1.0),
                    escape(&curve.name),
                    number(point.bar),
                    escape(label),
                    colour = colour(at),
                );
            }
        }
        for value in Scale::bars(self.highest_bar).ticks() {
            let y = self.bottom - high(value);
            let _ = writeln!(
                out,
                r##"<path d="M{r:.1} {y:.1}h5" stroke="#444"/><text x="{:.1}" y="{:.1}" font-size="12" fill="#333">{}</text>"##,
                self.right + 8.0,
                y + 4.0,
                number(value),
                r = self.right,
            );
        }
        let _ = writeln!(
            out,
            r##"<path d="M{r:.1} {:.1}V{:.1}" stroke="#444" fill="none"/><text transform="translate({:.1} {:.1}) rotate(90)" text-anchor="middle">{}</text>"##,
            self.bottom - BARS * (self.bottom - self.top),
            self.bottom,
            self.right + 48.0,
            self.bottom - BARS / 2.0 * (self.bottom - self.top),
            escape(label),
            r = self.right,
        );
    }

    fn axes(&self, out: &mut String) {
        let (left, right, top, bottom) = (self.left, self.right, self.top, self.bottom);
        let ticks = self.y.ticks();
        for (value, text) in ticks.iter().zip(alike(&ticks)) {
            let y = self.at_y(*value);
            let _ = writeln!(
                out,
                r##"<path d="M{left:.1} {y:.1}H{right:.1}" stroke="#e6e6e6" fill="none"/><path d="M{left:.1} {y:.1}h-5" stroke="#444"/><text x="{:.1}" y="{:.1}" font-size="12" fill="#333" text-anchor="end">{}</text>"##,
                left - 8.0,
                y + 4.0,
                text
            );
        }
        for (x, text) in self.x_ticks() {
            let _ = writeln!(
                out,
                r##"<path d="M{x:.1} {bottom:.1}v5" stroke="#444"/><text x="{x:.1}" y="{:.1}" font-size="12" fill="#333" text-anchor="middle">{}</text>"##,
                bottom + 19.0,
                escape(&text)
            );
        }
        let _ = writeln!(
            out,
            r##"<path d="M{left:.1} {top:.1}V{bottom:.1}H{right:.1}" fill="none" stroke="#444" stroke-width="1.2"/>
<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>
<text transform="translate({:.1} {:.1}) rotate(-90)" text-anchor="middle">{}</text>"##,
            (left + right) / 2.0,
            bottom + 42.0,
            escape(&self.panel.x.label),
            left - 54.0,
            (top + bottom) / 2.0,
            escape(&self.panel.y.label)
        );
    }

    /// Where points are, as far as their numbers do not run into each other; round numbers where there are many points.
    fn x_ticks(&self) -> Vec<(f64, String)> {
        if let Some(names) = &self.panel.names {
            return names
                .iter()
                .enumerate()
                .map(|(at, name)| (self.at_x(at as f64), name.clone()))
                .collect();
        }
        let curves = self.panel.curves.iter().filter(|curve| !curve.level);
        let mut xs: Vec<f64> = curves.flat_map(|curve| curve.points.iter().map(|p| p.x)).collect();
        xs.retain(|x| self.panel.x.shows(*x));
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let values = if xs.len() <= 10 && !xs.is_empty() { xs } else { self.x.ticks() };
        let mut ticks: Vec<(f64, String)> = Vec::new();
        let mut end = f64::NEG_INFINITY;
        for value in values {
            let (x, text) = (self.at_x(value), number(value));
            let half = text_width(&text) / 2.0;
            if x - half > end + 5.0 {
                end = x + half;
                ticks.push((x, text));
            }
        }
        ticks
    }
}

/// With as many places each: 0.08, 0.09, 0.10.
fn alike(values: &[f64]) -> Vec<String> {
    let texts: Vec<String> = values.iter().map(|value| number(*value)).collect();
    if texts.iter().any(|text| text.contains(|c: char| c.is_alphabetic())) {
        return texts;
    }
    let places = |text: &String| text.split_once('.').map_or(0, |(_, places)| places.len());
    let most = texts.iter().map(places).max().unwrap_or(0);
    values.iter().map(|value| format!("{value:.most$}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, points: &[(f64, f64)]) -> Curve {
        let point = |&(x, y): &(f64, f64)| Point { x, y, deviation: Some(0.01), bar: 1e5 * x };
        Curve { name: name.into(), points: points.iter().map(point).collect(), level: false }
    }

    fn panel(curves: Vec<Curve>) -> Panel {
        let (x, y) = (Axis::linear("alpha"), Axis::linear("MAP"));
        Panel { x, names: None, y, curves, bars: None }
    }

    #[test]
    fn every_curve_has_a_line_its_marks_and_one_place_in_the_legend() {
        let curves = [curve("A<b>", &[(0.0, 0.1), (0.5, 0.3)]), curve("B", &[(0.0, 0.2)])];
        let level = Curve { level: true, ..curve("T", &[(0.0, 0.25)]) };
        let all = vec![curves[0].clone(), curves[1].clone(), level];
        let figure = Figure { title: "t".into(), panels: vec![panel(all.clone()), panel(all)] };
        let svg = figure.svg();
        assert_eq!(svg.matches("<polyline").count(), 4);
        assert_eq!(svg.matches("A&lt;b&gt;</text>").count(), 1);
        assert_eq!(svg.matches("<circle").count(), 1 + 2 * 2, "the first curve's marks");
        assert_eq!(svg.matches("stroke-dasharray").count(), 1 + 2);
        assert!(svg.contains(">(a)</text>") && svg.contains(">(b)</text>"));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }

    #[test]
    fn ticks_stand_at_the_points_and_never_on_each_other() {
        let few = panel(vec![curve("A", &[(10.0, 0.1), (20.0, 0.3), (100.0, 0.2)])]);
        let plane = Plane::new(&few, 0.0, 0.0, 300.0);
        let texts: Vec<String> = plane.x_ticks().into_iter().map(|tick| tick.1).collect();
        assert_eq!(texts, ["10", "20", "100"]);
        let close = panel(vec![curve("A", &[(1000.0, 0.1), (1001.0, 0.3), (9000.0, 0.2)])]);
        let plane = Plane::new(&close, 0.0, 0.0, 300.0);
        let texts: Vec<String> = plane.x_ticks().into_iter().map(|tick| tick.1).collect();
        assert_eq!(texts, ["1000", "9000"]);
    }

    #[test]
    fn ticks_of_an_axis_have_as_many_places() {
        assert_eq!(alike(&[0.08, 0.09, 0.1]), ["0.08", "0.09", "0.10"]);
        assert_eq!(alike(&[0.0, 500.0, 1000.0]), ["0", "500", "1000"]);
        assert_eq!(alike(&[0.0, 5e5, 1e6]), ["0", "500k", "1M"]);
    }

    #[test]
    fn what_is_no_number_is_left_out_and_nothing_at_all_is_still_a_figure() {
        let points = [(0.0, f64::NAN), (0.5, 0.3), (f64::INFINITY, 0.2)];
        let mut odd = panel(vec![curve("A", &points)]);
        odd.bars = Some("parameters".into());
        for figure in [
            Figure { title: String::new(), panels: vec![odd] },
            Figure { title: String::new(), panels: vec![panel(vec![])] },
            Figure::default(),
        ] {
            let svg = figure.svg();
            assert!(
                svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"),
                "{svg}"
            );
        }
    }
}
