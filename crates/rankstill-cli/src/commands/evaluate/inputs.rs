//! What `evaluate` reads: test interactions with their grades, interactions seen before, and rankings.

use super::Options;
use crate::experiment::data::is_prepared;
use crate::reading::{Reading, hinted};
use anyhow::{Result, ensure};
use rankstill::core::{Case, ItemId, Rankings, UserId, Vocab};
use rankstill::data::dataset::Dataset;
use rankstill::data::rankings::{RankingRows, RankingsFile, read_graded_log, read_pair_log};
use rankstill::data::{Log, LogFile, Understood};
use std::path::{Path, PathBuf};

/// All inputs, in the numbers of one catalogue: that of all files, the test part first.
pub struct Inputs {
    /// The users of all files.
    pub users: Vocab,
    /// The items of all files.
    pub items: Vocab,
    /// Users with a target, ascending.
    pub tested: Vec<UserId>,
    /// By user: the targets, in the order of the test part.
    pub targets: Vec<Vec<ItemId>>,
    /// Parallel to `targets`, if the test part has weights.
    pub grades: Option<Vec<Vec<f32>>>,
    /// By user: items seen before, sorted.
    pub seen: Vec<Vec<ItemId>>,
    /// By item: number of rows in which it was seen.
    pub popularity: Vec<u32>,
    /// The rankings as they are in the file.
    pub rankings: RankingsFile,
    /// Which users and items the files hold.
    pub held: Held,
    /// Rows of the test part with a grade of 0 or below.
    pub not_relevant: usize,
    /// Users of the test part whose rows all have such a grade, and who are not measured.
    pub without_target: usize,
    /// Whether the test part is that of a prepared folder, where all rows are targets.
    pub prepared: bool,
    /// How each file was read.
    pub understood: Vec<(PathBuf, Understood)>,
}

/// By number: whether a file holds the user or the item.
pub struct Held {
    pub test_users: Vec<bool>,
    pub ranked_users: Vec<bool>,
    pub seen_users: Vec<bool>,
    pub target_items: Vec<bool>,
    pub ranked_items: Vec<bool>,
    pub seen_items: Vec<bool>,
}

