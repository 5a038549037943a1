//! One panel of a figure: its axes, bars, level lines and curves.

use super::{Curve, DASHED, PLANE_HEIGHT, Panel, Point, draw_mark, draw_named_mark, polyline};
use crate::report::axis::{Scale, aligned_numbers, number};
use crate::report::svg::{Svg, colour, escape, text_width};
use std::iter;

/// A panel with its scales and its position in pixels.
pub(super) struct Plane<'a> {
    panel: &'a Panel,
    x: Scale,
    y: Scale,
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    highest_bar: f64,
}

/// More points than this are drawn with a band instead of error bars, and with only a few marks.
const MANY: usize = 14;

/// Bars take at most this share of the height: the curves matter more.
const BARS: f64 = 0.55;

impl<'a> Plane<'a> {
    pub fn new(panel: &'a Panel, left: f64, top: f64, right: f64) -> Self {
        let curves = || panel.curves.iter();
        let ys = curves().flat_map(|curve| {
            let shown = if curve.level { 1 } else { curve.points.len() };
            curve.points.iter().take(shown).flat_map(|point| {
                let spread = point.deviation.unwrap_or(0.0);
                [point.y - spread, point.y + spread]
            })
        });
        let ys: Vec<f64> = ys.filter(|y| panel.y.shows(*y)).collect();
        let xs = match &panel.names {
            Some(names) => vec![-0.5, names.len() as f64 - 0.5],
            None => xs(panel),
        };
        let room = if panel.names.is_some() { 0.0 } else { 0.05 };
        let bars = curves().flat_map(|curve| curve.points.iter().map(|point| point.bar));
        Self {
            panel,
            x: Scale::new(&panel.x, &xs, room),
            y: Scale::new(&panel.y, &ys, 0.08),
            left,
            top,
            right,
            bottom: top + PLANE_HEIGHT,
            highest_bar: bars.filter(|bar| bar.is_finite()).fold(0.0, f64::max),
        }
    }

    pub fn middle(&self) -> f64 {
        (self.left + self.right) / 2.0
    }

    /// `names`: of all curves of the figure, in the order of the legend.
    pub fn draw(&self, out: &mut Svg, names: &[(&str, bool)]) {
        let index_of = |curve: &Curve| {
            names.iter().position(|(name, _)| *name == curve.name).unwrap_or_default()
        };
        let numbered = |level: bool| {
            let curves = self.panel.curves.iter().filter(|curve| !curve.outline);
            let curves = curves.filter(move |curve| curve.level == level);
            curves.map(|curve| (index_of(curve), curve)).collect::<Vec<_>>()
        };
        let curves = numbered(false);
        self.draw_axes(out);
        if let Some(label) = &self.panel.bars {
            self.draw_bars(out, label, &curves);
        }
        let outlines = self.panel.curves.iter().filter(|curve| curve.outline);
        outlines.clone().for_each(|curve| self.draw_outline(out, curve));
        numbered(true).into_iter().for_each(|(index, curve)| self.draw_level(out, index, curve));
        curves.into_iter().for_each(|(index, curve)| self.draw_curve(out, index, curve));
        outlines.for_each(|curve| self.draw_labels(out, curve));
    }

    fn at_x(&self, x: f64) -> f64 {
        self.left + self.x.share(x) * (self.right - self.left)
    }

    fn at_y(&self, y: f64) -> f64 {
        self.bottom - self.y.share(y).clamp(0.0, 1.0) * (self.bottom - self.top)
    }

    /// The end of the point's error bar, above (1) or below (-1) it.
    fn end(&self, point: &Point, sign: f64) -> f64 {
        self.at_y(point.y + sign * point.deviation.unwrap_or(0.0))
    }

    fn draw_level(&self, out: &mut Svg, index: usize, curve: &Curve) {
        let Some(point) = curve.points.first().filter(|p| self.panel.y.shows(p.y)) else { return };
        let (y, colour) = (self.at_y(point.y), colour(index));
        let (left, right) = (self.left, self.right);
        if point.deviation.is_some_and(|deviation| deviation > 0.0) {
            let (high, low) = (self.end(point, 1.0), self.end(point, -1.0));
            out.line(format_args!(
                r#"<path d="M{left:.1} {high:.1}H{right:.1}V{low:.1}H{left:.1}Z" fill="{colour}" fill-opacity="0.12"/>"#
            ));
        }
        out.line(format_args!(
            r#"<line x1="{left:.1}" y1="{y:.1}" x2="{right:.1}" y2="{y:.1}" stroke="{colour}" stroke-width="2"{DASHED}/>"#
        ));
    }

