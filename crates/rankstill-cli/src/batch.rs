//! Recommendations of an artefact for many users, in bounded memory: in one file, or in parts that several machines write at a time.

use crate::progress::{Screen, interrupted};
use crate::shards::{self, Shard};
use anyhow::{Context as _, Result, bail, ensure};
use rankstill::artefact::Loaded;
use rankstill::core::artefact::sha256;
use rankstill::core::atomic_write::Lock;
use rankstill::core::{ColdStart, ItemId, Lists, Packed, Query, Ranker as _, TopK, Trained};
use rankstill::core::{UserId, Vocab};
use rankstill::data::timelines::{LogColumns, Timelines};
use rankstill::data::{Column, ColumnKind, Log, TableWriter};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Users per block; with 100 items each, a block takes about 20 MB.
const BLOCK: usize = 8192;

/// Whom to recommend to.
pub enum Asked {
    /// Users of the artefact, by what it knows about them.
    Users(Vec<UserId>),
    /// Anybody, by a history alone; `ids` are for the table that is written.
    Histories {
        /// By number.
        ids: Vocab,
        /// By number: items of the artefact, oldest first.
        items: Lists<ItemId>,
    },
}

impl Asked {
    /// Every user of the artefact.
    #[must_use]
    pub fn everyone(loaded: &Loaded) -> Self {
        Self::Users((0..loaded.artefact.users.len() as UserId).collect())
    }

    /// Each user of a log, by the items that it has of them, oldest first. Items that the artefact does not know are passed over; the
    /// number of such rows is returned too.
    #[must_use]
    pub fn histories(log: Log, known: &Vocab) -> (Self, usize) {
        let (n_users, n_items) = (log.n_users(), log.n_items());
        let numbers: Vec<Option<ItemId>> = log.item_ids.iter().map(|id| known.get(&id)).collect();
        let Log { users, items, times, time_unit, user_ids, .. } = log;
        let columns = LogColumns { items, times, time_unit, ..LogColumns::default() };
        let lines = Timelines::group(n_users, n_items, users, columns);
        let known = |row: &usize| numbers[lines.items[*row] as usize];
        let items: Lists<ItemId> =
            (0..n_users).map(|user| lines.range(user).filter_map(|row| known(&row))).collect();
        let unknown = lines.len() - items.values().len();
        (Self::Histories { ids: user_ids, items }, unknown)
    }

    /// The number of lists that are asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Users(users) => users.len(),
            Self::Histories { items, .. } => items.len(),
        }
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids, and the numbers of these rows in them.
    fn ids<'a>(&'a self, loaded: &'a Loaded, rows: Range<usize>) -> (&'a Vocab, Vec<u32>) {
        match self {
            Self::Users(users) => (&loaded.artefact.users, users[rows].to_vec()),
            Self::Histories { ids, .. } => (ids, rows.map(|row| row as u32).collect()),
        }
    }

    fn query<'a>(&'a self, loaded: &'a Loaded, row: usize) -> Query<'a> {
        match self {
            Self::Users(users) => {
                let user = users[row];
                let history = loaded.artefact.history.history(user);
                Query { user: Some(user), history, hidden: &[] }
            }
            Self::Histories { items, .. } => {
                Query { user: None, history: items.row(row), hidden: &[] }
            }
        }
    }

    /// SHA-256 of the ids, in order, and of the histories, where they are asked by.
    fn hash(&self, loaded: &Loaded) -> String {
        let (ids, numbers) = self.ids(loaded, 0..self.len());
        let mut bytes = Vec::new();
        for (row, number) in numbers.into_iter().enumerate() {
            bytes.extend_from_slice(ids.id(number).as_bytes());
            bytes.push(b'\n');
            if let Self::Histories { items, .. } = self {
                items.row(row).iter().for_each(|item| bytes.extend(item.to_le_bytes()));
                bytes.push(b'\n');
            }
        }
        sha256(&bytes)
    }
}

/// A request for lists of many users.
pub struct Batch<'a> {
    /// Where the artefact is, for messages.
    pub artefact: &'a Path,
    /// The artefact.
    pub loaded: &'a Loaded,
    /// Whom to recommend to.
    pub asked: &'a Asked,
    /// Items per user.
    pub k: usize,
    /// Whether items of the history are recommended too.
    pub with_seen: bool,
}

/// The contents that all parts share.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Contents {
    /// SHA-256 of the artefact's manifest, which holds those of its files.
    artefact: String,
    /// That of [`Asked::hash`].
    users: String,
    parts: usize,
    k: usize,
    with_seen: bool,
}

