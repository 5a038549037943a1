//! Figures as SVG texts: a trade-off of quality, time and size, and lines over something that varies.
//!
//! Written by hand: the plotting crates pull in font parsers, and all that is needed is circles, lines and words.

use std::fmt::Write;

/// What is drawn along an edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// With its unit.
    pub label: String,
    /// Equal distances are equal ratios. Values that are not above 0 cannot be shown then, and are left out.
    pub log: bool,
}

/// One model in a trade-off.
#[derive(Clone, Debug, PartialEq)]
pub struct Bubble {
    /// Written beside it.
    pub label: String,
    /// Such as time.
    pub x: f64,
    /// Such as quality.
    pub y: f64,
    /// Such as parameters: the area.
    pub size: f64,
    /// Those of a group share a colour: `teacher`, `student`.
    pub group: String,
}

/// One line, from left to right.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

/// Circles at (x, y), as large as their size says, each with its name. `size` says what the area stands for.
#[must_use]
pub fn tradeoff(title: &str, x: &Axis, y: &Axis, size: &str, bubbles: &[Bubble]) -> String {
    let shown = |b: &&Bubble| x.shows(b.x) && y.shows(b.y);
    let bubbles: Vec<&Bubble> = bubbles.iter().filter(shown).collect();
    let frame = Frame::new(
        (x, bubbles.iter().map(|b| b.x).collect()),
        (y, bubbles.iter().map(|b| b.y).collect()),
    );
    let mut groups: Vec<&str> = Vec::new();
    for bubble in &bubbles {
        if !groups.contains(&bubble.group.as_str()) {
            groups.push(&bubble.group);
        }
    }
    let colour =
        |group: &str| PALETTE[groups.iter().position(|g| *g == group).unwrap_or(0) % PALETTE.len()];
    let largest = bubbles.iter().map(|b| b.size).filter(|s| s.is_finite()).fold(0.0, f64::max);
    let radius = |b: &Bubble| {
        let share = if largest > 0.0 && b.size > 0.0 { (b.size / largest).min(1.0) } else { 0.0 };
        5.0 + 19.0 * share.sqrt()
    };

    let mut out = frame.open(title, &groups.iter().map(|g| (*g, colour(g))).collect::<Vec<_>>());
    let mut circles: Vec<(f64, f64, f64, &Bubble)> =
        bubbles.iter().map(|b| (frame.x(b.x), frame.y(b.y), radius(b), *b)).collect();
    circles.sort_by(|a, b| b.2.total_cmp(&a.2)); // the small ones over the large ones
    for (cx, cy, r, b) in &circles {
        let colour = colour(&b.group);
        let _ = writeln!(
            out,
            r#"<circle cx="{cx:.1}" cy="{cy:.1}" r="{r:.1}" fill="{colour}" fill-opacity="0.55" stroke="{colour}"><title>{}</title></circle>"#,
            escape(&format!(
                "{}: {} {}, {} {}, {size} {}",
                b.label,
                x.label,
                number(b.x),
                y.label,
                number(b.y),
                number(b.size)
            ))
        );
    }
    let mut taken: Vec<Area> =
        circles.iter().map(|(x, y, r, _)| Area::around(*x, *y, *r)).collect();
    for (cx, cy, r, b) in &circles {
        let place = label_place(&b.label, (*cx, *cy, *r), &taken);
        taken.push(place);
        let _ = writeln!(
            out,
            r##"<text x="{:.1}" y="{:.1}" class="name">{}</text>"##,
            place.left + 2.0,
            place.bottom - 4.0,
            escape(&b.label)
        );
    }
    let _ = writeln!(
        out,
        r#"<text x="{:.1}" y="{:.1}" class="note" text-anchor="end">area: {}</text>"#,
        WIDTH - RIGHT,
        TOP - 8.0,
        escape(size)
    );
    out.push_str("</svg>\n");
    out
}

