//! Claims that every method holds which teaches beside the student's own loss, whatever kind of slate that has.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::DISTILLERS;
use crate::testing::{Chance, N, Own, ask, cases, trace};
use rankstill_core::Distiller;
use rankstill_core::registry::{Config, parse};
use serde_json::{Value, json};

/// Every method, in every form, with settings that suit lists of a dozen items.
fn methods() -> Vec<Box<dyn Distiller>> {
    let sampled = json!({"k": 4, "l": 5, "window": 10, "temperature": 3.0, "lambda": 0.7});
    let with = |kind: &str, more: Value| {
        let mut settings = json!({"kind": kind});
        let table = settings.as_object_mut().unwrap();
        let ranked = ["rrd", "dcd", "ir_rrd"].contains(&kind);
        let all = if ranked { sampled.clone() } else { json!({}) };
        for part in [all, more] {
            table.extend(part.as_object().unwrap().clone());
        }
        parse(DISTILLERS, Config { path: "distill", value: &settings }).unwrap().1
    };
    let rrd = json!({"kind": "rrd", "mode": "direct", "k": 4, "lambda": 0.7});
    let dcd = json!({"kind": "dcd", "mode": "direct", "k": 4, "window": 10, "corrected": 3, "lambda": 0.7});
    vec![
        with("rrd", json!({})),
        with("rrd", json!({"mode": "direct"})),
        with("several", json!({"of": [rrd, dcd]})),
        with("dcd", json!({"corrected": 3, "correction": 0.5})),
        with("dcd", json!({"corrected": 3, "mode": "direct", "item_correction": 2.0})),
        with("ir_rrd", json!({"user_k": 2, "user_l": 3})),
        with("unkd", json!({"groups": 2, "pairs": 5, "temperature": 2.0})),
        with("cd", json!({"samples": 3, "window": 9})),
        with("cd", json!({"guide": "teacher", "sampling": "exponential", "shift": 1.0})),
        with(
            "rce_kd",
            json!({"k": 4, "l": 3, "m": 3, "temperature": 2.0, "tau": 0.8, "lambda": 0.5}),
        ),
        with("bd", json!({"warm_up": 0, "to_student": 0.3})),
        with("score_kd", json!({"k": 6})),
        with("score_kd", json!({"k": 6, "loss": "squares", "temperature": 2.0})),
    ]
}

fn taught(method: &dyn Distiller, own: Own, cases: &Cases) -> Box<dyn Objective> {
    let mut taught = method.teach(Box::new(own), cases, &[trace(cases)]).unwrap();
    taught.refresh(0, &Chance(3), cases).unwrap();
    taught
}

/// Random scores of all items.
fn scores(at: usize) -> Vec<f32> {
    let mut scores = vec![0.0; N];
    Rng::keyed(4, [at as u64]).fill_normal(&mut scores, 0.0, 1.5);
    scores
}

const OWNS: [Own; 3] = [Own::Pairs, Own::Softmax, Own::Squares];

#[test]
fn gradients_are_the_slopes_of_losses_with_every_kind_of_slate() {
    const EPS: f32 = 3e-2;
    let cases = cases();
    let rows: Vec<u32> = (0..cases.len() as u32).step_by(2).collect();
    for method in methods() {
        for own in OWNS {
            let objective = taught(&*method, own, &cases);
            let batch = Batch::new(&cases, &rows, 0, 9);
            let slate = objective.slate(&batch);
            for at in 0..rows.len() {
                let scores = scores(at);
                let (here, slopes) = ask(&*objective, &slate, &batch, at, &scores);
                for (item, found) in slopes.iter().enumerate() {
                    let moved = |by: f32| {
                        let mut scores = scores.clone();
                        scores[item] += by;
                        ask(&*objective, &slate, &batch, at, &scores).0
                    };
                    let slope = (moved(EPS) - moved(-EPS)) / (2.0 * f64::from(EPS));
                    assert!(
                        (found - slope).abs() < 1e-3 + 3e-3 * slope.abs() + 1e-5 * here.abs(),
                        "{} {own:?} row {at} item {item}: {found} {slope}",
                        method.config()
                    );
                }
            }
        }
    }
}

/// The taught part alone does not depend on what stands beside it: so each loss sees its own rest.
#[test]
fn what_is_taught_is_the_same_beside_any_own_loss() {
    let cases = cases();
    let rows: Vec<u32> = (0..cases.len() as u32).step_by(2).collect();
    let batch = Batch::new(&cases, &rows, 0, 9);
    for method in methods() {
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
                let what = || format!("{} beside {own:?}, row {at}", method.config());
                assert!((other.0 - parts[0].0).abs() < 1e-4, "{}: {other:?} {parts:?}", what());
                let near = other.1.iter().zip(&parts[0].1).all(|(a, b)| (a - b).abs() < 1e-4);
                assert!(near, "{}", what());
            }
        }
        assert!(something > 5, "{} taught {something} rows", method.config());
    }
}

