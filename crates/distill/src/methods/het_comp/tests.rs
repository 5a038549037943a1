#![allow(clippy::unwrap_used)]
use super::*;
use crate::parts::settings::read;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::registry::Config;
use rankstill_core::{
    Batch, Grad, Interactions, Model, Query, Rankings, Row, Scorer, Scores, Slate, Tensors,
};
use serde_json::{Value, json};

const N: usize = 40;
const USERS: usize = 8;

/// User 0 has two items, user 1 three, ..
fn cases() -> Cases {
    let line = |u: u64| Rng::keyed(1, [u]).permutation(N as u32)[..2 + u as usize].to_vec();
    let log = Interactions::new(N, (0..USERS as u64).map(line).collect(), None, None).unwrap();
    Cases::each_interaction(&log)
}

/// `states` states of random lists of unlabelled items.
fn trace(cases: &Cases, name: u64, states: usize) -> Trace {
    let lists = (0..states).map(|state| {
        let mut rankings = Rankings::default();
        for (u, query) in cases.distinct_queries().iter().enumerate() {
            let order = Rng::keyed(name, [u as u64, state as u64]).permutation(N as u32);
            let list = order.into_iter().filter(|item| !query.history.contains(item)).take(12);
            rankings.push(list.map(|item| (item, 0.0)));
        }
        (state, rankings)
    });
    let ranks = cases.distinct_queries();
    let ranks = ranks.iter().map(|query| (1..=query.history.len() as u32).rev()).collect();
    let trace = Trace::new(format!("{name}"), lists.collect()).unwrap();
    trace.with_labelled_ranks(ranks).unwrap()
}

fn config() -> HetComp {
    let fusion = Fusion { cut: 12, ..Fusion::default() };
    HetComp { k: 10, observed: 3, period: 2, cutoff: 5, fusion, ..HetComp::default() }
}

/// The student's own loss, which is replaced.
struct Replaced;
impl Objective for Replaced {
    fn slate(&self, _: &Batch<'_>) -> Slate {
        Slate::All
    }
    fn loss(&self, _: Row<'_>, _: Scores<'_>, _: Grad<'_>) -> f32 {
        f32::NAN
    }
}

fn teach(config: &HetComp, cases: &Cases, traces: &[Trace]) -> Box<dyn Objective> {
    config.teach(Box::new(Replaced), cases, traces).unwrap()
}

/// Every user of the cases once.
fn rows(cases: &Cases) -> Vec<u32> {
    (0..cases.len() as u32)
        .filter(|&row| row == 0 || cases.query_of(row as usize) != cases.query_of(row as usize - 1))
        .collect()
}

fn lists(slate: Slate) -> (Lists<ItemId>, Lists<ItemId>) {
    match slate {
        Slate::WithComplement { listed, left_out, .. } => (listed, left_out),
        _ => panic!("lists with their complement"),
    }
}

