#![allow(clippy::unwrap_used)]
use super::*;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::{
    Batch, Grad, Interactions, ItemId, Model, Query, Ranker, Rankings, Row, Scorer, Scores, Slate,
    Tensors,
};
use serde_json::json;

const N: usize = 30;
const K: usize = 4;

/// 12 users; user 5 has labelled everything but two items.
fn cases() -> Cases {
    let line = |u: u64| {
        let n = if u == 5 { N - 2 } else { 1 + u as usize % 4 };
        Rng::keyed(1, [u]).permutation(N as u32)[..n].to_vec()
    };
    let log = Interactions::new(N, (0..12).map(line).collect(), None, None).unwrap();
    Cases::each_interaction(&log)
}

/// Ranks by chance; says nothing to user 3.
fn trace(cases: &Cases) -> Trace {
    let mut said = Rankings::default();
    for (u, query) in cases.distinct_queries().iter().enumerate() {
        let order = Rng::keyed(2, [u as u64]).permutation(N as u32);
        let unlabelled = order.into_iter().filter(|item| !query.history.contains(item));
        said.push(unlabelled.take(if u == 3 { 0 } else { K + 2 }).map(|item| (item, 0.0)));
    }
    Trace::new("chance", vec![(0, said)]).unwrap()
}

fn settings() -> RankDistil {
    RankDistil { k: K, epsilon: 7, warm_up: 2, mu: 0.05, lambda: 2.0, ..RankDistil::paper() }
}

fn every_setting() -> Vec<RankDistil> {
    let mut all = Vec::new();
    for (blend, alpha) in [(Blend::Paper, 0.3), (Blend::Paper, 1.0), (Blend::AuthorsCode, 0.8)] {
        for weighting in
            [Weighting::Uniform, Weighting::Position, Weighting::Discrepancy, Weighting::Hybrid]
        {
            for loss in [Form::PointWise, Form::PairWise, Form::ListWise] {
                for (renormalise, replacement) in [(true, false), (false, true)] {
                    for shared_samples in [false, true] {
                        let base = settings();
                        all.push(RankDistil {
                            blend,
                            alpha,
                            weighting,
                            loss,
                            rivals: if replacement { 3 } else { 1 },
                            renormalise,
                            replacement,
                            shared_samples,
                            ..base
                        });
                    }
                }
            }
        }
    }
    all
}

/// Own objectives, one for each kind of slate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Own {
    /// -ln s(target) - sum of ln s(-negative), two negatives.
    LogLoss,
    /// Softmax over the target and what is not in the history.
    Softmax,
    /// Squared distance of all scores to 1 for the history and 0 for the rest.
    Squares,
}

impl Objective for Own {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let targets = || (0..batch.len()).map(|at| batch.case(at).targets[0]);
        let history = |at: usize| batch.case(at).query.history;
        match self {
            Self::Squares => Slate::All,
            Self::LogLoss => Slate::lists(
                (0..batch.len())
                    .map(|at| {
                        let mut rng = batch.rng(at, 77);
                        [batch.case(at).targets[0], rng.below(N as u32), rng.below(N as u32)]
                    })
                    .collect(),
            ),
            Self::Softmax => Slate::with_complement(
                targets().map(|target| [target]).collect(),
                (0..batch.len())
                    .map(|at| {
                        let target = batch.case(at).targets[0];
                        history(at).iter().copied().filter(move |&item| item != target)
                    })
                    .collect(),
            ),
        }
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let s = scores.listed;
        match self {
            Self::LogLoss => {
                assert_eq!(s.len(), 3);
                let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
                grad.listed.copy_from_slice(&[sigmoid(s[0]) - 1.0, sigmoid(s[1]), sigmoid(s[2])]);
                -sigmoid(s[0]).ln() - sigmoid(-s[1]).ln() - sigmoid(-s[2]).ln()
            }
            Self::Softmax => {
                assert_eq!(s.len(), 1);
                let all = (s[0].exp() + scores.log_complement.exp()).ln();
                grad.listed[0] = (s[0] - all).exp() - 1.0;
                *grad.log_complement = (scores.log_complement - all).exp();
                all - s[0]
            }
            Self::Squares => {
                assert_eq!(s.len(), N);
                let wish = |i| f32::from(row.case().query.history.contains(&i));
                s.iter().zip(0..).zip(&mut *grad.listed).for_each(|((s, i), g)| *g = s - wish(i));
                grad.listed.iter().fold(0.0, |sum, g| sum + 0.5 * g * g)
            }
        }
    }
}