/// Lines with a mark at every point, and a legend.
#[must_use]
pub fn lines(title: &str, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let shown = |(a, b): &&(f64, f64)| x.shows(*a) && y.shows(*b);
    let all = || series.iter().flat_map(|s| s.points.iter().filter(shown));
    let frame = Frame::new((x, all().map(|p| p.0).collect()), (y, all().map(|p| p.1).collect()));
    let colour = |at: usize| PALETTE[at % PALETTE.len()];
    let names: Vec<_> =
        series.iter().enumerate().map(|(at, s)| (s.name.as_str(), colour(at))).collect();
    let mut out = frame.open(title, &names);
    for (at, one) in series.iter().enumerate() {
        let points: Vec<(f64, f64)> =
            one.points.iter().filter(shown).map(|(a, b)| (frame.x(*a), frame.y(*b))).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let colour = colour(at);
        let _ = writeln!(
            out,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>"#,
            path.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#);
        }
    }
    out.push_str("</svg>\n");
    out
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 58.0;

/// Told apart by colour-blind readers too (Okabe & Ito).
pub(super) const PALETTE: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444"];

impl Axis {
    /// Equal distances, equal differences.
    #[must_use]
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: false }
    }

    /// Equal distances, equal ratios.
    #[must_use]
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: true }
    }

    pub(super) fn shows(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || value > 0.0)
    }

    fn place(&self, value: f64) -> f64 {
        if self.log { value.log10() } else { value }
    }
}

/// The two axes and the plane between them.
struct Frame<'a> {
    x: Scale<'a>,
    y: Scale<'a>,
}

/// One axis with the span that it shows, in its own places (powers of ten where it is logarithmic).
pub(super) struct Scale<'a> {
    axis: &'a Axis,
    from: f64,
    to: f64,
}

