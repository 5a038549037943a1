//! `rankstill evaluate`: any system's rankings against what users really did.

use anyhow::{Result, ensure};
use clap::Args;
use rankstill::data::rankings::{ids_of_rankings, read_pair_log};
use rankstill::data::{ReadOptions, read_pairs, read_rankings};
use rankstill::eval::metric::parse_all;
use rankstill::eval::report::Table;
use rankstill::eval::{Dialect, Needs, Outcome};
use rankstill::progress::Screen;
use rankstill_core::{Cases, ItemId, Rankings, Span, UserId, Vocab};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args)]
pub struct Options {
    /// What users really did: `user_id`, `item_id` (TSV, CSV, Parquet, …).
    #[arg(long, value_name = "FILE")]
    test: PathBuf,
    /// What was recommended: `user_id`, `item_id`, `rank` and perhaps `score`; or a TREC run.
    #[arg(long, value_name = "FILE")]
    rankings: PathBuf,
    /// What users had seen: taken out of the rankings, and counted as popularity. May be given several times.
    #[arg(long, value_name = "FILE")]
    seen: Vec<PathBuf>,
    /// Which figures.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "precision@10,recall@10,ndcg@10,hit@10,map,mrr"
    )]
    metrics: Vec<String>,
    /// By whose definitions: standard, rd, hetcomp or recbole.
    #[arg(long, default_value = "standard")]
    dialect: String,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let dialect: Dialect = options.dialect.parse()?;
    let metrics = parse_all(&options.metrics, dialect)?;
    ensure!(!metrics.is_empty(), "--metrics: name at least one");
    let read = ReadOptions::default();

    // The catalogue and the users are what the files name, the test file first.
    let test = read_pair_log(&options.test, &read)?;
    ensure!(!test.is_empty(), "{}: holds no interaction", options.test.display());
    let (mut users, mut items) = (test.user_ids.clone(), test.item_ids.clone());
    let (ranked_users, ranked_items) = ids_of_rankings(&options.rankings, &read)?;
    grow(&mut users, &ranked_users);
    grow(&mut items, &ranked_items);
    for path in &options.seen {
        let log = read_pair_log(path, &read)?;
        grow(&mut users, &log.user_ids);
        grow(&mut items, &log.item_ids);
    }
    let targets = read_pairs(&options.test, &users, &items, &read)?.items;
    let mut seen: Vec<Vec<ItemId>> = vec![Vec::new(); users.len()];
    let mut popularity = vec![0u32; items.len()];
    for path in &options.seen {
        for (user, list) in read_pairs(path, &users, &items, &read)?.items.iter().enumerate() {
            seen[user].extend(list);
            list.iter().for_each(|&item| popularity[item as usize] += 1);
        }
    }

    let asked: Vec<UserId> = (0..test.user_ids.len() as UserId).collect();
    let file = read_rankings(&options.rankings, &users, &items, &read)?;
    let without = asked.iter().filter(|&&user| file.row_of(user).is_none()).count();
    let (ranked, removed) = without_seen(&file.aligned(&asked), &asked, &mut seen);
    let mut timeline = Vec::new();
    let mut spans = Vec::new();
    for &user in &asked {
        let start = timeline.len();
        timeline.extend(&seen[user as usize]);
        let middle = timeline.len();
        timeline.extend(targets.row(user as usize));
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
            "{without} of {} users have no ranking and count as nothing found",
            asked.len()
        ));
    }
    if removed > 0 {
        notes.push(format!("{removed} seen items were taken out of the rankings"));
    }

    let mut means = serde_json::Map::new();
    let mut table = Table::new(["metric", "mean"]);
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

fn grow(all: &mut Vocab, more: &Vocab) {
    for id in more.iter() {
        all.intern(&id);
    }
}

/// The rankings less what each user had seen, and how many items that were. Sorts the lists of seen items.
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