/// The own loss again, in f64, from the scores of all items.
fn own_twin(own: Own, batch: &Batch<'_>, at: usize, scores: &[f64]) -> f64 {
    let softplus = |x: f64| (1.0 + x.exp()).ln();
    let case = batch.case(at);
    match (own, own.slate(batch)) {
        (Own::LogLoss, Slate::Lists { listed: lists, .. }) => {
            let s = |i: usize| scores[lists.row(at)[i] as usize];
            softplus(-s(0)) + softplus(s(1)) + softplus(s(2))
        }
        (Own::Softmax, _) => {
            let target = case.targets[0];
            let may = |i: u32| i == target || !case.query.history.contains(&i);
            let mass = (0..N as u32).filter(|&i| may(i)).map(|i| scores[i as usize].exp());
            mass.sum::<f64>().ln() - scores[target as usize]
        }
        _ => (0..N as u32).zip(scores).fold(0.0, |sum, (i, s)| {
            let wish = if case.query.history.contains(&i) { 1.0 } else { 0.0 };
            sum + 0.5 * (s - wish) * (s - wish)
        }),
    }
}

/// Asks the objective as a learner does: its loss, the gradient with respect to every item's score, the listed items, and
/// the probes.
fn ask(
    objective: &dyn Objective,
    batch: &Batch<'_>,
    at: usize,
    scores: &[f32],
) -> (f64, Vec<f64>, Vec<ItemId>, Vec<ItemId>) {
    let slate = objective.slate(batch);
    let probes = slate.probes().map_or(vec![], |probes| probes.row(at).to_vec());
    let probe_scores: Vec<f32> = probes.iter().map(|&i| scores[i as usize]).collect();
    let mut slopes = vec![0.0f64; N];
    let (items, left_out): (Vec<ItemId>, Vec<ItemId>) = match &slate {
        Slate::Lists { listed, .. } => (listed.row(at).to_vec(), vec![]),
        Slate::WithComplement { listed, left_out, .. } => {
            (listed.row(at).to_vec(), left_out.row(at).to_vec())
        }
        Slate::All => (vec![], vec![]),
    };
    let rest: Vec<usize> = match slate {
        Slate::WithComplement { ref asking, .. } => (0..N)
            .filter(|_| asking.contains(&(at as u32)))
            .filter(|&i| !items.contains(&(i as u32)) && !left_out.contains(&(i as u32)))
            .collect(),
        _ => vec![],
    };
    let listed: Vec<f32> = match slate {
        Slate::All => scores.to_vec(),
        _ => items.iter().map(|&i| scores[i as usize]).collect(),
    };
    let mass: f64 = rest.iter().map(|&i| f64::from(scores[i]).exp()).sum();
    let log_complement = mass.ln() as f32;
    let (mut grad, mut rest_slope) = (vec![0.0; listed.len()], 0.0);
    let loss = objective.loss(
        Row { batch, at, items: &items },
        Scores { listed: &listed, probes: &probe_scores, log_complement },
        Grad { listed: &mut grad, log_complement: &mut rest_slope },
    );
    match slate {
        Slate::All => (0..N).for_each(|i| slopes[i] = f64::from(grad[i])),
        _ => items.iter().zip(&grad).for_each(|(&i, &g)| slopes[i as usize] += f64::from(g)),
    }
    for i in rest {
        slopes[i] += f64::from(rest_slope) * f64::from(scores[i]).exp() / mass;
    }
    (f64::from(loss), slopes, items, probes)
}

