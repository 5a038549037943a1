//! Collaborative Distillation (Lee et al., ICDM 2019, arXiv 1911.05276): the teacher's scores of unlabelled items as soft labels, on
//! few items, which are sampled by their rank.
//!
//! ```text
//! L   = L_own + lambda mean over the sampled items of - q ln sigmoid(s) - (1 - q) ln(1 - sigmoid(s))
//! q   = sigmoid((z + shift) / temperature)                 z: the teacher's score, s: the student's
//! p_i proportional to 1 - pi_i      sampling "linear";     pi: the rank of item i, from 0 to 1
//! p_i proportional to exp(-gamma pi_i)      "exponential"
//! ```
//!
//! Ranks are the teacher's (`guide = "teacher"`, the paper's CD-TG), the student's (`"student"`, CD-SG, its best; refreshed every
//! `refresh_every` epochs) or do not count (`"none"`, CD-Base). Each case has `samples` items, drawn without replacement and anew in
//! each epoch.
//!
//! Differs: candidates are the teacher's first `window` unlabelled items, whose scores are known, and not all: so pi is the place in
//! the window (the student's, the place that it gives the item among these). The paper's number of samples is a share of the
//! unlabelled items; here, as in the public re-implementation (woriazzc/KDs: 2 of a window of 3,000, temperature 2, lambda 0.5), it
//! is a number. The loss is their mean, so that lambda keeps its meaning when that number changes.

use crate::beside_own::{Asked, Said, Term, beside_own};
use crate::places::weighted_places;
use crate::rank_distil::{PassOver, Scratch, exact_ranks};
use crate::score_kd::{scored_lists, soft_label};
use crate::settings::{self, above_0, at_least_1, not_negative};
use rankstill_core::kernel::math::{ln_slice, sigmoid};
use rankstill_core::registry::Config;
use rankstill_core::{
    Cases, Distiller, Error, ItemId, Lists, Model, Objective, Requirements, Result, Tensors, Trace,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Keeps the draws of different purposes apart.
const SAMPLES: u64 = 0x4344_5341;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cd {
    /// By whose ranks items are sampled.
    pub guide: Guide,
    /// How ranks become probabilities.
    pub sampling: Sampling,
    /// Of `exponential`: larger = nearer to the top.
    pub gamma: f32,
    /// Length of the teacher's list, from which is sampled.
    pub window: usize,
    /// Items of a case in an epoch.
    pub samples: usize,
    /// What the teacher's scores are divided by (T1): larger = softer labels.
    pub temperature: f32,
    /// What is added to them before (T2).
    pub shift: f32,
    /// The distillation loss's weight. At 0 the student learns by its own objective alone.
    pub lambda: f32,
    /// Of the student's ranks: epochs between two looks at it.
    pub refresh_every: usize,
}

/// By whose ranks items are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guide {
    /// Uniformly.
    None,
    /// The teacher's.
    Teacher,
    /// The student's.
    Student,
}

/// How ranks become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// 1 - pi.
    Linear,
    /// exp(-gamma pi).
    Exponential,
}

impl Default for Cd {
    fn default() -> Self {
        Self {
            guide: Guide::Student,
            sampling: Sampling::Linear,
            gamma: 10.0,
            window: 3000,
            samples: 2,
            temperature: 2.0,
            shift: 0.0,
            lambda: 0.5,
            refresh_every: 5,
        }
    }
}

impl Cd {
    /// From a configuration.
    ///
    /// # Errors
    /// When a setting is unknown, of the wrong type or out of its range.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        settings::read(config, Self::check)
    }

    fn check(&self, path: &str) -> Result<()> {
        let counts = [
            ("window", self.window),
            ("samples", self.samples),
            ("refresh_every", self.refresh_every),
        ];
        at_least_1(path, &counts)?;
        above_0(path, "temperature", self.temperature)?;
        not_negative(path, "gamma", self.gamma)?;
        not_negative(path, "lambda", self.lambda)
    }
}

impl Distiller for Cd {
    fn requires(&self) -> Requirements {
        Requirements::lists(self.window)
    }

