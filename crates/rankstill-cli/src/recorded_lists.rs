//! What a teacher says about every user of a data set, recorded once in a folder: as one part, or in parts that several processes or
//! machines write at a time.
//!
//! The parts `said-00001-of-00008.lists` and so on have the format of [`rankstill::core::answers`], in which all rows are equally long; row
//! *u* of all parts, one after the other, is the list of user *u*. `said.lists.parts.json` says what they are of. They are read where they
//! lie, and mapped.

use crate::progress::{Screen, interrupted};
use crate::shards::{self, Shard};
use anyhow::{Result, bail, ensure};
use rankstill::core::answers::{AnswersFile, AnswersHeader};
use rankstill::core::atomic_write::create_folders;
use rankstill::core::{Answers, Error, Interactions, Query, Ranker, TopK, UserId};
use rankstill::distill::{Recorded, trace};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The name of the whole, from which those of the parts are made.
const NAME: &str = "said.lists";

/// What is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The name of the teacher.
    pub teacher: String,
    /// SHA-256 of the content of the data set, as in its manifest.
    pub data: String,
    /// Rows.
    pub users: usize,
    /// Items of a list.
    pub k: usize,
    /// Whether items of the users' histories are listed too.
    pub with_seen: bool,
    /// The number of parts.
    pub parts: usize,
}

impl Said {
    fn header(&self, shard: Shard) -> Result<AnswersHeader> {
        let hash = self.data.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let Some(hash) = hash else { bail!("{}: is no hash of a data set", self.data) };
        let Ok(length) = u32::try_from(self.k) else { bail!("k: {} is too long", self.k) };
        let asked = 2 * u64::from(length) + u64::from(self.with_seen);
        Ok(AnswersHeader {
            length,
            queries: shard.rows(self.users).len() as u64,
            questions: hash ^ asked.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            deviations: false,
        })
    }
}

