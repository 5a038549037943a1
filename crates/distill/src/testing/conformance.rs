//! Claims that every method holds, for all entries of the registry.
#![allow(clippy::unwrap_used)]

use super::{
    Chance, DIM, N, OWNS, Own, ask, ask_vectors, cases, scores, small, taught, trace, with_vectors,
};
use crate::DISTILLERS;
use rankstill_core::registry::{Config, Entry};
use rankstill_core::{Batch, Cases, Distiller, Objective, Rankings, Tensors, Trace};
use serde_json::json;

#[test]
fn every_method_conforms() {
    DISTILLERS.iter().for_each(|entry| conforms(&*small(entry.name, json!({}))));
}

#[test]
fn unknown_settings_and_traces_that_do_not_fit_are_refused_by_every_method() {
    let cases = cases();
    for entry in DISTILLERS {
        let unknown = json!({"lamda": 1});
        let error = (entry.parse)(Config { path: "d", value: &unknown }).err().unwrap().to_string();
        assert!(error.starts_with("d.lamda: unknown"), "{error}");
        let method = small(entry.name, json!({}));
        let teach = |trace: Trace| method.teach(Box::new(Own::Pairs), &cases, &[trace]);
        let mut one = Rankings::default();
        one.push([(1, 0.0)]);
        let error = teach(Trace::new("short", vec![(0, one)]).unwrap()).err().unwrap().to_string();
        assert_eq!(
            error,
            "teacher `short` has rankings for 1 queries, the student's cases have 12"
        );
        let mut foreign = Rankings::default();
        (0..12).for_each(|_| foreign.push([(N as u32, 0.0)]));
        let error = teach(Trace::new("foreign", vec![(0, foreign)]).unwrap()).err().unwrap();
        assert!(error.to_string().contains("item 30 is not in a catalogue of 30 items"), "{error}");
    }
}

/// The claims that every method must hold: settings round trip, the gradient is the slope of the loss, draws depend neither on the
/// batch nor on threads, and a restored objective continues as the saved one.
pub(crate) fn conforms(method: &dyn Distiller) {
    settings_round_trip(method);
    gradients_are_slopes(method);
    is_reproducible(method);
}

fn settings_round_trip(method: &dyn Distiller) {
    let config = method.config();
    let unchanged = |entry: &Entry<dyn Distiller>| {
        (entry.parse)(Config { path: "d", value: &config })
            .is_ok_and(|again| again.config() == config)
    };
    assert!(DISTILLERS.iter().any(unchanged), "{config} is not read back unchanged");
}

/// With respect to all scores, and to the vectors where the method looks at these.
pub(crate) fn gradients_are_slopes(method: &dyn Distiller) {
    let cases = cases();
    let rows: Vec<u32> = (0..cases.len() as u32).step_by(2).collect();
    let batch = Batch::new(&cases, &rows, 0, 9);
    for own in OWNS {
        let objective = taught(method, own, &cases);
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
                const STEP: f32 = 3e-2;
                let slope = (moved(STEP) - moved(-STEP)) / (2.0 * f64::from(STEP));
                assert!(
                    (found - slope).abs() < 1e-3 + 3e-3 * slope.abs() + 1e-5 * here.abs(),
                    "{} {own:?} row {at} item {item}: {found} {slope}",
                    method.config()
                );
            }
        }
        if objective.vector_objective().is_some() {
            vector_gradients_are_slopes(method, own, &cases);
        }
    }
}

fn vector_gradients_are_slopes(method: &dyn Distiller, own: Own, cases: &Cases) {
    let (rows, queries, items) = with_vectors(cases);
    let batch = Batch::new(cases, &rows, 0, 9);
    // Parameters are updated in each call, so each has its own objective.
    let of = |queries: &[f32], items: &[f32]| {
        ask_vectors(&*taught(method, own, cases), &batch, queries, items)
    };
    let (_, to_queries, to_items) = of(&queries, &items);
    // The last row has the query of an earlier one, and the fourth has no vector to learn.
    let last = rows.len() - 1;
    let none = |at: usize| to_queries[at * DIM..][..DIM] == [0.0; DIM];
    assert!(none(last) && none(3), "{}", method.config());
    let mut live = 0;
    for k in (0..queries.len() + items.len()).step_by(2) {
        let n = queries.len();
        let moved = |by: f32| {
            let (mut queries, mut items) = (queries.clone(), items.clone());
            *if k < n { &mut queries[k] } else { &mut items[k - n] } += by;
            of(&queries, &items).0
        };
        let found = if k < n { to_queries[k] } else { to_items[k - n] };
        let slope = (moved(2e-3) - moved(-2e-3)) / 4e-3;
        live += usize::from(found != 0.0);
        let near = (slope - f64::from(found)).abs() < 2e-2 + 5e-3 * slope.abs();
        assert!(near, "{} {own:?} {k}: {slope} {found}", method.config());
    }
    assert!(live > 10, "{}", method.config());
}

