//! Bidirectional Distillation (Kweon et al., WWW 2021, arXiv 2106.02870): teacher and student are trained together, each with
//! its own loss and with the other's scores of items on whose ranks they disagree.
//!
//! ```text
//! L_S = L_own + lambda BCE(sigmoid(s), sigmoid(z / temperature))             s: the student's score, z: the teacher's
//! L_T = L_own + lambda BCE(sigmoid(z), sigmoid(s / temperature))
//! items for the student     p_i proportional to tanh(max(to_student (rank_T - rank_S), 0))     those that the student ranks too high
//! items for the teacher     p_i proportional to exp(to_teacher (rank_S - rank_T))
//! ```
//!
//! One unlabelled item for each case and epoch. Ranks are those of both models among a query's unlabelled items, 1 = best, updated
//! every `refresh_every` epochs. For `warm_up` epochs each model learns alone.
//!
//! The teacher is trained anew from random parameters: one epoch of its recipe before each of the student's, for as many epochs as
//! the student trains. The number of epochs and the early stopping of its own plan do not apply. Only the student is kept; the
//! model of the teacher's name in the same experiment is that recipe trained alone.
//!
//! Differs: the other model's scores are taken once an epoch, not at every step; ranks are among unlabelled items. A query for which
//! the student ranks no item higher than the teacher does is not taught. The paper warms both models up for 1,000 epochs at a
//! learning rate of .001.

use crate::parts::blend::{Blend, Context, ItemScores, Term, blend};
use crate::parts::labelled::Labelled;
use crate::parts::losses::soft_label;
use crate::parts::settings::{Settings, above_0, at_least_1, not_negative};
use crate::parts::unlabelled_sampler::UnlabelledSampler;
use rankstill_core::kernel::math::sigmoid;
use rankstill_core::kernel::rng::Rng;
use rankstill_core::train::CoTraining;
use rankstill_core::{
    Cases, Distiller, Error, ItemId, Lists, Model, Objective, Query, Requirements, Result, Scorer,
    Tensors, Trace,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Keep the draws of different purposes apart.
const TO_STUDENT: u64 = 0x4244_5354;
const TO_TEACHER: u64 = 0x4244_5445;

/// In place of an item: none was drawn.
const NONE: ItemId = ItemId::MAX;

/// Queries for which a task holds all scores at a time.
const BLOCK: usize = 8;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bd {
    /// Weight of the distillation loss of both models. At 0 the student learns only from its own objective.
    pub lambda: f32,
    /// Divisor of the other model's scores: larger = softer labels.
    pub temperature: f32,
    /// Epochs in which both models learn alone.
    pub warm_up: usize,
    /// Epochs between two updates of ranks.
    pub refresh_every: usize,
    /// How steeply the probability of drawing an item for the student grows with the difference of ranks.
    pub to_student: f32,
    /// The same for the teacher.
    pub to_teacher: f32,
}

impl Default for Bd {
    fn default() -> Self {
        Self {
            lambda: 0.5,
            temperature: 5.0,
            warm_up: 50,
            refresh_every: 10,
            to_student: 1e-2,
            to_teacher: 1e-4,
        }
    }
}

impl Settings for Bd {
    fn check(&self) -> Result<()> {
        at_least_1(&[("refresh_every", self.refresh_every)])?;
        above_0("temperature", self.temperature)?;
        not_negative("lambda", self.lambda)?;
        not_negative("to_student", self.to_student)?;
        not_negative("to_teacher", self.to_teacher)
    }
}

impl Distiller for Bd {
    fn requires(&self) -> Requirements {
        Requirements { recipe: true, ..Requirements::lists(0) }
    }

    fn teaches_from(&self) -> Option<usize> {
        (self.lambda > 0.0).then_some(self.warm_up)
    }

    /// # Errors
    /// When there is not exactly one teacher, or it does not learn by gradient.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check()?;
        blend("bd", self.lambda, own, cases, traces, |trace, labelled| {
            CoTrained::new(self.clone(), trace, cases, labelled)
        })
    }
}