#[test]
fn a_query_is_taught_once_a_batch_where_the_method_says_so() {
    let cases = cases();
    let rows: Vec<u32> = (0..cases.len() as u32).chain([1, 2]).collect();
    let batch = Batch::new(&cases, &rows, 0, 9);
    for method in methods() {
        let objective = taught(&*method, Own::Pairs, &cases);
        let slate = objective.slate(&batch);
        let listed = match &slate {
            Slate::Lists { listed, .. } | Slate::WithComplement { listed, .. } => listed,
            Slate::All => unreachable!(),
        };
        let kind = method.config();
        let once = !["samples", "pairs", "warm_up"].iter().any(|key| kind.get(*key).is_some());
        for (at, &row) in rows.iter().enumerate() {
            // To user 3 a teacher's list says nothing; one that learns along has no lists.
            let silent = cases.query_of(row as usize) == 3 && kind.get("warm_up").is_none();
            // User 5 has two items to learn of, which may be too few for a group.
            let few = cases.query_of(row as usize) == 5;
            let expected = !silent && (!once || batch.is_first(at));
            assert!((listed.row(at).len() > 2) == expected || few, "{kind} row {at}");
        }
    }
}

#[test]
fn slates_are_the_same_on_any_threads_and_for_a_part_of_the_batch() {
    let cases = cases();
    let rows: Vec<u32> = (0..200).map(|i| i * 7 % cases.len() as u32).collect();
    let batch = Batch::new(&cases, &rows, 0, 9);
    let parts = |slate: Slate| match slate {
        Slate::Lists { listed, .. } => (listed, Lists::default()),
        Slate::WithComplement { listed, left_out, .. } => (listed, left_out),
        Slate::All => unreachable!(),
    };
    for method in methods() {
        for own in [Own::Pairs, Own::Softmax] {
            let objective = taught(&*method, own, &cases);
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| parts(objective.slate(&batch)))
            };
            let whole = on(1);
            assert!(on(2) == whole && on(3) == whole);
            let first = parts(objective.slate(&Batch::new(&cases, &rows[..5], 0, 9))).0;
            (0..5).for_each(|at| assert_eq!(first.row(at), whole.0.row(at)));
        }
    }
}

#[test]
fn what_was_seen_of_the_student_survives_a_checkpoint() {
    let cases = cases();
    let rows: Vec<u32> = (0..cases.len() as u32).collect();
    let batch = Batch::new(&cases, &rows, 0, 9);
    for method in methods() {
        let of = |objective: &dyn Objective| {
            let slate = objective.slate(&batch);
            let ask = |at| ask(objective, &slate, &batch, at, &scores(at));
            (0..rows.len()).map(ask).collect::<Vec<_>>()
        };
        let objective = taught(&*method, Own::Pairs, &cases);
        let fresh = || method.teach(Box::new(Own::Pairs), &cases, &[trace(&cases)]).unwrap();
        let mut again = fresh();
        again.restore(&objective.state()).unwrap();
        assert!(of(&*again) == of(&*objective), "{}", method.config());
        let mut other = fresh();
        other.refresh(0, &Chance(4), &cases).unwrap();
        let looks = objective.state().iter().next().is_some();
        assert_eq!(of(&*other) != of(&*objective), looks, "{}", method.config());
        if looks {
            let mut wrong = Tensors::default();
            for (name, _) in objective.state().iter() {
                wrong.insert(name, &[2], vec![1u32, 999]);
            }
            assert!(again.restore(&wrong).is_err(), "{}", method.config());
        }
    }
}

#[test]
fn traces_that_do_not_fit_are_refused_and_without_weight_the_own_loss_is_left_alone() {
    let cases = cases();
    for method in methods() {
        let teach = |traces: &[Trace]| method.teach(Box::new(Own::Pairs), &cases, traces);
        let refuse = |traces: &[Trace]| teach(traces).err().unwrap().to_string();
        assert!(refuse(&[]).contains("one teacher, not 0"));
        assert!(refuse(&[trace(&cases), trace(&cases)]).contains("fuse several"));
        let mut foreign = rankstill_core::Rankings::default();
        (0..12).for_each(|_| foreign.push([(N as u32, 0.0)]));
        let foreign = Trace::new("foreign", vec![(0, foreign)]).unwrap();
        assert!(refuse(&[foreign]).contains("item 30 is not in a catalogue of 30 items"));
    }
}

#[test]
fn settings_come_back_and_wrong_ones_are_named() {
    for kind in ["rrd", "ir_rrd", "dcd", "unkd", "cd", "rce_kd", "score_kd"] {
        let read = |mut value: Value| {
            value["kind"] = kind.into();
            parse(DISTILLERS, Config { path: "distill", value: &value }).map(|found| found.1)
        };
        let config = read(json!({})).unwrap().config();
        assert_eq!(read(config.clone()).unwrap().config(), config, "{kind}");
        let refuse = |value: Value| read(value).err().unwrap().to_string();
        assert!(refuse(json!({"lamda": 1})).contains("lambda"), "{kind}");
        assert_eq!(refuse(json!({"lambda": -1})), "distill.lambda: is -1, must be at least 0");
        let zero = refuse(json!({"temperature": 0}));
        assert_eq!(zero, "distill.temperature: is 0, must be above 0", "{kind}");
        let cases = cases();
        let silent = read(json!({"lambda": 0})).unwrap();
        let own = silent.teach(Box::new(Own::Pairs), &cases, &[trace(&cases)]).unwrap();
        let batch = Batch::new(&cases, &[0, 1], 0, 1);
        let Slate::Lists { listed, .. } = own.slate(&batch) else { panic!("pairs") };
        assert_eq!(listed.row(0).len(), 2, "{kind}");
    }
}