    /// Where a curve's points are, of those that can be shown, with their labels.
    fn labelled<'c>(&self, curve: &'c Curve) -> Vec<((f64, f64), &'c str)> {
        let labels = curve.labels.iter().map(String::as_str).chain(iter::repeat(""));
        let shown = |point: &Point| self.panel.x.shows(point.x) && self.panel.y.shows(point.y);
        let points = curve.points.iter().zip(labels).filter(|(point, _)| shown(point));
        points.map(|(point, label)| ((self.at_x(point.x), self.at_y(point.y)), label)).collect()
    }

    /// Behind the curves.
    fn draw_outline(&self, out: &mut Svg, curve: &Curve) {
        let points = self.labelled(curve);
        out.line(format_args!(
            r##"<polyline points="{}" fill="none" stroke="#999" stroke-width="6" stroke-opacity="0.35" stroke-linejoin="round" stroke-linecap="round"/>"##,
            polyline(points.iter().map(|(at, _)| *at))
        ));
    }

    /// Before the curves, above each point unless that would leave the plane or cover another label.
    fn draw_labels(&self, out: &mut Svg, curve: &Curve) {
        let mut taken: Vec<(f64, f64, f64)> = Vec::new();
        for ((x, y), label) in self.labelled(curve) {
            let half = 0.85 * text_width(label) / 2.0;
            let middle = x.clamp(self.left + half + 2.0, (self.right - half).max(self.left + half));
            let free = |at: &f64| {
                let covers = |(other, level, width): &(f64, f64, f64)| {
                    (other - middle).abs() < half + width && (level - at).abs() < 12.0
                };
                *at > self.top && *at < self.bottom && !taken.iter().any(covers)
            };
            let near = [-10.0, 19.0, -22.0, 31.0, -34.0, 43.0].map(|away| y + away);
            let Some(at) = near.into_iter().find(free) else { continue };
            taken.push((middle, at, half));
            out.line(format_args!(
                r##"<text x="{middle:.1}" y="{at:.1}" font-size="10.5" fill="#222" stroke="#fff" stroke-width="3" paint-order="stroke" text-anchor="middle">{}</text>"##,
                escape(label)
            ));
        }
    }

    fn draw_curve(&self, out: &mut Svg, index: usize, curve: &Curve) {
        let shown = |point: &&Point| self.panel.x.shows(point.x) && self.panel.y.shows(point.y);
        let points: Vec<&Point> = curve.points.iter().filter(shown).collect();
        let colour = colour(index);
        let many = points.len() > MANY;
        let positions: Vec<(f64, f64)> =
            points.iter().map(|point| (self.at_x(point.x), self.at_y(point.y))).collect();
        if many && points.iter().any(|point| point.deviation.is_some()) {
            let up = points.iter().map(|point| (self.at_x(point.x), self.end(point, 1.0)));
            let down = points.iter().rev().map(|point| (self.at_x(point.x), self.end(point, -1.0)));
            out.line(format_args!(
                r#"<polygon points="{}" fill="{colour}" fill-opacity="0.16"/>"#,
                polyline(up.chain(down))
            ));
        }
        if !curve.scattered {
            out.line(format_args!(
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>"#,
                polyline(positions.iter().copied())
            ));
        }
        if many {
            // A few marks, so that curves can be distinguished without colour.
            let (first, step) = (positions.len() / 16, positions.len().div_ceil(8));
            for (x, y) in positions.iter().skip(first).step_by(step) {
                draw_mark(out, index, *x, *y);
            }
            return;
        }
        let mut names = self.labelled(curve).into_iter().map(|(_, name)| name);
        for (point, (x, y)) in points.iter().zip(&positions) {
            if point.deviation.is_some_and(|deviation| deviation > 0.0) {
                let (high, low) = (self.end(point, 1.0), self.end(point, -1.0));
                let (l, r) = (x - 3.5, x + 3.5);
                out.line(format_args!(
                    r#"<path d="M{l:.1} {high:.1}H{r:.1}M{x:.1} {high:.1}V{low:.1}M{l:.1} {low:.1}H{r:.1}" fill="none" stroke="{colour}" stroke-width="1.3"/>"#
                ));
            }
            match names.next().filter(|name| !name.is_empty()) {
                Some(name) => draw_named_mark(out, index, (*x, *y), name),
                None => draw_mark(out, index, *x, *y),
            }
        }
    }

    /// Groups of bars behind everything else, against the axis on the right.
    fn draw_bars(&self, out: &mut Svg, label: &str, curves: &[(usize, &Curve)]) {
        let mut xs: Vec<f64> = curves
            .iter()
            .flat_map(|(_, curve)| curve.points.iter().map(|point| self.at_x(point.x)))
            .filter(|x| x.is_finite())
            .collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup_by(|a, b| (*a - *b).abs() < 0.5);
        let apart = xs.windows(2).map(|pair| pair[1] - pair[0]).fold(70.0, f64::min);
        let wide = (0.72 * apart / curves.len().max(1) as f64).min(26.0);
        let scale = Scale::from_zero(self.highest_bar / BARS);
        let high = |bar: f64| {
            let share = scale.share(bar).clamp(0.0, 1.0);
            if share.is_finite() { share * (self.bottom - self.top) } else { 0.0 }
        };
        for (nth, (index, curve)) in curves.iter().enumerate() {
            let shown = |point: &&Point| {
                self.panel.x.shows(point.x) && point.bar > 0.0 && point.bar.is_finite()
            };
            for point in curve.points.iter().filter(shown) {
                let left = self.at_x(point.x) + wide * (nth as f64 - curves.len() as f64 / 2.0);
                let tall = high(point.bar);
                out.line(format_args!(
                    r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{tall:.1}" fill="{colour}" fill-opacity="0.20" stroke="{colour}" stroke-opacity="0.45" stroke-width="0.8"><title>{}: {} {}</title></rect>"#,
                    left + 0.5,
                    self.bottom - tall,
                    (wide - 1.0).max(1.0),
                    escape(&curve.name),
                    number(point.bar),
                    escape(label),
                    colour = colour(*index),
                ));
            }
        }
        for value in Scale::from_zero(self.highest_bar).ticks() {
            let y = self.bottom - high(value);
            out.line(format_args!(
                r##"<path d="M{r:.1} {y:.1}h5" stroke="#444"/><text x="{:.1}" y="{:.1}" font-size="12" fill="#333">{}</text>"##,
                self.right + 8.0,
                y + 4.0,
                number(value),
                r = self.right,
            ));
        }
        out.line(format_args!(
            r##"<path d="M{r:.1} {:.1}V{:.1}" stroke="#444" fill="none"/><text transform="translate({:.1} {:.1}) rotate(90)" text-anchor="middle">{}</text>"##,
            self.bottom - BARS * (self.bottom - self.top),
            self.bottom,
            self.right + 48.0,
            self.bottom - BARS / 2.0 * (self.bottom - self.top),
            escape(label),
            r = self.right,
        ));
    }

    fn draw_axes(&self, out: &mut Svg) {
        let (left, right, top, bottom) = (self.left, self.right, self.top, self.bottom);
        let ticks = self.y.ticks();
        for (value, text) in ticks.iter().zip(aligned_numbers(&ticks)) {
            let y = self.at_y(*value);
            out.line(format_args!(
                r##"<path d="M{left:.1} {y:.1}H{right:.1}" stroke="#e6e6e6" fill="none"/><path d="M{left:.1} {y:.1}h-5" stroke="#444"/><text x="{:.1}" y="{:.1}" font-size="12" fill="#333" text-anchor="end">{text}</text>"##,
                left - 8.0,
                y + 4.0,
            ));
        }
        for (x, text) in self.x_ticks() {
            out.line(format_args!(
                r##"<path d="M{x:.1} {bottom:.1}v5" stroke="#444"/><text x="{x:.1}" y="{:.1}" font-size="12" fill="#333" text-anchor="middle">{}</text>"##,
                bottom + 19.0,
                escape(&text)
            ));
        }
        out.line(format_args!(
            r##"<path d="M{left:.1} {top:.1}V{bottom:.1}H{right:.1}" fill="none" stroke="#444" stroke-width="1.2"/>
<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>
<text transform="translate({:.1} {:.1}) rotate(-90)" text-anchor="middle">{}</text>"##,
            self.middle(),
            bottom + 42.0,
            escape(&self.panel.x.label),
            left - 54.0,
            (top + bottom) / 2.0,
            escape(&self.panel.y.label)
        ));
    }

    /// At the points, unless their numbers would overlap; at round numbers where there are many points.
    pub fn x_ticks(&self) -> Vec<(f64, String)> {
        if let Some(names) = &self.panel.names {
            let names = names.iter().enumerate();
            return names.map(|(at, name)| (self.at_x(at as f64), name.clone())).collect();
        }
        let mut xs = xs(self.panel);
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

/// The `x` of all points that can be shown.
fn xs(panel: &Panel) -> Vec<f64> {
    let curves = panel.curves.iter().filter(|curve| !curve.level);
    let xs = curves.flat_map(|curve| curve.points.iter().map(|point| point.x));
    xs.filter(|x| panel.x.shows(*x)).collect()
}
