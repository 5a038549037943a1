//! Slates of every shape, scored naively, and objectives that ask for them.
#![allow(missing_docs, clippy::unwrap_used)]

use rankstill_core::rest::Estimate;
use rankstill_core::{
    Batch, Cases, Grad, Interactions, Lists, Objective, Recipe, Rest, Row, Scores, Slate,
};
use std::sync::Arc;

/// The scores of one row of a slate, and the log of the complement's mass: the naive twin of the learners' code.
pub fn slate_of(slate: &Slate, at: usize, all: &[f32]) -> (Vec<f32>, f32) {
    match slate {
        Slate::All => (all.to_vec(), f32::NEG_INFINITY),
        Slate::Lists { listed, .. } => {
            let scores = listed.row(at).iter().map(|&item| all[item as usize]).collect();
            (scores, f32::NEG_INFINITY)
        }
        Slate::WithSample { listed, .. } => {
            let exp = |item: u32| f64::from(all[item as usize]).exp();
            let mass = slate.drawn_for(at).fold(0.0, |sum, item| sum + exp(item));
            (listed.row(at).iter().map(|&item| all[item as usize]).collect(), mass.ln() as f32)
        }
        Slate::WithComplement { listed, left_out, asking, .. } => {
            let items = listed.row(at);
            let rest = (0..all.len()).filter(|&i| {
                let counts = |lists: &Lists<u32>| !lists.row(at).contains(&(i as u32));
                asking.contains(&(at as u32)) && counts(listed) && counts(left_out)
            });
            let mass = rest.fold(0.0, |sum, i| sum + f64::from(all[i]).exp());
            (items.iter().map(|&item| all[item as usize]).collect(), mass.ln() as f32)
        }
    }
}

/// The scores of the probes of one row.
pub(super) fn probes_of(slate: &Slate, at: usize, all: &[f32]) -> Vec<f32> {
    let probes = slate.probes().map_or(&[][..], |probes| probes.row(at));
    probes.iter().map(|&item| all[item as usize]).collect()
}

/// A learner scores probes as the model does, in lists and with the complement, at every step.
pub fn probes_are_scored(recipe: &dyn Recipe, train: &Arc<Interactions>, cases: &Cases) {
    struct Probing(bool, std::sync::Mutex<Vec<(usize, Vec<f32>)>>);
    impl Objective for Probing {
        fn slate(&self, batch: &Batch<'_>) -> Slate {
            let (rows, n_items) = (0..batch.len(), batch.cases.n_items() as u32);
            let listed = rows.clone().map(|at| batch.case(at).targets.to_vec()).collect();
            let probe = |at| (0..3).map(|k| (7 * at as u32 + 11 * k) % n_items).collect::<Vec<_>>();
            let probes = rows.clone().map(probe).collect();
            match self.0 {
                false => Slate::Lists { listed, probes, blended: None, estimated: None },
                true => {
                    let left_out = rows.clone().map(|_| Vec::new()).collect();
                    let asking = rows.map(|at| at as u32).collect();
                    Slate::WithComplement { listed, left_out, asking, probes, blended: None }
                }
            }
        }
        fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
            self.1.lock().unwrap().push((row.at, scores.probes.to_vec()));
            grad.listed
                .iter_mut()
                .zip(scores.listed)
                .for_each(|(slope, score)| *slope = score - 2.0);
            0.0
        }
    }
    let rows: Vec<u32> = (0..cases.len().min(30) as u32).collect();
    for with_complement in [false, true] {
        // The twin takes the same steps and is settled before it is read; the learner itself may have pending
        // updates.
        let init = || recipe.trainable().unwrap().init(train, 1).unwrap();
        let (mut learner, mut twin) = (init(), init());
        for epoch in 0..3 {
            let batch = Batch::new(cases, &rows[9 * epoch..], epoch, 1);
            let objective = Probing(with_complement, Default::default());
            let slate = objective.slate(&batch);
            twin.settle();
            let model = recipe.load(&twin.tensors()).unwrap();
            twin.step(&batch, &slate, &Probing(with_complement, Default::default()));
            learner.step(&batch, &slate, &objective);
            let seen = objective.1.into_inner().unwrap();
            assert!(!seen.is_empty());
            for (at, scores) in seen {
                let mut all = vec![0.0; model.n_items()];
                model.score(&[batch.case(at).query], &mut all);
                for (ours, theirs) in scores.iter().zip(probes_of(&slate, at, &all)) {
                    assert!((ours - theirs).abs() < 1e-4, "row {at}: {ours} {theirs}");
                }
                assert_eq!(scores.len(), 3);
            }
        }
    }
}

