//! What the page for people adds to a report, gathered from the files of a run: so it can be gathered again for any run.
//!
//! Lists are those that were recorded when the models were measured; nothing is scored anew.

use super::production::BEST;
use super::titles::Titles;
use anyhow::{Context as _, Result, ensure};
use rankstill::core::kernel::rng::Rng;
use rankstill::core::{Cases, Interactions, ItemId, Rankings, Trained, UserId};
use rankstill::data::columns::read_parquet;
use rankstill::data::dataset::{Dataset, DatasetManifest};
use rankstill::data::split::SPLITS;
use rankstill::data::{Column, ReadOptions, read_rankings};
use rankstill::eval::groups::{Group, head_and_tail, trained_and_cold};
use rankstill::eval::metric::{self, Metric};
use rankstill::eval::report::{
    Agreement, AuditRow, Command, DataDetails, Details, FilterRow, Gain, ItemLine, PartRow, Picks,
    SourceRow, UserLists,
};
use rankstill::eval::significance::{self, Interval};
use rankstill::eval::{
    ComparisonOptions, Direction, Measure, ModelReport, Outcome, Report, Role, compare,
};
use rayon::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

/// The data that the models of a run were measured on.
pub struct Ground<'a> {
    /// The data set.
    pub data: &'a Dataset,
    /// What the measured models were fitted on.
    pub train: &'a Interactions,
    /// The cases that they were measured on.
    pub cases: &'a Cases,
    /// Titles of the items.
    pub titles: &'a Titles,
    /// The popular items (active users) are the fewest that make up this share of the training interactions.
    pub head: f64,
}

/// The share where the experiment names none.
pub const HEAD: f64 = 0.5;

/// Confidence of all intervals.
const LEVEL: f64 = 0.95;
/// Users on the page, items of their histories and lists.
const USERS: usize = 10;
const ITEMS: usize = 10;
/// How far lists agree.
const AGREEMENT: &str = "overlap@10";
/// The purpose that keys the draw of the users.
const DRAW: u64 = 0x5041_4745;

/// Everything that the run in `out` still holds; what it does not is named in [`Details::missing`].
#[must_use]
pub fn gather(report: &Report, out: &Path, ground: Option<&Ground<'_>>) -> Details {
    let mut missing = Vec::new();
    let intervals = or_missing("intervals", intervals(report, out), &mut missing);
    let commands = commands(report, out, ground.and_then(|ground| ground.titles.file()));
    let mut details = Details { intervals, commands, ..Details::default() };
    if let Some(ground) = ground {
        details.data = Some(about_data(&ground.data.manifest));
        let run = Run { report, out, ground };
        details.agreement = or_missing("agreement of lists", run.agreement(), &mut missing);
        details.gains = or_missing("groups", run.gains(), &mut missing);
        (details.shown, details.users) = or_missing("users", run.users(), &mut missing);
    }
    details.missing = missing;
    details
}

fn or_missing<T: Default>(what: &str, found: Result<T>, missing: &mut Vec<String>) -> T {
    found.unwrap_or_else(|error| {
        missing.push(format!("Not shown: {what} ({}).", crate::error_line(&error)));
        T::default()
    })
}

/// By model and metric.
fn intervals(report: &Report, out: &Path) -> Result<BTreeMap<String, BTreeMap<String, Interval>>> {
    let of_model = |model: &ModelReport| -> Result<(String, BTreeMap<String, Interval>)> {
        let mut found = BTreeMap::new();
        for (name, spread) in &model.metrics {
            if let Some(half) = spread.half_interval(LEVEL).filter(|half| half.is_finite()) {
                let (low, high) = (spread.mean - half, spread.mean + half);
                found.insert(name.clone(), Interval { low, high, level: LEVEL, resamples: 0 });
            }
        }
        if let ([seed], Some(path)) =
            (&report.seeds[..], seed_file(model.rankings.as_deref(), report, out, None))
        {
            let path = path.with_file_name("metrics.parquet");
            let table = read_parquet(&path).with_context(|| format!("seed {seed}"))?;
            let options = ComparisonOptions::default();
            for (name, column) in table.names().iter().zip(table.columns()) {
                let Column::F64(values) = column else { continue };
                // Fewer than two values, or one that is not a number, have no interval.
                let interval =
                    significance::bootstrap(values, LEVEL, options.resamples, options.seed);
                if let Ok(interval) = interval {
                    found.insert(name.clone(), interval);
                }
            }
        }
        Ok((model.name.clone(), found))
    };
    report.models.par_iter().map(of_model).collect()
}