/// The student's term, which owns the teacher.
struct CoTrained {
    config: Bd,
    seed: u64,
    teacher: CoTraining,
    /// The teacher's objective.
    to_teacher: Blend<PeerLabels>,
    to_student: PeerLabels,
}

impl CoTrained {
    fn new(config: Bd, trace: &Trace, cases: &Cases, labelled: &Arc<Labelled>) -> Result<Self> {
        let Some(recipe) = trace.recipe() else {
            let problem = format!(
                "bd trains its teacher together with the student, and `{}` is not trained here; use a model of this experiment \
                 that learns by gradient",
                trace.teacher()
            );
            return Err(Error::Config { key: "teachers".into(), problem });
        };
        let teacher = CoTraining::new(recipe)?;
        let their_cases = teacher.cases();
        if their_cases.n_items() != cases.n_items() {
            let problem = format!(
                "the teacher ranks {} items, the student {}",
                their_cases.n_items(),
                cases.n_items()
            );
            return Err(Error::Config { key: "teachers".into(), problem });
        }
        let same = their_cases.fingerprint() == cases.fingerprint();
        let theirs = if same { labelled.clone() } else { Arc::new(Labelled::new(their_cases)?) };
        let labels = PeerLabels::new(their_cases, theirs.clone(), config.refresh_every);
        let own = teacher.objective()?;
        Ok(Self {
            seed: recipe.seed,
            to_teacher: Blend::new(own, labels, config.lambda, theirs),
            to_student: PeerLabels::new(cases, labelled.clone(), config.refresh_every),
            teacher,
            config,
        })
    }
}

impl Term for CoTrained {
    fn once_per_query(&self) -> bool {
        false
    }

    fn list_items(&self, context: Context, sampler: &mut UnlabelledSampler, out: &mut Vec<ItemId>) {
        self.to_student.list_items(context, sampler, out);
    }

    fn loss(
        &self,
        context: Context,
        scores: ItemScores<'_>,
        slopes: &mut [f32],
        to_complement: &mut f64,
    ) -> f32 {
        self.to_student.loss(context, scores, slopes, to_complement)
    }

    /// Trains the teacher for an epoch, and updates the labels of both.
    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        let Bd { temperature, warm_up, refresh_every, to_student, to_teacher, .. } = self.config;
        if let Some(since) = epoch.checked_sub(warm_up) {
            if since.is_multiple_of(refresh_every) {
                let ranked: (&dyn Scorer, &dyn Scorer) = (student, self.teacher.model());
                let too_high = |[student, teacher]: [u32; 2]| {
                    (to_student * (teacher as f32 - student as f32)).max(0.0).tanh()
                };
                let key = [TO_STUDENT, epoch as u64];
                self.to_student.draw(cases, ranked, too_high, self.seed, key);
                let too_low = |[student, teacher]: [u32; 2]| {
                    (to_teacher * (student as f32 - teacher as f32)).exp()
                };
                let key = [TO_TEACHER, epoch as u64];
                let theirs = self.teacher.cases();
                self.to_teacher.term_mut().draw(theirs, ranked, too_low, self.seed, key);
            }
            let at = since % refresh_every;
            let theirs = self.teacher.cases();
            self.to_teacher.term_mut().label(theirs, student, temperature, at)?;
        }
        self.to_teacher.refresh(epoch, self.teacher.model(), self.teacher.cases())?;
        self.teacher.epoch(epoch, &self.to_teacher)?;
        if let Some(since) = epoch.checked_sub(warm_up) {
            let at = since % refresh_every;
            self.to_student.label(cases, self.teacher.model(), temperature, at)?;
        }
        Ok(())
    }

    fn state(&self) -> Tensors {
        let mut state = Tensors::default();
        state.insert_all("teacher.", self.teacher.state());
        state.insert_all("teaching.", self.to_teacher.state());
        state.insert_all("student.", self.to_student.state());
        state
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.teacher.restore(&state.with_prefix("teacher."))?;
        self.to_teacher.restore(&state.with_prefix("teaching."))?;
        self.to_student.restore(&state.with_prefix("student."))
    }
}

