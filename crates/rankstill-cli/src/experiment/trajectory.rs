//! The states of a teacher's training, as the lists that it gave for every user then.
//!
//! While a teacher trains, `trajectory/epoch-N.lists` takes what it says at each look. Which looks become the states is known
//! at the end: then `state-0.lists`, `state-1.lists`, .. are written, each item with the standard deviation of its rank over
//! the last looks, `states.json` says which epochs they are, and the looks go. All are [`rankstill::core::answers`] on disk, and are read
//! where they lie: neither the states of many teachers nor the looks around one need to fit into memory.

use super::spec::{SpacedBy, TrajectorySpec};
use anyhow::{Context as _, Result, ensure};
use rankstill::core::answers::{AnswersFile, AnswersHeader};
use rankstill::core::{
    Answers, Cases, EpochReport, Interactions, ItemId, Model, Packed, Query, Ranker as _, Rankings,
    Recipe, TopK, Trace, atomic_write,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Keeps what a teacher says while it trains.
pub struct Recorder<'a> {
    spec: &'a TrajectorySpec,
    /// Length of the lists.
    k: usize,
    every: usize,
    users: Cases,
    /// The model's.
    model: PathBuf,
    folder: PathBuf,
    header: AnswersHeader,
}

/// `states.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct States {
    /// Epochs done, each state.
    epochs: Vec<usize>,
    /// The validation value then; none where there are no validation data.
    valid: Vec<Option<f64>>,
    /// Length of the lists.
    k: usize,
    /// Of the questions.
    users: u64,
}

impl<'a> Recorder<'a> {
    /// Of a model that is kept in `folder`: lists of `k` items.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(
        spec: &'a TrajectorySpec,
        k: usize,
        recipe: &dyn Recipe,
        train: &Interactions,
        folder: &Path,
    ) -> Result<Self> {
        let users = Cases::per_user(train);
        let header = header(&users, k);
        let often = recipe.training_plan().map_or(1, |plan| plan.validate_every);
        let every = if spec.every == 0 { often } else { spec.every }.max(1);
        let model = folder.to_owned();
        let folder = folder.join(FOLDER);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { spec, k, every, users, model, folder, header })
    }

    /// After an epoch; what it gives goes into the epoch's line.
    ///
    /// # Errors
    /// When the disk is full, or `valid` fails.
    pub fn look(
        &self,
        report: &EpochReport,
        model: &dyn Model,
        valid: &dyn Fn(&dyn Model) -> rankstill::core::Result<f64>,
    ) -> rankstill::core::Result<Map<String, Value>> {
        let epochs = report.epoch + 1;
        let due = epochs.is_multiple_of(self.every) || epochs == report.epochs;
        if !due && !report.best {
            return Ok(Map::new());
        }
        self.keep(epochs, model)?;
        let valid = match report.valid {
            None if self.spec.spaced_by == SpacedBy::Quality => Some(valid(model)?),
            known => known,
        };
        Ok(Map::from_iter([(LOOK.to_owned(), json!({"epochs": epochs, "valid": valid}))]))
    }

    fn keep(&self, epochs: usize, model: &dyn Model) -> rankstill::core::Result<()> {
        let queries = self.users.distinct_queries();
        let said = Packed::new(model).rank(&queries, &TopK::unseen(self.k))?;
        self.header.write(&self.at(epochs), &said.into())
    }

    /// Makes the states; `model` is the last.
    ///
    /// # Errors
    /// When the disk is full, or what was kept is gone.
    pub fn finish(self, model: &dyn Model) -> Result<()> {
        if !self.folder.join(STATES).exists() {
            self.make_states(model)?;
        }
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("epoch-")) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn make_states(&self, model: &dyn Model) -> Result<()> {
        let mut looks = self.looks()?;
        if looks.is_empty() {
            // Counted, not trained: there is one state.
            self.keep(0, model)?;
            looks.push(Look { epochs: 0, valid: None });
        }
        let chosen = choose(self.spec, &looks);
        let header = AnswersHeader { deviations: true, ..self.header.clone() };
        for (state, &at) in chosen.iter().enumerate() {
            let first = (at + 1).saturating_sub(self.spec.neighbours);
            let near = looks[first..=at]
                .iter()
                .map(|look| read_file(&self.at(look.epochs), &self.header, self.users.n_items()))
                .map(|file| file.map(Answers::of_file))
                .collect::<Result<Vec<_>>>()?;
            let said = with_deviations(&near, self.k)?;
            header.write(&self.folder.join(name(state)), &said)?;
        }
        let states = States {
            epochs: chosen.iter().map(|&at| looks[at].epochs).collect(),
            valid: chosen.iter().map(|&at| looks[at].valid).collect(),
            k: self.k,
            users: self.header.questions,
        };
        let text = serde_json::to_string_pretty(&states)? + "\n";
        Ok(atomic_write::write(self.folder.join(STATES), text.as_bytes())?)
    }

    /// The looks up to the model that was kept: the best one where training was validated, else the last.
    fn looks(&self) -> Result<Vec<Look>> {
        let text = fs::read_to_string(self.model.join(super::fit::EPOCHS)).unwrap_or_default();
        let mut looks = Vec::new();
        let mut until = None;
        for line in text.lines() {
            let line: Value = serde_json::from_str(line)?;
            if line["best"] == true {
                until = line["epoch"].as_u64().map(|epoch| epoch as usize + 1);
            }
            if let Some(look) = line.get(LOOK) {
                looks.push(serde_json::from_value::<Look>(look.clone())?);
            }
        }
        looks.retain(|look| until.is_none_or(|until| look.epochs <= until));
        Ok(looks)
    }

    fn at(&self, epochs: usize) -> PathBuf {
        self.folder.join(format!("epoch-{epochs:06}.lists"))
    }
}

