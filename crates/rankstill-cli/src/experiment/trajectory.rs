//! The states of a teacher's training, on disk: its lists for every user at those moments.
//!
//! While a teacher trains, `trajectory/epoch-N.lists` receives its lists at each checkpoint. When it is done,
//! [`StateSelection`] says which checkpoints become states: `state-0.lists`, `state-1.lists`, .. are written, each item with
//! the standard deviation of its rank over the last checkpoints, `states.json` names their epochs, and the checkpoints are removed.
//! All have the format of [`rankstill::core::answers`] and are mapped: neither the states of many teachers nor the checkpoints
//! around one need to fit into memory.

use super::epochs;
use crate::sealed;
use anyhow::{Context as _, Result, anyhow, ensure};
use rankstill::core::answers::{AnswersFile, AnswersHeader};
use rankstill::core::{
    Answers, Cases, EpochReport, Interactions, Model, Packed, Plan, Query, Ranker as _, Recipe,
    TopK, Trace,
    atomic_write::{self, create_folders, remove_file},
};
use rankstill::distill::trajectory::{Checkpoint, SpacedBy, StateSelection, with_rank_deviations};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Keeps a teacher's lists while it trains.
pub struct TrajectoryWriter<'a> {
    selection: &'a StateSelection,
    /// Length of the lists.
    k: usize,
    plan: Option<Plan>,
    users: Cases,
    /// The model's folder, which holds that of the trajectory.
    model: PathBuf,
    folder: PathBuf,
    header: AnswersHeader,
}

/// `states.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct States {
    /// Number of completed epochs of each state.
    epochs: Vec<usize>,
    /// The validation value of each state, where there are validation data.
    valid: Vec<Option<f64>>,
    /// Length of the lists.
    k: usize,
    /// The fingerprint of the users' queries.
    users: u64,
}

