//! `rankstill recommend`: an artefact's answers for many users, in batch and in bounded memory.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rankstill::data::{Column, Kind, TableWriter};
use rankstill::experiment::model;
use rankstill::progress::{Screen, interrupted};
use rankstill_core::{Query, TopK, UserId};
use std::path::PathBuf;

/// Users answered and written at a time: 100 items each are some 20 MB.
const BLOCK: usize = 8192;

#[derive(Args)]
pub struct Options {
    /// A folder that `run`, `train` or `distill` made.
    artefact: PathBuf,
    /// Where to write: .parquet, .tsv, .csv or .jsonl.
    #[arg(long)]
    out: PathBuf,
    /// Every user of the artefact.
    #[arg(long, conflicts_with_all = ["user", "users"])]
    all: bool,
    /// This user; may be given several times.
    #[arg(long, value_name = "ID")]
    user: Vec<String>,
    /// The users of this file, one id a line.
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// How many items each.
    #[arg(long, default_value_t = 10)]
    k: usize,
    /// Recommend what they know already, too.
    #[arg(long)]
    with_seen: bool,
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let loaded = model::read(&options.artefact)?;
    let (users, items) = (&loaded.artefact.users, &loaded.artefact.items);
    let asked = asked(options, &loaded)?;
    let columns = [
        ("user_id", Column::kind_of_ids(users)),
        ("item_id", Column::kind_of_ids(items)),
        ("rank", Kind::U32),
        ("score", Kind::F32),
    ];
    let mut writer = TableWriter::create(&options.out, &columns)?;
    let top = TopK { k: options.k, skip_seen: !options.with_seen, allowed: None };
    let bar = screen.bar("recommending", asked.len() as u64);
    let mut rows = 0;
    for (block, at) in asked.chunks(BLOCK).zip(1..) {
        let queries: Vec<Query<'_>> = block
            .iter()
            .map(|&user| Query {
                user: Some(user),
                history: loaded.artefact.history.history(user),
                hidden: &[],
            })
            .collect();
        let ranked = loaded.model.rank(&queries, &top)?;
        let lists = ranked.lists();
        let (mut who, mut rank) = (Vec::new(), Vec::new());
        for (list, &user) in lists.iter().zip(block) {
            who.resize(who.len() + list.len(), user);
            rank.extend(1..=list.len() as u32);
        }
        rows += who.len();
        writer.write(&[
            Column::of_ids(users, &who),
            Column::of_ids(items, lists.values()),
            Column::U32(rank),
            Column::F32(ranked.all_scores().to_vec()),
        ])?;
        bar.at((at * BLOCK).min(asked.len()) as u64);
        if interrupted() {
            bail!("{} is left as it was", options.out.display());
        }
    }
    writer.finish()?;
    drop(bar);
    screen.say(format!(
        "{rows} recommendations for {} users in {}",
        asked.len(),
        options.out.display()
    ));
    Ok(())
}

fn asked(options: &Options, loaded: &model::Loaded) -> Result<Vec<UserId>> {
    let users = &loaded.artefact.users;
    if options.all {
        return Ok((0..users.len() as UserId).collect());
    }
    let mut ids = options.user.clone();
    if let Some(path) = &options.users {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        ids.extend(text.lines().map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned));
    }
    if ids.is_empty() {
        bail!("nobody to recommend to: give --all, --user ID or --users FILE");
    }
    ids.iter()
        .map(|id| {
            let path = options.artefact.display();
            users
                .get(id)
                .with_context(|| format!("{path}: no user `{id}` among its {}", users.len()))
        })
        .collect()
}