/// A file of a model, of which the report names that of the first seed, with this seed.
pub fn seed_file(
    named: Option<&str>,
    report: &Report,
    out: &Path,
    seed: Option<u64>,
) -> Option<PathBuf> {
    let first = Path::new(named?);
    let seed = seed.or(report.seeds.first().copied())?;
    Some(out.join(first.parent()?.with_file_name(format!("seed-{seed}"))).join(first.file_name()?))
}

/// A finished run.
struct Run<'a> {
    report: &'a Report,
    out: &'a Path,
    ground: &'a Ground<'a>,
}

/// The values of a metric on a group, case by case.
struct GroupValues {
    name: String,
    definition: String,
    values: Vec<f64>,
}

impl Run<'_> {
    /// The lists of a model, row *i* for test case *i*.
    fn lists(&self, model: &ModelReport, seed: u64) -> Result<Rankings> {
        let path = seed_file(model.rankings.as_deref(), self.report, self.out, Some(seed));
        let path = path.with_context(|| format!("{} has no recorded lists", model.name))?;
        let Dataset { users, items, .. } = self.ground.data;
        let cases = self.ground.cases;
        let read = read_rankings(&path, users, items, &ReadOptions::default())?;
        let rows: Vec<UserId> = cases.iter().filter_map(|case| case.query.user).collect();
        ensure!(rows.len() == cases.len(), "a test case has no user");
        Ok(read.aligned(&rows))
    }

    /// Of every small model with the ensemble, or with its teacher where there is none.
    fn agreement(&self) -> Result<Vec<Agreement>> {
        let row = |name: &str| self.report.models.iter().find(|model| model.name == name);
        let named = self.report.ensemble.as_deref().and_then(row);
        let ensemble =
            named.or_else(|| self.report.models.iter().find(|model| model.kind == "ensemble"));
        let small = |model: &&ModelReport| {
            !matches!(model.role, Role::Teacher | Role::Baseline)
                || self.report.recommended.as_ref() == Some(&model.name)
        };
        let teacher = |model: &ModelReport| model.teachers.iter().find_map(|name| row(name));
        let pair = |model| Some((model, ensemble.or_else(|| teacher(model))?));
        let pairs = self.report.models.iter().filter(small).filter_map(pair);
        let pairs: Vec<(&ModelReport, &ModelReport)> = pairs
            .filter(|(model, with)| {
                model.name != with.name && model.rankings.is_some() && with.rankings.is_some()
            })
            .collect();
        let metric = metric::parse(AGREEMENT, self.report.dialect)?;
        let mut teachers: BTreeMap<(&str, u64), Rankings> = BTreeMap::new();
        for (_, with) in &pairs {
            for &seed in &self.report.seeds {
                if let Entry::Vacant(place) = teachers.entry((with.name.as_str(), seed)) {
                    place.insert(self.lists(with, seed)?);
                }
            }
        }
        let of_pair = |(model, with): &(&ModelReport, &ModelReport)| -> Result<Agreement> {
            let of_seed = |seed: &u64| -> Result<f64> {
                let outcome = Outcome::of_rankings(self.ground.cases, self.lists(model, *seed)?)?;
                let outcome = outcome.with_teacher(&teachers[&(with.name.as_str(), *seed)])?;
                Ok(metric.measure(&outcome)?.mean())
            };
            let values = self.report.seeds.iter().map(of_seed).collect::<Result<Vec<_>>>()?;
            Ok(Agreement {
                model: model.name.clone(),
                with: with.name.clone(),
                metric: metric.name(),
                value: significance::spread(&values),
            })
        };
        pairs.par_iter().map(of_pair).collect()
    }

    /// The student against its teacher and against itself without one.
    fn gains(&self) -> Result<Vec<Gain>> {
        let picks = Picks::of(self.report);
        let Some(student) = picks.student.filter(|one| one.rankings.is_some()) else {
            return Ok(Vec::new());
        };
        let Some(metric) = self.metric_of_lists()? else { return Ok(Vec::new()) };
        let ours = self.by_group(student, &metric)?;
        let others = [picks.alone, picks.teacher].into_iter().flatten();
        let mut gains = Vec::new();
        for other in others.filter(|one| one.name != student.name && one.rankings.is_some()) {
            for (a, b) in ours.iter().zip(self.by_group(other, &metric)?) {
                if a.values.len() < 2 {
                    continue;
                }
                let comparison = compare::compare(
                    &metric.name(),
                    (&student.name, &[&*a.values]),
                    (&other.name, &[&*b.values]),
                    &ComparisonOptions::default(),
                )?;
                gains.push(Gain { group: b.name, definition: b.definition, comparison });
            }
        }
        Ok(gains)
    }

    /// The first metric of the report that recorded lists suffice for and that has a value for each case.
    fn metric_of_lists(&self) -> Result<Option<Metric>> {
        for one in &self.report.definitions {
            let metric = metric::parse(&one.metric, self.report.dialect)?;
            let needs = metric.needs();
            let of_lists = !needs.whole_ranking && !needs.teacher && !needs.grades;
            if of_lists && !needs.popularity && metric.direction() == Direction::Higher {
                return Ok(Some(metric));
            }
        }
        Ok(None)
    }

    /// A model's values by popularity of the items, activity of the users, and what the answers rest on; averaged over the seeds.
    fn by_group(&self, model: &ModelReport, metric: &Metric) -> Result<Vec<GroupValues>> {
        let Ground { cases, train, head, .. } = *self.ground;
        let trained = Trained::on(train);
        let mut seeds: Vec<Vec<GroupValues>> = Vec::new();
        for &seed in &self.report.seeds {
            let outcome = Outcome::of_rankings(cases, self.lists(model, seed)?)?;
            let groups = head_and_tail(&outcome, train, head)?;
            let groups = groups.into_iter().chain(trained_and_cold(&outcome, &trained));
            let values = |group: Group<'_>| -> Result<Option<GroupValues>> {
                let Measure::PerCase(values) = metric.measure(&group.outcome)? else {
                    return Ok(None);
                };
                Ok(Some(GroupValues { name: group.name, definition: group.definition, values }))
            };
            seeds
                .push(groups.filter_map(|group| values(group).transpose()).collect::<Result<_>>()?);
        }
        let Some(first) = seeds.first() else { return Ok(Vec::new()) };
        let pooled = |(at, group): (usize, &GroupValues)| -> Result<GroupValues> {
            let all: Vec<&[f64]> = seeds.iter().map(|seed| &*seed[at].values).collect();
            let (name, definition) = (group.name.clone(), group.definition.clone());
            Ok(GroupValues { name, definition, values: significance::pool(&all)? })
        };
        first.iter().enumerate().map(pooled).collect()
    }

    /// The names of the models that are shown, and a few users with their lists by these.
    fn users(&self) -> Result<(Vec<String>, Vec<UserLists>)> {
        let shown = Picks::of(self.report).side_by_side();
        let shown: Vec<_> = shown.into_iter().filter(|model| model.rankings.is_some()).collect();
        let Some(&seed) = self.report.seeds.first().filter(|_| !shown.is_empty()) else {
            return Ok(Default::default());
        };
        let cases = self.ground.cases;
        let lists = shown.iter().map(|model| self.lists(model, seed));
        let lists = lists.collect::<Result<Vec<_>>>()?;
        let of_row = |row: usize| {
            let case = cases.case(row);
            let line = |item: ItemId, hit: bool| {
                let id = self.ground.data.items.id(item).into_owned();
                ItemLine { title: self.ground.titles.of(&id), id, hit }
            };
            let list = |lists: &Rankings| -> Vec<ItemLine> {
                let items = lists.items(row).iter().take(ITEMS);
                items.map(|&item| line(item, case.targets.contains(&item))).collect()
            };
            let history = case.query.history.iter().rev().take(ITEMS);
            UserLists {
                user: case
                    .query
                    .user
                    .map_or(String::new(), |user| self.ground.data.users.id(user).into_owned()),
                history_length: case.query.history.len(),
                history: history.map(|&item| line(item, false)).collect(),
                targets: case.targets.len(),
                lists: lists.iter().map(list).collect(),
            }
        };
        let users = drawn(cases.len(), USERS, seed).into_iter().map(of_row).collect();
        Ok((shown.iter().map(|model| model.name.clone()).collect(), users))
    }
}

