//! The trade-off of quality, time and size: a circle per model, with its name.

use super::axis::{Axis, Scale, number};
use super::svg::{Svg, colour, escape, text_width};

/// One model.
pub(super) struct Bubble {
    pub label: String,
    pub x: f64,
    pub y: f64,
    /// The area of the circle.
    pub size: f64,
    /// Models of one group share a colour: `teacher`, `student`.
    pub group: String,
}

/// Circles at (x, y) with their labels. `size`: the meaning of the area.
pub(super) fn svg(title: &str, x: &Axis, y: &Axis, size: &str, bubbles: &[Bubble]) -> String {
    let shown = |b: &&Bubble| x.shows(b.x) && y.shows(b.y);
    let bubbles: Vec<&Bubble> = bubbles.iter().filter(shown).collect();
    let values = |of: fn(&Bubble) -> f64| bubbles.iter().map(|b| of(b)).collect::<Vec<_>>();
    let plane =
        Plane { x: Scale::new(x, &values(|b| b.x), 0.1), y: Scale::new(y, &values(|b| b.y), 0.1) };
    let mut groups: Vec<&str> = Vec::new();
    for bubble in &bubbles {
        if !groups.contains(&bubble.group.as_str()) {
            groups.push(&bubble.group);
        }
    }
    let largest = bubbles.iter().map(|b| b.size).filter(|s| s.is_finite()).fold(0.0, f64::max);
    let radius = |b: &Bubble| {
        let share = if largest > 0.0 && b.size > 0.0 { (b.size / largest).min(1.0) } else { 0.0 };
        5.0 + 19.0 * share.sqrt()
    };
    let mut circles: Vec<(f64, f64, f64, &Bubble)> =
        bubbles.iter().map(|b| (plane.x(b.x), plane.y(b.y), radius(b), *b)).collect();
    circles.sort_by(|a, b| b.2.total_cmp(&a.2)); // small circles are drawn over large ones

    let mut out = Svg::new(WIDTH, HEIGHT, FONT, STYLE);
    out.line(format_args!(
        r##"<text x="{LEFT}" y="28" font-size="16" font-weight="600" fill="#111">{}</text>"##,
        escape(title)
    ));
    draw_legend(&mut out, &groups);
    plane.draw_axes(&mut out, x, y);
    for (cx, cy, r, b) in &circles {
        let colour = colour(groups.iter().position(|group| *group == b.group).unwrap_or(0));
        let (x, y) =
            (format!("{} {}", x.label, number(b.x)), format!("{} {}", y.label, number(b.y)));
        let details = escape(&format!("{}: {x}, {y}, {size} {}", b.label, number(b.size)));
        out.line(format_args!(
            r#"<circle cx="{cx:.1}" cy="{cy:.1}" r="{r:.1}" fill="{colour}" fill-opacity="0.55" stroke="{colour}"><title>{details}</title></circle>"#
        ));
    }
    let mut taken: Vec<Area> =
        circles.iter().map(|(x, y, r, _)| Area::around(*x, *y, *r)).collect();
    for (cx, cy, r, b) in &circles {
        let area = place_label(&b.label, (*cx, *cy, *r), &taken);
        taken.push(area);
        out.line(format_args!(
            r#"<text x="{:.1}" y="{:.1}" class="name">{}</text>"#,
            area.left + 2.0,
            area.bottom - 4.0,
            escape(&b.label)
        ));
    }
    out.line(format_args!(
        r#"<text x="{:.1}" y="{:.1}" class="note" text-anchor="end">area: {}</text>"#,
        WIDTH - RIGHT,
        TOP - 8.0,
        escape(size)
    ));
    out.finish()
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 58.0;
const FONT: &str = r#"font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="12""#;
const STYLE: &str = "<style>.tick{fill:#555}.note{fill:#555;font-size:11px}.name{fill:#111}.grid{stroke:#e3e3e3}</style>\n";

fn draw_legend(out: &mut Svg, groups: &[&str]) {
    let mut at = LEFT;
    for (nth, name) in groups.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        out.line(format_args!(
            r#"<circle cx="{:.1}" cy="48" r="5" fill="{}"/><text x="{:.1}" y="52" class="tick">{}</text>"#,
            at + 5.0,
            colour(nth),
            at + 15.0,
            escape(name)
        ));
        at += 33.0 + text_width(name);
    }
}