/// In the line of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
struct Look {
    epochs: usize,
    valid: Option<f64>,
}

const FOLDER: &str = "trajectory";
const STATES: &str = "states.json";
const LOOK: &str = "trajectory";

fn name(state: usize) -> String {
    format!("state-{state}.lists")
}

fn header(users: &Cases, k: usize) -> AnswersHeader {
    AnswersHeader {
        length: k as u32,
        queries: users.n_queries() as u64,
        questions: users.fingerprint() ^ (k as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        deviations: false,
    }
}

/// Which looks become states, in order; the last look is the last state. Each at most once: there may be fewer than wanted.
fn choose(spec: &TrajectorySpec, looks: &[Look]) -> Vec<usize> {
    let last = looks.len() - 1;
    let goal = looks[last].valid.unwrap_or(0.0);
    let mut chosen: Vec<usize> = Vec::new();
    for state in 1..spec.states {
        let share = state as f64 / spec.states as f64;
        let next = chosen.last().map_or(0, |at| at + 1);
        let wanted = match spec.spaced_by {
            SpacedBy::Quality => (next..last)
                .find(|&at| looks[at].valid.is_some_and(|valid| valid >= share * goal))
                .unwrap_or(last),
            SpacedBy::Epochs => {
                let epochs = share * looks[last].epochs as f64;
                let far = |at: &usize| (looks[*at].epochs as f64 - epochs).abs();
                (next..last).min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(last)
            }
        };
        if wanted < last {
            chosen.push(wanted);
        }
    }
    chosen.push(last);
    chosen
}

/// The last of `near`, each item with the standard deviation of its rank over all of them; an item that one does not list has
/// rank `k` there.
fn with_deviations(near: &[Answers], k: usize) -> rankstill::core::Result<Answers> {
    let Some(last) = near.last() else { return Ok(Rankings::default().into()) };
    let rows: Vec<Vec<f32>> = (0..last.len())
        .into_par_iter()
        .with_min_len(64)
        .map(|row| {
            let mut places: Vec<(ItemId, f64)> = near
                .iter()
                .flat_map(|said| said.items(row).iter().enumerate())
                .map(|(rank, &item)| (item, rank as f64))
                .collect();
            places.sort_by_key(|(item, _)| *item);
            let deviation = |item: ItemId| {
                let first = places.partition_point(|(other, _)| *other < item);
                let found = places[first..].iter().take_while(|(other, _)| *other == item);
                let ranks: Vec<f64> = found.map(|(_, rank)| *rank).collect();
                let (n, absent) = (near.len() as f64, (near.len() - ranks.len()) as f64);
                let mean = (ranks.iter().sum::<f64>() + absent * k as f64) / n;
                let square = |rank: f64| (rank - mean) * (rank - mean);
                let sum = ranks.iter().map(|&rank| square(rank)).sum::<f64>();
                ((sum + absent * square(k as f64)) / n).sqrt() as f32
            };
            last.items(row).iter().map(|&item| deviation(item)).collect()
        })
        .collect();
    let mut said = Rankings::default();
    for row in 0..last.len() {
        said.push(last.items(row).iter().copied().zip(last.scores(row).iter().copied()));
    }
    Answers::with_deviations(said, rows.into_iter().collect())
}

/// The trajectory of the model that is kept in `folder`, if it has one, for the distinct queries of `cases`: each is answered by
/// its user's lists, a query without a user by nothing.
///
/// # Errors
/// When a file is broken.
pub fn read(teacher: &str, folder: &Path, cases: &Cases) -> Result<Option<Trace>> {
    let folder = folder.join(FOLDER);
    let path = folder.join(STATES);
    let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
    let states: States = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let row = |query: &Query<'_>| query.user;
    let rows: Arc<[Option<u32>]> = cases.distinct_queries().iter().map(row).collect();
    let state = |(state, &epochs): (usize, &usize)| {
        let path = folder.join(name(state));
        let file = read_state(&path, &states, cases.n_items())?;
        Ok((epochs, Answers::of_rows(file, Arc::clone(&rows))))
    };
    let checkpoints = states.epochs.iter().enumerate().map(state).collect::<Result<_>>()?;
    Ok(Some(Trace::new(teacher, checkpoints)?))
}

fn read_state(path: &Path, states: &States, n_items: usize) -> Result<AnswersFile> {
    let file = AnswersFile::open(path, n_items)?;
    ensure!(
        file.header().deviations,
        "{}: an earlier version recorded it; remove the model's folder to have it fitted again",
        path.display()
    );
    let (length, queries) = (states.k as u32, file.header().queries);
    let expected = AnswersHeader { length, queries, questions: states.users, deviations: true };
    let same = *file.header() == expected;
    ensure!(same, "{}: was recorded for other users than {STATES} speaks of", path.display());
    Ok(file)
}

/// A file that answers what the header says.
fn read_file(path: &Path, header: &AnswersHeader, n_items: usize) -> Result<AnswersFile> {
    let file = AnswersFile::open(path, n_items)?;
    ensure!(file.header() == header, "{}: answers other questions", path.display());
    Ok(file)
}

/// About how many bytes a trajectory takes on disk while it is recorded.
#[must_use]
pub fn disk(spec: &TrajectorySpec, k: usize, recipe: &dyn Recipe, n_users: usize) -> u64 {
    let looks = recipe.training_plan().map_or(1, |plan| {
        let every = if spec.every == 0 { plan.validate_every } else { spec.every };
        plan.epochs.div_ceil(every.max(1))
    });
    let file = |deviations| {
        AnswersHeader { length: k as u32, queries: n_users as u64, questions: 0, deviations }.file()
    };
    looks as u64 * file(false) + spec.states as u64 * file(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn looks(valid: &[f64]) -> Vec<Look> {
        let look = |(at, &valid)| Look { epochs: 10 * (at + 1), valid: Some(valid) };
        valid.iter().enumerate().map(look).collect()
    }

    #[test]
    fn states_are_the_first_looks_at_a_share_of_the_last_value_or_evenly_spaced() {
        let spec = TrajectorySpec::default();
        let rising = looks(&[0.01, 0.03, 0.04, 0.06, 0.09, 0.1]);
        assert_eq!(choose(&spec, &rising), [1, 3, 4, 5]);
        // Good from the start: what comes next, in order.
        assert_eq!(choose(&spec, &looks(&[0.09, 0.08, 0.09, 0.1, 0.1])), [0, 1, 2, 4]);
        assert_eq!(choose(&spec, &looks(&[0.09, 0.1])), [0, 1], "no more looks than there are");
        let spec = TrajectorySpec { spaced_by: SpacedBy::Epochs, ..spec };
        assert_eq!(choose(&spec, &rising), [0, 2, 3, 5]);
        assert_eq!(choose(&spec, &looks(&[0.5])), [0]);
    }

    #[test]
    fn deviations_by_hand() {
        let said = |list: &[ItemId]| {
            let mut said = Rankings::default();
            said.push(list.iter().map(|&item| (item, -(item as f32))));
            Answers::from(said)
        };
        // Item 7: ranks 2 (not listed), 1, 0. Item 3: 0, 0, 1.
        let found = with_deviations(&[said(&[3, 5]), said(&[3, 7]), said(&[7, 3])], 2).unwrap();
        assert_eq!((found.items(0), found.scores(0)), (&[7, 3][..], &[-7.0, -3.0][..]));
        let by_hand = [(2.0f32 / 3.0).sqrt(), (2.0f32 / 9.0).sqrt()];
        for (found, by_hand) in found.deviations(0).iter().zip(by_hand) {
            assert!((found - by_hand).abs() < 1e-6);
        }
        assert_eq!(with_deviations(&[said(&[4])], 9).unwrap().deviations(0), [0.0]);
    }

    /// A folder with two states of a teacher of three users, the last of whom has no list.
    fn recorded(deviations: bool) -> (tempfile::TempDir, [Answers; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let lists = |first: ItemId| {
            let mut said = Rankings::default();
            said.push([(first, 0.5), (2, 0.25)]);
            said.push([(first + 1, 3.0)]);
            said.push([]);
            let sigma = said.lists().map(|item| *item as f32);
            Answers::with_deviations(said, sigma).unwrap()
        };
        let states = [lists(0), lists(4)];
        let header = AnswersHeader { length: 2, queries: 3, questions: 9, deviations };
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        for (state, said) in states.iter().enumerate() {
            header.write(&folder.path().join(FOLDER).join(name(state)), said).unwrap();
        }
        let about = States { epochs: vec![3, 8], valid: vec![None; 2], k: 2, users: 9 };
        let about = serde_json::to_string(&about).unwrap();
        fs::write(folder.path().join(FOLDER).join(STATES), about).unwrap();
        (folder, states)
    }

    fn log(n_items: usize, lines: &[&[ItemId]]) -> Cases {
        let lines = lines.iter().map(|line| line.iter().copied()).collect();
        Cases::each_interaction(&Interactions::new(n_items, lines, None, None).unwrap())
    }

    #[test]
    fn each_query_is_answered_by_its_users_list() {
        let (folder, states) = recorded(true);
        // Users 0, 1, 2 and 3; the last was not there when the teacher was recorded.
        let cases = log(6, &[&[5], &[0, 3], &[1], &[1]]);
        let trace = read("x", folder.path(), &cases).unwrap().unwrap();
        assert_eq!(trace.checkpoints().iter().map(|at| at.0).collect::<Vec<_>>(), [3, 8]);
        for ((_, found), said) in trace.checkpoints().iter().zip(&states) {
            let queries = cases.distinct_queries();
            assert_eq!(found.len(), queries.len());
            for (q, query) in queries.iter().enumerate() {
                let user = query.user.unwrap() as usize;
                let expected = if user < 3 {
                    (said.items(user), said.scores(user), said.deviations(user))
                } else {
                    (&[][..], &[][..], &[][..])
                };
                assert_eq!((found.items(q), found.scores(q), found.deviations(q)), expected);
            }
        }
        // What lies in files stays where it is, also when the files' names go.
        let kept = trace.clone();
        drop(folder);
        assert_eq!(kept.last().items(0), states[1].items(0));
    }

    #[test]
    fn broken_states_are_refused_by_name() {
        let cases = log(6, &[&[5], &[0], &[1]]);
        let (old, _) = recorded(false);
        let refused = |folder: &Path| format!("{:#}", read("x", folder, &cases).unwrap_err());
        let found = refused(old.path());
        assert!(found.contains("state-0.lists: an earlier version recorded it; remove"), "{found}");
        let (folder, _) = recorded(true);
        let state = folder.path().join(FOLDER).join(name(1));
        let whole = fs::read(&state).unwrap();
        fs::write(&state, &whole[..whole.len() - 1]).unwrap();
        let found = refused(folder.path());
        assert!(found.contains("state-1.lists: has 103 bytes"), "{found}");
        fs::write(&state, &whole).unwrap();
        let few = log(4, &[&[3], &[0], &[1]]);
        let found = format!("{:#}", read("x", folder.path(), &few).unwrap_err());
        assert!(found.contains("state-1.lists: row 0 lists item 4 of a catalogue of 4"), "{found}");
        let about = folder.path().join(FOLDER).join(STATES);
        let text = fs::read_to_string(&about).unwrap().replace("\"users\":9", "\"users\":8");
        fs::write(&about, text).unwrap();
        let found = refused(folder.path());
        assert!(found.contains("state-0.lists: was recorded for other users"), "{found}");
        fs::remove_file(about).unwrap();
        assert!(read("x", folder.path(), &cases).unwrap().is_none(), "no trajectory");
    }
}