impl<'a> Frame<'a> {
    fn new(x: (&'a Axis, Vec<f64>), y: (&'a Axis, Vec<f64>)) -> Self {
        Self { x: Scale::new(x.0, &x.1), y: Scale::new(y.0, &y.1) }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.share(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.share(value) * (HEIGHT - TOP - BOTTOM)
    }

    /// The head, the legend, the grid with its numbers, and the labels of the axes.
    fn open(&self, title: &str, legend: &[(&str, &str)]) -> String {
        let mut out = format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="12">
<style>.tick{{fill:#555}}.note{{fill:#555;font-size:11px}}.name{{fill:#111}}.grid{{stroke:#e3e3e3}}</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="{LEFT}" y="28" font-size="16" font-weight="600" fill="#111">{}</text>
"##,
            escape(title)
        );
        let mut at = LEFT;
        for (name, colour) in legend.iter().filter(|(name, _)| !name.is_empty()) {
            let _ = writeln!(
                out,
                r#"<circle cx="{:.1}" cy="48" r="5" fill="{colour}"/><text x="{:.1}" y="52" class="tick">{}</text>"#,
                at + 5.0,
                at + 15.0,
                escape(name)
            );
            at += 33.0 + text_width(name);
        }
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for value in self.x.ticks() {
            let x = self.x(value);
            let _ = writeln!(
                out,
                r#"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}" class="grid"/><text x="{x:.1}" y="{:.1}" class="tick" text-anchor="middle">{}</text>"#,
                bottom + 18.0,
                number(value)
            );
        }
        for value in self.y.ticks() {
            let y = self.y(value);
            let _ = writeln!(
                out,
                r#"<line x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}" class="grid"/><text x="{:.1}" y="{:.1}" class="tick" text-anchor="end">{}</text>"#,
                LEFT - 8.0,
                y + 4.0,
                number(value)
            );
        }
        let _ = writeln!(
            out,
            r##"<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#888"/>
<text x="{:.1}" y="{:.1}" text-anchor="middle" fill="#111">{}</text>
<text transform="translate(20 {:.1}) rotate(-90)" text-anchor="middle" fill="#111">{}</text>"##,
            (LEFT + right) / 2.0,
            HEIGHT - 16.0,
            escape(&self.x.axis.label),
            (TOP + bottom) / 2.0,
            escape(&self.y.axis.label)
        );
        out
    }
}

impl<'a> Scale<'a> {
    /// Spans the values with some room on both sides.
    fn new(axis: &'a Axis, values: &[f64]) -> Self {
        Self::with_room(axis, values, 0.1)
    }

    /// Spans the values with such a share of their span as room on both sides.
    pub(super) fn with_room(axis: &'a Axis, values: &[f64], share: f64) -> Self {
        let places = || values.iter().map(|value| axis.place(*value));
        let (mut from, mut to) =
            (places().fold(f64::INFINITY, f64::min), places().fold(f64::NEG_INFINITY, f64::max));
        if from > to {
            (from, to) = (0.0, 1.0);
        }
        let room = if to > from {
            (to - from) * share
        } else if axis.log {
            0.5
        } else {
            from.abs().max(1e-3) * 0.1
        };
        Self { axis, from: from - room, to: to + room }
    }

    /// From 0 to `highest`, linear whatever the axis says.
    pub(super) fn bars(highest: f64) -> Scale<'static> {
        static LINEAR: Axis = Axis { label: String::new(), log: false };
        Scale { axis: &LINEAR, from: 0.0, to: if highest > 0.0 { highest } else { 1.0 } }
    }

    /// Where between the two ends.
    pub(super) fn share(&self, value: f64) -> f64 {
        (self.axis.place(value) - self.from) / (self.to - self.from)
    }

    /// Round numbers, three to eight.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if !self.axis.log || self.to - self.from < 0.4 {
            let (low, high) = (self.value(self.from), self.value(self.to));
            let step = round_step((high - low) / 8.0);
            let first = (low / step).ceil() as i64;
            let last = (high / step).floor() as i64;
            return (first..=last).map(|at| at as f64 * step).collect();
        }
        let decades = self.to - self.from;
        let within: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let every = (decades / 8.0).ceil() as i32;
        (self.from.floor() as i32..=self.to.ceil() as i32)
            .filter(|decade| decade % every == 0)
            .flat_map(|decade| within.iter().map(move |m| m * 10f64.powi(decade)))
            .filter(|value| (0.0..=1.0).contains(&self.share(*value)))
            .collect()
    }

    fn value(&self, place: f64) -> f64 {
        if self.axis.log { 10f64.powf(place) } else { place }
    }
}

/// 1, 2 or 5 times a power of ten, at least so large.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|m| m * power)
        .into_iter()
        .find(|s| *s >= step * 0.999)
        .unwrap_or(step)
}

/// As short as it can be read: 0.15, 1,200, 3.4M.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let short = |value: f64, digits: usize| {
        let text = format!("{value:.digits$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    };
    match size {
        0.0 => "0".into(),
        _ if !value.is_finite() => value.to_string(),
        _ if size >= 1e9 => format!("{}G", short(value / 1e9, 2)),
        _ if size >= 1e6 => format!("{}M", short(value / 1e6, 2)),
        _ if size >= 1e4 => format!("{}k", short(value / 1e3, 1)),
        _ if size >= 100.0 => short(value, 0),
        _ if size >= 0.001 => short(value, (3 - size.log10().floor() as i32).clamp(0, 6) as usize),
        _ => format!("{value:.2e}").replace(".00e", "e"),
    }
}

/// A rectangle that something covers.
#[derive(Clone, Copy)]
struct Area {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Area {
    fn around(x: f64, y: f64, r: f64) -> Self {
        Self { left: x - r, top: y - r, right: x + r, bottom: y + r }
    }

