//! Claims that every method holds which teaches vectors.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::DISTILLERS;
use crate::testing::{N, Own, cases, trace};
use rankstill_core::registry::{Config, parse};
use rankstill_core::{Distiller, Factored, Factors, Query, Rankings};
use serde_json::{Value, json};

const DIM: usize = 3;
const TEACHER: usize = 6;

/// Every method that learns from vectors, with settings that suit a few of them.
fn methods() -> Vec<Box<dyn Distiller>> {
    let sgd = json!({"kind": "sgd", "learning_rate": 0.05});
    let with = |kind: &str, more: Value| {
        let mut settings = json!({"kind": kind, "lambda": 0.5});
        let table = settings.as_object_mut().unwrap();
        table.extend(more.as_object().unwrap().clone());
        parse(DISTILLERS, Config { path: "distill", value: &settings }).unwrap().1
    };
    vec![
        with("de", json!({"experts": 3, "temperature": 0.7, "optimizer": sgd})),
        with("de", json!({"experts": 1, "anneal_epochs": 5})),
        with("ftd", json!({})),
        with("htd", json!({"groups": 3, "gamma": 0.4, "temperature": 0.7, "optimizer": sgd})),
        with("htd", json!({"groups": 1, "gamma": 1.0})),
    ]
}

/// Those that compare users of an item by the student's vectors, but learn from rankings.
fn of_users() -> Vec<Box<dyn Distiller>> {
    let with = |more: Value| {
        let mut settings = json!({"k": 4, "l": 5, "window": 10, "lambda": 0.5});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parse(DISTILLERS, Config { path: "distill", value: &settings }).unwrap().1
    };
    vec![
        with(json!({"kind": "ir_rrd", "user_k": 3, "user_l": 2, "item_lambda": 0.5})),
        with(
            json!({"kind": "ir_rrd", "mode": "direct", "by": "scores", "items": 7, "item_lambda": 0.5}),
        ),
        with(
            json!({"kind": "dcd", "corrected": 3, "item_correction": 2.0, "divisor": 2.0, "items": 0}),
        ),
    ]
}

/// Random vectors.
struct Drawn(Vec<f32>);
impl Factored for Drawn {
    fn items(&self) -> Factors<'_> {
        Factors { data: &self.0, len: N, dim: TEACHER, stride: TEACHER }
    }
    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        for (query, out) in queries.iter().zip(out.chunks_mut(TEACHER)) {
            Rng::keyed(6, [u64::from(query.user.unwrap())]).fill_normal(out, 0.0, 1.0);
        }
    }
}

fn embedded(cases: &Cases) -> Trace {
    let mut items = vec![0.0; N * TEACHER];
    Rng::new(7).fill_normal(&mut items, 0.0, 1.0);
    let embedded = Embedded::new("drawn", &Drawn(items), &cases.distinct_queries()).unwrap();
    trace(cases).with_embedded(embedded).unwrap()
}

/// Random vectors of a student.
fn vectors(key: u64, len: usize) -> Vec<f32> {
    let mut out = vec![0.0; len];
    Rng::keyed(8, [key]).fill_normal(&mut out, 0.0, 1.0);
    out
}

/// Asks as a learner does, of a batch in which the row 3 has nothing to learn: the loss and both gradients.
fn ask(
    objective: &dyn Objective,
    batch: &Batch<'_>,
    queries: &[f32],
    all: &[f32],
) -> (f64, Vec<f32>, Vec<f32>) {
    let of_vectors = objective.of_vectors().unwrap();
    let ids = of_vectors.items(batch, &objective.slate(batch));
    let items: Vec<f32> =
        ids.iter().flat_map(|&item| all[item as usize * DIM..][..DIM].to_vec()).collect();
    let counts: Vec<bool> = (0..batch.len()).map(|at| at != 3).collect();
    let (mut to_queries, mut to_items) = (vec![0.0; queries.len()], vec![0.0; items.len()]);
    let vectors = Vectors { dim: DIM, queries, counts: &counts, ids: &ids, items: &items };
    let grads = VectorGrads { queries: &mut to_queries, items: &mut to_items };
    let loss = of_vectors.loss(batch, &vectors, grads);
    let mut to_all = vec![0.0; all.len()];
    for (&item, to) in ids.iter().zip(to_items.chunks(DIM)) {
        to_all[item as usize * DIM..][..DIM].copy_from_slice(to);
    }
    (loss, to_queries, to_all)
}

/// A batch's rows, of which two ask the same; their queries' vectors, and those of all items.
fn asked(cases: &Cases) -> (Vec<u32>, Vec<f32>, Vec<f32>) {
    let rows: Vec<u32> = (0..cases.len() as u32).step_by(3).chain([0]).collect();
    let of = |&row: &u32| vectors(cases.query_of(row as usize) as u64, DIM);
    (rows.clone(), rows.iter().flat_map(of).collect(), vectors(99, N * DIM))
}

