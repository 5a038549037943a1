#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{Cases, Span};
use std::sync::Arc;

const KINDS: [LossKind; 3] = [LossKind::Bpr, LossKind::LogLoss, LossKind::Softmax];

fn all_losses() -> impl Iterator<Item = Loss> {
    KINDS.into_iter().flat_map(|kind| {
        [1, 3, 70].map(|negatives| Loss { kind, negatives, ..Loss::default() })
    })
}

fn row_of_one_target(loss: Loss, scores: &[f32]) -> (f32, Vec<f32>) {
    let train = testing::blocks();
    let cases = Cases::each_interaction(&train);
    let batch = Batch::new(&cases, &[0], 0, 1);
    let (mut grad, mut log_complement) = (vec![0.0; scores.len()], 0.0);
    let items = [0, 11, 12].into_iter().take(scores.len());
    let slate = Slate::lists(Lists::from_iter([items]));
    let loss = Sampled::new(loss, &train).loss(
        Row { batch: &batch, slate: &slate, at: 0 },
        Scores { listed: scores, probes: &[], log_complement: f32::NEG_INFINITY },
        Grad { listed: &mut grad, log_complement: &mut log_complement },
    );
    (loss, grad)
}

#[test]
fn one_target_and_two_negatives_by_hand() {
    // e^ln2 = 2, e^0 = 1, e^ln3 = 3.
    let scores = [2f32.ln(), 0.0, 3f32.ln()];
    let close = |kind, loss: f64, grad: [f64; 3]| {
        let ours = row_of_one_target(Loss { kind, negatives: 2, ..Loss::default() }, &scores);
        assert!((f64::from(ours.0) - loss).abs() < 1e-6, "{kind:?}: {ours:?}");
        for (ours, by_hand) in ours.1.iter().zip(grad) {
            assert!((f64::from(*ours) - by_hand).abs() < 1e-6, "{kind:?}: {ours:?}");
        }
    };
    // sigmoid(-ln 2) = 1/3, sigmoid(ln 3/2) = 3/5
    let pairs = 0.5 * (1.5f64.ln() + 2.5f64.ln());
    close(LossKind::Bpr, pairs, [-(1.0 / 6.0 + 0.3), 1.0 / 6.0, 0.3]);
    let points = 1.5f64.ln() + 2f64.ln() + 4f64.ln();
    close(LossKind::LogLoss, points, [-1.0 / 3.0, 0.5, 0.75]);
    close(LossKind::Softmax, 3f64.ln(), [-2.0 / 3.0, 1.0 / 6.0, 0.5]);
}

#[test]
fn every_gradient_is_the_slope() {
    let train = testing::blocks();
    for loss in all_losses() {
        let objective = Sampled::new(loss, &train);
        testing::objective_gradient(&objective, &Cases::each_interaction(&train));
        testing::objective_gradient(&objective, &Cases::windows(&train, 2, 3));
    }
}

#[test]
fn a_hinge_pushes_the_hardest_by_the_logarithm_of_the_estimated_rank() {
    let hinge = |margin| Loss {
        kind: LossKind::Hinge(Hinge { margin }),
        negatives: 2,
        ..Loss::default()
    };
    // Both of two violate the margin: all 40 items are estimated to rank higher.
    let (loss, grad) = row_of_one_target(hinge(0.5), &[0.3, 0.1, 0.0]);
    let weight = 41f64.ln();
    assert!((f64::from(loss) - 0.3 * weight).abs() < 1e-5, "{loss}");
    assert!((f64::from(grad[1]) - weight).abs() < 1e-5 && grad[2] == 0.0);
    assert_eq!(grad[0], -grad[1]);
    // One of two: half of them.
    let (loss, grad) = row_of_one_target(hinge(0.25), &[0.3, 0.0, 0.1]);
    let weight = 21f64.ln();
    assert!((f64::from(loss) - 0.05 * weight).abs() < 1e-5, "{loss}");
    assert!((f64::from(grad[2]) - weight).abs() < 1e-5 && grad[1] == 0.0);
    let (loss, grad) = row_of_one_target(hinge(0.1), &[0.3, 0.0, 0.1]);
    assert!(loss == 0.0 && grad == [0.0; 3]);
}

#[test]
fn the_cosine_contrastive_loss_by_hand() {
    let kind = CosineContrastive { margin: 0.4, weight: 3.0 };
    let loss =
        Loss { kind: LossKind::CosineContrastive(kind), negatives: 2, ..Loss::default() };
    let (loss, grad) = row_of_one_target(loss, &[0.8, 0.6, 0.1]);
    // 0.2 + 3 / 2 * 0.2
    assert!((loss - 0.5).abs() < 1e-6, "{loss}");
    assert_eq!(grad, [-1.0, 1.5, 0.0]);
}

#[test]
fn losses_with_kinks_have_the_slope_between_them() {
    const EPS: f32 = 1e-2;
    let kinds = [
        LossKind::Hinge(Hinge { margin: 0.7 }),
        LossKind::CosineContrastive(CosineContrastive { margin: 0.2, weight: 2.0 }),
    ];
    for kind in kinds {
        let mut checked = 0;
        for case in 0..50 {
            let mut scores = vec![0.0; 3];
            Rng::keyed(8, [case]).fill_normal(&mut scores, 0.0, 1.0);
            let at = |scores: &[f32]| {
                row_of_one_target(Loss { kind, negatives: 2, ..Loss::default() }, scores)
            };
            let (here, grad) = at(&scores);
            for i in 0..3 {
                let (mut up, mut down) = (scores.clone(), scores.clone());
                (up[i], down[i]) = (up[i] + EPS, down[i] - EPS);
                let (up, down) = (at(&up).0 - here, here - at(&down).0);
                if (up - down).abs() < 1e-5 {
                    checked += 1;
                    let slope = (up + down) / (2.0 * EPS);
                    assert!((slope - grad[i]).abs() < 2e-3, "{kind:?}: {slope} {}", grad[i]);
                }
            }
        }
        assert!(checked > 120, "{kind:?}: {checked} of 150");
    }
}

