//! Pictures equal the files in `golden`, byte for byte. Those were checked by eye.

use rankstill_eval::report::figure::{Axis, Curve, Figure, Panel, Point};
use rankstill_eval::{Latency, ModelReport, Report, Role, spread};

fn tradeoff() -> String {
    let model = |name: &str, role, seconds: f64, quality: f64, parameters| ModelReport {
        name: name.into(),
        role,
        parameters,
        metrics: [("ndcg@10".to_owned(), spread(&[quality, quality + 0.004]))].into(),
        latency: Some(Latency { k: 10, all_users_seconds: seconds, ..Latency::default() }),
        ..ModelReport::default()
    };
    let models = vec![
        model("popular", Role::Baseline, 0.002, 0.031, 1_200),
        model("teacher <large> & slow", Role::Teacher, 1.9, 0.214, 9_800_000),
        model("alone", Role::Student, 0.21, 0.151, 640_000),
        model("taught", Role::Distilled, 0.22, 0.187, 640_000),
        model("taught by lists", Role::Distilled, 0.23, 0.186, 640_000),
        model("untimed", Role::Distilled, 0.0, 0.2, 640_000),
    ];
    Report { models, ..Report::default() }.tradeoff("ndcg@10").unwrap_or_default()
}

/// Levels, deviations, bars, many points with a band, logarithmic and named axes, and a NaN.
fn figure() -> String {
    let points = |n: usize, scale: f64, deviation: bool| -> Vec<Point> {
        let point = |at: usize| {
            let x = 0.5 * (at + 1) as f64 * scale;
            let y = 0.1 + 0.03 * (at as f64).sqrt() + 0.01 * ((at * 7 % 5) as f64);
            let deviation = deviation.then_some(0.004 + 0.001 * (at % 3) as f64);
            Point { x, y, deviation, bar: 1e5 * (at + 1) as f64 }
        };
        (0..n).map(point).collect()
    };
    let curve = |name: &str, points: Vec<Point>, level| Curve {
        name: name.into(),
        points,
        level,
        ..Curve::default()
    };
    let mut odd = points(6, 3.0, false);
    odd[2].y = f64::NAN;
    let level = || curve("teacher", points(1, 1.0, true), true);
    let panels = vec![
        Panel {
            x: Axis::log("alpha"),
            names: None,
            y: Axis::linear("MAP"),
            curves: vec![
                curve("A<b>", points(7, 10.0, true), false),
                curve("odd", odd, false),
                level(),
            ],
            bars: Some("parameters".into()),
        },
        Panel {
            x: Axis::linear("epoch"),
            names: None,
            y: Axis::linear("nDCG@10"),
            curves: vec![
                curve("A<b>", points(40, 2.0, true), false),
                curve("watched with a long name, for the legend", points(18, 2.0, false), false),
                level(),
            ],
            bars: None,
        },
        Panel {
            x: Axis::linear("loss"),
            names: Some(["bpr", "softmax", "ccl"].map(str::to_owned).to_vec()),
            y: Axis::log("recall@20"),
            curves: ["A<b>", "B", "C", "D", "E"]
                .iter()
                .map(|name| {
                    let named = |(at, point): (usize, Point)| Point { x: at as f64, ..point };
                    curve(
                        name,
                        points(3, 1.0, true).into_iter().enumerate().map(named).collect(),
                        false,
                    )
                })
                .collect(),
            bars: Some("parameters".into()),
        },
    ];
    Figure { title: "Quality & size".into(), panels }.svg()
}

/// Writes a picture that differs to a temporary file, to be looked at.
fn assert_golden(name: &str, drawn: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if golden != drawn {
        let found = std::env::temp_dir().join(name);
        let _ = std::fs::write(&found, drawn);
        panic!("{name} differs; drawn: {}", found.display());
    }
}

#[test]
fn the_tradeoff_is_the_golden_one() {
    assert_golden("tradeoff.svg", &tradeoff());
}

#[test]
fn a_figure_is_the_golden_one() {
    assert_golden("figure.svg", &figure());
}
