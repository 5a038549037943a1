//! Evaluates random factors on a split of a real log, writes the rankings and the metrics, and prints the
//! time of each step: `measure TRAIN TEST OUT [DIM] [K]`. The files are TSV with the columns `user_id
//! item_id`. `benches/check_metrics.py` checks the output.
#![allow(clippy::unwrap_used)]

use rankstill_core::kernel::panels::{PanelOrder, Panels, Rows};
use rankstill_core::kernel::ranks::target_ranks;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::kernel::topk::top_k;
use rankstill_core::{Cases, Interactions, Lists, Query, Ranker, Rankings, Result, Span, TopK};
use rankstill_eval::metric::{Dialect, Needs, Outcome, parse_all};
use rankstill_eval::{Report, spread};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

const METRICS: &[&str] = &[
    "precision@10",
    "recall@10",
    "recall@20",
    "hit@10",
    "ndcg@10",
    "ndcg@20",
    "ndcg",
    "map",
    "map@10",
    "mrr",
    "mrr@10",
    "coverage@10",
    "gini@10",
    "popularity@10",
    "lift@10",
    "overlap@10",
    "rbo",
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [train_path, test_path, out] = [&args[0], &args[1], &args[2]];
    let dim = args.get(3).map_or(64, |text| text.parse().unwrap());
    let k = args.get(4).map_or(100, |text| text.parse().unwrap());

    let (mut users, mut items) = (Ids::default(), Ids::default());
    let train = read(train_path, &mut users, &mut items);
    let test = read(test_path, &mut users, &mut items);
    let (n_users, n_items) = (users.names.len(), items.names.len());
    let lines = |rows: &[(u32, u32)]| -> Lists<u32> {
        let mut lines = vec![Vec::new(); n_users];
        rows.iter().for_each(|(user, item)| lines[*user as usize].push(*item));
        lines.into_iter().collect()
    };
    let train = Interactions::new(n_items, lines(&train), None, None).unwrap();
    let (mut timeline, mut spans) = (Vec::new(), Vec::new());
    for (user, targets) in
        lines(&test).iter().enumerate().filter(|(_, targets)| !targets.is_empty())
    {
        let start = timeline.len();
        timeline.extend(train.history(user as u32).iter().chain(targets));
        let middle = timeline.len() - targets.len();
        spans.push(Span {
            user: Some(user as u32),
            history: start..middle,
            hidden: middle..middle,
            targets: middle..timeline.len(),
        });
    }
    let cases = Cases::new(n_items, Arc::new(timeline), spans).unwrap();
    println!("{n_users} users, {n_items} items, {} train, {} cases", train.len(), cases.len());

    let model = Random::new(n_users, n_items, dim, &train);
    let metrics = parse_all(METRICS, Dialect::Standard).unwrap();
    let popularity = train.popularity();
    let top = TopK::unseen(k);
    let needs = Needs::of(&metrics);
    let began = Instant::now();
    let lists =
        Outcome::of_ranker(&model, &cases, &top, Needs { whole_ranking: false, ..needs }).unwrap();
    println!("{:8.3} s  lists of {k}", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let outcome = Outcome::of_ranker(&model, &cases, &top, needs).unwrap();
    println!("{:8.3} s  lists and ranks in the whole ranking", began.elapsed().as_secs_f64());
    let teacher = lists.rankings();
    let outcome = outcome.with_popularity(&popularity).unwrap().with_teacher(teacher).unwrap();

    let mut report = Report { cases: cases.len(), ..Report::default() };
    let mut values: BTreeMap<Name, BTreeMap<String, f64>> = BTreeMap::new();
    for dialect in Dialect::ALL {
        let metrics = parse_all(METRICS, dialect).unwrap();
        report.define(dialect, &metrics);
        let began = Instant::now();
        for metric in &metrics {
            let value = metric.measure(&outcome).unwrap().mean();
            values.entry(dialect.name()).or_default().insert(metric.name(), value);
        }
        println!("{:8.3} s  {} metrics, {dialect}", began.elapsed().as_secs_f64(), metrics.len());
    }
    let one = spread(&[values["standard"]["ndcg@10"]]);
    println!("ndcg@10 {:.6}", one.mean);

    std::fs::create_dir_all(out).unwrap();
    let mut text = String::from("user_id\titem_id\trank\tscore\n");
    for i in 0..outcome.len() {
        let user = &users.names[cases.query(i).user.unwrap() as usize];
        for (at, item) in outcome.list(i).iter().enumerate() {
            let score = outcome.rankings().scores(i)[at];
            writeln!(text, "{user}\t{}\t{}\t{score}", items.names[*item as usize], at + 1).unwrap();
        }
    }
    std::fs::write(format!("{out}/rankings.tsv"), text).unwrap();
    // The same lists without the ranks below them, as in an evaluation of rankings from a file.
    let given = Outcome::of_rankings(&cases, outcome.rankings().clone()).unwrap();
    let began = Instant::now();
    let again = Outcome::of_rankings(&cases, outcome.rankings().clone()).unwrap();
    println!("{:8.3} s  an outcome of these rankings", began.elapsed().as_secs_f64());
    assert_eq!(again.len(), given.len());
    let given = given.with_popularity(&popularity).unwrap();
    let mut of_lists: BTreeMap<Name, BTreeMap<String, f64>> = BTreeMap::new();
    for dialect in Dialect::ALL {
        for metric in parse_all(METRICS, dialect).unwrap() {
            if !metric.needs().teacher {
                let value = metric.measure(&given).unwrap().mean();
                of_lists.entry(dialect.name()).or_default().insert(metric.name(), value);
            }
        }
    }
    let json = serde_json::json!({ "metrics": of_lists["standard"], "dialects": of_lists, "whole": values });
    std::fs::write(format!("{out}/metrics.json"), serde_json::to_string_pretty(&json).unwrap())
        .unwrap();
}

type Name = &'static str;

/// Random factors plus the items' popularity, so that some targets are found.
struct Random {
    dim: usize,
    users: Vec<f32>,
    items: Vec<f32>,
}

impl Random {
    fn new(n_users: usize, n_items: usize, dim: usize, train: &Interactions) -> Self {
        let mut rng = Rng::keyed(1, []);
        let (mut users, mut items) = (vec![0.0; n_users * dim], vec![0.0; n_items * dim]);
        rng.fill_normal(&mut users, 0.0, 0.3);
        rng.fill_normal(&mut items, 0.0, 0.3);
        users.iter_mut().step_by(dim).for_each(|x| *x = 1.0);
        for (item, count) in train.popularity().into_iter().enumerate() {
            items[item * dim] = (count as f32).ln_1p();
        }
        Self { dim, users, items }
    }
}

/// Directly on the kernels, so that only they and the evaluation are timed.
impl Ranker for Random {
    fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> Result<Rankings> {
        let vectors = self.embed(queries);
        let rows = Rows::dense(&vectors, queries.len(), self.dim);
        let found =
            top_k(rows, &self.panels(PanelOrder::Norm), top.k, |i| queries[i].history, None);
        let lists = Lists::from_parts(found.offsets, found.ids).unwrap();
        Rankings::new(lists, found.scores)
    }

    fn target_ranks(&self, cases: &Cases, _: &TopK<'_>) -> Result<Lists<u32>> {
        let queries = cases.queries();
        let vectors = self.embed(&queries);
        let rows = Rows::dense(&vectors, queries.len(), self.dim);
        let (targets, seen) = (|i| cases.case(i).targets, |i: usize| queries[i].history);
        let found = target_ranks(rows, &self.panels(PanelOrder::Id), targets, seen, None);
        Ok(Lists::from_parts(found.offsets, found.ranks).unwrap())
    }
}

impl Random {
    fn panels(&self, order: PanelOrder) -> Panels {
        Panels::pack(Rows::dense(&self.items, self.items.len() / self.dim, self.dim), order)
    }

    fn embed(&self, queries: &[Query<'_>]) -> Vec<f32> {
        let row = |query: &Query<'_>| query.user.unwrap() as usize * self.dim;
        queries.iter().flat_map(|q| &self.users[row(q)..][..self.dim]).copied().collect()
    }
}

#[derive(Default)]
struct Ids {
    of: BTreeMap<String, u32>,
    names: Vec<String>,
}

impl Ids {
    fn id(&mut self, name: &str) -> u32 {
        if let Some(id) = self.of.get(name) {
            return *id;
        }
        self.names.push(name.to_owned());
        self.of.insert(name.to_owned(), self.names.len() as u32 - 1);
        self.names.len() as u32 - 1
    }
}

fn read(path: &str, users: &mut Ids, items: &mut Ids) -> Vec<(u32, u32)> {
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let mut fields = line.split('\t');
        (users.id(fields.next().unwrap()), items.id(fields.next().unwrap()))
    };
    text.lines().skip(1).map(row).collect()
}