/// Ranks the same items first for all users, in this order.
struct RanksFirst(Vec<ItemId>);
impl Scorer for RanksFirst {
    fn n_items(&self) -> usize {
        N
    }
    fn score(&self, _queries: &[Query<'_>], out: &mut [f32]) {
        for row in out.chunks_mut(N) {
            row.fill(0.0);
            self.0.iter().zip(1..).for_each(|(&i, rank)| row[i as usize] = 1.0 / rank as f32);
        }
    }
}
impl Model for RanksFirst {
    fn tensors(&self) -> Tensors {
        Tensors::default()
    }
    fn n_parameters(&self) -> usize {
        0
    }
}

#[test]
fn a_slate_lists_the_best_own_items_then_the_fused_targets_and_leaves_out_the_other_own_items() {
    let cases = cases();
    let traces = [trace(&cases, 1, 2), trace(&cases, 2, 3)];
    let objective = teach(&config(), &cases, &traces);
    let rows = rows(&cases);
    let batch = Batch::new(&cases, &rows, 0, 1);
    let (listed, left_out) = lists(objective.slate(&batch));
    for at in 0..USERS {
        let history = batch.case(at).query.history;
        let n = history.len().min(3);
        // The last items of a history have the best ranks.
        let own: Vec<ItemId> = history.iter().rev().take(n).copied().collect();
        assert_eq!(listed.row(at)[..n], own);
        let first = traces.iter().map(|trace| RankedList::of(trace.checkpoints()[0].1.items(at)));
        let fused = config().fusion.fuse(&first.collect::<Vec<_>>(), None, None, 10);
        let fused: Vec<ItemId> = fused.into_iter().map(|(item, _)| item).collect();
        assert_eq!(listed.row(at)[n..], fused);
        assert!(fused.iter().all(|item| !history.contains(item)));
        let mut others: Vec<ItemId> =
            history.iter().copied().filter(|i| !own.contains(i)).collect();
        others.sort_unstable();
        assert_eq!(left_out.row(at), others);
    }
}

#[test]
fn slopes_are_those_of_the_loss_in_both_phases() {
    let cases = cases();
    let traces = [trace(&cases, 1, 1), trace(&cases, 2, 1)];
    for transfer in [Transfer::Overall, Transfer::Fine] {
        let objective = teach(&HetComp { transfer, ..config() }, &cases, &traces);
        let rows = rows(&cases);
        let batch = Batch::new(&cases, &rows, 0, 1);
        let slate = objective.slate(&batch);
        let listed = slate.listed().unwrap();
        for at in 0..USERS {
            let items = listed.row(at);
            let mut scores = vec![0.0; items.len() + 1];
            Rng::keyed(9, [at as u64]).fill_normal(&mut scores, 0.0, 1.0);
            let loss = |scores: &[f32]| {
                let (mut grad, mut to_rest) = (vec![0.0; items.len()], 0.0);
                let (listed, rest) = scores.split_at(items.len());
                let scores = Scores { listed, probes: &[], log_complement: 2.0 + rest[0] };
                let grads = Grad { listed: &mut grad, log_complement: &mut to_rest };
                let loss = objective.loss(Row { batch: &batch, slate: &slate, at }, scores, grads);
                grad.push(to_rest);
                (f64::from(loss), grad)
            };
            let (_, slopes) = loss(&scores);
            assert!(slopes.iter().all(|slope| *slope != 0.0));
            for (i, slope) in slopes.iter().enumerate() {
                let moved = |by: f32| {
                    let mut scores = scores.clone();
                    scores[i] += by;
                    loss(&scores).0
                };
                let differs = (moved(0.05) - moved(-0.05)) / 0.1;
                assert!((differs - f64::from(*slope)).abs() < 2e-4, "{i}: {differs} {slope}");
            }
        }
    }
}

#[test]
fn targets_go_from_the_first_states_to_the_last_and_then_the_fine_loss_begins() {
    let cases = cases();
    let traces = [trace(&cases, 1, 3), trace(&cases, 2, 2)];
    let mut objective = teach(&config(), &cases, &traces);
    let rows = rows(&cases);
    let batch = Batch::new(&cases, &rows, 0, 1);
    let student = RanksFirst((0..5).collect());
    let seen = |objective: &dyn Objective| {
        (lists(objective.slate(&batch)).0, objective.state().f32s("fine", 1).unwrap()[0])
    };
    let (first, fine) = seen(&*objective);
    assert_eq!(fine, 0.0);
    let mut moved = false;
    for epoch in 0..60 {
        objective.refresh(epoch, &student, &cases).unwrap();
        moved |= seen(&*objective).0 != first;
    }
    // The threshold decays below 1, so every state is reached although the student never changes.
    let (last, fine) = seen(&*objective);
    assert!(moved && fine == 1.0);
    let converged = teach(&HetComp { curriculum: false, ..config() }, &cases, &traces);
    assert_eq!(last, lists(converged.slate(&batch)).0);
}

#[test]
fn a_restored_objective_equals_the_saved_one() {
    let cases = cases();
    let traces = [trace(&cases, 1, 4), trace(&cases, 2, 4)];
    let rows = rows(&cases);
    let batch = Batch::new(&cases, &rows, 0, 1);
    let student = |epoch: usize| RanksFirst(Rng::new(epoch as u64).permutation(N as u32));
    let mut whole = teach(&config(), &cases, &traces);
    for epoch in 0..40 {
        whole.refresh(epoch, &student(epoch), &cases).unwrap();
        let mut again = teach(&config(), &cases, &traces);
        again.restore(&whole.state()).unwrap();
        assert_eq!(again.state(), whole.state(), "epoch {epoch}");
        let (ours, theirs) = (lists(again.slate(&batch)), lists(whole.slate(&batch)));
        assert_eq!((ours.0, ours.1), (theirs.0, theirs.1));
    }
    let mut other = teach(&config(), &cases, &[trace(&cases, 1, 2), trace(&cases, 2, 2)]);
    let error = other.restore(&whole.state()).unwrap_err().to_string();
    assert!(error.contains("of a teacher with 2"), "{error}");
}

#[test]
fn with_teachers_of_one_state_the_fine_loss_begins_after_some_epochs() {
    let cases = cases();
    let config = HetComp { overall_epochs: 3, ..config() };
    let mut objective = teach(&config, &cases, &[trace(&cases, 1, 1)]);
    let student = RanksFirst(vec![0]);
    for epoch in 0..6 {
        objective.refresh(epoch, &student, &cases).unwrap();
        let fine = objective.state().f32s("fine", 1).unwrap()[0] > 0.0;
        assert_eq!(fine, epoch >= 3);
    }
}

#[test]
fn settings_are_completed_from_the_preset_and_checked() {
    let parse = |value: Value| read::<HetComp>(Config { path: "d", value: &value });
    assert_eq!(parse(json!({})).unwrap(), HetComp::default());
    let paper = parse(json!({"preset": "paper", "fusion": {"cut": 50}})).unwrap();
    assert_eq!(
        (paper.grade, paper.fusion.cut, paper.fusion.temperature),
        (Grade::Teacher, 50, 10.0)
    );
    let wrong = |value: Value| parse(value).unwrap_err().to_string();
    assert_eq!(wrong(json!({"period": 0})), "d.period: must be at least 1");
    assert!(wrong(json!({"preset": "x"})).starts_with("d.preset: unknown preset \"x\""));
    assert!(wrong(json!({"fusion": {"temperature": -1}})).starts_with("d.fusion.temperature"));
    assert!(wrong(json!({"fusion": {"user_weights": 1}})).starts_with("d.fusion.user_weights"));
}
