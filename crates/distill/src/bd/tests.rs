#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{Chance, Free, N, Own, cases, learning, log, trace};
use rankstill_core::train::train;
use rankstill_core::{Batch, Fit, Plan, Slate};

const EVERY: usize = 4;

fn drawn() -> (Cases, Drawn) {
    let cases = cases();
    let labelled = Arc::new(Labelled::new(&cases).unwrap());
    let drawn = Drawn::new(&cases, labelled, EVERY);
    (cases, drawn)
}

#[test]
fn ranks_are_places_among_what_is_unlabelled() {
    assert_eq!(ranks_of_unlabelled(&[0.5, 2.0, 0.5, 3.0, -1.0], &[1]), [2, 0, 3, 1, 4]);
}

#[test]
fn items_are_drawn_by_their_weights_and_never_labelled_ones() {
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
    for (query, asked) in cases.distinct_queries().iter().enumerate() {
        let rows = [1, 2].map(|version| {
            let mut row = vec![0.0; N];
            Chance(version).score(&[*asked], &mut row);
            row
        });
        // Places counted one by one.
        let place = |row: &[f32], item: usize| {
            let free = (0..N).filter(|other| !asked.history.contains(&(*other as u32)));
            1 + free.filter(|&other| row[other] > row[item]).count() as u32
        };
        let weights: Vec<f32> = (0..N)
            .map(|item| match asked.history.contains(&(item as u32)) {
                true => 0.0,
                false => weight([place(&rows[0], item), place(&rows[1], item)]),
            })
            .collect();
        let (sum, total) = (weights.iter().sum::<f32>(), times[query].iter().sum::<u32>() as f32);
        assert_eq!(sum > 0.0, total > 0.0);
        for (item, weight) in weights.iter().enumerate() {
            let (expected, found) = (weight / sum.max(1e-9) * total, times[query][item] as f32);
            assert!(
                (expected - found).abs() <= 5.0 * expected.sqrt(),
                "{query}: {expected} {found}"
            );
        }
    }
}

#[test]
fn where_nothing_is_ranked_too_high_nothing_is_drawn() {
    let (cases, mut drawn) = drawn();
    let too_high = |[student, teacher]: [u32; 2]| (teacher as f32 - student as f32).max(0.0);
    drawn.draw(&cases, (&Chance(1), &Chance(1)), too_high, 1, [1, 0]);
    drawn.hear(&cases, &Chance(1), 2.0, 0).unwrap();
    assert!((0..cases.len()).all(|case| drawn.item(case).is_none()));
}

#[test]
fn labels_are_the_others_scores_softened() {
    let (cases, mut drawn) = drawn();
    drawn.draw(&cases, (&Chance(1), &Chance(2)), |_| 1.0, 1, [1, 0]);
    drawn.hear(&cases, &Chance(3), 2.0, 2).unwrap();
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

fn along(config: &Bd, cases: &Cases) -> Along {
    let labelled = Arc::new(Labelled::new(cases).unwrap());
    Along::new(config.clone(), &trace(cases), cases, &labelled).unwrap()
}

#[test]
fn while_it_warms_up_the_teacher_is_its_recipe_trained_alone() {
    let cases = cases();
    let config = Bd { warm_up: 3, to_student: 0.3, to_teacher: 0.3, ..Bd::default() };
    let mut along = along(&config, &cases);
    let alone = |epochs| {
        let recipe = Free(Plan { epochs, batch_size: 5, patience: 0, ..Plan::default() });
        let train_on = Arc::new(log());
        let own = Box::new(Own::Pairs);
        train(&recipe, &train_on, &cases, own, &mut Fit::seeded(8)).unwrap().tensors()
    };
    for epoch in 0..5 {
        along.refresh(epoch, &Chance(4), &cases).unwrap();
        // From then on it hears of the student.
        assert_eq!(along.teacher.state() == alone(epoch + 1), epoch < 3, "{epoch}");
        assert_eq!(along.to_student.labels.is_empty(), epoch < 3);
    }
}

#[test]
fn teacher_and_student_come_nearer_to_each_other() {
    let apart = |lambda: f32| {
        let recipe = Free(Plan { epochs: 60, batch_size: 5, patience: 0, ..Plan::default() });
        let cases = cases();
        let config = Bd { warm_up: 5, lambda, to_student: 0.3, temperature: 1.0, ..Bd::default() };
        let (train_on, mut fit) = (Arc::new(log()), Fit::seeded(3));
        let objective = config.teach(Box::new(Own::Pairs), &cases, &[trace(&cases)]).unwrap();
        let student = train(&recipe, &train_on, &cases, objective, &mut fit).unwrap().tensors();
        // At a weight next to nothing the teacher is the one that hears next to nothing.
        let mut other = CoTraining::new(&learning(8)).unwrap();
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
fn a_restored_objective_goes_on_as_the_one_that_was_kept() {
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
fn a_teacher_that_is_not_learnt_here_is_refused() {
    let cases = cases();
    let mut said = rankstill_core::Rankings::default();
    (0..cases.n_queries()).for_each(|_| said.push([(1, 0.0)]));
    let mute = Trace::new("elsewhere", vec![(0, said)]).unwrap();
    let refused = Bd::default().teach(Box::new(Own::Pairs), &cases, &[mute]).err().unwrap();
    assert!(refused.to_string().contains("`elsewhere` is not learnt here"), "{refused}");
}