#[test]
fn gradients_are_the_slopes_of_losses() {
    let cases = cases();
    let (rows, queries, items) = asked(&cases);
    let batch = Batch::new(&cases, &rows, 0, 9);
    // Not of `htd`, whose landmarks move with the vectors and are taken as still: its parts are compared one by one.
    let mut still = methods();
    still.retain(|method| method.config().get("groups").is_none());
    for method in still.iter().chain(&of_users()) {
        for own in [Own::Pairs, Own::Softmax, Own::Squares] {
            // Anew for each question: parameters take a step each time.
            let of = |queries: &[f32], items: &[f32]| {
                let teach = method.teach(Box::new(own), &cases, &[embedded(&cases)]).unwrap();
                ask(&*teach, &batch, queries, items)
            };
            let (_, to_queries, to_items) = of(&queries, &items);
            // A row that asks what an earlier one asked has the same vector.
            let last = rows.len() - 1;
            assert!(
                to_queries[last * DIM..] == [0.0; DIM]
                    && to_queries[3 * DIM..][..DIM] == [0.0; DIM]
            );
            let mut live = 0;
            for k in (0..queries.len() + items.len()).step_by(2) {
                let moved = |by: f32| {
                    let (mut queries, mut items) = (queries.clone(), items.clone());
                    if k < queries.len() {
                        queries[k] += by
                    } else {
                        items[k - queries.len()] += by
                    }
                    of(&queries, &items).0
                };
                let n = queries.len();
                let found = if k < n { to_queries[k] } else { to_items[k - n] };
                let differs = (moved(2e-3) - moved(-2e-3)) / 4e-3;
                live += usize::from(found != 0.0);
                let near = (differs - f64::from(found)).abs() < 2e-2 + 5e-3 * differs.abs();
                assert!(near, "{} {own:?} {k}: {differs} {found}", method.config());
            }
            assert!(live > 10, "{}", method.config());
        }
    }
}

#[test]
fn what_was_learnt_survives_a_checkpoint_and_threads_do_not_matter() {
    let cases = cases();
    let (rows, queries, items) = asked(&cases);
    let steps = |objective: &dyn Objective, epochs: std::ops::Range<usize>| {
        let step = |epoch| ask(objective, &Batch::new(&cases, &rows, epoch, 9), &queries, &items);
        epochs.map(step).collect::<Vec<_>>()
    };
    for method in methods().into_iter().chain(of_users()) {
        let fresh = || method.teach(Box::new(Own::Pairs), &cases, &[embedded(&cases)]).unwrap();
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
            if method.requires().vectors && after.state().iter().next().is_some() {
                assert_eq!(after.state().iter().count(), 11);
                let mut wrong = after.state();
                wrong.insert("term.student", &[1], vec![DIM as u32 + 1]);
                assert!(fresh().restore(&wrong).is_err(), "{}", method.config());
            }
        }
    }
}

#[test]
fn teachers_without_vectors_are_refused_and_without_weight_the_own_loss_is_left_alone() {
    let cases = cases();
    for method in methods() {
        let teach = |traces: &[Trace]| method.teach(Box::new(Own::Pairs), &cases, traces);
        let refuse = |traces: &[Trace]| teach(traces).err().unwrap().to_string();
        assert!(refuse(&[]).contains("one teacher, not 0"));
        let error = refuse(&[trace(&cases)]);
        assert!(error.starts_with("teachers: `chance` has no vectors, which"), "{error}");
        assert!(method.requires().vectors && method.requires().lists.k == 0);
        let mut none = method.config();
        none["lambda"] = 0.0.into();
        none["kind"] = if none.get("experts").is_some() {
            "de"
        } else if none.get("groups").is_some() {
            "htd"
        } else {
            "ftd"
        }
        .into();
        let none = parse(DISTILLERS, Config { path: "distill", value: &none }).unwrap().1;
        let own = none.teach(Box::new(Own::Pairs), &cases, &[embedded(&cases)]).unwrap();
        assert!(own.of_vectors().is_none());
    }
    let mut silent = Rankings::default();
    (0..cases.n_queries() + 1).for_each(|_| silent.push([]));
    let other = Trace::new("other", vec![(0, silent)]).unwrap();
    let vectors = Embedded::new("drawn", &Drawn(vec![0.0; N * TEACHER]), &[]).unwrap();
    assert!(other.with_embedded(vectors).is_err());
    let wild = Embedded::new("wild", &Drawn(vec![f32::NAN; N * TEACHER]), &[]);
    assert!(wild.unwrap_err().to_string().contains("not finite"));
}

