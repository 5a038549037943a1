#![allow(clippy::unwrap_used)]
use super::*;
use crate::parts::settings::read;
use crate::testing::{Chance, N, Own, cases, conforms, small, trace};
use rankstill_core::kernel::rng::Rng;
use rankstill_core::registry::Config;
use rankstill_core::{Batch, ItemId, Ranker, Rankings, Slate, Tensors};
use serde_json::{Value, json};

const K: usize = 4;

fn settings() -> RankDistil {
    RankDistil { k: K, epsilon: 7, warm_up: 2, mu: 0.05, lambda: 2.0, ..RankDistil::paper() }
}

fn every_setting() -> Vec<RankDistil> {
    let mut all = Vec::new();
    for (blend, alpha) in
        [(LossBlend::Paper, 0.3), (LossBlend::Paper, 1.0), (LossBlend::AuthorsCode, 0.8)]
    {
        for weighting in
            [Weighting::Uniform, Weighting::Position, Weighting::Discrepancy, Weighting::Hybrid]
        {
            for loss in [ListLoss::PointWise, ListLoss::PairWise, ListLoss::ListWise] {
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

/// The own loss in f64, from the scores of all items.
fn own_twin(own: Own, batch: &Batch<'_>, at: usize, scores: &[f64]) -> f64 {
    let softplus = |x: f64| (1.0 + x.exp()).ln();
    let case = batch.case(at);
    match (own, own.slate(batch)) {
        (Own::Pairs, Slate::Lists { listed: lists, .. }) => {
            let s = |i: usize| scores[lists.row(at)[i] as usize];
            softplus(s(1) - s(0))
        }
        (Own::Softmax, _) => {
            let target = case.targets[0];
            let left_out = |i| i == (target + 7) % N as u32 || case.query.history.contains(&i);
            let counts = |i: u32| i == target || !left_out(i);
            let mass = (0..N as u32).filter(|&i| counts(i)).map(|i| scores[i as usize].exp());
            mass.sum::<f64>().ln() - scores[target as usize]
        }
        _ => (0..N as u32).zip(scores).fold(0.0, |sum, (i, s)| {
            let wish = if case.query.history.contains(&i) { 1.0 } else { 0.0 };
            sum + 0.5 * (s - wish) * (s - wish)
        }),
    }
}

/// The loss of a row and its gradient with respect to the score of every item, the listed items, and the probes.
fn ask(
    objective: &dyn Objective,
    batch: &Batch<'_>,
    at: usize,
    scores: &[f32],
) -> (f64, Vec<f64>, Vec<ItemId>, Vec<ItemId>) {
    let slate = objective.slate(batch);
    let (loss, slopes) = crate::testing::ask(objective, &slate, batch, at, scores);
    let row = |lists: Option<&Lists<ItemId>>| lists.map_or(vec![], |lists| lists.row(at).to_vec());
    (loss, slopes, row(slate.listed()), row(slate.probes()))
}

/// The weights in f64, from their definition; `rank` returns 1-based ranks.
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

/// For every weighting, blend and form, before and after the warm-up, and with every kind of slate.
#[test]
fn the_loss_is_the_papers_and_the_gradient_is_its_slope() {
    let cases = cases();
    let trace = trace(&cases);
    let rows: Vec<u32> = (0..cases.len() as u32).step_by(3).collect();
    let mut taught_something = 0;
    for (own, config) in [Own::Pairs, Own::Softmax, Own::Squares]
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
                let uses_ranks = epoch == 2
                    && matches!(config.weighting, Weighting::Discrepancy | Weighting::Hybrid);
                let of = |item: u32| f64::from(scores[item as usize]);
                let unlabelled = N - labelled.len();
                // The term lists the teacher's items and the rivals; the samples are probes.
                let n_samples = match (own, uses_ranks && !list.is_empty(), config.replacement) {
                    (Own::Squares, ..) | (_, false, _) => 0,
                    (.., true) => config.epsilon,
                    (.., false) => config.epsilon.min(unlabelled),
                };
                assert_eq!(samples.len(), n_samples);
                let rivals: Vec<u32> = match (config.loss, own) {
                    (ListLoss::PointWise, _) => vec![],
                    (_, Own::Squares) => rivals_of_all(&config, &cases, &trace, &batch, at),
                    _ => front[front.len() - config.rivals * list.len()..].to_vec(),
                };
                if own != Own::Squares {
                    let front = &front[..front.len() - rivals.len()];
                    assert!(front.ends_with(&list));
                    assert_eq!(front.len() - list.len(), if own == Own::Pairs { 2 } else { 1 });
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
                let share = if config.blend == LossBlend::Paper {
                    1.0 - f64::from(config.alpha)
                } else {
                    1.0
                };
                let twin = |scores: &[f64]| {
                    let s = |item: u32| scores[item as usize];
                    let mut distil = 0.0;
                    for (r, &item) in list.iter().enumerate() {
                        if config.loss == ListLoss::ListWise {
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

/// The rivals that a slate of lists holds; with all scores they are the same.
fn rivals_of_all(
    config: &RankDistil,
    cases: &Cases,
    trace: &Trace,
    batch: &Batch<'_>,
    at: usize,
) -> Vec<u32> {
    let plain = RankDistil { weighting: Weighting::Uniform, ..config.clone() };
    let lists = plain.teach(Box::new(Own::Pairs), cases, std::slice::from_ref(trace)).unwrap();
    let Slate::Lists { listed, .. } = lists.slate(batch) else { panic!("lists stay lists") };
    let row = listed.row(at);
    row[2 + (row.len() - 2) / (1 + config.rivals)..].to_vec()
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
fn without_weight_the_own_objective_is_returned_as_it_is() {
    let cases = cases();
    let rows: Vec<u32> = (0..cases.len() as u32).collect();
    let batch = Batch::new(&cases, &rows, 5, 1);
    for blend in [LossBlend::Paper, LossBlend::AuthorsCode] {
        let config = RankDistil { alpha: 0.0, blend, ..settings() };
        let objective = config.teach(Box::new(Own::Pairs), &cases, &[trace(&cases)]).unwrap();
        assert_eq!(slate_of(&*objective, &batch), slate_of(&Own::Pairs, &batch));
        let mut scores = vec![0.0; N];
        Rng::new(3).fill_normal(&mut scores, 0.0, 1.0);
        for at in 0..rows.len() {
            let taught = ask(&*objective, &batch, at, &scores);
            assert_eq!(taught, ask(&Own::Pairs, &batch, at, &scores));
        }
    }
}

#[test]
fn samples_are_probes_and_drawn_only_when_ranks_are_estimated() {
    let cases = cases();
    let trace = trace(&cases);
    let length = |config: RankDistil, epoch| {
        let taught =
            config.teach(Box::new(Own::Pairs), &cases, std::slice::from_ref(&trace)).unwrap();
        let slate = taught.slate(&Batch::new(&cases, &[0, 1, 2], epoch, 1));
        let Slate::Lists { listed, probes, .. } = slate else { panic!("lists stay lists") };
        assert_eq!(listed.row(0).len(), 2 + K);
        if probes.is_empty() { 0 } else { probes.row(0).len() }
    };
    let with = |weighting, discrepancy| RankDistil { weighting, discrepancy, ..settings() };
    assert_eq!(length(with(Weighting::Hybrid, StudentRanks::Sampled), 1), 0);
    assert_eq!(length(with(Weighting::Hybrid, StudentRanks::Sampled), 2), 7);
    assert_eq!(length(with(Weighting::Discrepancy, StudentRanks::Sampled), 2), 7);
    assert_eq!(length(with(Weighting::Position, StudentRanks::Sampled), 2), 0);
    assert_eq!(length(with(Weighting::Uniform, StudentRanks::Sampled), 2), 0);
    assert_eq!(length(with(Weighting::Hybrid, StudentRanks::Exact), 2), 0);
}

#[test]
fn leaving_out_targets_alone_a_case_may_be_taught_the_users_other_items() {
    let log = rankstill_core::Interactions::new(
        N,
        Lists::from_iter([vec![3, 1, 4], vec![5, 9]]),
        None,
        None,
    )
    .unwrap();
    let mut rankings = Rankings::default();
    (0..2).for_each(|_| rankings.push([4, 1, 7, 9, 5].map(|item| (item, 0.0))));
    let trace = Trace::new("all", vec![(0, rankings)]).unwrap();
    let config = RankDistil { k: 3, pass_over: PassOver::Targets, ..RankDistil::authors_code() };
    assert_eq!(config.requires().lists.candidates, Candidates::Everything);
    let cases = Cases::each_interaction(&log);
    let lists = lists_without_targets(trace.last(), &cases, 3);
    let expected = [[4, 1, 7], [4, 7, 9], [1, 7, 9], [4, 1, 7], [4, 1, 7]];
    assert!(lists.iter().zip(expected).all(|(list, by_hand)| list == by_hand), "{lists:?}");
    let taught = config.teach(Box::new(Own::Pairs), &cases, &[trace]).unwrap();
    let batch = Batch::new(&cases, &[2, 1], 0, 1);
    let slate = slate_of(&*taught, &batch);
    assert_eq!((&slate.row(0)[2..], &slate.row(1)[2..]), (&[1, 7, 9][..], &[4, 7, 9][..]));
}

/// The items of a slate, each row followed by its probes.
fn drawn_by(objective: &dyn Objective, batch: &Batch<'_>) -> Lists<ItemId> {
    let Slate::Lists { listed, probes, .. } = objective.slate(batch) else {
        panic!("lists stay lists")
    };
    let probes = |at: usize| if probes.is_empty() { &[][..] } else { probes.row(at) };
    (0..batch.len()).map(|at| [listed.row(at), probes(at)].concat()).collect()
}

#[test]
fn a_row_has_the_same_draws_in_any_batch_and_on_any_number_of_threads() {
    let cases = cases();
    let trace = trace(&cases);
    // More rows than one task has.
    let rows: Vec<u32> = (0..400).map(|i| i * 7 % cases.len() as u32).collect();
    for config in every_setting() {
        let objective =
            config.teach(Box::new(Own::Pairs), &cases, std::slice::from_ref(&trace)).unwrap();
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
        let ours = |slate: &Lists<ItemId>| slate.row(0)[2 + K..].to_vec();
        let drawn = sampled || config.loss != ListLoss::PointWise;
        assert_eq!(ours(&whole) != ours(&next), drawn, "drawn anew in every epoch");
    }
}

#[test]
fn labelled_items_of_a_list_are_left_out() {
    let cases = cases();
    let history = cases.distinct_queries()[2].history;
    let mut rankings = Rankings::default();
    for _ in 0..cases.n_queries() {
        rankings.push((0..N as u32).map(|item| (item, 0.0)));
    }
    let trace = Trace::new("all", vec![(0, rankings)]).unwrap();
    let labelled = Labelled::new(&cases).unwrap();
    let lists = unlabelled_lists(trace.last(), &labelled, K);
    let expected: Vec<u32> = (0..N as u32).filter(|i| !history.contains(i)).take(K).collect();
    assert_eq!(lists.row(2), expected);
    assert_eq!(lists.row(5).len(), 2, "no more are unlabelled for user 5");
}

#[test]
fn exact_ranks_are_updated_when_due_and_survive_a_checkpoint() {
    let cases = cases();
    let trace = trace(&cases);
    let config = RankDistil { discrepancy: StudentRanks::Exact, refresh_every: 3, ..settings() };
    let teach =
        || config.teach(Box::new(Own::Pairs), &cases, std::slice::from_ref(&trace)).unwrap();
    let ranks_of = |objective: &dyn Objective| match objective.state().get("ranks") {
        Some(_) => objective.state().u32s("ranks").unwrap().to_vec(),
        None => vec![],
    };
    let naive = |version: u64| {
        let mut ranks = Vec::new();
        for (q, query) in cases.distinct_queries().iter().enumerate() {
            let ranked = Chance(version).rank(&[*query], &rankstill_core::TopK::unseen(N)).unwrap();
            for item in trace.last().items(q).iter().take(K) {
                ranks.push(ranked.items(0).iter().position(|i| i == item).unwrap() as u32 + 1);
            }
        }
        ranks
    };
    let mut objective = teach();
    let mut refreshed = Vec::new();
    for epoch in 0..7 {
        objective.refresh(epoch, &Chance(epoch as u64), &cases).unwrap();
        let ranks = ranks_of(&*objective);
        refreshed.push((0..7).find(|&version| !ranks.is_empty() && ranks == naive(version)));
    }
    // Warm-up ends with epoch 2; then every third.
    assert_eq!(refreshed, [None, None, Some(2), Some(2), Some(2), Some(5), Some(5)]);

    let mut again = teach();
    again.restore(&objective.state()).unwrap();
    assert_eq!(ranks_of(&*again), naive(5));
    again.refresh(7, &Chance(7), &cases).unwrap();
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
        let expected = 0.5 * own_twin(Own::Pairs, &batch, at, &all)
            + 0.5 * weights.iter().sum::<f64>() * softplus;
        assert!((ask(&*again, &batch, at, &scores).0 - expected).abs() < 1e-6);
    }
    let mut wrong = Tensors::default();
    wrong.insert("ranks", &[2], vec![1u32, 2]);
    let error = again.restore(&wrong).unwrap_err().to_string();
    assert!(error.contains("holds 2 numbers"), "{error}");
}

fn parse(value: Value) -> Result<RankDistil> {
    read(Config { path: "distil", value: &value })
}

#[test]
fn presets_differ_where_paper_and_code_do_and_named_settings_win() {
    assert_eq!(parse(json!({})).unwrap(), RankDistil::paper());
    assert_eq!(parse(json!({"preset": "paper"})).unwrap(), RankDistil::paper());
    let code = parse(json!({"preset": "authors_code", "alpha": 0.7, "k": 15})).unwrap();
    assert_eq!(code, RankDistil { alpha: 0.7, k: 15, ..RankDistil::authors_code() });
    assert!(!code.renormalise && code.replacement && code.blend == LossBlend::AuthorsCode);
    for config in every_setting() {
        assert_eq!(parse(json!(config)).unwrap(), config, "resolved settings come back");
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
fn other_forms_conform() {
    for form in [
        json!({"loss": "point_wise", "shared_samples": true}),
        json!({"loss": "list_wise", "discrepancy": "exact", "refresh_every": 2}),
        json!({"preset": "authors_code"}),
    ] {
        conforms(&*small("rank_distil", form));
    }
}
