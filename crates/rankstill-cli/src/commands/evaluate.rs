//! `rankstill evaluate`: the rankings of any system against test interactions.

mod ids;
mod inputs;
mod notes;

use crate::progress::Screen;
use anyhow::{Result, bail, ensure};
use clap::Args;
use inputs::Inputs;
use rankstill::core::text_table::TextTable;
use rankstill::core::{Cases, Lists, Span};
use rankstill::eval::metric::parse_all;
use rankstill::eval::{Dialect, Needs, Outcome};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args)]
pub struct Options {
    /// The test interactions: a file with `user_id` and `item_id` (TSV, CSV, Parquet, …), or a folder made by `prepare`, whose
    /// masked items count as seen. In a file with a weight column (rating, grade, count, …), rows of 0 or less are not relevant.
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
    /// The format of all files, if it is not detected; see `rankstill list formats`.
    #[arg(long)]
    format: Option<String>,
    /// How files are read: `test.`, `seen.` or `rankings.` and an option (columns, header, delimiter, quoting, format), or `read.` for all
    /// of them, such as test.header=false or read.delimiter=";". Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let dialect: Dialect = options.dialect.parse()?;
    let metrics = parse_all(&options.metrics, dialect)?;
    ensure!(!metrics.is_empty(), "--metrics: name at least one metric");
    let needs = Needs::of(&metrics);
    let inputs = Inputs::read(options)?;
    for (path, understood) in &inputs.understood {
        screen.say(format!("read     {}\n{understood}\n", path.display()));
    }
    if needs.grades && inputs.grades.is_none() {
        let graded = metrics.iter().find(|metric| metric.needs().grades);
        bail!(
            "--metrics {}: needs grades, and {} has no weights; expected a column such as `rating` or `grade` (--set \
             test.columns.weight=NAME)",
            graded.map_or_else(String::new, |metric| metric.name()),
            options.test.display()
        );
    }

    let mut timeline = Vec::new();
    let mut spans = Vec::new();
    for &user in &inputs.tested {
        let start = timeline.len();
        timeline.extend(&inputs.seen[user as usize]);
        let middle = timeline.len();
        timeline.extend(&inputs.targets[user as usize]);
        let end = timeline.len();
        spans.push(Span {
            user: Some(user),
            history: start..middle,
            hidden: middle..middle,
            targets: middle..end,
        });
    }
    let cases = Cases::new(inputs.items.len(), Arc::new(timeline), spans)?;
    let (ranked, removed) = inputs.unseen_rankings();
    let mut outcome = Outcome::of_rankings(&cases, ranked)?.with_popularity(&inputs.popularity)?;
    if let Some(grades) = &inputs.grades {
        let of_tested = inputs.tested.iter().map(|&user| grades[user as usize].iter().copied());
        outcome = outcome.with_grades(&of_tested.collect::<Lists<f32>>())?;
    }
    let mut notes = outcome.notes(needs);
    notes.extend(notes::notes(&inputs, removed));

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
            "items": inputs.items.len(),
            "metrics": means,
            "definitions": definitions,
            "notes": notes,
            "files": inputs.understood.iter().map(|(path, how)| json!({"path": path, "understood": how})).collect::<Vec<_>>(),
        });
        screen.print(serde_json::to_string_pretty(&found)?)?;
        return Ok(());
    }
    screen.print(table.text())?;
    screen.print(format!(
        "{} users, {} items, dialect {}",
        cases.len(),
        inputs.items.len(),
        dialect.name()
    ))?;
    for metric in &metrics {
        screen.print(format!("  {}: {}", metric.name(), metric.definition()))?;
    }
    notes.iter().try_for_each(|note| screen.print(format!("  note: {note}")))?;
    Ok(())
}
