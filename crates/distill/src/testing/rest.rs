//! What every list-wise method must hold whose rest is estimated (see `rankstill_core::rest`).

use super::{K, N, OWNS, ask, cases, conforms, scores, small, taught};
use crate::DISTILLERS;
use rankstill_core::Batch;
use rankstill_core::registry::{Config, parse};
use serde_json::{Value, json};

/// Every method with a complement, and settings with which it has one.
fn methods() -> [(&'static str, Value); 5] {
    [
        ("het_comp", json!({})),
        ("het_comp", json!({"transfer": "overall"})),
        ("rrd", json!({"mode": "direct"})),
        ("dcd", json!({"mode": "direct"})),
        ("ir_rrd", json!({"mode": "direct"})),
    ]
}

fn with_rest(settings: &Value, rest: Value) -> Value {
    let mut settings = settings.clone();
    settings["rest"] = rest;
    settings
}

fn estimated(top: usize, sample: usize) -> Value {
    json!({"estimated": {"top": top, "sample": sample, "refresh_every": 2}})
}

#[test]
fn estimates_conform() {
    for (kind, settings) in methods() {
        conforms(&*small(kind, with_rest(&settings, estimated(5, 4))));
    }
}

#[test]
fn an_estimate_from_the_whole_catalogue_is_the_exact_loss() {
    let cases = cases();
    let rows: Vec<u32> = (0..cases.len() as u32).step_by(2).collect();
    let batch = Batch::new(&cases, &rows, 0, 9);
    for (kind, settings) in methods() {
        let with = |rest| small(kind, with_rest(&settings, rest));
        for own in OWNS {
            let exact = taught(&*with(json!("exact")), own, &cases);
            let unset = taught(&*small(kind, settings.clone()), own, &cases);
            for (top, sample) in [(K, N), (0, N)] {
                let ours = taught(&*with(estimated(top, sample)), own, &cases);
                let [ours_of, exact_of, unset_of] =
                    [&ours, &exact, &unset].map(|objective| objective.slate(&batch));
                for at in 0..rows.len() {
                    let scores = scores(at);
                    let (loss, slopes) = ask(&*ours, &ours_of, &batch, at, &scores);
                    let expected = ask(&*exact, &exact_of, &batch, at, &scores);
                    assert_eq!(expected, ask(&*unset, &unset_of, &batch, at, &scores));
                    let near = |a: f64, b: f64| (a - b).abs() < 1e-5 * (1.0 + b.abs());
                    assert!(near(loss, expected.0), "{kind} {own:?} {at}: {loss} {expected:?}");
                    for (ours, theirs) in slopes.iter().zip(&expected.1) {
                        assert!(near(*ours, *theirs), "{kind} {own:?} {at}: {ours} {theirs}");
                    }
                }
            }
        }
    }
}

#[test]
fn settings_of_the_rest_are_checked_and_named() {
    let error = |kind: &str, over: Value| {
        let mut settings = over;
        settings["kind"] = kind.into();
        let config = Config { path: "distill", value: &settings };
        parse(DISTILLERS, config).err().map_or(String::new(), |error| error.to_string())
    };
    let none = json!({"rest": {"estimated": {"sample": 0}}});
    assert!(error("het_comp", none).starts_with("distill.rest.estimated.sample: must be at least"));
    let typo = json!({"mode": "direct", "rest": {"estimated": {"tops": 3}}});
    assert!(error("rrd", typo).starts_with("distill.rest.estimated.tops: unknown field"));
    let sampled = error("dcd", json!({"rest": "exact"}));
    assert!(sampled.starts_with("distill.rest: is for `mode = \"direct\"`"), "{sampled}");
}