/// Slates, losses and vector steps on 1, 2 and 3 threads, for a part of the batch, and after a checkpoint.
pub(crate) fn is_reproducible(method: &dyn Distiller) {
    let cases = cases();
    let rows: Vec<u32> = (0..200).map(|i| i * 7 % cases.len() as u32).collect();
    for own in [Own::Pairs, Own::Softmax] {
        let objective = taught(method, own, &cases);
        let drawn = |objective: &dyn Objective, rows: &[u32], epoch: usize| {
            let slate = objective.slate(&Batch::new(&cases, rows, epoch, 9));
            let left_out: Vec<_> =
                (0..rows.len()).map(|at| slate.left_out(at).map(<[_]>::to_vec)).collect();
            (slate.listed().cloned(), slate.probes().cloned(), left_out)
        };
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| drawn(&*objective, &rows, 3))
        };
        let whole = on(1);
        assert!(on(2) == whole && on(3) == whole, "{}", method.config());
        let (listed, part) = (whole.0.unwrap(), drawn(&*objective, &rows[..5], 3).0.unwrap());
        (0..5).for_each(|at| assert_eq!(part.row(at), listed.row(at), "{}", method.config()));
    }
    continues_after_a_checkpoint(method, &cases);
    if taught(method, Own::Pairs, &cases).vector_objective().is_some() {
        vector_steps_are_reproducible(method, &cases);
    }
}

fn continues_after_a_checkpoint(method: &dyn Distiller, cases: &Cases) {
    let rows: Vec<u32> = (0..cases.len() as u32).collect();
    let batch = Batch::new(cases, &rows, 4, 9);
    let of = |objective: &dyn Objective| {
        let slate = objective.slate(&batch);
        let ask = |at| ask(objective, &slate, &batch, at, &scores(at));
        (0..rows.len()).map(ask).collect::<Vec<_>>()
    };
    let fresh = || method.teach(Box::new(Own::Pairs), cases, &[trace(cases)]).unwrap();
    let mut objective = fresh();
    for epoch in 0..5 {
        objective.refresh(epoch, &Chance(epoch as u64), cases).unwrap();
    }
    let state = objective.state();
    let mut again = fresh();
    again.restore(&state).unwrap();
    assert!(again.state() == state && of(&*again) == of(&*objective), "{}", method.config());
    if state.iter().next().is_some() {
        let mut wrong = Tensors::default();
        state.iter().for_each(|(name, _)| wrong.insert(name, &[2], vec![1u32, 999]));
        assert!(again.restore(&wrong).is_err(), "{}", method.config());
    }
}

fn vector_steps_are_reproducible(method: &dyn Distiller, cases: &Cases) {
    let (rows, queries, items) = with_vectors(cases);
    let steps = |objective: &dyn Objective, epochs: std::ops::Range<usize>| {
        let batch = |epoch| Batch::new(cases, &rows, epoch, 9);
        let step = |epoch| ask_vectors(objective, &batch(epoch), &queries, &items);
        epochs.map(step).collect::<Vec<_>>()
    };
    let fresh = || method.teach(Box::new(Own::Pairs), cases, &[trace(cases)]).unwrap();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| steps(&*fresh(), 0..6))
    };
    let whole = on(1);
    assert!(on(2) == whole && on(3) == whole, "{}", method.config());
    for stop in [0, 3] {
        let before = fresh();
        steps(&*before, 0..stop);
        let mut after = fresh();
        after.restore(&before.state()).unwrap();
        assert!(steps(&*after, stop..6) == whole[stop..], "{}", method.config());
    }
}