#[test]
fn settings_of_a_loss_are_read_by_name() {
    use serde_json::json;
    let read = |kind| serde_json::from_value::<LossKind>(kind).unwrap();
    assert_eq!(read(json!({"hinge": {}})), LossKind::Hinge(Hinge::default()));
    let kind = read(json!({"cosine_contrastive": {"margin": 0.4}}));
    let expected = CosineContrastive { margin: 0.4, ..CosineContrastive::default() };
    assert_eq!(kind, LossKind::CosineContrastive(expected));
    let loss: Loss = serde_json::from_value(json!({"among": "everything"})).unwrap();
    assert_eq!(loss, Loss { among: NegativePool::Everything, ..Loss::default() });
    assert!(Sampled::new(loss, &testing::blocks()).plain_bpr().is_none());
    let wrong = LossKind::Hinge(Hinge { margin: -1.0 });
    let error =
        Loss { kind: wrong, negatives: 1, ..Loss::default() }.check().unwrap_err().to_string();
    assert_eq!(error, "loss.kind: `margin` must be at least 0, is -1");
}

#[test]
fn far_scores_give_finite_losses() {
    for kind in KINDS {
        for scores in [[-300.0, 300.0, 0.0], [300.0, -300.0, -300.0]] {
            let (loss, grad) =
                row_of_one_target(Loss { kind, negatives: 2, ..Loss::default() }, &scores);
            assert!(loss.is_finite() && grad.iter().all(|g| g.is_finite()));
            assert_eq!(loss > 100.0, scores[0] < 0.0, "{kind:?}: {loss}");
        }
    }
}

#[test]
fn slates_list_targets_then_unseen_items_for_every_case() {
    // User 0 has seen 3 of 6 items, user 1 all; the third case has no known user.
    let lines = [vec![0, 1, 2], vec![0, 1, 2, 3, 4, 5]];
    let train = Interactions::new(6, Lists::from_iter(lines), None, None).unwrap();
    let span = |user, history, targets| Span { user, history, hidden: 0..0, targets };
    let spans =
        vec![span(Some(0), 0..3, 0..2), span(Some(1), 3..9, 3..4), span(None, 1..3, 0..1)];
    let timeline = Arc::new(train.items().values().to_vec());
    let cases = Cases::new(6, timeline, spans).unwrap();
    let objective =
        Sampled::new(Loss { kind: LossKind::Bpr, negatives: 20, ..Loss::default() }, &train);
    let rows = [2, 0, 1];
    let batch = Batch::new(&cases, &rows, 3, 1);
    let Slate::Lists { listed: lists, .. } = objective.slate(&batch) else { panic!() };
    assert_eq!(lists.row(0).len(), 1 + 20);
    assert_eq!(lists.row(1).len(), 2 + 40);
    assert_eq!(lists.row(2), [0], "nothing is left to sample");
    for at in [0, 1] {
        let targets = batch.case(at).targets;
        assert_eq!(&lists.row(at)[..targets.len()], targets);
        assert!(lists.row(at)[targets.len()..].iter().all(|item| *item >= 3));
    }
    let everything = Loss { negatives: 20, among: NegativePool::Everything, ..Loss::default() };
    let slate = Sampled::new(everything, &train).slate(&batch);
    let Slate::Lists { listed: lists, .. } = slate else { panic!() };
    assert_eq!(lists.row(2).len(), 1 + 20, "there is always something to sample");
    for at in 0..3 {
        let targets = batch.case(at).targets;
        assert_eq!(&lists.row(at)[..targets.len()], targets);
        let drawn = &lists.row(at)[targets.len()..];
        assert!(drawn.iter().all(|item| *item < 6) && drawn.iter().any(|item| *item < 3));
    }
}

#[test]
fn a_row_draws_the_same_at_any_position_and_anew_in_every_epoch() {
    let train = testing::blocks();
    let cases = Cases::each_interaction(&train);
    let objective =
        Sampled::new(Loss { kind: LossKind::Bpr, negatives: 3, ..Loss::default() }, &train);
    let all: Vec<u32> = (0..cases.len() as u32).collect();
    let of = |rows: &[u32], epoch| match objective.slate(&Batch::new(&cases, rows, epoch, 1)) {
        Slate::Lists { listed, .. } => listed,
        other => panic!("{other:?}"),
    };
    assert!(all.len() > CHUNK);
    let whole = of(&all, 0);
    assert_eq!(of(&all[300..302], 0).row(1), whole.row(301));
    assert_ne!(of(&all, 1), whole);
}

#[test]
fn only_bpr_with_one_negative_is_plain() {
    let train = testing::blocks();
    for loss in all_losses() {
        let plain = loss == Loss::default();
        assert_eq!(Sampled::new(loss, &train).plain_bpr().is_some(), plain);
    }
}