/// Records one part of the lists of `teacher` about the users of `train` in `folder`, and returns its path. A part that is there already is
/// kept. Two processes may record the same part: the bytes are the same, and it appears complete or not at all.
///
/// # Errors
/// When the teacher cannot answer, the folder has lists of another teacher, of other data or in another number of parts, the user
/// interrupts, or the disk is full.
pub fn record(
    said: &Said,
    teacher: &dyn Ranker,
    train: &Interactions,
    folder: &Path,
    shard: Shard,
    screen: &Screen,
) -> Result<PathBuf> {
    let header = said.header(shard)?;
    create_folders(folder).map_err(Error::io(folder))?;
    let out = folder.join(NAME);
    shards::check_contents(&out, said)?;
    let (path, rows) = (shard.path(&out)?, shard.rows(said.users));
    if header.rows_in(&path) == header.queries && path.exists() {
        screen.say(format!("{} already exists", path.display()));
        return Ok(path);
    }
    let top = TopK { k: said.k, skip_seen: !said.with_seen, allowed: None };
    let bar = screen.bar("recording", header.queries);
    header.write_part(&path, rows.start as u64, |write| {
        for start in rows.clone().step_by(trace::BLOCK) {
            let block = start..(start + trace::BLOCK).min(rows.end);
            let query = |user: usize| {
                let user = user as UserId;
                Query { user: Some(user), history: train.history(user), hidden: &[] }
            };
            let queries: Vec<Query<'_>> = block.clone().map(query).collect();
            let answers = teacher.rank(&queries, &top)?;
            trace::check(&said.teacher, &answers, &queries, top.k, train.n_items())?;
            write(&answers.into())?;
            bar.at((block.end - rows.start) as u64);
            if interrupted() {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    })?;
    drop(bar);
    screen.say(format!("{} lists of `{}` in {}", rows.len(), said.teacher, path.display()));
    Ok(path)
}

/// What was recorded in `folder`.
///
/// # Errors
/// When there is nothing, or its description is damaged.
pub fn about(folder: &Path) -> Result<Said> {
    shards::contents_of(&folder.join(NAME))
}

/// Reads back what was recorded in `folder` about the users of these data, which have this hash of their content, so many users and so many
/// items.
///
/// # Errors
/// When there is nothing, a part is missing, there twice or damaged, or the lists are of other data.
pub fn read(folder: &Path, data: &str, n_users: usize, n_items: usize) -> Result<(Said, Recorded)> {
    let (out, shown) = (folder.join(NAME), folder.display());
    let said = about(folder)?;
    ensure!(
        said.data == data && said.users == n_users,
        "{shown}: the lists of `{}` were recorded for other data; record them again for these",
        said.teacher
    );
    let all = Shard::all(said.parts)?;
    let paths = all.iter().map(|shard| shard.path(&out)).collect::<Result<Vec<_>>>()?;
    let missing: Vec<String> = all
        .iter()
        .zip(&paths)
        .filter(|(_, path)| !path.exists())
        .map(|(shard, _)| shard.number().to_string())
        .collect();
    ensure!(
        missing.is_empty(),
        "{shown}: of {} parts these are missing: {}; record them, as shard=(I, {})",
        said.parts,
        shortened(&missing),
        said.parts
    );
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let is_part = path.extension().is_some_and(|ending| ending == "lists");
        ensure!(
            !is_part || paths.contains(&path),
            "{}: is none of the {} parts that are recorded here, so that users may be there twice; remove it",
            path.display(),
            said.parts
        );
    }
    let mut parts = Vec::new();
    for (shard, path) in all.into_iter().zip(&paths) {
        let header = said.header(shard)?;
        let first = shard.rows(said.users).start as u64;
        let opened = AnswersFile::open_part(path, first, n_items);
        let file = match opened {
            Ok(file) if *file.header() == header => file,
            Ok(_) => bail!(
                "{}: is of another recording; remove it, and record this part again",
                path.display()
            ),
            Err(error) => bail!(
                "{error}: it is damaged, or another part under this name; remove it, and record this part again"
            ),
        };
        parts.push(Answers::of_file(file));
    }
    Ok((said, Recorded::of_parts(n_items, parts)?))
}

fn shortened(names: &[String]) -> String {
    match names.len() {
        ..=8 => names.join(", "),
        n => format!("{}, ... ({n} in all)", names[..8].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill::core::{Lists, Rankings};
    use std::fs;

    /// Ranks items in an order that depends on the user.
    struct Turning;
    impl Ranker for Turning {
        fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> rankstill::core::Result<Rankings> {
            let mut rankings = Rankings::default();
            for query in queries {
                let user = query.user.unwrap();
                let listed = (0..40u32).map(|at| ((user + at) % 50, 1.0 / (at + 1) as f32));
                let new = |item: &u32| !top.skip_seen || !query.history.contains(item);
                rankings.push(listed.filter(|(item, _)| new(item)).take(top.k));
            }
            Ok(rankings)
        }
    }

    const HASH: &str = "0123456789abcdef0123456789abcdef";

    fn train() -> Interactions {
        let lines = (0..9000u32).map(|user| vec![user % 50]);
        Interactions::new(50, Lists::from_iter(lines), None, None).unwrap()
    }

    fn said(parts: usize) -> Said {
        let (teacher, data) = ("turning".into(), HASH.into());
        Said { teacher, data, users: 9000, k: 4, with_seen: false, parts }
    }

    fn recorded(folder: &Path, i: usize, parts: usize) -> Result<PathBuf> {
        let (train, shard) = (train(), Shard::new(i, parts)?);
        record(&said(parts), &Turning, &train, folder, shard, &Screen::silent())
    }

    #[test]
    fn parts_say_what_the_whole_says() {
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        recorded(whole.path(), 1, 1).unwrap();
        let paths = [3, 1, 2].map(|i| recorded(parts.path(), i, 3).unwrap());
        let train = train();
        let queries: Vec<Query<'_>> = (0..9000)
            .map(|user| Query { user: Some(user), history: train.history(user), hidden: &[] })
            .collect();
        let top = TopK::unseen(4);
        let expected = Turning.rank(&queries, &top).unwrap();
        for folder in [&whole, &parts] {
            let (found, lists) = read(folder.path(), HASH, 9000, 50).unwrap();
            assert_eq!((found.teacher.as_str(), found.k), ("turning", 4));
            assert_eq!(lists.rank(&queries, &top).unwrap(), expected);
        }
        let bytes = |path: &Path| fs::read(path).unwrap();
        let one = bytes(&whole.path().join("said-00001-of-00001.lists"));
        let [third, first, second] = &paths;
        let rows = [first, second, third].map(|path| bytes(path)[32..].to_vec()).concat();
        assert_eq!(one[32..], rows, "parts join by concatenation");
    }

    #[test]
    fn missing_doubled_and_foreign_parts_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let problem = || format!("{:#}", read(folder.path(), HASH, 9000, 50).unwrap_err());
        assert!(problem().contains("said.lists.parts.json"), "{}", problem());
        let second = recorded(folder.path(), 2, 3).unwrap();
        assert!(problem().contains("of 3 parts these are missing: 1, 3"), "{}", problem());
        recorded(folder.path(), 1, 3).unwrap();
        let third = second.with_file_name("said-00003-of-00003.lists");
        fs::copy(&second, &third).unwrap();
        assert!(problem().contains("another part under this name"), "{}", problem());
        fs::remove_file(&third).unwrap();
        recorded(folder.path(), 3, 3).unwrap();
        read(folder.path(), HASH, 9000, 50).unwrap();
        let again = second.with_file_name("said-00002-of-00004.lists");
        fs::copy(&second, &again).unwrap();
        assert!(problem().contains("users may be there twice"), "{}", problem());
        fs::remove_file(&again).unwrap();
        let other = format!("{:#}", read(folder.path(), "ff", 9000, 50).unwrap_err());
        assert!(other.contains("recorded for other data"), "{other}");
        let mixed = format!("{:#}", recorded(folder.path(), 1, 4).unwrap_err());
        assert!(mixed.contains("the parts next to it have another model"), "{mixed}");
    }
}
