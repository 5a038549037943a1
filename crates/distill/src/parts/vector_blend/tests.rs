#![allow(clippy::unwrap_used)]
use crate::DISTILLERS;
use crate::testing::{Drawn, N, Own, ask_vectors, cases, small, taught, trace, with_vectors};
use rankstill_core::registry::{Config, parse};
use rankstill_core::{Batch, Distiller, Embedded, Objective, Rankings, Trace};
use serde_json::{Value, json};

fn methods() -> [Box<dyn Distiller>; 3] {
    ["de", "ftd", "htd"].map(|kind| small(kind, json!({})))
}

#[test]
fn a_teacher_without_vectors_is_refused_and_without_weight_the_own_loss_is_left_alone() {
    let cases = cases();
    for kind in ["de", "ftd", "htd"] {
        let method = small(kind, json!({}));
        assert!(method.requires().vectors && method.requires().lists.k == 0);
        let mut silent = Rankings::default();
        (0..cases.n_queries()).for_each(|_| silent.push([]));
        let silent = Trace::new("silent", vec![(0, silent)]).unwrap();
        let error = method.teach(Box::new(Own::Pairs), &cases, &[silent]).err().unwrap();
        assert!(error.to_string().starts_with("teachers: `silent` has no vectors, and"), "{error}");
        let none = taught(&*small(kind, json!({"lambda": 0})), Own::Pairs, &cases);
        assert!(none.vector_objective().is_none());
    }
    let embedded = Embedded::new("drawn", &Drawn(vec![0.0; N * 6]), &[]).unwrap();
    assert!(trace(&cases).with_embedded(embedded).is_err());
    let wild = Embedded::new("wild", &Drawn(vec![f32::NAN; N * 6]), &[]);
    assert!(wild.unwrap_err().to_string().contains("not finite"));
}

#[test]
fn the_loss_of_several_methods_is_their_sum() {
    let cases = cases();
    let (rows, queries, items) = with_vectors(&cases);
    let batch = Batch::new(&cases, &rows, 0, 9);
    let loss = |objective: &dyn Objective| ask_vectors(objective, &batch, &queries, &items);
    let [de, ftd, _] = methods();
    let (a, b) =
        (loss(&*taught(&*de, Own::Pairs, &cases)), loss(&*taught(&*ftd, Own::Pairs, &cases)));
    let inner = taught(&*de, Own::Pairs, &cases);
    let both = loss(&*ftd.teach(inner, &cases, &[trace(&cases)]).unwrap());
    assert!((both.0 - a.0 - b.0).abs() < 1e-9);
    let sum = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a + b).collect::<Vec<_>>();
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(near(&both.1, &sum(&a.1, &b.1)) && near(&both.2, &sum(&a.2, &b.2)));
    // With RRD before it, its items are among those that FTD compares.
    let of = json!([{"kind": "rrd", "k": 3, "window": 9}, {"kind": "ftd", "lambda": 0.5}]);
    let several = small("several", json!({ "of": of }));
    let requires = several.requires();
    assert!(requires.lists.k == 9 && requires.vectors && !requires.trajectory);
    assert!(loss(&*taught(&*several, Own::Pairs, &cases)).0 > b.0);
}

#[test]
fn methods_that_cannot_be_combined_and_wrong_settings_are_refused() {
    let refuse = |value: Value| {
        parse(DISTILLERS, Config { path: "d", value: &value }).err().unwrap().to_string()
    };
    let several = |of: Value| refuse(json!({"kind": "several", "of": of}));
    assert!(refuse(json!({"kind": "several"})).starts_with("d.of: is missing"));
    assert!(refuse(json!({"kind": "several", "of": [], "k": 1})).starts_with("d.k: unknown"));
    assert_eq!(several(json!([{"kind": "rrd", "k": 0}])), "d.of[0].k: must be at least 1");
    let last = several(json!([{"kind": "de"}, {"kind": "het_comp"}]));
    assert_eq!(last, "d.of: `het_comp` replaces the student's own loss: put it first");
    let candidates =
        several(json!([{"kind": "rrd"}, {"kind": "rank_distil", "preset": "authors_code"}]));
    assert!(candidates.contains("`rrd` and `rank_distil` need lists of different"), "{candidates}");
    let gamma = refuse(json!({"kind": "htd", "gamma": 1.5}));
    assert_eq!(gamma, "d.gamma: is 1.5, must be between 0 and 1");
    assert_eq!(refuse(json!({"kind": "de", "experts": 0})), "d.experts: must be at least 1");
    let rate = refuse(json!({"kind": "de", "optimizer": {"kind": "adam", "learning_rate": -1}}));
    assert!(rate.starts_with("d.optimizer: "), "{rate}");
    let temperature = refuse(json!({"kind": "rrd", "temperature": 0}));
    assert_eq!(temperature, "d.temperature: is 0, must be above 0");
}