/// What one of the models learns from the other: an item for each case, and the other's score of it as a label.
struct PeerLabels {
    labelled: Arc<Labelled>,
    /// The cases of each distinct query.
    cases_of: Lists<u32>,
    /// Number of epochs for which items are drawn at once.
    every: usize,
    /// The items of each case, one for each of these epochs; empty before the first draw.
    items: Vec<ItemId>,
    /// The current one of these epochs.
    at: usize,
    /// The label of each case's item in it; empty before the first draw.
    labels: Vec<f32>,
}

impl PeerLabels {
    fn new(cases: &Cases, labelled: Arc<Labelled>, every: usize) -> Self {
        let mut cases_of = vec![Vec::new(); cases.n_queries()];
        (0..cases.len()).for_each(|case| cases_of[cases.query_of(case)].push(case as u32));
        let cases_of = Lists::from_iter(cases_of);
        Self { labelled, cases_of, every, items: Vec::new(), at: 0, labels: Vec::new() }
    }

    /// The item of a case in this epoch.
    fn item(&self, case: usize) -> Option<ItemId> {
        if self.labels.is_empty() {
            return None;
        }
        Some(self.items[case * self.every + self.at]).filter(|&item| item != NONE)
    }

    /// Draws the items of the next epochs. `weight` is the weight of an item, given both models' ranks of it.
    fn draw(
        &mut self,
        cases: &Cases,
        ranked: (&dyn Scorer, &dyn Scorer),
        weight: impl Fn([u32; 2]) -> f32 + Sync,
        seed: u64,
        key: [u64; 2],
    ) {
        let n_items = cases.n_items();
        let queries = cases.distinct_queries();
        let drawn = by_blocks(&queries, |first, block| {
            let rows = [ranked.0, ranked.1].map(|scorer| {
                let mut rows = vec![0.0; block.len() * n_items];
                scorer.score(block, &mut rows);
                rows
            });
            let mut drawn = Vec::new();
            for at in 0..block.len() {
                let labelled = self.labelled.of(first + at);
                let ranks = [0, 1].map(|which: usize| {
                    ranks_of_unlabelled(&rows[which][at * n_items..][..n_items], labelled)
                });
                let mut sum = 0.0;
                let mut sums = Vec::with_capacity(n_items);
                for (student, teacher) in ranks[0].iter().zip(&ranks[1]) {
                    // Labelled items have no rank.
                    let weight = if *student == 0 { 0.0 } else { weight([*student, *teacher]) };
                    sum += f64::from(weight);
                    sums.push(sum);
                }
                let mut rng = Rng::keyed(seed, [key[0], key[1], (first + at) as u64]);
                for _ in 0..self.cases_of.row(first + at).len() * self.every {
                    drawn.push(match sum > 0.0 {
                        true => {
                            let goal = f64::from(rng.uniform()) * sum;
                            sums.partition_point(|&sum| sum <= goal).min(n_items - 1) as ItemId
                        }
                        false => NONE,
                    });
                }
            }
            drawn
        });
        self.items.clear();
        self.items.resize(cases.len() * self.every, NONE);
        let mut drawn = drawn.chunks_exact(self.every);
        for &case in self.cases_of.values() {
            let Some(items) = drawn.next() else { break };
            self.items[case as usize * self.every..][..self.every].copy_from_slice(items);
        }
    }