    /// Learns from one teacher; of a trace with checkpoints it takes the last.
    ///
    /// # Errors
    /// As for [`RankDistil::teach`](crate::RankDistil); when a score is no finite number.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check("")?;
        beside_own("cd", self.lambda, own, cases, traces, |trace, labelled| {
            let (lists, scores) = scored_lists(trace, labelled, self.window)?;
            Ok(Softened::new(self.clone(), lists, scores))
        })
    }

    fn config(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

struct Softened {
    config: Cd,
    lists: Lists<ItemId>,
    /// The teacher's, parallel to the lists' values.
    scores: Vec<f32>,
    /// The place that the student gives each of them among its list's, from 0; empty before the first look.
    places: Vec<u32>,
}

impl Softened {
    fn new(config: Cd, lists: Lists<ItemId>, scores: Vec<f32>) -> Self {
        Self { config, lists, scores, places: Vec::new() }
    }

    /// The places in the list that are sampled.
    fn sampled(&self, asked: Asked) -> Vec<u32> {
        let n = self.lists.row(asked.query).len();
        let student = self.places.get(self.lists.range(asked.query));
        let place = |at: usize| match self.config.guide {
            Guide::None => None,
            Guide::Teacher => Some(at),
            // A student that was not looked at yet has no ranks.
            Guide::Student => student.map(|places| places[at] as usize),
        };
        let mut weights: Vec<f32> = match self.config.sampling {
            Sampling::Linear => {
                (0..n).map(|at| place(at).map_or(1.0, |p| (n - p) as f32)).collect()
            }
            Sampling::Exponential => {
                let fall = -self.config.gamma / n as f32;
                (0..n).map(|at| place(at).map_or(0.0, |p| fall * p as f32)).collect()
            }
        };
        if self.config.sampling == Sampling::Linear {
            ln_slice(&mut weights);
        }
        weighted_places(&weights, self.config.samples, Some(&mut asked.rng(SAMPLES)))
    }
}

impl Term for Softened {
    fn once(&self) -> bool {
        false
    }

    fn len(&self, asked: Asked) -> usize {
        self.config.samples.min(self.lists.row(asked.query).len())
    }

    fn items(&self, asked: Asked, _scratch: &mut Scratch, out: &mut Vec<ItemId>) {
        let list = self.lists.row(asked.query);
        out.extend(self.sampled(asked).into_iter().map(|at| list[at as usize]));
    }

    fn loss(&self, asked: Asked, said: Said<'_>, slopes: &mut [f32], _to_rest: &mut f64) -> f32 {
        let (list, scores) = (self.lists.row(asked.query), self.lists.range(asked.query));
        let scores = &self.scores[scores];
        let share = 1.0 / said.items.len() as f32;
        let mut loss = 0.0;
        for ((item, &score), slope) in said.items.iter().zip(said.scores).zip(slopes) {
            let Some(at) = list.iter().position(|other| other == item) else { continue };
            let label = sigmoid((scores[at] + self.config.shift) / self.config.temperature);
            let (part, to) = soft_label(score, label);
            loss += share * part;
            *slope += share * to;
        }
        loss
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        let due = self.places.is_empty() || epoch.is_multiple_of(self.config.refresh_every);
        if self.config.guide == Guide::Student && due {
            let ranks = exact_ranks(student, cases, &self.lists, PassOver::Labelled)?;
            self.places = places_of(&ranks, &self.lists);
        }
        Ok(())
    }

    fn state(&self) -> Tensors {
        let mut state = Tensors::default();
        if !self.places.is_empty() {
            state.insert("places", &[self.places.len()], self.places.clone());
        }
        state
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.places = match state.get("places") {
            None => Vec::new(),
            Some(_) => state.u32s("places")?.to_vec(),
        };
        let (found, expected) = (self.places.len(), self.lists.values().len());
        let sound = |(list, row): (usize, &[ItemId])| {
            self.places[self.lists.range(list)].iter().all(|&place| (place as usize) < row.len())
        };
        if found != 0 && (found != expected || !self.lists.iter().enumerate().all(sound)) {
            let problem = format!("holds {found} places, the teacher's lists {expected} items");
            return Err(Error::Tensor { name: "places".into(), problem });
        }
        Ok(())
    }
}

/// Ranks as places among those of their list, from 0; of two alike the first.
fn places_of(ranks: &[u32], lists: &Lists<ItemId>) -> Vec<u32> {
    let mut places = vec![0; ranks.len()];
    for list in 0..lists.len() {
        let range = lists.range(list);
        let ranks = &ranks[range.clone()];
        let mut order: Vec<usize> = (0..ranks.len()).collect();
        order.sort_by_key(|&at| ranks[at]); // stable
        order.iter().zip(0..).for_each(|(&at, place)| places[range.start + at] = place);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{asked, items_of};

    fn term(guide: Guide, sampling: Sampling) -> Softened {
        let config = Cd { guide, sampling, gamma: 2.0, samples: 1, ..Cd::default() };
        Softened::new(config, Lists::from_iter([vec![7u32, 5, 9]]), vec![2.0, 1.0, 0.0])
    }

    #[test]
    fn items_are_sampled_by_the_guides_ranks() {
        let share = |term: &Softened| {
            let mut counts = [0.0f64; 3];
            for epoch in 0..9000 {
                let item = items_of(term, 0, epoch)[0];
                counts[[7, 5, 9].iter().position(|&other| other == item).unwrap_or(3)] += 1.0;
            }
            counts.map(|count| count / 9000.0)
        };
        let close = |found: [f64; 3], expected: [f64; 3]| {
            let near = found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 0.025);
            assert!(near, "{found:?} {expected:?}");
        };
        close(share(&term(Guide::Teacher, Sampling::Linear)), [3.0 / 6.0, 2.0 / 6.0, 1.0 / 6.0]);
        close(share(&term(Guide::None, Sampling::Linear)), [1.0 / 3.0; 3]);
        let mut student = term(Guide::Student, Sampling::Linear);
        close(share(&student), [1.0 / 3.0; 3]);
        student.places = places_of(&[40, 3, 3], &student.lists);
        assert_eq!(student.places, [2, 0, 1]);
        close(share(&student), [1.0 / 6.0, 3.0 / 6.0, 2.0 / 6.0]);
        let e = |place: f64| (-2.0 * place / 3.0).exp();
        let sum = e(0.0) + e(1.0) + e(2.0);
        let expected = [e(0.0) / sum, e(1.0) / sum, e(2.0) / sum];
        close(share(&term(Guide::Teacher, Sampling::Exponential)), expected);
    }

    #[test]
    fn labels_are_softened() {
        let term = term(Guide::None, Sampling::Linear);
        let mut slopes = [0.0];
        let said = Said { items: &[7], scores: &[0.0], log_complement: 0.0 };
        let loss = term.loss(asked(0, 0), said, &mut slopes, &mut 0.0);
        let label = 1.0 / (1.0 + (-1.0f32).exp()); // 2 / temperature 2
        assert!((loss - 2f32.ln()).abs() < 1e-6);
        assert!((slopes[0] - (0.5 - label)).abs() < 1e-6);
    }
}