impl<'a> TrajectoryWriter<'a> {
    /// Records lists of `k` items while the model of `folder` trains.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn new(
        selection: &'a StateSelection,
        k: usize,
        recipe: &dyn Recipe,
        train: &Interactions,
        folder: &Path,
    ) -> Result<Self> {
        let users = Cases::per_user(train);
        let header = header(&users, k);
        let (plan, model) = (recipe.training_plan().cloned(), folder.to_owned());
        let folder = folder.join(FOLDER);
        create_folders(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { selection, k, plan, users, model, folder, header })
    }

    /// To be called after every epoch; the result belongs into the epoch's line of JSON.
    ///
    /// # Errors
    /// When the disk is full, or `valid` fails.
    pub fn after_epoch(
        &self,
        report: &EpochReport,
        model: &dyn Model,
        valid: &dyn Fn(&dyn Model) -> rankstill::core::Result<f64>,
    ) -> rankstill::core::Result<Map<String, Value>> {
        if !self.selection.is_due(self.plan.as_ref(), report) {
            return Ok(Map::new());
        }
        let epochs = report.epoch + 1;
        self.keep(epochs, model)?;
        let valid = match report.valid {
            None if self.selection.spaced_by == SpacedBy::Quality => Some(valid(model)?),
            known => known,
        };
        let checkpoint = json!(Checkpoint { epochs, valid });
        Ok(Map::from_iter([(CHECKPOINT.to_owned(), checkpoint)]))
    }

    fn keep(&self, epochs: usize, model: &dyn Model) -> rankstill::core::Result<()> {
        let queries = self.users.distinct_queries();
        let lists = Packed::new(model).rank(&queries, &TopK::unseen(self.k))?;
        self.header.write(&self.path(epochs), &lists.into())
    }

    /// Makes the states; `model` is the last one.
    ///
    /// # Errors
    /// When the disk is full, or a checkpoint's file is missing.
    pub fn finish(self, model: &dyn Model) -> Result<()> {
        if !self.folder.join(STATES).exists() {
            self.make_states(model)?;
        }
        let inside = || self.folder.display().to_string();
        for entry in fs::read_dir(&self.folder).with_context(inside)? {
            let path = entry.with_context(inside)?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("epoch-")) {
                remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    fn make_states(&self, model: &dyn Model) -> Result<()> {
        let mut checkpoints = self.checkpoints()?;
        if checkpoints.is_empty() {
            // A model that does not train by epochs has one state.
            self.keep(0, model)?;
            checkpoints.push(Checkpoint { epochs: 0, valid: None });
        }
        let selected = self.selection.select(&checkpoints);
        let header = AnswersHeader { deviations: true, ..self.header.clone() };
        for (state, &at) in selected.iter().enumerate() {
            let near = checkpoints[self.selection.neighbourhood(at)]
                .iter()
                .map(|near| read_file(&self.path(near.epochs), &self.header, self.users.n_items()))
                .map(|file| file.map(Answers::of_file))
                .collect::<Result<Vec<_>>>()?;
            let lists = with_rank_deviations(&near, self.k)?;
            header.write(&self.folder.join(name(state)), &lists)?;
        }
        let states = States {
            epochs: selected.iter().map(|&at| checkpoints[at].epochs).collect(),
            valid: selected.iter().map(|&at| checkpoints[at].valid).collect(),
            k: self.k,
            users: self.header.questions,
        };
        let text = sealed::line(serde_json::to_value(&states)?) + "\n";
        Ok(atomic_write::write(self.folder.join(STATES), text.as_bytes())?)
    }

    /// The checkpoints up to the model that was kept: the best one where training was validated, else the last.
    fn checkpoints(&self) -> Result<Vec<Checkpoint>> {
        let mut checkpoints = Vec::new();
        let mut until = None;
        for line in epochs::read(&self.model)? {
            if line["best"] == true {
                until = line["epoch"].as_u64().map(|epoch| epoch as usize + 1);
            }
            if let Some(checkpoint) = line.get(CHECKPOINT) {
                checkpoints.push(serde_json::from_value::<Checkpoint>(checkpoint.clone())?);
            }
        }
        checkpoints.retain(|checkpoint| until.is_none_or(|until| checkpoint.epochs <= until));
        Ok(checkpoints)
    }

    fn path(&self, epochs: usize) -> PathBuf {
        self.folder.join(format!("epoch-{epochs:06}.lists"))
    }
}

const FOLDER: &str = "trajectory";
const STATES: &str = "states.json";
const WAY_ON: &str = "remove the model's folder to fit it again";
/// The key in the line of an epoch.
const CHECKPOINT: &str = "trajectory";

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

/// The trajectory of the model in `folder`, if it has one, for the distinct queries of `cases`: each query gets its user's
/// lists, a query without a user gets none.
///
/// # Errors
/// When a file is damaged.
pub fn read(teacher: &str, folder: &Path, cases: &Cases) -> Result<Option<Trace>> {
    let folder = folder.join(FOLDER);
    let path = folder.join(STATES);
    if !path.exists() {
        return Ok(None);
    }
    let states = sealed::read_file(&path, WAY_ON)?;
    let states: States =
        serde_json::from_value(states).with_context(|| path.display().to_string())?;
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
    let file = AnswersFile::open(path, n_items).map_err(|error| anyhow!("{error}; {WAY_ON}"))?;
    ensure!(
        file.header().deviations,
        "{}: was recorded by an earlier version; {WAY_ON}",
        path.display()
    );
    let (length, queries) = (states.k as u32, file.header().queries);
    let expected = AnswersHeader { length, queries, questions: states.users, deviations: true };
    let same = *file.header() == expected;
    ensure!(same, "{}: was recorded for other users than {STATES} names", path.display());
    Ok(file)
}

/// A file that has exactly this header.
fn read_file(path: &Path, header: &AnswersHeader, n_items: usize) -> Result<AnswersFile> {
    let file = AnswersFile::open(path, n_items).map_err(|error| anyhow!("{error}; {WAY_ON}"))?;
    ensure!(file.header() == header, "{}: holds lists for other queries", path.display());
    Ok(file)
}

/// Approximate number of bytes that a trajectory takes on disk while it is recorded.
#[must_use]
pub fn disk(selection: &StateSelection, k: usize, recipe: &dyn Recipe, n_users: usize) -> u64 {
    let plan = recipe.training_plan();
    let checkpoints = plan.map_or(1, |plan| plan.epochs.div_ceil(selection.every(Some(plan))));
    let file = |deviations| {
        AnswersHeader { length: k as u32, queries: n_users as u64, questions: 0, deviations }.file()
    };
    checkpoints as u64 * file(false) + selection.states as u64 * file(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill::core::{ItemId, Rankings};

    /// A folder with two states of a teacher of three users, the last of whom has no list.
    fn recorded(deviations: bool) -> (tempfile::TempDir, [Answers; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let lists = |first: ItemId| {
            let mut lists = Rankings::default();
            lists.push([(first, 0.5), (2, 0.25)]);
            lists.push([(first + 1, 3.0)]);
            lists.push([]);
            let sigma = lists.lists().map(|item| *item as f32);
            Answers::with_deviations(lists, sigma).unwrap()
        };
        let states = [lists(0), lists(4)];
        let header = AnswersHeader { length: 2, queries: 3, questions: 9, deviations };
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        for (state, lists) in states.iter().enumerate() {
            header.write(&folder.path().join(FOLDER).join(name(state)), lists).unwrap();
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
        for ((_, found), lists) in trace.checkpoints().iter().zip(&states) {
            let queries = cases.distinct_queries();
            assert_eq!(found.len(), queries.len());
            for (q, query) in queries.iter().enumerate() {
                let user = query.user.unwrap() as usize;
                let expected = if user < 3 {
                    (lists.items(user), lists.scores(user), lists.deviations(user))
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
        assert!(
            found.contains("state-0.lists: was recorded by an earlier version; remove"),
            "{found}"
        );
        let (folder, _) = recorded(true);
        let state = folder.path().join(FOLDER).join(name(1));
        let whole = fs::read(&state).unwrap();
        fs::write(&state, &whole[..whole.len() - 1]).unwrap();
        let found = refused(folder.path());
        assert!(found.contains("state-1.lists: has 127 bytes"), "{found}");
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
