//! Teachers from outside the experiment: files of rankings, and the rankings of artefacts.

use super::data;
use super::measure::Metrics;
use super::plan::{ExperimentPlan, Source};
use crate::progress::Screen;
use crate::reading::hinted;
use anyhow::{Result, ensure};
use rankstill::artefact;
use rankstill::core::{ColdStart, Packed, Query, Ranker as _, Rankings, TopK, Trained, UserId};
use rankstill::data::dataset::Dataset;
use rankstill::data::rankings::{Dropped, RankingsFile};
use rankstill::data::{ReadOptions, read_rankings};
use rankstill::distill::Recorded;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// By the model's number: its rankings, one entry per state of its training.
pub(super) type Recordings = BTreeMap<usize, Vec<Arc<Recorded>>>;

/// Reads the rankings of every model of the plan that comes from outside.
pub(super) fn read(
    plan: &ExperimentPlan,
    data: &Dataset,
    metrics: &Metrics,
    screen: &Screen,
) -> Result<Recordings> {
    let length = longest_request(plan).max(metrics.depth());
    let mut found = BTreeMap::new();
    for (at, planned) in plan.models.iter().enumerate() {
        if let Source::Rankings { paths, read } = &planned.source {
            let states = paths.iter().map(|path| {
                let file = read_one(path, data, (&planned.name, read), length, screen)?;
                let recorded =
                    Recorded::new(&planned.name, data.items.len(), &file.users, file.rankings)?;
                Ok(Arc::new(recorded))
            });
            found.insert(at, states.collect::<Result<_>>()?);
        }
    }
    Ok(found)
}

/// The length of the longest lists that any student requests.
fn longest_request(plan: &ExperimentPlan) -> usize {
    let request = |source: &Source| match source {
        Source::Fit { distil: Some(distil), .. } => distil.distiller.requires().lists.k,
        _ => 0,
    };
    plan.models.iter().map(|planned| request(&planned.source)).max().unwrap_or(0)
}

fn read_one(
    path: &Path,
    data: &Dataset,
    (name, read): (&str, &ReadOptions),
    length: usize,
    screen: &Screen,
) -> Result<RankingsFile> {
    let path = &*data::locate(path, screen);
    let file = if path.join("manifest.json").is_file() {
        ensure!(
            *read == ReadOptions::default(),
            "models.{name}.read: {} is an artefact, which is read as it is; remove this key",
            path.display()
        );
        rankings_of_artefact(path, data, length)?
    } else {
        let options = format!("models.\"{name}\".read.");
        hinted(read_rankings(path, &data.users, &data.items, read), &options)?
    };
    let Dropped { rows, users, items } = file.dropped;
    if rows > 0 {
        screen.say(format!(
            "{}: dropped {rows} rows of {users} users and {items} items that are not in the data",
            path.display(),
        ));
    }
    ensure!(!file.users.is_empty(), "{}: ranks no user of the data", path.display());
    Ok(file)
}

/// What `rankstill recommend --all --k LENGTH` writes, in the numbers of the data's vocabularies.
fn rankings_of_artefact(folder: &Path, data: &Dataset, length: usize) -> Result<RankingsFile> {
    let artefact::Loaded { model, artefact, .. } = artefact::load(folder)?;
    let items: Vec<Option<u32>> = artefact.items.iter().map(|id| data.items.get(&id)).collect();
    let known = artefact.users.iter().enumerate().map(|(user, id)| (data.users.get(&id), user));
    let mut users: Vec<(UserId, UserId)> =
        known.filter_map(|(ours, theirs)| Some((ours?, theirs as UserId))).collect();
    users.sort_unstable();
    let queries: Vec<Query<'_>> = users
        .iter()
        .map(|&(_, user)| Query {
            user: Some(user),
            history: artefact.history.history(user),
            hidden: &[],
        })
        .collect();
    let trained = Arc::new(Trained::on(&artefact.history));
    let packed = Packed::new(&*model);
    let answers = ColdStart::new(&packed, trained).rank(&queries, &TopK::unseen(length))?;
    let mut dropped = Dropped {
        users: artefact.users.len() - users.len(),
        items: items.iter().filter(|item| item.is_none()).count(),
        rows: 0,
    };
    let (mut rankings, mut ranked) = (Rankings::default(), Vec::new());
    for (row, (user, _)) in users.into_iter().enumerate() {
        let listed = answers.items(row).iter().zip(answers.scores(row));
        let kept: Vec<_> =
            listed.filter_map(|(&item, &score)| Some((items[item as usize]?, score))).collect();
        dropped.rows += answers.items(row).len() - kept.len();
        if !kept.is_empty() {
            rankings.push(kept);
            ranked.push(user);
        }
    }
    Ok(RankingsFile { rankings, users: ranked, dropped, understood: None })
}