/// The weights again, in f64 and from their definition; `rank` gives 1-based ranks.
fn weights_twin(
    config: &RankDistil,
    n: usize,
    epoch: usize,
    rank: impl Fn(usize) -> f64,
) -> Vec<f64> {
    let a = |r: usize| (-(r as f64 + 1.0) / f64::from(config.lambda)).exp();
    let a_sum: f64 = (0..config.k).map(a).sum();
    let b = |r: usize| (f64::from(config.mu) * (rank(r) - (r as f64 + 1.0)).max(0.0)).tanh();
    let weighting = match config.weighting {
        Weighting::Discrepancy | Weighting::Hybrid if epoch < config.warm_up => Weighting::Position,
        other => other,
    };
    let hybrid = |r| a(r) / a_sum * b(r);
    let h_sum: f64 = (0..n).map(hybrid).sum();
    let by_sum = if config.renormalise && h_sum > 0.0 { h_sum } else { 1.0 };
    (0..n)
        .map(|r| match weighting {
            Weighting::Uniform => 1.0 / config.k as f64,
            Weighting::Position => a(r) / a_sum,
            Weighting::Discrepancy => b(r),
            Weighting::Hybrid => hybrid(r) / by_sum,
        })
        .collect()
}

/// The whole loss from the paper's formulas against ours, and our gradient against the slope of that loss: for every
/// weighting, blend and form, before and after the warm-up, and with every kind of slate.
#[test]
fn the_loss_is_the_papers_and_the_gradient_its_slope() {
    let cases = cases();
    let trace = trace(&cases);
    let rows: Vec<u32> = (0..cases.len() as u32).step_by(3).collect();
    let mut taught_something = 0;
    for (own, config) in [Own::LogLoss, Own::Softmax, Own::Squares]
        .into_iter()
        .flat_map(|own| every_setting().into_iter().map(move |config| (own, config)))
    {
        let objective = config.teach(Box::new(own), &cases, std::slice::from_ref(&trace)).unwrap();
        for epoch in [1, 2] {
            let batch = Batch::new(&cases, &rows, epoch, 9);
            for (at, &row) in rows.iter().enumerate() {
                let query = cases.query_of(row as usize);
                let mut scores = vec![0.0f32; N];
                Rng::keyed(4, [at as u64]).fill_normal(&mut scores, 0.0, 1.5);
                let (loss, slopes, front, samples) = ask(&*objective, &batch, at, &scores);

                let list: Vec<u32> = trace.last().items(query).iter().copied().take(K).collect();
                let labelled = cases.distinct_queries()[query].history;
                let discerns = epoch == 2
                    && matches!(config.weighting, Weighting::Discrepancy | Weighting::Hybrid);
                let of = |item: u32| f64::from(scores[item as usize]);
                let unlabelled = N - labelled.len();
                // Our part of the slate: list, rivals; the samples are probes.
                let n_samples = match (own, discerns && !list.is_empty(), config.replacement) {
                    (Own::Squares, ..) | (_, false, _) => 0,
                    (.., true) => config.epsilon,
                    (.., false) => config.epsilon.min(unlabelled),
                };
                assert_eq!(samples.len(), n_samples);
                let rivals: Vec<u32> = match (config.loss, own) {
                    (Form::PointWise, _) => vec![],
                    (_, Own::Squares) => rivals_of_all(&config, &cases, &trace, &batch, at),
                    _ => front[front.len() - config.rivals * list.len()..].to_vec(),
                };
                if own != Own::Squares {
                    let front = &front[..front.len() - rivals.len()];
                    assert!(front.ends_with(&list));
                    assert_eq!(front.len() - list.len(), if own == Own::LogLoss { 3 } else { 1 });
                }
                assert!(rivals.iter().chain(&samples).all(|item| !labelled.contains(item)));

                let rank = |r: usize| {
                    let higher = |item: &&u32| of(**item) > of(list[r]);
                    if own == Own::Squares {
                        let all: Vec<u32> =
                            (0..N as u32).filter(|i| !labelled.contains(i)).collect();
                        return all.iter().filter(higher).count() as f64 + 1.0;
                    }
                    let n = samples.iter().filter(higher).count() as f64;
                    (n * (unlabelled as f64 - 1.0) / samples.len() as f64).floor() + 1.0
                };
                let weights = weights_twin(&config, list.len(), epoch, rank);
                let share =
                    if config.blend == Blend::Paper { 1.0 - f64::from(config.alpha) } else { 1.0 };
                let twin = |scores: &[f64]| {
                    let s = |item: u32| scores[item as usize];
                    let mut distil = 0.0;
                    for (r, &item) in list.iter().enumerate() {
                        if config.loss == Form::ListWise {
                            let behind = list[r..].iter().chain(&rivals).map(|&i| s(i).exp());
                            distil += weights[r] * (behind.sum::<f64>().ln() - s(item));
                            continue;
                        }
                        let loss = |rival: f64| (1.0 + (rival - s(item)).exp()).ln();
                        distil += match rivals.chunks(config.rivals).nth(r) {
                            None => weights[r] * loss(0.0),
                            Some(rivals) => {
                                let losses = rivals.iter().map(|&rival| loss(s(rival)));
                                weights[r] * losses.sum::<f64>() / config.rivals as f64
                            }
                        };
                    }
                    taught_something += usize::from(distil > 0.0);
                    share * own_twin(own, &batch, at, scores) + f64::from(config.alpha) * distil
                };
                check(twin, &scores, loss, &slopes, &format!("{own:?} {config:?} row {at}"));
            }
        }
    }
    assert!(taught_something > 1000, "{taught_something}");
}

