#![allow(clippy::unwrap_used)]
use super::*;
use crate::parts::own_loss::{Alone, OwnLoss};
use crate::testing;
use rankstill_core::kernel::optimizer::Sgd;
use rankstill_core::{Batch, Cases, Objective as _, Query};

fn recipe(rate: f64) -> DiffRec {
    DiffRec {
        hidden: 6,
        steps: 3,
        scale: 0.1,
        least: 0.1,
        most: 1.0,
        optimizer: Optimizer::Sgd(Sgd { learning_rate: rate, ..Sgd::default() }),
        ..DiffRec::default()
    }
}

#[test]
fn levels_by_hand() {
    // 1 - a: .01 is replaced by 1e-5 at first; then the increments of .99 to .945 to .9.
    let levels = recipe(0.0).levels();
    let (b2, b3) = (1.0 - 0.945 / 0.99, 1.0 - 0.9 / 0.945);
    let (a1, a2) = (1.0 - 1e-5, (1.0 - 1e-5) * (1.0 - b2));
    let a3 = a2 * (1.0 - b3);
    let close = |found: f64, expected: f64| {
        assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found} {expected}");
    };
    for (level, (a, before, b)) in levels.iter().zip([(a1, 1.0, 1e-5), (a2, a1, b2), (a3, a2, b3)])
    {
        close(level.signal, f64::sqrt(a));
        close(level.noise, f64::sqrt(1.0 - a));
        close(level.predicted, f64::sqrt(before) * b / (1.0 - a));
        close(level.kept, f64::sqrt(1.0 - b) * (1.0 - before) / (1.0 - a));
    }
    close(levels[0].predicted, 1.0);
    assert_eq!((levels[0].kept, levels[0].weight), (0.0, 1.0));
    close(levels[2].weight, a2 / (1.0 - a2) - a3 / (1.0 - a3));
    assert_eq!(DiffRec { steps: 1, ..recipe(0.0) }.levels().len(), 1);
}

#[test]
fn a_step_follows_the_slope_of_its_loss() {
    // The weights are some 1e5 at the second level, so the rate is small.
    let train = testing::blocks();
    let (moving, still) =
        (DiffRec { steps: 1, ..recipe(0.1) }, DiffRec { steps: 1, ..recipe(0.0) });
    let named = [("net.parameters", true)];
    let recipes: (&dyn Recipe, &dyn Recipe) = (&Alone(&moving), &Alone(&still));
    testing::step_is_slope_of_own_loss(recipes, 0.1, &train, &OwnLoss, &named);
}

#[test]
fn levels_with_larger_losses_are_drawn_more_often_and_count_less() {
    let train = testing::blocks();
    let mut learner = DiffLearner::random(&recipe(0.0), 40, 1);
    assert_eq!(learner.probabilities(), [1.0 / 3.0; 3]);
    let cases = Cases::per_user(&train);
    let rows: Vec<u32> = (0..48).collect();
    let batch = Batch::new(&cases, &rows, 0, 1);
    let slate = OwnLoss.slate(&batch);
    for epoch in 0..3 {
        learner.step(&Batch::new(&cases, &rows, epoch, 1), &slate, &OwnLoss);
    }
    let p = learner.probabilities();
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12 && p.iter().all(|&p| p > 0.0), "{p:?}");
    // w_2 is some 1e5, w_1 is 1.
    assert!(p[1] > 0.9 && p[0] < 0.01, "{p:?}");
    let again = DiffLearner::resumed(&recipe(0.0), 40, &learner.state()).unwrap();
    assert_eq!(again.probabilities(), p);
}

#[test]
fn a_ranking_is_the_chain_of_means_in_f64() {
    let train = testing::blocks();
    let recipe = recipe(0.0);
    let learner = DiffLearner::random(&recipe, 40, 1);
    let tensors = learner.tensors();
    let part = |name: &str| tensors.matrix(name).unwrap().0;
    let (w1, w2) = (part("net.1.weight"), part("net.2.weight"));
    let net = |x: &[f64], t: usize| {
        let mut x = x.to_vec();
        let mut time = [0.0f32; 10];
        model::write_time(t, &mut time);
        x.extend(time.iter().map(|&x| f64::from(x)));
        let h: Vec<f64> = (0..6)
            .map(|k| (0..50).map(|i| x[i] * f64::from(w1[i * 6 + k])).sum::<f64>().tanh())
            .collect();
        (0..40)
            .map(|j| (0..6).map(|k| h[k] * f64::from(w2[k * 40 + j])).sum())
            .collect::<Vec<f64>>()
    };
    let history = train.history(5);
    let mut x = vec![0.0; 40];
    history.iter().for_each(|&item| x[item as usize] = 1.0);
    for (at, level) in recipe.levels().iter().enumerate().rev() {
        let predicted = net(&x, at + 1);
        x.iter_mut().zip(&predicted).for_each(|(x, y)| *x = level.predicted * y + level.kept * *x);
    }
    let mut out = vec![0.0; 40];
    rankstill_core::Scorer::score(
        &learner,
        &[Query { user: None, history, hidden: &[] }],
        &mut out,
    );
    for (found, expected) in out.iter().zip(&x) {
        assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
    }
}