    fn overlap(&self, other: &Self) -> f64 {
        let wide = self.right.min(other.right) - self.left.max(other.left);
        let high = self.bottom.min(other.bottom) - self.top.max(other.top);
        wide.max(0.0) * high.max(0.0)
    }
}

/// AtomicFile, over or under its circle: the first place where it covers least and stays in the plane.
fn label_place(label: &str, (x, y, r): (f64, f64, f64), taken: &[Area]) -> Area {
    let (wide, high) = (text_width(label) + 4.0, 16.0);
    let at = |left: f64, top: f64| Area { left, top, right: left + wide, bottom: top + high };
    let mut places = vec![
        at(x + r + 2.0, y - 8.0),
        at(x - r - 2.0 - wide, y - 8.0),
        at(x - wide / 2.0, y - r - 2.0 - high),
        at(x - wide / 2.0, y + r + 2.0),
    ];
    for away in [1.0, 2.0, 3.0] {
        places.push(at(x + r * 0.7, y - r - high * away));
        places.push(at(x + r * 0.7, y + r + high * (away - 1.0)));
        places.push(at(x - r * 0.7 - wide, y - r - high * away));
        places.push(at(x - r * 0.7 - wide, y + r + high * (away - 1.0)));
    }
    let plane = Area { left: LEFT, top: TOP, right: WIDTH - 2.0, bottom: HEIGHT - BOTTOM };
    let cost = |place: &Area| {
        let outside = wide * high - place.overlap(&plane);
        taken.iter().map(|area| area.overlap(place)).fold(4.0 * outside, |sum, area| sum + area)
    };
    let mut best = places[0];
    for place in places {
        if cost(&place) < cost(&best) - 0.5 {
            best = place;
        }
    }
    best
}

/// About, in pixels at 12 px: fonts differ.
pub(super) fn text_width(text: &str) -> f64 {
    6.6 * unicode_width::UnicodeWidthStr::width(text) as f64
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.15, "0.15"),
            (0.05, "0.05"),
            (2.5, "2.5"),
            (150.0, "150"),
            (1200.0, "1200"),
            (34_000.0, "34k"),
            (3_400_000.0, "3.4M"),
            (0.0002, "2e-4"),
            (-0.1, "-0.1"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn ticks_are_round_and_within() {
        let axis = Axis::linear("q");
        let ticks = Scale::new(&axis, &[0.11, 0.29]).ticks();
        assert!((3..=8).contains(&ticks.len()), "{ticks:?}");
        assert!(ticks.iter().all(|t| (0.09..0.31).contains(t)));
        let axis = Axis::log("t");
        assert_eq!(
            Scale::new(&axis, &[0.01, 1000.0]).ticks(),
            [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]
        );
        assert!(Scale::new(&axis, &[3.0, 40.0]).ticks().len() >= 3);
        assert!(!Scale::new(&axis, &[7.0]).ticks().is_empty());
        assert!(Scale::new(&axis, &[]).ticks().len() > 1);
    }

    #[test]
    fn a_chart_shows_every_model_that_can_be_shown_and_no_markup_of_a_name() {
        let bubble = |label: &str, x: f64| Bubble {
            label: label.into(),
            x,
            y: 0.1,
            size: 10.0,
            group: "student".into(),
        };
        let bubbles = [bubble("a<b>&", 1.0), bubble("zero", 0.0), bubble("nan", f64::NAN)];
        let svg = tradeoff("t", &Axis::log("ms"), &Axis::linear("ndcg"), "parameters", &bubbles);
        assert!(svg.contains("a&lt;b&gt;&amp;</text>") && !svg.contains("a<b>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(svg.matches("fill-opacity").count(), 1);
        let empty = lines("nothing", &Axis::linear("x"), &Axis::linear("y"), &[]);
        assert!(empty.ends_with("</svg>\n") && !empty.contains("NaN"));
    }

    #[test]
    fn labels_keep_apart() {
        let taken = [Area::around(200.0, 200.0, 10.0), Area::around(230.0, 200.0, 10.0)];
        let place = label_place("student", (200.0, 200.0, 10.0), &taken);
        assert!(taken.iter().all(|area| area.overlap(&place) == 0.0));
    }
}