/// The rivals that a slate of lists would hold: those of all scores are drawn the same.
fn rivals_of_all(
    config: &RankDistil,
    cases: &Cases,
    trace: &Trace,
    batch: &Batch<'_>,
    at: usize,
) -> Vec<u32> {
    let plain = RankDistil { weighting: Weighting::Uniform, ..config.clone() };
    let lists = plain.teach(Box::new(Own::LogLoss), cases, std::slice::from_ref(trace)).unwrap();
    let Slate::Lists { listed, .. } = lists.slate(batch) else { panic!("lists stay lists") };
    let row = listed.row(at);
    row[3 + (row.len() - 3) / (1 + config.rivals)..].to_vec()
}

fn check(
    mut twin: impl FnMut(&[f64]) -> f64,
    scores: &[f32],
    loss: f64,
    slopes: &[f64],
    about: &str,
) {
    let mut scores: Vec<f64> = scores.iter().map(|&s| f64::from(s)).collect();
    let expected = twin(&scores);
    assert!((loss - expected).abs() < 2e-6 * expected.abs().max(1.0), "{about}: {loss} {expected}");
    let h = 1e-5;
    for i in 0..N {
        let at = scores[i];
        scores[i] = at + h;
        let above = twin(&scores);
        scores[i] = at - h;
        let slope = (above - twin(&scores)) / (2.0 * h);
        scores[i] = at;
        assert!((slopes[i] - slope).abs() < 2e-5, "{about}: item {i}: {} {slope}", slopes[i]);
    }
}

fn slate_of(objective: &dyn Objective, batch: &Batch<'_>) -> Lists<ItemId> {
    match objective.slate(batch) {
        Slate::Lists { listed, .. } => listed,
        _ => panic!("lists stay lists"),
    }
}

#[test]
fn without_a_share_the_own_objective_comes_back_as_it_is() {
    let cases = cases();
    let rows: Vec<u32> = (0..cases.len() as u32).collect();
    let batch = Batch::new(&cases, &rows, 5, 1);
    for blend in [Blend::Paper, Blend::AuthorsCode] {
        let config = RankDistil { alpha: 0.0, blend, ..settings() };
        let objective = config.teach(Box::new(Own::LogLoss), &cases, &[trace(&cases)]).unwrap();
        assert_eq!(slate_of(&*objective, &batch), slate_of(&Own::LogLoss, &batch));
        let mut scores = vec![0.0; N];
        Rng::new(3).fill_normal(&mut scores, 0.0, 1.0);
        for at in 0..rows.len() {
            let taught = ask(&*objective, &batch, at, &scores);
            assert_eq!(taught, ask(&Own::LogLoss, &batch, at, &scores));
        }
    }
}

