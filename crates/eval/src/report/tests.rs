#![allow(clippy::unwrap_used)]
use super::*;
use crate::compare::{ComparisonOptions, adjust, compare};
use crate::metric::parse_all;
use crate::significance::spread;

fn report() -> Report {
    let metrics = parse_all(&["ndcg@10", "map", "gini@10"], Dialect::Rd).unwrap();
    let mut report =
        Report { title: "A <run>".into(), cases: 4, seeds: vec![1, 2], ..Report::default() };
    report.define(Dialect::Rd, &metrics);
    let model = |name: &str, role, values: [f64; 2], teachers: &[&str], seconds| ModelReport {
        name: name.into(),
        kind: "bpr_mf".into(),
        role,
        teachers: teachers.iter().map(|t| (*t).to_owned()).collect(),
        parameters: 1_234_567,
        bytes: 5_000_000,
        metrics: [("ndcg@10", values), ("map", values), ("gini@10", [0.5, 0.7])]
            .map(|(name, values)| (name.to_owned(), spread(&values)))
            .into(),
        latency: Some(Latency { k: 10, all_users_seconds: seconds, ..Latency::default() }),
        ..ModelReport::default()
    };
    report.models = vec![
        model("teacher", Role::Teacher, [0.2, 0.2], &[], 2.0),
        model("alone", Role::Student, [0.1, 0.12], &[], 0.5),
        model("taught", Role::Distilled, [0.15, 0.17], &["teacher"], 0.5),
    ];
    report.fill_kept();
    let (a, b) = ([0.2, 0.3, 0.1, 0.2], [0.1, 0.25, 0.1, 0.05]);
    report.comparisons = vec![
        compare("ndcg@10", ("taught", &[a]), ("alone", &[b]), &ComparisonOptions::default())
            .unwrap(),
    ];
    adjust(&mut report.comparisons);
    report
}

#[test]
fn the_report_comes_back_from_json_as_it_went_in() {
    let report = report();
    let json = serde_json::to_string_pretty(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    let value: Value = serde_json::from_str(&json).unwrap();
    let taught = &value["models"][2];
    assert_eq!(taught["name"], "taught");
    assert_eq!(taught["metrics"]["ndcg@10"]["values"].as_array().unwrap().len(), 2);
    assert!((taught["metrics"]["ndcg@10"]["mean"].as_f64().unwrap() - 0.16).abs() < 1e-12);
    assert!((taught["kept"]["ndcg@10"].as_f64().unwrap() - 0.8).abs() < 1e-12);
    assert_eq!(taught["parameters"], 1_234_567);
    assert!(taught["kept"].get("gini@10").is_none());
}

#[test]
fn the_page_says_what_its_numbers_are() {
    let page = report().markdown();
    assert!(page.starts_with("# A <run>\n") || page.starts_with("# A &lt;run&gt;\n"));
    for expected in
        ["**0.2000 ± 0.0000**", "80.0%", "`ndcg@10`", "first k only", "1,234,567", "4.8 MiB"]
    {
        assert!(page.contains(expected), "{expected} is not in\n{page}");
    }
}

#[test]
fn the_terminal_shows_models_metrics_and_tests() {
    let text = report().terminal();
    for expected in ["taught", "0.1600 ± 0.0141", "ndcg@10 kept", "Holm", "500.00 ms"] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn a_trade_off_needs_two_models() {
    let mut report = report();
    assert!(report.tradeoff("ndcg@10").unwrap().contains(">taught</text>"));
    assert!(report.tradeoff("recall@1").is_none());
    report.models.truncate(1);
    assert!(report.tradeoff("ndcg@10").is_none());
}
