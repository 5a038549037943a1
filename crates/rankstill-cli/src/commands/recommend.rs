//! `rankstill recommend`: recommendations of an artefact for many users, in bounded memory.

use crate::progress::{Screen, interrupted};
use crate::sealed;
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use rankstill::artefact;
use rankstill::core::artefact::sha256;
use rankstill::core::atomic_write::{self, Lock};
use rankstill::core::{ColdStart, Error, Packed, Query, Ranker as _, TopK, Trained, UserId};
use rankstill::data::{Column, ColumnKind, TableWriter};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Users per block; with 100 items each, a block takes about 20 MB.
const BLOCK: usize = 8192;

#[derive(Args)]
pub struct Options {
    /// An artefact made by `run`, `train` or `distill`.
    artefact: PathBuf,
    /// The file to write: .parquet, .tsv, .csv or .jsonl.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Recommend to every user of the artefact.
    #[arg(long, conflicts_with_all = ["user", "users"])]
    all: bool,
    /// Recommend to this user. Repeatable.
    #[arg(long, value_name = "ID")]
    user: Vec<String>,
    /// Recommend to the users in this file, one id per line. Ids that the artefact does not know are counted and passed over.
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Items per user.
    #[arg(long, default_value_t = 10)]
    k: usize,
    /// Also recommend items that the user has already seen.
    #[arg(long)]
    with_seen: bool,
    /// Write only part I of N, such as 3/8, to a file next to `--out`. Several machines can write parts at the same time; an
    /// existing part is kept.
    #[arg(long, value_name = "I/N", value_parser = part, conflicts_with = "shards")]
    shard: Option<(usize, usize)>,
    /// Write all users in N parts. After an interruption, the same command writes the missing parts.
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
    let loaded = artefact::load(&options.artefact)?;
    let users = requested_users(options, &loaded, screen)?;
    if let Some(file) = &options.users {
        let same = |path: &Path| path.canonicalize().ok();
        ensure!(
            same(file) != same(&options.out),
            "--out {}: is the file of --users, which would be lost; name another file",
            options.out.display()
        );
    }
    let (parts, n) = match (options.shard, options.shards) {
        (Some((i, n)), _) => (i..=i, n),
        (_, Some(n)) => (1..=n as usize, n as usize),
        _ => return write(options, &loaded, &users, &options.out, screen),
    };
    let contents = PartsManifest::of(options, &loaded, &users, n)?;
    contents.check(&options.out)?;
    for i in parts {
        let path = part_of(&options.out, i, n)?;
        if path.exists() {
            screen.say(format!("{} already exists", path.display()));
            continue;
        }
        // Parts differ by one user at most, and depend on nothing but the users and N.
        let part = &users[(i - 1) * users.len() / n..i * users.len() / n];
        write(options, &loaded, part, &path, screen)?;
    }
    Ok(())
}

/// The contents that all parts share. Kept next to them, so that parts of different models or options are never mixed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct PartsManifest {
    /// SHA-256 of the artefact's manifest, which holds those of its files.
    artefact: String,
    /// SHA-256 of the users' ids, in order.
    users: String,
    parts: usize,
    k: usize,
    with_seen: bool,
}