#[test]
fn samples_are_probes_and_come_only_when_ranks_are_estimated() {
    let cases = cases();
    let trace = trace(&cases);
    let length = |config: RankDistil, epoch| {
        let taught =
            config.teach(Box::new(Own::LogLoss), &cases, std::slice::from_ref(&trace)).unwrap();
        let slate = taught.slate(&Batch::new(&cases, &[0, 1, 2], epoch, 1));
        let Slate::Lists { listed, probes } = slate else { panic!("lists stay lists") };
        assert_eq!(listed.row(0).len(), 3 + K);
        if probes.is_empty() { 0 } else { probes.row(0).len() }
    };
    let with = |weighting, discrepancy| RankDistil { weighting, discrepancy, ..settings() };
    assert_eq!(length(with(Weighting::Hybrid, Discrepancy::Sampled), 1), 0);
    assert_eq!(length(with(Weighting::Hybrid, Discrepancy::Sampled), 2), 7);
    assert_eq!(length(with(Weighting::Discrepancy, Discrepancy::Sampled), 2), 7);
    assert_eq!(length(with(Weighting::Position, Discrepancy::Sampled), 2), 0);
    assert_eq!(length(with(Weighting::Uniform, Discrepancy::Sampled), 2), 0);
    assert_eq!(length(with(Weighting::Hybrid, Discrepancy::Exact), 2), 0);
}

#[test]
fn passing_over_targets_alone_a_case_may_be_taught_the_users_other_items() {
    let log = rankstill_core::Interactions::new(
        N,
        Lists::from_iter([vec![3, 1, 4], vec![5, 9]]),
        None,
        None,
    )
    .unwrap();
    let mut said = Rankings::default();
    (0..2).for_each(|_| said.push([4, 1, 7, 9, 5].map(|item| (item, 0.0))));
    let trace = Trace::new("all", vec![(0, said)]).unwrap();
    let config = RankDistil { k: 3, pass_over: PassOver::Targets, ..RankDistil::authors_code() };
    assert_eq!(config.requires().lists.candidates, Candidates::Everything);
    let cases = Cases::each_interaction(&log);
    let lists = lists_but_targets(trace.last(), &cases, 3);
    let expected = [[4, 1, 7], [4, 7, 9], [1, 7, 9], [4, 1, 7], [4, 1, 7]];
    assert!(lists.iter().zip(expected).all(|(list, by_hand)| list == by_hand), "{lists:?}");
    let taught = config.teach(Box::new(Own::LogLoss), &cases, &[trace]).unwrap();
    let batch = Batch::new(&cases, &[2, 1], 0, 1);
    let slate = slate_of(&*taught, &batch);
    assert_eq!((&slate.row(0)[3..], &slate.row(1)[3..]), (&[1, 7, 9][..], &[4, 7, 9][..]));
}

/// Slates with their probes behind each row.
fn drawn_by(objective: &dyn Objective, batch: &Batch<'_>) -> Lists<ItemId> {
    let Slate::Lists { listed, probes } = objective.slate(batch) else {
        panic!("lists stay lists")
    };
    let probes = |at: usize| if probes.is_empty() { &[][..] } else { probes.row(at) };
    (0..batch.len()).map(|at| [listed.row(at), probes(at)].concat()).collect()
}

#[test]
fn a_row_draws_the_same_in_any_batch_and_on_any_number_of_threads() {
    let cases = cases();
    let trace = trace(&cases);
    // Many more rows than one task takes.
    let rows: Vec<u32> = (0..400).map(|i| i * 7 % cases.len() as u32).collect();
    for config in every_setting() {
        let objective =
            config.teach(Box::new(Own::LogLoss), &cases, std::slice::from_ref(&trace)).unwrap();
        let batch = Batch::new(&cases, &rows, 3, 5);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| drawn_by(&*objective, &batch))
        };
        let whole = on(1);
        assert_eq!(whole, on(2));
        assert_eq!(whole, on(3));
        if !config.shared_samples {
            let part = Batch::new(&cases, &rows[150..153], 3, 5);
            let part = drawn_by(&*objective, &part);
            (0..3).for_each(|at| assert_eq!(part.row(at), whole.row(150 + at)));
        }
        let next = drawn_by(&*objective, &Batch::new(&cases, &rows, 4, 5));
        let sampled = matches!(config.weighting, Weighting::Discrepancy | Weighting::Hybrid);
        let ours = |slate: &Lists<ItemId>| slate.row(0)[3 + K..].to_vec();
        let drawn = sampled || config.loss != Form::PointWise;
        assert_eq!(ours(&whole) != ours(&next), drawn, "drawn anew in every epoch");
    }
}

