//! `rankstill compress`: from a log to the best small ranker. Teachers are tried and an ensemble is chosen, a ladder of students is
//! taught, one is chosen within the budget: all on validation data. Then what was chosen is fitted again on training and validation part
//! together, measured once on the test part, and fitted on every row.
//!
//! It is three experiments, one after the other: the *portfolio* of teachers and the *ladder* of students, both in the folder `search` and
//! measured on the validation part, and the *final* one, which is the run in the folder itself. `experiment.toml` there is what
//! `rankstill run` repeats. Every fit is kept, so what was killed is resumed.

mod budget;
mod choice;
mod forecast;
mod portfolio;
mod students;

pub use budget::{Budget, Micros, Share, Size};
pub use students::{lists, robust};

use self::choice::{Choice, choose};
use self::portfolio::{Candidate, Shape, candidates};
use self::students::{ENSEMBLE, students};
use super::ensemble::selection;
use super::measure::Metrics;
use super::plan::{ExperimentPlan, Source};
use super::recordings::Recordings;
use super::report::ModelResults;
use super::run::Preface;
use super::run_folder::{adds_seeds, claim_as, folder_names, human_size, write};
use super::session::{Needs, Session, Setting};
use super::spec::{DataSpec, Spec};
use super::teaching::kept_epochs;
use super::{data, recordings, run};
use crate::progress::{Screen, short_time};
use anyhow::{Context as _, Result, ensure};
use rankstill::data::dataset::Dataset;
use rankstill::eval::Report;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The log and its split.
    pub data: DataSpec,
    /// Teachers from outside, by name, as in an experiment.
    pub teachers: Map<String, Value>,
    /// Whether teachers are fitted here too.
    pub portfolio: bool,
    /// What the student may cost.
    pub budget: Budget,
    /// How much is tried.
    pub effort: Effort,
    /// The first is that of the search; the final models are fitted with each.
    pub seeds: Vec<u64>,
}

/// How much is tried: numbers of settings, not seconds, so that the same effort gives the same models.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// One setting a teacher, three sizes of students.
    Quick,
    /// A few settings of each teacher, five sizes.
    #[default]
    Normal,
    /// Every known setting, and larger teachers.
    Thorough,
}

impl Effort {
    /// The number of settings of a teacher that are tried.
    fn settings(self) -> usize {
        match self {
            Self::Quick => 1,
            Self::Normal => 4,
            Self::Thorough => usize::MAX,
        }
    }
}

/// What students are compared by. The first one chooses.
const METRICS: [&str; 2] = ["ndcg@10", "recall@20"];
/// What the final table shows.
const SHOWN: [&str; 5] = ["ndcg@10", "recall@20", "recall@10", "map", "coverage@10"];
/// With more training interactions the final run fits of the ladder only the recommended student, its codes and the same alone.
const WHOLE_LADDER_ROWS: usize = 100_000;

/// Runs everything in the folder `out`, or resumes it there.
///
/// # Errors
/// If `out` holds something else, the log or a setting is wrong, nothing is within the budget, the user interrupts, or writing fails.
pub fn compress(request: &Request, out: &Path, screen: &Screen) -> Result<Report> {
    let text = toml::to_string_pretty(request)?;
    // More seeds keep the search.
    let _lock = claim_as(REQUEST, &text, |found| adds_seeds(&text, found), out, screen)?;
    let data = data::open(&request.data, &out.join("data"), screen)?;
    for (part, cases) in [("validation", &data.split.valid), ("test", &data.split.test)] {
        ensure!(
            !cases.is_empty(),
            "data.split: leaves no user with a {part} item, and students are chosen by the one and measured by the other"
        );
    }
    let mut notes: Vec<String> = drawn_unlike_test(request, &data).into_iter().collect();
    notes.iter().for_each(|note| screen.say(note));
    let search = Search { request, data: &data, out: &out.join(SEARCH), screen };
    let shape = search.shape();
    search.announce(&shape)?;
    let portfolio = search.portfolio(&shape)?;
    let ladder = search.ladder(&shape, &portfolio)?;
    let names = METRICS.map(str::to_owned);
    let choice = choose(&ladder.report, &ladder.results, &names, &request.budget)?;
    choice.reasons.iter().for_each(|reason| screen.say(reason));
    let plan = search.last(&shape, &ladder, &choice)?;
    let resolved = plan.resolved()?;
    let path = out.join("experiment.toml");
    if std::fs::read_to_string(&path).ok().as_ref() != Some(&resolved) {
        write(&path, &resolved)?;
    }
    notes.splice(0..0, choice.reasons);
    run::run_claimed(&plan, out, screen, Preface { notes, ensembles: ladder.report.ensembles })
}