/// Objectives with every shape of slate, to test learners with.
pub fn shapes() -> Vec<(&'static str, Box<dyn Objective>)> {
    vec![
        ("ragged", Box::new(RaggedLists)),
        ("complement", Box::new(WithComplement)),
        ("sample", Box::new(WithSample)),
        ("all", Box::new(All)),
    ]
}

/// Lists of different lengths, some empty, some with a repeated item: squared distance to fixed numbers.
pub struct RaggedLists;
impl Objective for RaggedLists {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let row = |at| {
            let mut rng = batch.rng(at, 7);
            let n = if at % 5 == 2 { 0 } else { rng.below(7) };
            let mut row: Vec<u32> =
                (0..n).map(|_| rng.below(batch.cases.n_items() as u32)).collect();
            row.extend(row.first().copied());
            row
        };
        Slate::lists((0..batch.len()).map(row).collect())
    }

    fn loss(&self, _row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let mut loss = 0.0;
        for (k, (score, grad)) in scores.listed.iter().zip(grad.listed).enumerate() {
            *grad += score - (k as f32 - 1.0);
            loss += 0.5 * (score - (k as f32 - 1.0)).powi(2);
        }
        loss
    }
}

/// Cross-entropy of each target against the complement, with the history left out. Every fifth case has no
/// complement, and so no loss.
struct WithComplement;
impl Objective for WithComplement {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let case = |at| batch.case(at);
        Slate::WithComplement {
            listed: (0..batch.len()).map(|at| case(at).targets.to_vec()).collect(),
            left_out: (0..batch.len()).map(|at| case(at).query.history.to_vec()).collect(),
            asking: (0..batch.len() as u32)
                .filter(|&at| batch.rows[at as usize] % 5 != 3)
                .collect(),
            probes: Lists::default(),
            blended: None,
        }
    }

    fn loss(&self, _row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let mut loss = 0.0;
        for (score, to_score) in scores.listed.iter().zip(grad.listed) {
            let away = (f64::from(scores.log_complement) - f64::from(*score)).exp();
            loss += away.ln_1p();
            let slope = (away / (1.0 + away)) as f32;
            *to_score -= slope;
            *grad.log_complement += slope;
        }
        loss as f32
    }
}

/// The same, with a sample instead of the complement.
struct WithSample;
impl WithSample {
    fn objective(cases: &Cases) -> Box<dyn Objective> {
        let rest = Rest::Estimated(Estimate { top: 0, sample: 9, refresh_every: 0 });
        Rest::around(Some(rest), Box::new(WithComplement), cases.n_items(), cases.n_queries())
    }
}
impl Objective for WithSample {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        Self::objective(batch.cases).slate(batch)
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        Self::objective(row.batch.cases).loss(row, scores, grad)
    }
}

/// Squared distance of every score to 1 for items of the history, to 0 for others.
struct All;
impl Objective for All {
    fn slate(&self, _batch: &Batch<'_>) -> Slate {
        Slate::All
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let mut loss = 0.0;
        for (item, (score, grad)) in scores.listed.iter().zip(grad.listed).enumerate() {
            let goal = f32::from(u8::from(row.case().query.history.contains(&(item as u32))));
            *grad += score - goal;
            loss += 0.5 * (score - goal).powi(2);
        }
        loss
    }
}