#[test]
fn labelled_items_of_a_list_are_passed_over() {
    let cases = cases();
    let history = cases.distinct_queries()[2].history;
    let mut said = Rankings::default();
    for _ in 0..cases.n_queries() {
        said.push((0..N as u32).map(|item| (item, 0.0)));
    }
    let trace = Trace::new("all", vec![(0, said)]).unwrap();
    let labelled = Labelled::new(&cases).unwrap();
    let lists = unlabelled_lists(trace.last(), &labelled, K);
    let expected: Vec<u32> = (0..N as u32).filter(|i| !history.contains(i)).take(K).collect();
    assert_eq!(lists.row(2), expected);
    assert_eq!(lists.row(5).len(), 2, "no more are unlabelled for user 5");
}

/// A student whose score of an item is random, another one in each `version`.
struct Chance {
    version: u64,
}
impl Scorer for Chance {
    fn n_items(&self) -> usize {
        N
    }
    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        for (query, row) in queries.iter().zip(out.chunks_mut(N)) {
            let user = u64::from(query.user.unwrap());
            Rng::keyed(self.version, [user]).fill_normal(row, 0.0, 1.0);
        }
    }
}
impl Model for Chance {
    fn tensors(&self) -> Tensors {
        Tensors::default()
    }
    fn n_parameters(&self) -> usize {
        0
    }
}

#[test]
fn exact_ranks_are_counted_when_due_and_survive_a_checkpoint() {
    let cases = cases();
    let trace = trace(&cases);
    let config = RankDistil { discrepancy: Discrepancy::Exact, refresh_every: 3, ..settings() };
    let teach =
        || config.teach(Box::new(Own::LogLoss), &cases, std::slice::from_ref(&trace)).unwrap();
    let ranks_of = |objective: &dyn Objective| match objective.state().get("ranks") {
        Some(_) => objective.state().u32s("ranks").unwrap().to_vec(),
        None => vec![],
    };
    let naive = |version: u64| {
        let mut ranks = Vec::new();
        for (q, query) in cases.distinct_queries().iter().enumerate() {
            let ranked =
                Chance { version }.rank(&[*query], &rankstill_core::TopK::unseen(N)).unwrap();
            for item in trace.last().items(q).iter().take(K) {
                ranks.push(ranked.items(0).iter().position(|i| i == item).unwrap() as u32 + 1);
            }
        }
        ranks
    };
    let mut objective = teach();
    let mut refreshed = Vec::new();
    for epoch in 0..7 {
        objective.refresh(epoch, &Chance { version: epoch as u64 }, &cases).unwrap();
        let ranks = ranks_of(&*objective);
        refreshed.push((0..7).find(|&version| !ranks.is_empty() && ranks == naive(version)));
    }
    // Warm-up ends with epoch 2; then every third.
    assert_eq!(refreshed, [None, None, Some(2), Some(2), Some(2), Some(5), Some(5)]);

    let mut again = teach();
    again.restore(&objective.state()).unwrap();
    assert_eq!(ranks_of(&*again), naive(5));
    again.refresh(7, &Chance { version: 7 }, &cases).unwrap();
    assert_eq!(ranks_of(&*again), naive(5), "not due");

    let rows: Vec<u32> = (0..cases.len() as u32).collect();
    let batch = Batch::new(&cases, &rows, 6, 1);
    let scores = vec![0.25; N];
    for (at, &row) in rows.iter().enumerate() {
        assert_eq!(ask(&*again, &batch, at, &scores), ask(&*objective, &batch, at, &scores));
        let query = cases.query_of(row as usize);
        let (n, ranks) = (trace.last().items(query).len().min(K), naive(5));
        let start = (0..query).map(|q| trace.last().items(q).len().min(K)).sum::<usize>();
        let weights = weights_twin(&config, n, 6, |r| f64::from(ranks[start + r]));
        let all: Vec<f64> = scores.iter().map(|&s| f64::from(s)).collect();
        let softplus = (1.0 + (-0.25f64).exp()).ln();
        let expected = 0.5 * own_twin(Own::LogLoss, &batch, at, &all)
            + 0.5 * weights.iter().sum::<f64>() * softplus;
        assert!((ask(&*again, &batch, at, &scores).0 - expected).abs() < 1e-6);
    }
    let mut wrong = Tensors::default();
    wrong.insert("ranks", &[2], vec![1u32, 2]);
    let error = again.restore(&wrong).unwrap_err().to_string();
    assert!(error.contains("holds 2 ranks"), "{error}");
}