/// What is to be said where validation rows were drawn at random and the test part was not: what is best for the former need not be so for
/// the latter (on LightGCN's Gowalla split a teacher that loses there wins here by far).
fn drawn_unlike_test(request: &Request, data: &Dataset) -> Option<String> {
    let drawn = request.data.split.options.get("valid_from_train")?.as_f64()? > 0.0;
    let dispersion = data::test_dispersion(data);
    (drawn && dispersion > 1.5).then(|| format!(
        "note: the test part is no random part of the rows (the items' shares of it vary {dispersion:.1} times as much), but the validation part \
         is one: what it chooses need not be the best for the test part; a --valid that was made like the test part would choose better"
    ))
}

const REQUEST: &str = "compress.toml";
const SEARCH: &str = "search";

/// What all stages share.
struct Search<'a> {
    request: &'a Request,
    data: &'a Dataset,
    out: &'a Path,
    screen: &'a Screen,
}

/// A fitted and measured experiment.
struct Stage {
    plan: ExperimentPlan,
    report: Report,
    results: Vec<ModelResults>,
    /// By model: how often it counts in the ensemble, if there is one.
    counts: BTreeMap<String, u32>,
    /// By model: the epochs that it was trained until it was best.
    epochs: BTreeMap<String, usize>,
}