impl PartsManifest {
    fn of(
        options: &Options,
        loaded: &artefact::Loaded,
        users: &[UserId],
        parts: usize,
    ) -> Result<Self> {
        let manifest = serde_json::to_vec(&loaded.artefact.manifest)?;
        let ids = users.iter().flat_map(|&user| {
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

    /// Writes the manifest if there is none; otherwise compares with it. Of two processes that begin at one moment, the second one
    /// finds the manifest of the first.
    fn check(&self, out: &Path) -> Result<()> {
        let mut name = out.as_os_str().to_owned();
        name.push(".parts.json");
        let path = PathBuf::from(name);
        let _lock = waiting_for(&path)?;
        if !path.exists() {
            let text = sealed::line(serde_json::to_value(self)?) + "\n";
            return Ok(atomic_write::write(path, text.as_bytes())?);
        }
        let way_on = "remove it together with the parts next to it, or choose another --out";
        let known = serde_json::from_value(sealed::read_file(&path, way_on)?);
        let known: Self = known.with_context(|| format!("{}: {way_on}", path.display()))?;
        ensure!(
            known == *self,
            "{}: the parts next to it have another model, other users or other options; {way_on}",
            path.display()
        );
        Ok(())
    }
}

/// The lock on a file that is written in a moment.
fn waiting_for(path: &Path) -> Result<Lock> {
    for _ in 0..100 {
        match Lock::beside(path) {
            Ok(lock) => return Ok(lock),
            Err(Error::File { .. }) => std::thread::sleep(Duration::from_millis(20)),
            Err(other) => return Err(other.into()),
        }
    }
    Ok(Lock::beside(path)?)
}

/// `lists.parquet` becomes `lists-00003-of-00008.parquet`.
fn part_of(out: &Path, i: usize, n: usize) -> Result<PathBuf> {
    let stem = out.file_stem().with_context(|| format!("{}: is not a file name", out.display()))?;
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
    loaded: &artefact::Loaded,
    users: &[UserId],
    out: &Path,
    screen: &Screen,
) -> Result<()> {
    let _lock = Lock::beside(out)?;
    let (user_ids, item_ids) = (&loaded.artefact.users, &loaded.artefact.items);
    let columns = [
        ("user_id", Column::kind_of_ids(user_ids)),
        ("item_id", Column::kind_of_ids(item_ids)),
        ("rank", ColumnKind::U32),
        ("score", ColumnKind::F32),
    ];
    let mut writer = TableWriter::create(out, &columns)?;
    let trained = Arc::new(Trained::on(&loaded.artefact.history));
    let packed = Packed::new(&*loaded.model);
    let ranker = ColdStart::new(&packed, trained);
    let top = TopK { k: options.k, skip_seen: !options.with_seen, allowed: None };
    let bar = screen.bar("recommending", users.len() as u64);
    let mut rows = 0;
    for (block, at) in users.chunks(BLOCK).zip(1..) {
        let queries: Vec<Query<'_>> = block
            .iter()
            .map(|&user| Query {
                user: Some(user),
                history: loaded.artefact.history.history(user),
                hidden: &[],
            })
            .collect();
        let ranked = ranker.rank(&queries, &top)?;
        if let Some(score) = ranked.all_scores().iter().find(|score| !score.is_finite()) {
            bail!(
                "{}: gives the score {score} to an item: the numbers of the model are too large; fit it again",
                options.artefact.display()
            );
        }
        let lists = ranked.lists();
        let (mut listed_users, mut rank) = (Vec::new(), Vec::new());
        for (list, &user) in lists.iter().zip(block) {
            listed_users.resize(listed_users.len() + list.len(), user);
            rank.extend(1..=list.len() as u32);
        }
        rows += listed_users.len();
        writer.write(&[
            Column::of_ids(user_ids, &listed_users),
            Column::of_ids(item_ids, lists.values()),
            Column::U32(rank),
            Column::F32(ranked.all_scores().to_vec()),
        ])?;
        bar.at((at * BLOCK).min(users.len()) as u64);
        if interrupted() {
            bail!("{} is unchanged", out.display());
        }
    }
    writer.finish()?;
    drop(bar);
    screen.say(format!("{rows} recommendations for {} users in {}", users.len(), out.display()));
    Ok(())
}

fn requested_users(
    options: &Options,
    loaded: &artefact::Loaded,
    screen: &Screen,
) -> Result<Vec<UserId>> {
    let users = &loaded.artefact.users;
    if options.all {
        return Ok((0..users.len() as UserId).collect());
    }
    let path = options.artefact.display();
    let known = |id: &String| {
        users
            .get(id)
            .with_context(|| format!("{path}: user `{id}` is not among its {} users", users.len()))
    };
    let mut found = options.user.iter().map(known).collect::<Result<Vec<_>>>()?;
    if let Some(file) = &options.users {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let text = text.trim_start_matches('\u{feff}'); // a byte order mark is no part of an id
        let ids: Vec<&str> = text.lines().map(str::trim).filter(|id| !id.is_empty()).collect();
        let unknown: Vec<&&str> = ids.iter().filter(|id| users.get(id).is_none()).collect();
        if let Some(first) = unknown.first() {
            let file = file.display();
            let said = format!(
                "{file}: {} of {} ids are not among the {} users of {path}, such as `{first}`",
                unknown.len(),
                ids.len(),
                users.len()
            );
            ensure!(unknown.len() < ids.len(), "{said}");
            screen.say(format!("{said}; they are passed over"));
        }
        found.extend(ids.iter().filter_map(|id| users.get(id)));
    }
    if found.is_empty() {
        bail!("no users: give --all, --user ID or --users FILE");
    }
    Ok(found)
}
