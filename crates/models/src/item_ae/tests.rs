#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing;
use rankstill_core::Lists;
use rankstill_core::{Factored, Query, Scorer};

fn small() -> ItemAe {
    let optimizer = Optimizer::Adam(Adam { learning_rate: 0.03, ..Adam::default() });
    let train = Plan { epochs: 5, batch_size: 10, ..Plan::default() };
    ItemAe { hidden: 6, latent: 3, optimizer, train, ..ItemAe::default() }
}

/// The logits of the network for (item, user), computed the slow way.
fn logits(net: &dyn Factored, log: &Interactions) -> Vec<Vec<f64>> {
    let items = Cases::per_user(log);
    items
        .queries()
        .iter()
        .map(|query| {
            let mut vector = vec![0.0; net.items().dim];
            net.embed(&[*query], &mut vector);
            let product = |row: &[f32]| {
                row.iter().zip(&vector).fold(0.0, |sum, (a, b)| sum + f64::from(*a) * f64::from(*b))
            };
            (0..net.items().len).map(|user| product(net.items().row(user))).collect()
        })
        .collect()
}

#[test]
fn scores_are_the_joint_log_probability_but_for_what_is_the_users_own() {
    let (recipe, log) = (small(), transposed(&testing::blocks()).unwrap());
    let log = Arc::new(log);
    let network = recipe.network();
    let mut inner = network.random(48, 1);
    let cases = Cases::per_user(&log);
    for epoch in 0..6 {
        let rows: Vec<u32> = (0..40).collect();
        let batch = rankstill_core::Batch::new(&cases, &rows, epoch, 1);
        inner.step(&batch, &Multinomial.slate(&batch), &Multinomial);
    }
    let logits = logits(inner.net(), &log);
    let learner = DecodingLearner::new(&recipe, inner, &log);
    for user in [0, 17, 47] {
        let mut scores = vec![0.0; 40];
        learner.score(&[Query { user: Some(user), history: &[], hidden: &[] }], &mut scores);
        let by_hand: Vec<f64> = (0..40)
            .map(|item| {
                let mass = logits[item].iter().fold(0.0, |sum, s| sum + s.exp()).ln();
                let n = log.history(item as u32).len() as f64;
                logits[item][user as usize] - mass + (1.0 + n).ln()
            })
            .collect();
        let own = f64::from(scores[0]) - by_hand[0];
        for (score, by_hand) in scores.iter().zip(&by_hand) {
            assert!((f64::from(*score) - by_hand - own).abs() < 1e-4, "{score} {by_hand} {own}");
        }
    }
}

#[test]
fn the_transpose_of_a_small_log_by_hand() {
    let log = Lists::from_iter([vec![2, 0], vec![], vec![2]]);
    let log = Interactions::new(4, log, None, None).unwrap();
    let items = transposed(&log).unwrap();
    let rows: Vec<&[u32]> = items.items().iter().collect();
    assert_eq!(rows, [&[0][..], &[], &[0, 2], &[]]);
    assert_eq!(items.n_items(), 3);
}

#[test]
fn it_trains_by_epochs_but_is_no_student() {
    let recipe: Box<dyn Recipe> = Box::new(small());
    assert_eq!(recipe.training_plan().unwrap().epochs, 5);
    assert!(recipe.trainable().is_none());
}

#[test]
fn models_that_do_not_fit_the_recipe_are_refused() {
    let model = testing::fit(&small(), &testing::blocks(), 1);
    let tensors = model.tensors();
    let wider = ItemAe { hidden: 7, ..small() };
    let error = ModelConfig::load(&wider, &tensors).err().unwrap().to_string();
    assert_eq!(error, "tensor `users`: expected rows of 7, found rows of 6");
}