/// `wanted` rows of `n`, ascending: the same for the same seed.
fn drawn(n: usize, wanted: usize, seed: u64) -> Vec<usize> {
    let mut rows = Rng::keyed(seed, [DRAW]).permutation(n as u32);
    rows.truncate(wanted);
    rows.sort_unstable();
    rows.into_iter().map(|row| row as usize).collect()
}

/// From the manifest of the data set.
fn about_data(manifest: &DatasetManifest) -> DataDetails {
    let DatasetManifest { sources, settings, filtered, counts, audit, times, .. } = manifest;
    let word = |value: Result<Value, serde_json::Error>| match value {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    };
    let about = SPLITS.iter().find(|entry| entry.name == settings.split.kind);
    let options = settings.split.options.iter().map(|(key, value)| format!("{key} = {value}"));
    let options: Vec<String> = options.collect();
    let (valid, test) = (settings.mask.valid, settings.mask.test);
    let (valid, test) = (word(serde_json::to_value(valid)), word(serde_json::to_value(test)));
    let history = settings.history.test.map(serde_json::to_value).map_or(test.clone(), word);
    let part = |part: &str, rows, users| PartRow { part: part.into(), rows, users };
    DataDetails {
        sources: sources
            .iter()
            .map(|one| SourceRow {
                name: one.name.clone(),
                part: one.part.map(|part| word(serde_json::to_value(part))),
                understood: one.understood.as_ref().map(ToString::to_string),
                bytes: one.stamp.bytes,
                sha256: one.stamp.sha256.clone(),
            })
            .collect(),
        filters: filtered
            .steps
            .iter()
            .map(|step| FilterRow {
                filter: step.filter.clone(),
                removed: step.removed.rows,
                rows: step.left.rows,
                users: step.left.users,
                items: step.left.items,
            })
            .collect(),
        split: format!(
            "{}: {} ({}). {}",
            settings.split.kind,
            about.map_or("", |entry| entry.about),
            options.join(", "),
            if *times {
                "Rows are in the order of time."
            } else {
                "The log has no times: rows are in the order of the file."
            }
        ),
        protocol: format!(
            "Never recommended: a user's items of {valid} in validation, of {test} in the test. Models see the items of {history} as the \
             history in the test."
        ),
        parts: vec![
            part("training", counts.train, counts.train_users),
            part("validation", counts.valid, counts.valid_users),
            part("test", counts.test, counts.test_users),
        ],
        audit: audit
            .findings
            .iter()
            .map(|one| AuditRow {
                about: one.about.clone(),
                count: one.count,
                of: one.of,
                doubtful: one.doubtful,
            })
            .collect(),
    }
}

