//! `rankstill evaluate`: the rankings of any system against test interactions.

use anyhow::{Result, ensure};
use clap::Args;
use rankstill::core::text_table::TextTable;
use rankstill::core::{Case, Cases, ItemId, Rankings, Span, UserId, Vocab};
use rankstill::data::dataset::Dataset;
use rankstill::data::rankings::{ids_of_rankings, read_pair_log};
use rankstill::data::{Log, ReadOptions, read_rankings};
use rankstill::eval::metric::parse_all;
use rankstill::eval::{Dialect, Needs, Outcome};
use rankstill_cli::experiment::data::is_prepared;
use rankstill_cli::progress::Screen;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args)]
pub struct Options {
    /// The test interactions: a file with `user_id` and `item_id` (TSV, CSV, Parquet, …), or a folder made by `prepare`, whose
    /// masked items count as seen.
    #[arg(long, value_name = "FILE")]
    test: PathBuf,
    /// The rankings: a file with `user_id`, `item_id`, `rank` and optionally `score`, or a TREC run.
    #[arg(long, value_name = "FILE")]
    rankings: PathBuf,
    /// Interactions seen before: removed from the rankings, and counted as popularity. Repeatable.
    #[arg(long, value_name = "FILE")]
    seen: Vec<PathBuf>,
    /// The metrics; see `rankstill list metrics`.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "precision@10,recall@10,ndcg@10,hit@10,map,mrr"
    )]
    metrics: Vec<String>,
    /// Whose definitions of the metrics: standard, rd, hetcomp or recbole.
    #[arg(long, default_value = "standard")]
    dialect: String,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let dialect: Dialect = options.dialect.parse()?;
    let metrics = parse_all(&options.metrics, dialect)?;
    ensure!(!metrics.is_empty(), "--metrics: name at least one metric");
    let read = ReadOptions::default();

    let Inputs { test, seen: logs } = Inputs::read(options)?;

    // Catalogue and users are those of all files, in the order of the test part first.
    let (mut users, mut items) = (test.user_ids.clone(), test.item_ids.clone());
    let (ranked_users, ranked_items) = ids_of_rankings(&options.rankings, &read)?;
    for (user_ids, item_ids) in logs
        .iter()
        .map(|log| (&log.user_ids, &log.item_ids))
        .chain([(&ranked_users, &ranked_items)])
    {
        user_ids.iter().for_each(|id| _ = users.intern(&id));
        item_ids.iter().for_each(|id| _ = items.intern(&id));
    }
    let mut targets: Vec<Vec<ItemId>> = vec![Vec::new(); users.len()];
    each(&test, &users, &items, |user, item| targets[user].push(item));
    let mut seen: Vec<Vec<ItemId>> = vec![Vec::new(); users.len()];
    let mut popularity = vec![0u32; items.len()];
    for log in &logs {
        each(log, &users, &items, |user, item| {
            seen[user].push(item);
            popularity[item as usize] += 1;
        });
    }

    let test_users: Vec<UserId> = (0..test.n_users() as UserId).collect();
    let file = read_rankings(&options.rankings, &users, &items, &read)?;
    let without = test_users.iter().filter(|&&user| file.row_of(user).is_none()).count();
    let (ranked, removed) = without_seen(&file.aligned(&test_users), &test_users, &mut seen);
    let mut timeline = Vec::new();
    let mut spans = Vec::new();
    for &user in &test_users {
        let start = timeline.len();
        timeline.extend(&seen[user as usize]);
        let middle = timeline.len();
        timeline.extend(&targets[user as usize]);
        let end = timeline.len();
        spans.push(Span {
            user: Some(user),
            history: start..middle,
            hidden: middle..middle,
            targets: middle..end,
        });
    }
    let cases = Cases::new(items.len(), Arc::new(timeline), spans)?;
    let outcome = Outcome::of_rankings(&cases, ranked)?.with_popularity(&popularity)?;
    let mut notes = outcome.notes(Needs::of(&metrics));
    if without > 0 {
        notes.push(format!(
            "{without} of {} users have no ranking; their metrics are 0",
            test_users.len()
        ));
    }
    if removed > 0 {
        notes.push(format!("{removed} seen items were removed from the rankings"));
    }

    let mut means = serde_json::Map::new();
    let mut table = TextTable::new(["metric", "mean"]);
    for metric in &metrics {
        let mean = metric.measure(&outcome)?.mean();
        means.insert(metric.name(), mean.into());
        table.push([metric.name(), format!("{mean:.6}")]);
    }
    if screen.json {
        let definitions: serde_json::Map<_, _> =
            metrics.iter().map(|metric| (metric.name(), metric.definition().into())).collect();
        let found = json!({
            "dialect": dialect.name(),
            "cases": cases.len(),
            "items": items.len(),
            "metrics": means,
            "definitions": definitions,
            "notes": notes,
        });
        screen.print(serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    screen.print(table.text());
    screen.print(format!(
        "{} users, {} items, dialect {}",
        cases.len(),
        items.len(),
        dialect.name()
    ));
    for metric in &metrics {
        screen.print(format!("  {}: {}", metric.name(), metric.definition()));
    }
    notes.iter().for_each(|note| screen.print(format!("  note: {note}")));
    Ok(())
}

/// The test interactions and those seen before.
struct Inputs {
    test: Log,
    seen: Vec<Log>,
}

impl Inputs {
    fn read(options: &Options) -> Result<Self> {
        let read = |path: &PathBuf| Ok(read_pair_log(path, &ReadOptions::default())?.log);
        let mut seen = options.seen.iter().map(read).collect::<Result<Vec<_>>>()?;
        let test = if is_prepared(&options.test) {
            let data = Dataset::open(&options.test)?;
            seen.push(log_of(&data, |case| [case.query.history, case.query.hidden].concat()));
            log_of(&data, |case| case.targets.to_vec())
        } else {
            read(&options.test)?
        };
        ensure!(!test.is_empty(), "{}: holds no interactions", options.test.display());
        Ok(Self { test, seen })
    }
}

/// A log of some items of each test case, with the whole catalogue and the users with a case.
fn log_of(data: &Dataset, items: impl Fn(Case<'_>) -> Vec<ItemId>) -> Log {
    let mut log = Log { item_ids: data.items.clone(), ..Log::default() };
    for case in data.split.test.iter() {
        let user = case.query.user.map(|user| data.users.id(user)).unwrap_or_default();
        let user = log.user_ids.intern(&user);
        let items = items(case);
        log.users.resize(log.users.len() + items.len(), user);
        log.items.extend(items);
    }
    log
}

/// Calls `take` with each row of a log, in the numbers of other vocabularies.
fn each(log: &Log, users: &Vocab, items: &Vocab, mut take: impl FnMut(usize, ItemId)) {
    let renumbered = |from: &Vocab, to: &Vocab| -> Vec<Option<u32>> {
        from.iter().map(|id| to.get(&id)).collect()
    };
    let (users, items) = (renumbered(&log.user_ids, users), renumbered(&log.item_ids, items));
    for (&user, &item) in log.users.iter().zip(&log.items) {
        if let (Some(user), Some(item)) = (users[user as usize], items[item as usize]) {
            take(user as usize, item);
        }
    }
}

/// The rankings without the items that each user had seen, and how many were removed. Sorts the lists of seen items.
fn without_seen(
    ranked: &Rankings,
    users: &[UserId],
    seen: &mut [Vec<ItemId>],
) -> (Rankings, usize) {
    let mut out = Rankings::default();
    let mut removed = 0;
    for (row, &user) in users.iter().enumerate() {
        let seen = &mut seen[user as usize];
        seen.sort_unstable();
        let (items, scores) = (ranked.items(row), ranked.scores(row));
        let both = items.iter().copied().zip(scores.iter().copied());
        let kept: Vec<_> = both.filter(|(item, _)| seen.binary_search(item).is_err()).collect();
        removed += items.len() - kept.len();
        out.push(kept);
    }
    (out, removed)
}