#[test]
fn traces_that_do_not_fit_are_refused() {
    let cases = cases();
    let own = || Box::new(Own::LogLoss);
    let refuse = |traces: &[Trace]| match settings().teach(own(), &cases, traces) {
        Ok(_) => panic!("was accepted"),
        Err(error) => error.to_string(),
    };
    assert!(refuse(&[]).contains("one teacher, not 0"));
    assert!(refuse(&[trace(&cases), trace(&cases)]).contains("one teacher, not 2"));
    let mut one = Rankings::default();
    one.push([(1, 0.0)]);
    let short = Trace::new("short", vec![(0, one)]).unwrap();
    assert_eq!(
        refuse(&[short]),
        "teacher `short` has rankings for 1 queries, the student's cases have 12"
    );
    let mut foreign = Rankings::default();
    (0..12).for_each(|_| foreign.push([(N as u32, 0.0)]));
    let foreign = Trace::new("foreign", vec![(0, foreign)]).unwrap();
    assert!(refuse(&[foreign]).contains("item 30 is not in a catalogue of 30 items"));
}

fn parse(value: Value) -> Result<RankDistil> {
    RankDistil::parse(Config { path: "distil", value: &value })
}

#[test]
fn presets_differ_where_paper_and_code_do_and_named_settings_win() {
    assert_eq!(parse(json!({})).unwrap(), RankDistil::paper());
    assert_eq!(parse(json!({"preset": "paper"})).unwrap(), RankDistil::paper());
    let code = parse(json!({"preset": "authors_code", "alpha": 0.7, "k": 15})).unwrap();
    assert_eq!(code, RankDistil { alpha: 0.7, k: 15, ..RankDistil::authors_code() });
    assert!(!code.renormalise && code.replacement && code.blend == Blend::AuthorsCode);
    for config in every_setting() {
        assert_eq!(
            parse(Distiller::config(&config)).unwrap(),
            config,
            "resolved settings come back"
        );
    }
}

#[test]
fn a_wrong_setting_is_named_in_full() {
    let refuse = |value: Value| parse(value).unwrap_err().to_string();
    assert_eq!(
        refuse(json!({"preset": "mine"})),
        "distil.preset: unknown preset \"mine\"; one of: paper, authors_code"
    );
    assert_eq!(refuse(json!({"alpha": 1.5})), "distil.alpha: is 1.5, must be between 0 and 1");
    assert!(parse(json!({"alpha": 1.5, "blend": "authors_code"})).is_ok());
    assert!(refuse(json!({"alpha": -1, "blend": "authors_code"})).contains("at least 0"));
    assert_eq!(refuse(json!({"lambda": 0})), "distil.lambda: is 0, must be above 0");
    assert!(refuse(json!({"mu": -0.5})).starts_with("distil.mu"));
    for name in ["k", "epsilon", "refresh_every"] {
        assert_eq!(refuse(json!({name: 0})), format!("distil.{name}: must be at least 1"));
    }
    let unknown = refuse(json!({"lamda": 2}));
    assert!(unknown.contains("lamda") && unknown.contains("lambda"), "{unknown}");
    assert!(refuse(json!({"weighting": "rank"})).contains("uniform"));
    assert!(refuse(json!(7)).starts_with("distil"));
}

#[test]
fn the_registry_knows_it() {
    let value = json!({"kind": "rank_distil", "k": 3});
    let config = Config { path: "distil", value: &value };
    let (entry, distiller) = rankstill_core::registry::parse(crate::DISTILLERS, config).unwrap();
    assert_eq!((entry.name, distiller.requires().lists.k), ("rank_distil", 3));
}