/// The plane between the two axes.
struct Plane {
    x: Scale,
    y: Scale,
}

impl Plane {
    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.share(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.share(value) * (HEIGHT - TOP - BOTTOM)
    }

    /// The grid with its numbers, and the labels of the axes.
    fn draw_axes(&self, out: &mut Svg, x_axis: &Axis, y_axis: &Axis) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for value in self.x.ticks() {
            let x = self.x(value);
            out.line(format_args!(
                r#"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}" class="grid"/><text x="{x:.1}" y="{:.1}" class="tick" text-anchor="middle">{}</text>"#,
                bottom + 18.0,
                number(value)
            ));
        }
        for value in self.y.ticks() {
            let y = self.y(value);
            out.line(format_args!(
                r#"<line x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}" class="grid"/><text x="{:.1}" y="{:.1}" class="tick" text-anchor="end">{}</text>"#,
                LEFT - 8.0,
                y + 4.0,
                number(value)
            ));
        }
        out.line(format_args!(
            r##"<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#888"/>
<text x="{:.1}" y="{:.1}" text-anchor="middle" fill="#111">{}</text>
<text transform="translate(20 {:.1}) rotate(-90)" text-anchor="middle" fill="#111">{}</text>"##,
            (LEFT + right) / 2.0,
            HEIGHT - 16.0,
            escape(&x_axis.label),
            (TOP + bottom) / 2.0,
            escape(&y_axis.label)
        ));
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

/// Next to, above or below the circle: the first area that covers least and stays in the plane.
fn place_label(label: &str, (x, y, r): (f64, f64, f64), taken: &[Area]) -> Area {
    let (wide, high) = (text_width(label) + 4.0, 16.0);
    let at = |left: f64, top: f64| Area { left, top, right: left + wide, bottom: top + high };
    let mut candidates = vec![
        at(x + r + 2.0, y - 8.0),
        at(x - r - 2.0 - wide, y - 8.0),
        at(x - wide / 2.0, y - r - 2.0 - high),
        at(x - wide / 2.0, y + r + 2.0),
    ];
    for away in [1.0, 2.0, 3.0] {
        candidates.push(at(x + r * 0.7, y - r - high * away));
        candidates.push(at(x + r * 0.7, y + r + high * (away - 1.0)));
        candidates.push(at(x - r * 0.7 - wide, y - r - high * away));
        candidates.push(at(x - r * 0.7 - wide, y + r + high * (away - 1.0)));
    }
    let plane = Area { left: LEFT, top: TOP, right: WIDTH - 2.0, bottom: HEIGHT - BOTTOM };
    let cost = |area: &Area| {
        let outside = wide * high - area.overlap(&plane);
        taken.iter().map(|other| other.overlap(area)).fold(4.0 * outside, |sum, area| sum + area)
    };
    let mut best = candidates[0];
    for area in candidates {
        if cost(&area) < cost(&best) - 0.5 {
            best = area;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_that_can_be_shown_is_drawn_and_its_name_is_escaped() {
        let bubble = |label: &str, x: f64| Bubble {
            label: label.into(),
            x,
            y: 0.1,
            size: 10.0,
            group: "student".into(),
        };
        let bubbles = [bubble("a<b>&", 1.0), bubble("zero", 0.0), bubble("nan", f64::NAN)];
        let text = svg("t", &Axis::log("ms"), &Axis::linear("ndcg"), "parameters", &bubbles);
        assert!(text.contains("a&lt;b&gt;&amp;</text>") && !text.contains("a<b>"));
        assert!(!text.contains("NaN") && !text.contains("inf"));
        assert_eq!(text.matches("fill-opacity").count(), 1);
    }

    #[test]
    fn labels_do_not_overlap_circles() {
        let taken = [Area::around(200.0, 200.0, 10.0), Area::around(230.0, 200.0, 10.0)];
        let area = place_label("student", (200.0, 200.0, 10.0), &taken);
        assert!(taken.iter().all(|other| other.overlap(&area) == 0.0));
    }
}