impl Inputs {
    pub fn read(options: &Options) -> Result<Self> {
        let roles = ["test", "seen", "rankings"];
        let reading = Reading::parse(options.format.as_deref(), &options.set, &roles)?;
        ensure!(
            !reading.names("seen") || !options.seen.is_empty(),
            "--set seen: there is no --seen file to read"
        );
        let (for_seen, for_rankings) = (reading.of("seen")?, reading.of("rankings")?);
        let (mut logs, mut understood) = (Vec::new(), Vec::new());
        let mut keep = |path: &Path, how: Option<Understood>| {
            understood.extend(how.map(|how| (path.to_path_buf(), how)));
        };
        for path in &options.seen {
            let LogFile { log, understood } =
                hinted(read_pair_log(path, &for_seen), "--set seen.")?;
            keep(path, understood);
            logs.push(log);
        }
        let prepared = is_prepared(&options.test);
        let test = if prepared {
            ensure!(
                !reading.names("test"),
                "--set test: {} is a prepared folder, which is read as it is",
                options.test.display()
            );
            let data = Dataset::open(&options.test)?;
            let seen = log_of(&data, |case| [case.query.history, case.query.hidden].concat());
            logs.push(seen);
            let weights = data.split.test_weights().map(|weights| weights.values().to_vec());
            Log { weights, ..log_of(&data, |case| case.targets.to_vec()) }
        } else {
            let read = read_graded_log(&options.test, &reading.of("test")?);
            let LogFile { log, understood } = hinted(read, "--set test.")?;
            keep(&options.test, understood);
            log
        };
        ensure!(!test.is_empty(), "{}: holds no interactions", options.test.display());

        let (mut users, mut items) = (test.user_ids.clone(), test.item_ids.clone());
        let read = RankingRows::read(&options.rankings, &for_rankings);
        let rows = hinted(read, "--set rankings.")?;
        keep(&options.rankings, rows.understood.clone());
        let ranked = (rows.user_ids.clone(), rows.item_ids.clone());
        for (user_ids, item_ids) in
            logs.iter().map(|log| (&log.user_ids, &log.item_ids)).chain([(&ranked.0, &ranked.1)])
        {
            user_ids.iter().for_each(|id| _ = users.intern(&id));
            item_ids.iter().for_each(|id| _ = items.intern(&id));
        }
        let rankings = hinted(rows.into_rankings(&users, &items), "--set rankings.")?;

        let none = || (vec![false; users.len()], vec![false; items.len()]);
        let ((test_users, target_items), (ranked_users, ranked_items), (seen_users, seen_items)) =
            (none(), none(), none());
        let mut held =
            Held { test_users, ranked_users, seen_users, target_items, ranked_items, seen_items };
        ranked
            .0
            .iter()
            .filter_map(|id| users.get(&id))
            .for_each(|n| held.ranked_users[n as usize] = true);
        ranked
            .1
            .iter()
            .filter_map(|id| items.get(&id))
            .for_each(|n| held.ranked_items[n as usize] = true);
        let mut seen: Vec<Vec<ItemId>> = vec![Vec::new(); users.len()];
        let mut popularity = vec![0u32; items.len()];
        for log in &logs {
            each(log, &users, &items, |_, user, item| {
                seen[user].push(item);
                popularity[item as usize] += 1;
                held.seen_users[user] = true;
                held.seen_items[item as usize] = true;
            });
        }
        seen.iter_mut().for_each(|items| items.sort_unstable());

        let mut targets: Vec<Vec<ItemId>> = vec![Vec::new(); users.len()];
        let mut grades = test.weights.as_ref().map(|_| vec![Vec::new(); users.len()]);
        let mut not_relevant = 0;
        each(&test, &users, &items, |row, user, item| {
            held.test_users[user] = true;
            let grade = test.weights.as_ref().map(|weights| weights[row]);
            not_relevant += usize::from(grade.is_some_and(|grade| grade <= 0.0));
            if grade.is_none_or(|grade| grade > 0.0) || prepared {
                held.target_items[item as usize] = true;
                targets[user].push(item);
                if let (Some(grades), Some(grade)) = (&mut grades, grade) {
                    grades[user].push(grade.max(0.0));
                }
            }
        });
        let tested: Vec<UserId> = (0..test.n_users() as UserId)
            .filter(|&user| !targets[user as usize].is_empty())
            .collect();
        ensure!(
            !tested.is_empty(),
            "{}: none of its {not_relevant} rows is relevant; expected at least one with a grade above 0",
            options.test.display()
        );
        let with_rows = held.test_users.iter().filter(|&&has| has).count();
        let without_target = with_rows - tested.len();
        Ok(Self {
            users,
            items,
            tested,
            targets,
            grades,
            seen,
            popularity,
            rankings,
            held,
            not_relevant,
            without_target,
            prepared,
            understood,
        })
    }

    /// The rankings of the tested users without the items that each had seen, and how many were removed.
    pub fn unseen_rankings(&self) -> (Rankings, usize) {
        let ranked = self.rankings.aligned(&self.tested);
        let mut out = Rankings::default();
        let mut removed = 0;
        for (row, &user) in self.tested.iter().enumerate() {
            let seen = &self.seen[user as usize];
            let (items, scores) = (ranked.items(row), ranked.scores(row));
            let both = items.iter().copied().zip(scores.iter().copied());
            let kept: Vec<_> = both.filter(|(item, _)| seen.binary_search(item).is_err()).collect();
            removed += items.len() - kept.len();
            out.push(kept);
        }
        (out, removed)
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

/// Calls `take` with each row of a log: its number, and its user and item in the numbers of other vocabularies.
fn each(log: &Log, users: &Vocab, items: &Vocab, mut take: impl FnMut(usize, usize, ItemId)) {
    let renumbered = |from: &Vocab, to: &Vocab| -> Vec<Option<u32>> {
        from.iter().map(|id| to.get(&id)).collect()
    };
    let (users, items) = (renumbered(&log.user_ids, users), renumbered(&log.item_ids, items));
    for (row, (&user, &item)) in log.users.iter().zip(&log.items).enumerate() {
        if let (Some(user), Some(item)) = (users[user as usize], items[item as usize]) {
            take(row, user as usize, item);
        }
    }
}
