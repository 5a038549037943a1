use super::*;

fn curve(name: &str, points: &[(f64, f64)]) -> Curve {
    let point = |&(x, y): &(f64, f64)| Point { x, y, deviation: Some(0.01), bar: 1e5 * x };
    Curve { name: name.into(), points: points.iter().map(point).collect(), ..Curve::default() }
}

fn panel(curves: Vec<Curve>) -> Panel {
    let (x, y) = (Axis::linear("alpha"), Axis::linear("MAP"));
    Panel { x, names: None, y, curves, bars: None }
}

#[test]
fn every_curve_has_a_line_marks_and_one_legend_entry() {
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
fn ticks_are_at_the_points_and_do_not_overlap() {
    let texts = |points: &[(f64, f64)]| {
        let panel = panel(vec![curve("A", points)]);
        let ticks = Plane::new(&panel, 0.0, 0.0, 300.0).x_ticks();
        ticks.into_iter().map(|tick| tick.1).collect::<Vec<_>>()
    };
    assert_eq!(texts(&[(10.0, 0.1), (20.0, 0.3), (100.0, 0.2)]), ["10", "20", "100"]);
    assert_eq!(texts(&[(1000.0, 0.1), (1001.0, 0.3), (9000.0, 0.2)]), ["1000", "9000"]);
}

#[test]
fn nan_and_infinity_are_left_out_and_an_empty_figure_is_still_a_figure() {
    let points = [(0.0, f64::NAN), (0.5, 0.3), (f64::INFINITY, 0.2)];
    let mut odd = panel(vec![curve("A", &points)]);
    odd.bars = Some("parameters".into());
    for figure in [
        Figure { title: String::new(), panels: vec![odd] },
        Figure { title: String::new(), panels: vec![panel(vec![])] },
        Figure::default(),
    ] {
        let svg = figure.svg();
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