/// Serving what is recommended, or else the best student or single model; and everything again.
fn commands(report: &Report, out: &Path, items: Option<&Path>) -> Vec<Command> {
    let picks = Picks::of(report);
    let served = [picks.student, picks.single].into_iter().flatten();
    let served = served.chain(&report.models).find(|model| model.artefact.is_some());
    let command = |about: &str, words: &[&Path]| {
        let words: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
        Command { about: about.into(), line: format!("rankstill {}", words.join(" ")) }
    };
    let mut all = Vec::new();
    if let Some(model) = served
        && let Some(artefact) = &model.artefact
    {
        // What is recommended was fitted again on every row.
        let best = out.join(BEST);
        let fitted_again = report.recommended.is_some() && best.is_dir();
        let artefact = if fitted_again { best } else { out.join(artefact) };
        let mut words = vec![Path::new("serve"), artefact.as_path()];
        if let Some(items) = items {
            words.extend([Path::new("--items"), items]);
        }
        let role = if report.recommended.is_some() { ", which is recommended" } else { "" };
        all.push(command(&format!("Serve {}{role}:", model.name), &words));
    }
    let (file, again) = (out.join("experiment.toml"), named_beside(out, "-again"));
    let words = [Path::new("run"), file.as_path(), Path::new("--out"), again.as_path()];
    all.push(command(
        "Repeat the run, where it was started (models, lists and metrics come out byte for byte the same):",
        &words,
    ));
    let mut words = vec![Path::new("report"), out];
    if let Some(items) = items {
        words.extend([Path::new("--items"), items]);
    }
    all.push(command("Make this page again:", &words));
    all
}

fn named_beside(folder: &Path, ending: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    folder.with_file_name(name)
}

/// As a shell reads it.
fn shell_word(word: &Path) -> String {
    let word = word.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "-_./=:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_users_and_few_users_are_all_drawn() {
        assert_eq!(drawn(1000, 10, 7), drawn(1000, 10, 7));
        assert_ne!(drawn(1000, 10, 7), drawn(1000, 10, 8));
        let rows = drawn(1000, 10, 7);
        assert!(rows.len() == 10 && rows.windows(2).all(|pair| pair[0] < pair[1]), "{rows:?}");
        assert_eq!(drawn(3, 10, 1), [0, 1, 2]);
        assert!(drawn(0, 10, 1).is_empty());
    }

    #[test]
    fn a_word_of_a_shell_is_one_word() {
        assert_eq!(shell_word(Path::new("runs/a-1")), "runs/a-1");
        assert_eq!(shell_word(Path::new("my run's")), r"'my run'\''s'");
        assert_eq!(shell_word(Path::new("a;b")), "'a;b'");
    }
}
