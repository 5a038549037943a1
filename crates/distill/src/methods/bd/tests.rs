#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{Chance, Free, N, Own, cases, free_recipe, log, trace};
use rankstill_core::train::train;
use rankstill_core::{Batch, Fit, Plan, Slate};

const EVERY: usize = 4;

fn drawn() -> (Cases, PeerLabels) {
    let cases = cases();
    let labelled = Arc::new(Labelled::new(&cases).unwrap());
    let drawn = PeerLabels::new(&cases, labelled, EVERY);
    (cases, drawn)
}

#[test]
fn ranks_are_among_the_unlabelled_items() {
    assert_eq!(ranks_of_unlabelled(&[0.5, 2.0, 0.5, 3.0, -1.0], &[1]), [2, 0, 3, 1, 4]);
}

#[test]
fn unlabelled_items_are_drawn_by_their_weights() {
    let (cases, mut drawn) = drawn();
    let weight = |[student, teacher]: [u32; 2]| (0.1 * (teacher as f32 - student as f32)).max(0.0);
    let mut times = vec![[0u32; N]; cases.n_queries()];
    for seed in 0..400 {
        drawn.draw(&cases, (&Chance(1), &Chance(2)), weight, seed, [1, 0]);
        for case in 0..cases.len() {
            let items = &drawn.items[case * EVERY..][..EVERY];
            for &item in items.iter().filter(|&&item| item != NONE) {
                times[cases.query_of(case)][item as usize] += 1;
            }
        }
    }
    for (at, query) in cases.distinct_queries().iter().enumerate() {
        let rows = [1, 2].map(|version| {
            let mut row = vec![0.0; N];
            Chance(version).score(&[*query], &mut row);
            row
        });
        let rank = |row: &[f32], item: usize| {
            let unlabelled = (0..N).filter(|other| !query.history.contains(&(*other as u32)));
            1 + unlabelled.filter(|&other| row[other] > row[item]).count() as u32
        };
        let weights: Vec<f32> = (0..N)
            .map(|item| match query.history.contains(&(item as u32)) {
                true => 0.0,
                false => weight([rank(&rows[0], item), rank(&rows[1], item)]),
            })
            .collect();
        let (sum, total) = (weights.iter().sum::<f32>(), times[at].iter().sum::<u32>() as f32);
        assert_eq!(sum > 0.0, total > 0.0);
        for (item, weight) in weights.iter().enumerate() {
            let (expected, found) = (weight / sum.max(1e-9) * total, times[at][item] as f32);
            assert!((expected - found).abs() <= 5.0 * expected.sqrt(), "{at}: {expected} {found}");
        }
    }
}

#[test]
fn without_an_item_that_is_ranked_too_high_none_is_drawn() {
    let (cases, mut drawn) = drawn();
    let too_high = |[student, teacher]: [u32; 2]| (teacher as f32 - student as f32).max(0.0);
    drawn.draw(&cases, (&Chance(1), &Chance(1)), too_high, 1, [1, 0]);
    drawn.label(&cases, &Chance(1), 2.0, 0).unwrap();
    assert!((0..cases.len()).all(|case| drawn.item(case).is_none()));
}

#[test]
fn labels_are_the_other_models_softened_scores() {
    let (cases, mut drawn) = drawn();
    drawn.draw(&cases, (&Chance(1), &Chance(2)), |_| 1.0, 1, [1, 0]);
    drawn.label(&cases, &Chance(3), 2.0, 2).unwrap();
    let queries = cases.distinct_queries();
    for case in 0..cases.len() {
        let mut row = vec![0.0; N];
        Chance(3).score(&[queries[cases.query_of(case)]], &mut row);
        let item = drawn.item(case).unwrap();
        assert_eq!(item, drawn.items[case * EVERY + 2]);
        let label = 1.0 / (1.0 + f64::from(-row[item as usize] / 2.0).exp());
        assert!((f64::from(drawn.labels[case]) - label).abs() < 1e-6);
    }
}

fn co_trained(config: &Bd, cases: &Cases) -> CoTrained {
    let labelled = Arc::new(Labelled::new(cases).unwrap());
    CoTrained::new(config.clone(), &trace(cases), cases, &labelled).unwrap()
}