#[test]
fn several_methods_teach_one_beside_the_other() {
    let cases = cases();
    let (rows, queries, items) = asked(&cases);
    let batch = Batch::new(&cases, &rows, 0, 9);
    let traces = [embedded(&cases)];
    let read = |value: Value| parse(DISTILLERS, Config { path: "d", value: &value });
    let of = json!([{"kind": "rrd", "k": 3, "window": 9}, {"kind": "ftd", "lambda": 0.5}]);
    let both = read(json!({"kind": "several", "of": of})).unwrap().1;
    assert_eq!(
        (both.requires().lists.k, both.requires().vectors, both.requires().trajectory),
        (9, true, false)
    );
    let mut again = both.config();
    again["kind"] = "several".into();
    assert_eq!(read(again).unwrap().1.config(), both.config());
    let both = both.teach(Box::new(Own::Pairs), &cases, &traces).unwrap();
    let Slate::Lists { listed, .. } = both.slate(&batch) else { panic!() };
    assert!(listed.row(0).len() > 2, "RRD's items are there");
    let ftd = read(of[1].clone()).unwrap().1.teach(Box::new(Own::Pairs), &cases, &traces);
    let alone = ask(&*ftd.unwrap(), &batch, &queries, &items);
    let found = ask(&*both, &batch, &queries, &items);
    assert!(found.0 > alone.0, "with RRD's items there are more pairs");
    let refuse = |value: Value| read(value).err().unwrap().to_string();
    assert!(refuse(json!({"kind": "several"})).starts_with("d.of: is missing"));
    assert!(refuse(json!({"kind": "several", "of": [], "k": 1})).starts_with("d.k: unknown"));
    let inner = refuse(json!({"kind": "several", "of": [{"kind": "rrd", "k": 0}]}));
    assert_eq!(inner, "d.of[0].k: must be at least 1");
    let last = refuse(json!({"kind": "several", "of": [{"kind": "de"}, {"kind": "het_comp"}]}));
    assert!(last.contains("put it first"), "{last}");
    let of = json!([{"kind": "rrd"}, {"kind": "rank_distil", "preset": "authors_code"}]);
    let among = refuse(json!({"kind": "several", "of": of}));
    assert!(among.contains("`rrd` and `rank_distil` want lists of different things"), "{among}");
}

#[test]
fn two_methods_side_by_side_are_their_sum() {
    let cases = cases();
    let (rows, queries, items) = asked(&cases);
    let batch = Batch::new(&cases, &rows, 0, 9);
    let traces = [embedded(&cases)];
    let [de, _, ftd, ..] = &methods()[..] else { panic!() };
    let alone = |method: &dyn Distiller| {
        let objective = method.teach(Box::new(Own::Pairs), &cases, &traces).unwrap();
        ask(&*objective, &batch, &queries, &items)
    };
    let inner = de.teach(Box::new(Own::Pairs), &cases, &traces).unwrap();
    let both = ask(&*ftd.teach(inner, &cases, &traces).unwrap(), &batch, &queries, &items);
    let (a, b) = (alone(&**de), alone(&**ftd));
    assert!((both.0 - a.0 - b.0).abs() < 1e-9);
    let sum = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<_>>();
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(near(&both.1, &sum(&a.1, &b.1)) && near(&both.2, &sum(&a.2, &b.2)));
}

#[test]
fn settings_come_back_and_wrong_ones_are_named() {
    for kind in ["de", "ftd", "htd"] {
        let read = |mut value: Value| {
            value["kind"] = kind.into();
            parse(DISTILLERS, Config { path: "distill", value: &value }).map(|found| found.1)
        };
        let config = read(json!({})).unwrap().config();
        assert_eq!(read(config.clone()).unwrap().config(), config, "{kind}");
        let refuse = |value: Value| read(value).err().unwrap().to_string();
        assert!(refuse(json!({"lamda": 1})).contains("lambda"), "{kind}");
        assert_eq!(refuse(json!({"lambda": -1})), "distill.lambda: is -1, must be at least 0");
    }
    let read = |value: Value| parse(DISTILLERS, Config { path: "d", value: &value });
    let refuse = |value: Value| read(value).err().unwrap().to_string();
    let gamma = refuse(json!({"kind": "htd", "gamma": 1.5}));
    assert_eq!(gamma, "d.gamma: is 1.5, must be between 0 and 1");
    assert_eq!(refuse(json!({"kind": "de", "experts": 0})), "d.experts: must be at least 1");
    let rate = refuse(json!({"kind": "de", "optimizer": {"kind": "adam", "learning_rate": -1}}));
    assert!(rate.starts_with("d.optimizer: "), "{rate}");
}