impl Search<'_> {
    fn shape(&self) -> Shape {
        let train = &self.data.split.train;
        let ordered = self.data.manifest.times;
        let negative = train.weights().is_some_and(|weights| weights.iter().any(|&x| x < 0.0));
        let (users, items, rows) = (train.n_users(), train.n_items(), train.len());
        Shape { users, items, rows, ordered, negative }
    }

    /// The best candidate of each group.
    fn portfolio(&self, shape: &Shape) -> Result<Vec<Candidate>> {
        if !self.request.portfolio {
            return Ok(Vec::new());
        }
        let all = candidates(shape, self.request.effort);
        let models = settings_of(&all);
        self.screen.say(format!(
            "teachers: {} settings of {} rankers are tried",
            all.len(),
            groups(&all).len()
        ));
        let stage = self.stage("teachers", models, 0.0)?;
        let value = |name: &str| {
            let model = stage.report.models.iter().find(|model| model.name == name);
            model.and_then(|model| model.metrics.get(METRICS[0])).map_or(0.0, |spread| spread.mean)
        };
        Ok(best_of_groups(&all, &value))
    }

    /// The ensemble of the best, and the students that it teaches.
    fn ladder(&self, shape: &Shape, portfolio: &[Candidate]) -> Result<Stage> {
        self.screen.say("students: the ensemble is chosen and teaches them");
        self.stage("students", self.ladder_of(shape, portfolio), 6.0)
    }

    /// The models of the ladder.
    fn ladder_of(&self, shape: &Shape, portfolio: &[Candidate]) -> Map<String, Value> {
        let mut models = self.request.teachers.clone();
        models.extend(settings_of(portfolio));
        let members: Vec<&String> = models.keys().collect();
        let ensemble = json!({
            "kind": "ensemble", "members": members,
            "fusion": {"kind": "comb_sum", "cut": 200, "select": 20},
        });
        models.insert(ENSEMBLE.into(), ensemble);
        let factored = portfolio.iter().find(|one| one.group == "implicit_als");
        models.extend(students(shape, self.request.effort, factored.map(|one| one.name.as_str())));
        models
    }

    /// Says what the whole will take. Which settings win is not known yet: the first of each group stand for them.
    fn announce(&self, shape: &Shape) -> Result<()> {
        let all = match self.request.portfolio {
            true => candidates(shape, self.request.effort),
            false => Vec::new(),
        };
        let firsts = best_of_groups(&all, &|_| 0.0);
        let ladder = self.ladder_of(shape, &firsts);
        let seeds = self.request.seeds.len() as f64;
        let mut last = ladder.clone();
        if shape.rows > WHOLE_LADDER_ROWS {
            let students = students(shape, self.request.effort, None);
            let taught = |model: &Value| model.get("distill").is_some();
            let largest = students.iter().rev().find(|(_, model)| taught(model));
            let largest = largest.map(|(name, _)| name.clone());
            last.retain(|name, _| !students.contains_key(name) || Some(name) == largest.as_ref());
        }
        let of = |models: &Map<String, Value>| forecast::seconds(models, shape);
        // The second and the last fit know more rows. Latencies take the time that they are given.
        let work = of(&settings_of(&all))
            + of(&ladder)
            + 1.2 * seeds * of(&last)
            + 1.3 * of(&settings_of(&firsts));
        let time = forecast::slowness() * work + 6.0 + 10.0 * seeds;
        let mut needs = Needs::default();
        for (name, models, times) in
            [("teachers", settings_of(&all), 1.0), ("students", ladder, 1.0), ("last", last, seeds)]
        {
            if models.is_empty() {
                continue;
            }
            let plan = self.plan(name, models, 0.0)?;
            let metrics = Metrics::parse(&plan.spec.evaluate)?;
            let none = Recordings::default();
            let Self { data, out, screen, .. } = *self;
            let setting = Setting { out, screen, data, metrics: &metrics, recordings: &none };
            let found = Session::new(&setting, &plan, Vec::new())?.needs();
            needs.memory = needs.memory.max(found.memory);
            needs.disk += (times * found.disk as f64) as u64;
        }
        self.screen.say(format!(
            "{} users, {} items, {} training interactions; will take about {} in all on this machine, {} of memory and {} of disk",
            shape.users, shape.items, shape.rows,
            short_time(Duration::from_secs_f64(time)), human_size(needs.memory), human_size(needs.disk),
        ));
        Ok(())
    }

    /// An experiment with these models, measured on the validation part.
    fn plan(
        &self,
        name: &str,
        models: Map<String, Value>,
        latency_seconds: f64,
    ) -> Result<ExperimentPlan> {
        let tree = json!({
            "name": name,
            "seeds": [self.request.seeds[0]],
            "data": self.request.data,
            "evaluate": {
                "metrics": METRICS, "validate": METRICS[0], "part": "valid", "latency_seconds": latency_seconds,
            },
            "models": models,
        });
        ExperimentPlan::new(Spec::of_tree(&tree)?)
    }

    /// Fits and measures these models on the validation part.
    fn stage(&self, name: &str, models: Map<String, Value>, latency_seconds: f64) -> Result<Stage> {
        let plan = self.plan(name, models, latency_seconds)?;
        let metrics = Metrics::parse(&plan.spec.evaluate)?;
        let recordings = recordings::read(&plan, self.data, &metrics, self.screen)?;
        let Self { data, out, screen, .. } = *self;
        let setting = Setting { out, screen, data, metrics: &metrics, recordings: &recordings };
        let folders = folder_names(&plan.names());
        let folders = folders.iter().map(|name| out.join("models").join(name)).collect();
        let session = Session::new(&setting, &plan, folders)?;
        let (results, _) = run::fit_and_measure(&session)?;
        let report = session.report(&results)?;
        let (mut counts, mut epochs) = (BTreeMap::new(), BTreeMap::new());
        for (at, planned) in plan.models.iter().enumerate() {
            let seed = self.request.seeds[0];
            match &planned.source {
                Source::Ensemble { members, .. } => {
                    let chosen =
                        selection(&session.folder(at, seed))?.context("no ensemble was chosen")?;
                    let counted = members.iter().zip(chosen.weights);
                    counts
                        .extend(counted.map(|(&at, count)| (plan.models[at].name.clone(), count)));
                }
                Source::Fit { .. } => {
                    let kept = kept_epochs(&session.fit_folder(at, seed))?;
                    epochs.extend(kept.map(|kept| (planned.name.clone(), kept)));
                }
                _ => {}
            }
        }
        write(&out.join(format!("{name}.json")), &(serde_json::to_string_pretty(&report)? + "\n"))?;
        write(&out.join(format!("{name}.md")), &report.markdown())?;
        Ok(Stage { plan, report, results, counts, epochs })
    }

    /// What was chosen, to be fitted on training and validation part and measured on the test part.
    fn last(&self, shape: &Shape, ladder: &Stage, choice: &Choice) -> Result<ExperimentPlan> {
        let chosen = ladder.plan.at(&choice.recommended);
        let mut models = Map::new();
        let (mut members, mut weights) = (Vec::new(), Vec::new());
        for (name, &count) in ladder.counts.iter().filter(|(_, count)| **count > 0) {
            members.push(name.clone());
            weights.push(count);
        }
        for planned in &ladder.plan.models {
            let name = &planned.name;
            if !self.is_in_the_end(shape, &ladder.plan, chosen, name) {
                continue;
            }
            let mut settings = planned.resolved.clone();
            // A list-wise student at a falling rate is best at its end, or nearly.
            let ends_best =
                settings.get("distill").is_some() && settings.get("final_rate").is_some();
            if let Some(&epochs) = ladder.epochs.get(name)
                && let Some(train) = settings.get_mut("train").filter(|train| train.is_object())
            {
                if !ends_best {
                    train["epochs"] = epochs.into();
                }
                train["patience"] = 0.into();
            }
            if matches!(planned.source, Source::Ensemble { .. }) {
                settings["members"] = json!(members);
                settings["fusion"]["select"] = 0.into();
                settings["fusion"]["weights"] = json!(weights);
            }
            models.insert(name.clone(), settings);
        }
        let tree = json!({
            "name": "Compressed",
            "seeds": self.request.seeds,
            "data": self.request.data,
            "evaluate": {
                "metrics": SHOWN, "validate": METRICS[0], "fit_on": "train+valid", "best": choice.recommended,
                "latency_seconds": 10.0, "groups": 0.5,
            },
            "models": models,
        });
        ExperimentPlan::new(Spec::of_tree(&tree)?)
    }

    /// Whether a model of the ladder is fitted in the end: teachers, the ensemble, and on large logs of the students the recommended one,
    /// what it is made of, and the same size alone.
    fn is_in_the_end(
        &self,
        shape: &Shape,
        plan: &ExperimentPlan,
        chosen: usize,
        name: &str,
    ) -> bool {
        if shape.rows <= WHOLE_LADDER_ROWS {
            return true;
        }
        let base = match plan.models[chosen].source {
            Source::Compressed { of, .. } => of,
            _ => chosen,
        };
        let base = plan.models[base].name.as_str();
        let of = |at: usize| match plan.models[at].source {
            Source::Compressed { of, .. } => plan.models[of].name.as_str(),
            _ => plan.models[at].name.as_str(),
        };
        let own = of(plan.at(name));
        let is_student = students(shape, self.request.effort, None).contains_key(own);
        !is_student || own == base || Some(own) == base.strip_suffix("/KD")
    }
}

fn settings_of(candidates: &[Candidate]) -> Map<String, Value> {
    candidates.iter().map(|one| (one.name.clone(), one.settings.clone())).collect()
}

/// Of each group the best candidate, and of equals the first, which is the cheapest.
fn best_of_groups(all: &[Candidate], value: &dyn Fn(&str) -> f64) -> Vec<Candidate> {
    let best = groups(all).into_iter().filter_map(|group| {
        let mut own = all.iter().filter(|one| one.group == group);
        let first = own.next()?;
        Some(own.fold(first, |best, one| match value(&best.name) >= value(&one.name) {
            true => best,
            false => one,
        }))
    });
    best.cloned().collect()
}

/// The groups of candidates, in their order.
fn groups(all: &[Candidate]) -> Vec<&'static str> {
    let mut groups: Vec<&'static str> = all.iter().map(|one| one.group).collect();
    groups.dedup();
    groups
}