    /// Labels this epoch's items with the other model's scores.
    ///
    /// # Errors
    /// When a score is NaN or infinite.
    fn label(
        &mut self,
        cases: &Cases,
        other: &dyn Scorer,
        temperature: f32,
        at: usize,
    ) -> Result<()> {
        let n_items = cases.n_items();
        let queries = cases.distinct_queries();
        let labels = by_blocks(&queries, |first, block| {
            let mut rows = vec![0.0; block.len() * n_items];
            other.score(block, &mut rows);
            let mut labels = Vec::new();
            for (row, query) in rows.chunks_exact(n_items).zip(first..) {
                let item = |case: &u32| self.items[*case as usize * self.every + at];
                labels.extend(self.cases_of.row(query).iter().map(item).map(|item| match item {
                    NONE => 0.0,
                    item => sigmoid(row[item as usize] / temperature),
                }));
            }
            labels
        });
        if labels.iter().any(|label| !label.is_finite()) {
            let problem = "its scores are not finite".into();
            return Err(Error::Ranker { name: "bd".into(), problem });
        }
        self.at = at;
        self.labels.clear();
        self.labels.resize(cases.len(), 0.0);
        for (&case, label) in self.cases_of.values().iter().zip(labels) {
            self.labels[case as usize] = label;
        }
        Ok(())
    }
}

impl Term for PeerLabels {
    fn once_per_query(&self) -> bool {
        false
    }

    fn list_items(
        &self,
        context: Context,
        _sampler: &mut UnlabelledSampler,
        out: &mut Vec<ItemId>,
    ) {
        out.extend(self.item(context.case));
    }

    fn loss(
        &self,
        context: Context,
        scores: ItemScores<'_>,
        slopes: &mut [f32],
        _to_complement: &mut f64,
    ) -> f32 {
        let (loss, slope) = soft_label(scores.scores[0], self.labels[context.case]);
        slopes[0] += slope;
        loss
    }

    fn state(&self) -> Tensors {
        let mut state = Tensors::default();
        if !self.labels.is_empty() {
            state.insert("items", &[self.items.len()], self.items.clone());
            state.insert("labels", &[self.labels.len()], self.labels.clone());
            state.insert("at", &[1], vec![self.at as u32]);
        }
        state
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        if state.get("items").is_none() {
            (self.items, self.labels) = (Vec::new(), Vec::new());
            return Ok(());
        }
        let wrong = |name: &str, problem: String| Error::Tensor { name: name.into(), problem };
        let items = state.u32s("items")?;
        let n_cases = self.cases_of.values().len();
        let labels = state.f32s("labels", n_cases)?;
        let (found, expected) = (items.len(), n_cases * self.every);
        if found != expected {
            return Err(wrong("items", format!("expected {expected} numbers, found {found}")));
        }
        let n_items = self.labelled.positives().n_items();
        if let Some(item) = items.iter().find(|&&item| item != NONE && item >= n_items) {
            return Err(wrong("items", format!("names item {item} of {n_items}")));
        }
        self.at = match state.u32s("at")? {
            [at] if (*at as usize) < self.every => *at as usize,
            other => {
                return Err(wrong("at", format!("{other:?} is not an epoch below {}", self.every)));
            }
        };
        (self.items, self.labels) = (items.to_vec(), labels.to_vec());
        Ok(())
    }
}

/// The results of `work` for blocks of queries, each with the number of its first; in order.
fn by_blocks<T: Send>(
    queries: &[Query<'_>],
    work: impl Fn(usize, &[Query<'_>]) -> Vec<T> + Sync,
) -> Vec<T> {
    let blocks = queries.par_chunks(BLOCK).enumerate();
    let done: Vec<Vec<T>> = blocks.map(|(at, block)| work(at * BLOCK, block)).collect();
    done.into_iter().flatten().collect()
}

/// The rank of each item among the unlabelled ones by these scores, 1 = best, ties to the smaller id; 0 for labelled items.
fn ranks_of_unlabelled(scores: &[f32], labelled: &[ItemId]) -> Vec<u32> {
    let mut ranks = vec![1; scores.len()];
    labelled.iter().for_each(|&item| ranks[item as usize] = 0);
    let mut order: Vec<u32> = (0..scores.len() as u32).filter(|&i| ranks[i as usize] > 0).collect();
    let score = |item: u32| scores[item as usize];
    order.sort_unstable_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
    order.iter().zip(1..).for_each(|(&item, rank)| ranks[item as usize] = rank);
    ranks
}

#[cfg(test)]
mod tests;
