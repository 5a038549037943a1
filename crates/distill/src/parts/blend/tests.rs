#![allow(clippy::unwrap_used)]
use crate::DISTILLERS;
use crate::testing::{OWNS, Own, ask, cases, scores, small, taught, trace};
use rankstill_core::registry::{Config, parse};
use rankstill_core::{Batch, Distiller, Objective as _, Trace};
use serde_json::json;

/// Every method that adds to the own loss, and several that need a complement.
fn added() -> Vec<Box<dyn Distiller>> {
    let direct = json!({"mode": "direct"});
    let dcd = json!({"kind": "dcd", "mode": "direct", "k": 4, "window": 10, "corrected": 3, "lambda": 0.7});
    let rrd = json!({"kind": "rrd", "mode": "direct", "k": 4, "lambda": 0.7});
    let mut methods = vec![
        small("rrd", direct.clone()),
        small("dcd", direct),
        small("several", json!({"of": [rrd, dcd]})),
        small("score_kd", json!({"loss": "squares", "temperature": 2.0})),
    ];
    for entry in DISTILLERS {
        // Ranks by samples are not those by all scores.
        let over = match entry.name {
            "rank_distil" => json!({"blend": "authors_code", "weighting": "position"}),
            _ => json!({}),
        };
        methods.push(small(entry.name, over));
    }
    methods.retain(|method| !method.replaces_own_loss());
    methods
}

/// The added loss does not depend on the own one, so each sees its own complement.
#[test]
fn what_is_taught_is_the_same_with_any_own_loss() {
    let cases = cases();
    let rows: Vec<u32> = (0..cases.len() as u32).step_by(2).collect();
    let batch = Batch::new(&cases, &rows, 0, 9);
    for method in added() {
        let mut something = 0;
        for at in 0..rows.len() {
            let parts = OWNS.map(|own| {
                let both = taught(&*method, own, &cases);
                let whole = ask(&*both, &both.slate(&batch), &batch, at, &scores(at));
                let alone = ask(&own, &own.slate(&batch), &batch, at, &scores(at));
                let slopes: Vec<f64> = whole.1.iter().zip(alone.1).map(|(a, b)| a - b).collect();
                (whole.0 - alone.0, slopes)
            });
            something += usize::from(parts[0].0 > 1e-3);
            for (other, own) in parts[1..].iter().zip(&OWNS[1..]) {
                let what = || format!("{} with {own:?}, row {at}", method.config());
                assert!((other.0 - parts[0].0).abs() < 1e-4, "{}: {other:?} {parts:?}", what());
                let near = other.1.iter().zip(&parts[0].1).all(|(a, b)| (a - b).abs() < 1e-4);
                assert!(near, "{}", what());
            }
        }
        assert!(something > 5 || method.requires().vectors, "{} {something}", method.config());
    }
}

#[test]
fn a_query_is_taught_once_in_a_batch_where_the_term_says_so() {
    let cases = cases();
    let rows: Vec<u32> = (0..cases.len() as u32).chain([1, 2]).collect();
    let batch = Batch::new(&cases, &rows, 0, 9);
    let once = ["rrd", "ir_rrd", "dcd", "rce_kd", "score_kd"];
    for kind in once.into_iter().chain(["unkd", "cd", "bd", "rank_distil"]) {
        let slate = taught(&*small(kind, json!({})), Own::Pairs, &cases).slate(&batch);
        let listed = slate.listed().unwrap();
        for (at, &row) in rows.iter().enumerate() {
            // User 3 has no list. A teacher that is trained together with the student has no lists at all.
            let silent = cases.query_of(row as usize) == 3 && kind != "bd";
            // User 5 has two unlabelled items, which may be too few for a group.
            let few = cases.query_of(row as usize) == 5;
            let expected = !silent && (!once.contains(&kind) || batch.is_first(at));
            assert!((listed.row(at).len() > 2) == expected || few, "{kind} row {at}");
        }
    }
}

#[test]
fn methods_of_one_teacher_refuse_other_numbers_and_without_weight_leave_the_own_loss_alone() {
    let cases = cases();
    let batch = Batch::new(&cases, &[0, 1], 0, 1);
    for entry in DISTILLERS.iter().filter(|entry| entry.name != "several") {
        let method = small(entry.name, json!({}));
        if method.replaces_own_loss() {
            continue;
        }
        let teach = |traces: &[Trace]| method.teach(Box::new(Own::Pairs), &cases, traces);
        let refuse = |traces: &[Trace]| teach(traces).err().unwrap().to_string();
        assert!(refuse(&[]).contains("one teacher, not 0"));
        assert!(refuse(&[trace(&cases), trace(&cases)]).contains("fuse several"));
        let weight = if entry.name == "rank_distil" { "alpha" } else { "lambda" };
        let silent = small(entry.name, json!({weight: 0}));
        assert_eq!(method.teaches_from(), Some(0), "{}", entry.name);
        let item_side = entry.name == "ir_rrd"; // has a weight of its own
        assert_eq!(silent.teaches_from(), item_side.then_some(0), "{}", entry.name);
        let silent = silent.teach(Box::new(Own::Pairs), &cases, &[trace(&cases)]).unwrap();
        assert_eq!(silent.slate(&batch).listed().unwrap().row(0).len(), 2, "{}", entry.name);
        let mut settings = json!({"kind": entry.name, weight: -1});
        if entry.name == "rank_distil" {
            settings["blend"] = "authors_code".into();
        }
        let error = parse(DISTILLERS, Config { path: "distill", value: &settings }).err().unwrap();
        assert_eq!(error.to_string(), format!("distill.{weight}: is -1, must be at least 0"));
    }
}

#[test]
fn several_methods_teach_as_soon_as_one_does() {
    let bd = |warm_up: usize| json!({"kind": "bd", "warm_up": warm_up});
    let several = |of: serde_json::Value| small("several", json!({"of": of})).teaches_from();
    assert_eq!(small("bd", json!({"warm_up": 7})).teaches_from(), Some(7));
    assert_eq!(several(json!([bd(9), bd(7)])), Some(7));
    assert_eq!(several(json!([bd(9), {"kind": "ftd"}])), Some(0));
    assert_eq!(several(json!([{"kind": "ftd", "lambda": 0}])), None);
}