impl Batch<'_> {
    /// Writes all lists to one file: .parquet, .tsv, .csv or .jsonl.
    ///
    /// # Errors
    /// When the model cannot answer, the user interrupts, another process writes the file, or the disk is full.
    pub fn write(&self, out: &Path, screen: &Screen) -> Result<()> {
        self.write_rows(0..self.asked.len(), out, screen)
    }

    /// Writes these parts, each to a file of its own next to `out`; a part that exists is kept. Returns their paths.
    ///
    /// # Errors
    /// As [`Batch::write`]; when there are parts of another model, of other users or with other options.
    pub fn write_parts(
        &self,
        shards: &[Shard],
        out: &Path,
        screen: &Screen,
    ) -> Result<Vec<PathBuf>> {
        let Some(parts) = shards.first().map(|shard| shard.of()) else { return Ok(Vec::new()) };
        let contents = Contents {
            artefact: sha256(&serde_json::to_vec(&self.loaded.artefact.manifest)?),
            users: self.asked.hash(self.loaded),
            parts,
            k: self.k,
            with_seen: self.with_seen,
        };
        shards::check_contents(out, &contents)?;
        let mut paths = Vec::new();
        for shard in shards {
            let path = shard.path(out)?;
            if path.exists() {
                screen.say(format!("{} already exists", path.display()));
            } else {
                self.write_rows(shard.rows(self.asked.len()), &path, screen)?;
            }
            paths.push(path);
        }
        Ok(paths)
    }

    fn write_rows(&self, rows: Range<usize>, out: &Path, screen: &Screen) -> Result<()> {
        let _lock = Lock::beside(out)?;
        let Self { loaded, asked, .. } = self;
        let item_ids = &loaded.artefact.items;
        let columns = [
            ("user_id", Column::kind_of_ids(asked.ids(loaded, 0..0).0)),
            ("item_id", Column::kind_of_ids(item_ids)),
            ("rank", ColumnKind::U32),
            ("score", ColumnKind::F32),
        ];
        let mut writer = TableWriter::create(out, &columns)?;
        let trained = Arc::new(Trained::on(&loaded.artefact.history));
        let packed = Packed::new(&*loaded.model);
        let ranker = ColdStart::new(&packed, trained);
        let top = TopK { k: self.k, skip_seen: !self.with_seen, allowed: None };
        let bar = screen.bar("recommending", rows.len() as u64);
        let (mut n, users) = (0, rows.len());
        for start in rows.clone().step_by(BLOCK) {
            let block = start..(start + BLOCK).min(rows.end);
            let queries: Vec<Query<'_>> =
                block.clone().map(|row| asked.query(loaded, row)).collect();
            let ranked = ranker.rank(&queries, &top)?;
            if let Some(score) = ranked.all_scores().iter().find(|score| !score.is_finite()) {
                bail!(
                    "{}: gives the score {score} to an item: the numbers of the model are too large; fit it again",
                    self.artefact.display()
                );
            }
            let lists = ranked.lists();
            let (mut listed_users, mut rank) = (Vec::new(), Vec::new());
            let (user_ids, numbers) = asked.ids(loaded, block.clone());
            for (list, user) in lists.iter().zip(numbers) {
                listed_users.resize(listed_users.len() + list.len(), user);
                rank.extend(1..=list.len() as u32);
            }
            n += listed_users.len();
            writer.write(&[
                Column::of_ids(user_ids, &listed_users),
                Column::of_ids(item_ids, lists.values()),
                Column::U32(rank),
                Column::F32(ranked.all_scores().to_vec()),
            ])?;
            bar.at((block.end - rows.start) as u64);
            if interrupted() {
                bail!("{} is unchanged", out.display());
            }
        }
        writer.finish()?;
        drop(bar);
        screen.say(format!("{n} recommendations for {users} users in {}", out.display()));
        Ok(())
    }
}

/// The users of `ids` that the artefact knows, in their order. `file`, from which they are, is for messages.
///
/// # Errors
/// When it knows none of them.
pub fn known_users(
    loaded: &Loaded,
    (artefact, file): (&Path, &Path),
    ids: &[&str],
    screen: &Screen,
) -> Result<Vec<UserId>> {
    let users = &loaded.artefact.users;
    let unknown: Vec<&&str> = ids.iter().filter(|id| users.get(id).is_none()).collect();
    if let Some(first) = unknown.first() {
        let said = format!(
            "{}: {} of {} ids are not among the {} users of {}, such as `{first}`",
            file.display(),
            unknown.len(),
            ids.len(),
            users.len(),
            artefact.display()
        );
        ensure!(unknown.len() < ids.len(), "{said}");
        screen.say(format!("{said}; they are passed over"));
    }
    Ok(ids.iter().filter_map(|id| users.get(id)).collect())
}

/// The user of this id.
///
/// # Errors
/// When the artefact does not know it.
pub fn known_user(loaded: &Loaded, artefact: &Path, id: &str) -> Result<UserId> {
    let users = &loaded.artefact.users;
    users.get(id).with_context(|| {
        format!("{}: user `{id}` is not among its {} users", artefact.display(), users.len())
    })
}
