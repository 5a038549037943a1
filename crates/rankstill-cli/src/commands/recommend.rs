//! `rankstill recommend`: an artefact's answers for many users, in batch and in bounded memory.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rankstill::core::artefact::sha256;
use rankstill::core::{Packed, Query, Ranker as _, TopK, UserId, atomic_write};
use rankstill::data::{Column, ColumnKind, TableWriter};
use rankstill_cli::experiment::model;
use rankstill_cli::progress::{Screen, interrupted};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

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
    /// Write this part of the users alone, such as 3/8: to a file of its own beside `--out`. Parts can be written by several
    /// machines; one that is there already is left as it is.
    #[arg(long, value_name = "I/N", value_parser = part, conflicts_with = "shards")]
    shard: Option<(usize, usize)>,
    /// Write all users in so many parts; given again after an interruption, it goes on with those that are missing.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    shards: Option<u32>,
}

fn part(text: &str) -> Result<(usize, usize), String> {
    let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match numbers {
        Some((i, n)) if (1..=n).contains(&i) && n <= 100_000 => Ok((i, n)),
        _ => Err(format!("`{text}`: expected I/N with 1 <= I <= N, such as 3/8")),
    }
}

pub fn run(options: &Options, screen: &Screen) -> Result<()> {
    let loaded = model::read(&options.artefact)?;
    let asked = asked(options, &loaded)?;
    let (parts, n) = match (options.shard, options.shards) {
        (Some((i, n)), _) => (i..=i, n),
        (_, Some(n)) => (1..=n as usize, n as usize),
        _ => return write(options, &loaded, &asked, &options.out, screen),
    };
    let about = About::of(options, &loaded, &asked, n)?;
    about.check(&options.out)?;
    for i in parts {
        let path = part_of(&options.out, i, n)?;
        if path.exists() {
            screen.say(format!("{} is there already", path.display()));
            continue;
        }
        // As evenly as can be, and the same users in the same part whoever writes it.
        let users = &asked[(i - 1) * asked.len() / n..i * asked.len() / n];
        write(options, &loaded, users, &path, screen)?;
    }
    Ok(())
}

/// What all parts have in common: kept beside them, so that parts of another model or of other options are never mixed in.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct About {
    /// The SHA-256 of the artefact's manifest, which holds those of its files.
    artefact: String,
    /// The SHA-256 of the users' ids, in order.
    users: String,
    parts: usize,
    k: usize,
    with_seen: bool,
}

impl About {
    fn of(
        options: &Options,
        loaded: &model::Loaded,
        asked: &[UserId],
        parts: usize,
    ) -> Result<Self> {
        let manifest = serde_json::to_vec(&loaded.artefact.manifest)?;
        let ids = asked.iter().flat_map(|&user| {
            let id = loaded.artefact.users.id(user).into_owned();
            id.into_bytes().into_iter().chain([b'\n'])
        });
        Ok(Self {
            artefact: sha256(&manifest),
            users: sha256(&ids.collect::<Vec<u8>>()),
            parts,
            k: options.k,
            with_seen: options.with_seen,
        })
    }

    /// Writes itself where nothing is, and compares itself with what is there.
    fn check(&self, out: &Path) -> Result<()> {
        let mut name = out.as_os_str().to_owned();
        name.push(".parts.json");
        let path = PathBuf::from(name);
        let Ok(text) = std::fs::read_to_string(&path) else {
            let text = serde_json::to_string_pretty(self)? + "\n";
            return Ok(atomic_write::write(path, text.as_bytes())?);
        };
        let known: Self =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        if known != *self {
            bail!(
                "{}: the parts beside it are of another model, other users or other options; remove them or name another --out",
                path.display()
            );
        }
        Ok(())
    }
}

/// `lists.parquet` becomes `lists-00003-of-00008.parquet`.
fn part_of(out: &Path, i: usize, n: usize) -> Result<PathBuf> {
    let stem =
        out.file_stem().with_context(|| format!("{}: is not a file's name", out.display()))?;
    let mut name = stem.to_owned();
    name.push(format!("-{i:05}-of-{n:05}"));
    if let Some(ending) = out.extension() {
        name.push(".");
        name.push(ending);
    }
    Ok(out.with_file_name(name))
}

fn write(
    options: &Options,
    loaded: &model::Loaded,
    asked: &[UserId],
    out: &Path,
    screen: &Screen,
) -> Result<()> {
    let (users, items) = (&loaded.artefact.users, &loaded.artefact.items);
    let columns = [
        ("user_id", Column::kind_of_ids(users)),
        ("item_id", Column::kind_of_ids(items)),
        ("rank", ColumnKind::U32),
        ("score", ColumnKind::F32),
    ];
    let mut writer = TableWriter::create(out, &columns)?;
    let packed = Packed::new(&*loaded.model);
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
        let ranked = packed.rank(&queries, &top)?;
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
            bail!("{} is left as it was", out.display());
        }
    }
    writer.finish()?;
    drop(bar);
    screen.say(format!("{rows} recommendations for {} users in {}", asked.len(), out.display()));
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