#[test]
fn while_it_warms_up_the_teacher_is_its_recipe_trained_alone() {
    let cases = cases();
    let config = Bd { warm_up: 3, to_student: 0.3, to_teacher: 0.3, ..Bd::default() };
    let mut both = co_trained(&config, &cases);
    let alone = |epochs| {
        let recipe = Free(Plan { epochs, batch_size: 5, patience: 0, ..Plan::default() });
        let train_on = Arc::new(log());
        let own = Box::new(Own::Pairs);
        train(&recipe, &train_on, &cases, own, &mut Fit::seeded(8)).unwrap().tensors()
    };
    for epoch in 0..5 {
        both.refresh(epoch, &Chance(4), &cases).unwrap();
        // From then on it learns from the student.
        assert_eq!(both.teacher.state() == alone(epoch + 1), epoch < 3, "{epoch}");
        assert_eq!(both.to_student.labels.is_empty(), epoch < 3);
    }
}

#[test]
fn teacher_and_student_become_more_alike() {
    let apart = |lambda: f32| {
        let recipe = Free(Plan { epochs: 60, batch_size: 5, patience: 0, ..Plan::default() });
        let cases = cases();
        let config = Bd { warm_up: 5, lambda, to_student: 0.3, temperature: 1.0, ..Bd::default() };
        let (train_on, mut fit) = (Arc::new(log()), Fit::seeded(3));
        let objective = config.teach(Box::new(Own::Pairs), &cases, &[trace(&cases)]).unwrap();
        let student = train(&recipe, &train_on, &cases, objective, &mut fit).unwrap().tensors();
        // The teacher, trained alone.
        let mut other = CoTraining::new(&free_recipe(8)).unwrap();
        let own = other.objective().unwrap();
        for epoch in 0..60 {
            other.epoch(epoch, &*own).unwrap();
        }
        let numbers = |tensors: &Tensors| tensors.f32s("numbers", 12 * N).unwrap().to_vec();
        let pairs = numbers(&student).into_iter().zip(numbers(&other.state()));
        pairs.fold(0.0, |sum, (a, b)| sum + f64::from(a - b).powi(2))
    };
    let (alone, taught) = (apart(1e-6), apart(1.0));
    assert!(taught < 0.8 * alone, "{taught} {alone}");
}

#[test]
fn a_restored_objective_continues_as_the_saved_one() {
    let cases = cases();
    let config = Bd { warm_up: 2, refresh_every: 3, to_student: 0.3, ..Bd::default() };
    let teach = || config.teach(Box::new(Own::Pairs), &cases, &[trace(&cases)]).unwrap();
    let rows: Vec<u32> = (0..cases.len() as u32).collect();
    let mut whole = teach();
    for epoch in 0..9 {
        whole.refresh(epoch, &Chance(epoch as u64), &cases).unwrap();
        let mut again = teach();
        again.restore(&whole.state()).unwrap();
        assert_eq!(again.state(), whole.state(), "epoch {epoch}");
        let batch = Batch::new(&cases, &rows, epoch, 1);
        let listed = |objective: &dyn Objective| match objective.slate(&batch) {
            Slate::Lists { listed, .. } => listed,
            other => panic!("{other:?}"),
        };
        assert_eq!(listed(&*again), listed(&*whole));
        assert_eq!(listed(&*again).values().len() > 2 * cases.len(), epoch >= 2);
        whole = again;
    }
    let mut wrong = whole.state();
    wrong.insert("term.student.items", &[2], vec![1u32, 2]);
    assert!(teach().restore(&wrong).unwrap_err().to_string().contains("items"));
}

#[test]
fn a_teacher_that_is_not_trained_here_is_refused() {
    let cases = cases();
    let mut rankings = rankstill_core::Rankings::default();
    (0..cases.n_queries()).for_each(|_| rankings.push([(1, 0.0)]));
    let trace = Trace::new("elsewhere", vec![(0, rankings)]).unwrap();
    let refused = Bd::default().teach(Box::new(Own::Pairs), &cases, &[trace]).err().unwrap();
    assert!(refused.to_string().contains("`elsewhere` is not trained here"), "{refused}");
}
