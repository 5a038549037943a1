//! `rankstill events`: the events that a server received, as a log that `prepare` reads.

use super::store;
use crate::progress::Screen;
use anyhow::{Result, ensure};
use clap::Args;
use rankstill::core::atomic_write::{self, Lock};
use rankstill::data::{Column, ColumnKind, TableWriter};
use std::io::Write as _;
use std::path::PathBuf;

/// Events per block of reading and writing.
const BLOCK: usize = 65_536;

#[derive(Args)]
pub struct Options {
    /// The store given to `serve --events`: a file, which no running server may have open, or the URL of a database.
    #[arg(value_name = "FILE|URL")]
    store: PathBuf,
    /// The file to write: .parquet, .tsv, .csv or .jsonl.
    #[arg(long, value_name = "FILE", required_unless_present = "check")]
    out: Option<PathBuf>,
    /// Read everything in the store and name what is damaged; nothing is exported.
    #[arg(long, conflicts_with_all = ["out", "after", "forgotten"])]
    check: bool,
    /// Export only events after this number. Each export prints the number for the next one.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    after: u64,
    /// Also write the ids of users who asked to be forgotten, one per line. Remove them from older logs as well.
    #[arg(long, value_name = "FILE")]
    forgotten: Option<PathBuf>,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let store = store::existing(&options.store)?;
    let damaged = store.damaged()?;
    for one in &damaged {
        // Also with --quiet: the events below are not all that the server received.
        _ = writeln!(std::io::stderr(), "warning: {}: {one}", options.store.display());
    }
    let Some(out) = &options.out else {
        let (store, n) = (options.store.display(), store.n_events()?);
        ensure!(
            damaged.is_empty(),
            "{store}: {} of its records are damaged; the others can be exported with `rankstill events {store} --out FILE`",
            damaged.len()
        );
        return screen.print(format!("{store}: {n} events, none damaged"));
    };
    let _lock = Lock::beside(out)?;
    let columns = [
        ("user_id", ColumnKind::Text),
        ("item_id", ColumnKind::Text),
        ("timestamp", ColumnKind::I64),
        ("weight", ColumnKind::F32),
    ];
    let mut writer = TableWriter::create(out, &columns)?;
    let (mut last, mut rows) = (options.after, 0);
    loop {
        let events = store.read(last, BLOCK)?;
        let Some(end) = events.last() else { break };
        last = end.number;
        rows += events.len();
        let events = || events.iter().map(|stored| &stored.event);
        writer.write(&[
            Column::Text(events().map(|event| &event.user.0).collect()),
            Column::Text(events().map(|event| &event.item.0).collect()),
            Column::I64(events().map(|event| event.time.unwrap_or_default()).collect()),
            Column::F32(events().map(|event| event.weight.unwrap_or(1.0)).collect()),
        ])?;
    }
    writer.finish()?;
    if let Some(path) = &options.forgotten {
        let text: String = store.forgotten()?.iter().map(|user| format!("{user}\n")).collect();
        atomic_write::write(path, text.as_bytes())?;
    }
    screen.say(format!(
        "{rows} events in {}; continue the next export with --after {last}",
        out.display()
    ));
    if screen.json {
        screen.print(serde_json::json!({ "events": rows, "last": last }).to_string())?;
    }
    Ok(())
}
