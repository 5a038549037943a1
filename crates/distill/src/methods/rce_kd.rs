//! RCE-KD ("rejuvenated" cross-entropy for distillation, ICLR 2026, arXiv 2509.20989): cross-entropy with the teacher, on the student's own
//! top items and on a closure of the teacher's.
//!
//! ```text
//! L     = L_own + lambda ( (1 - gamma) L1 + gamma L2 )
//! L1    = CE( softmax(z / tau), softmax(s / tau) ) over Q_S, the student's first k
//! L2    = the same over (C + Q_T) - Q_S: Q_T the teacher's first k, C a sample of the student's first `m` k
//! gamma = exp(-beta |Q_T and Q_S| / |Q_T|)
//! ```
//!
//! C has `l` items, drawn without replacement with probability proportional to exp((c_p + 1) / temperature), where c_p is the
//! number of items of Q_T that the student ranks at position p or below, including those outside its list. Drawn anew for each
//! query in each epoch; the student's lists are updated every `refresh_every` epochs. Values of the authors' code for matrix
//! factorisation on CiteULike (for LightGCN: tau 10, beta 5, lambda 100).
//!
//! Differs from the code: lists hold unlabelled items (there training items are not removed); the overlap is the paper's (the
//! code uses the share of Q_T in C); and only the scores of the teacher's first `window` items are known: an item beyond these has
//! the score of the last of them.

use crate::parts::blend::{Context, ItemScores, Term, blend};
use crate::parts::losses::cross_entropy;
use crate::parts::settings::{Settings, above_0, at_least_1, not_negative};
use crate::parts::teacher_lists::scored_lists;
use crate::parts::unlabelled_sampler::UnlabelledSampler;
use crate::parts::weighted_sampling::weighted_positions;
use rankstill_core::kernel::math::exp;
use rankstill_core::student_lists::StudentLists;
use rankstill_core::{
    Cases, Distiller, ItemId, Lists, Model, Objective, Requirements, Result, Tensors, Trace,
};
use serde::{Deserialize, Serialize};

/// Keeps these draws apart from all others.
const CLOSURE: u64 = 0x5243_4543;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RceKd {
    /// Length of the teacher's and of the student's list of top items.
    pub k: usize,
    /// Size of the sample C.
    pub l: usize,
    /// The sample is drawn from the student's first `m` times `k` items.
    pub m: usize,
    /// For the sample: larger = more uniform.
    pub temperature: f32,
    /// Divisor of scores in a softmax.
    pub tau: f32,
    /// Larger = more weight on the student's own top items at the same overlap.
    pub beta: f32,
    /// Length of the teacher's list of scored items.
    pub window: usize,
    /// Weight of the distillation loss. At 0 the student learns only from its own objective.
    pub lambda: f32,
    /// Epochs between two updates of the student's lists.
    pub refresh_every: usize,
}

impl Default for RceKd {
    fn default() -> Self {
        Self {
            k: 50,
            l: 50,
            m: 4,
            temperature: 10.0,
            tau: 1.0,
            beta: 3.0,
            window: 1000,
            lambda: 500.0,
            refresh_every: 1,
        }
    }
}

impl Settings for RceKd {
    fn check(&self) -> Result<()> {
        let counts = [
            ("k", self.k),
            ("l", self.l),
            ("m", self.m),
            ("window", self.window),
            ("refresh_every", self.refresh_every),
        ];
        at_least_1(&counts)?;
        above_0("temperature", self.temperature)?;
        above_0("tau", self.tau)?;
        not_negative("beta", self.beta)?;
        not_negative("lambda", self.lambda)
    }
}

impl Distiller for RceKd {
    fn requires(&self) -> Requirements {
        Requirements::lists(self.window.max(self.k))
    }

    /// Learns from one teacher. If a trace has checkpoints, the last is used.
    ///
    /// # Errors
    /// As for [`RankDistil::teach`](crate::RankDistil); when a score is NaN or infinite.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check()?;
        blend("rce_kd", self.lambda, own, cases, traces, |trace, labelled| {
            let (lists, scores) = scored_lists(trace, labelled, self.window.max(self.k))?;
            Ok(RceKdTerm::new(self.clone(), lists, scores, cases.n_items()))
        })
    }
}

/// (1 - gamma) L1 + gamma L2. Lists Q_S, then the other items of C and Q_T.
struct RceKdTerm {
    config: RceKd,
    n_items: usize,
    lists: Lists<ItemId>,
    /// The teacher's scores, parallel to the lists' values.
    scores: Vec<f32>,
    /// The positions of each list, ordered by item.
    by_item: Vec<u32>,
    student: StudentLists,
}

impl RceKdTerm {
    fn new(config: RceKd, lists: Lists<ItemId>, scores: Vec<f32>, n_items: usize) -> Self {
        let mut by_item = Vec::with_capacity(scores.len());
        for list in lists.iter() {
            let begin = by_item.len();
            by_item.extend(0..list.len() as u32);
            by_item[begin..].sort_by_key(|&at| list[at as usize]);
        }
        Self { config, n_items, lists, scores, by_item, student: StudentLists::default() }
    }

    /// The position of an item in the teacher's list.
    fn position(&self, query: usize, item: ItemId) -> Option<usize> {
        let (list, by_item) = (self.lists.row(query), &self.by_item[self.lists.range(query)]);
        let found = by_item.binary_search_by_key(&item, |&at| list[at as usize]);
        found.ok().map(|at| by_item[at] as usize)
    }

    /// The teacher's score of an item of its list, otherwise that of its last item.
    fn score(&self, query: usize, item: ItemId) -> f32 {
        let scores = &self.scores[self.lists.range(query)];
        scores[self.position(query, item).unwrap_or(scores.len() - 1)]
    }

    fn in_top(&self, query: usize, item: ItemId) -> bool {
        self.position(query, item).is_some_and(|position| position < self.config.k)
    }

    /// The student's list and the size of Q_S; empty where the teacher has no list.
    fn student(&self, query: usize) -> (&[ItemId], usize) {
        if self.student.is_empty() || self.lists.row(query).is_empty() {
            return (&[], 0);
        }
        let list = self.student.of(query);
        (list, self.config.k.min(list.len()))
    }
}

impl Term for RceKdTerm {
    fn list_items(
        &self,
        context: Context,
        _sampler: &mut UnlabelledSampler,
        out: &mut Vec<ItemId>,
    ) {
        let (list, n_top) = self.student(context.query);
        if n_top == 0 {
            return;
        }
        let begin = out.len();
        out.extend_from_slice(&list[..n_top]);
        // c_p, from the first position on.
        let mut below = self.config.k.min(self.lists.row(context.query).len());
        let weights: Vec<f32> = list
            .iter()
            .map(|&item| {
                let weight = (below + 1) as f32 / self.config.temperature;
                below -= usize::from(self.in_top(context.query, item));
                weight
            })
            .collect();
        let positions =
            weighted_positions(&weights, self.config.l, Some(&mut context.rng(CLOSURE)));
        let closure = positions.into_iter().map(|at| list[at as usize]);
        let teacher = self.lists.row(context.query).iter().copied().take(self.config.k);
        for item in closure.chain(teacher) {
            if !out[begin..].contains(&item) {
                out.push(item);
            }
        }
    }

    fn loss(
        &self,
        context: Context,
        scores: ItemScores<'_>,
        slopes: &mut [f32],
        _to_complement: &mut f64,
    ) -> f32 {
        let query = context.query;
        let (_, n_top) = self.student(query);
        let teacher = self.config.k.min(self.lists.row(query).len());
        let shared = scores.items[..n_top].iter().filter(|&&item| self.in_top(query, item)).count();
        let gamma = exp(-self.config.beta * shared as f32 / teacher as f32);
        let mut loss = 0.0;
        for (part, weight) in [(0..n_top, 1.0 - gamma), (n_top..scores.items.len(), gamma)] {
            if part.is_empty() {
                continue;
            }
            let teacher = scores.items[part.clone()].iter().map(|&item| self.score(query, item));
            let (student, slopes) = (&scores.scores[part.clone()], &mut slopes[part]);
            loss += cross_entropy(student, teacher, self.config.tau, slopes, weight);
        }
        loss
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        let (k, every) = (self.config.m * self.config.k, self.config.refresh_every);
        self.student.refresh(k, every, epoch, student, cases)
    }

    fn state(&self) -> Tensors {
        self.student.state()
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.student.restore(state, self.lists.len(), self.n_items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, item_scores, items_of};

    fn term() -> RceKdTerm {
        let config = RceKd { k: 2, l: 1, m: 2, temperature: 0.05, beta: 1.0, ..RceKd::default() };
        let lists = Lists::from_iter([vec![7u32, 5, 9], vec![]]);
        let mut term = RceKdTerm::new(config, lists, vec![3.0, 2.0, 1.0], 12);
        term.student = Lists::from_iter([vec![5, 1, 3, 9], vec![1, 2, 3, 4]]).into();
        term
    }

    #[test]
    fn the_closure_and_the_teachers_items_follow_the_students() {
        let term = term();
        // Both of the teacher's top items are at or below the first position, one (7, which is not in the list) is below every
        // other. At this temperature the sample is the first position, which is already among the student's top items.
        assert_eq!(items_of(&term, 0, 0), [5, 1, 7]);
        assert!(items_of(&term, 1, 0).is_empty(), "the teacher has no list");
        assert_eq!((term.score(0, 5), term.score(0, 4)), (2.0, 1.0));
    }

    #[test]
    fn the_two_parts_are_weighted_by_the_overlap() {
        let term = term();
        let mut slopes = [0.0; 3];
        let scores = item_scores(&[5, 1, 7], &[0.0, 0.0, 4.0]);
        let loss = term.loss(context(0, 0), scores, &mut slopes, &mut 0.0);
        // One item of two is shared. Over (5, 1) both of the student's probabilities are 1/2; a single item has no loss.
        let gamma = (-0.5f32).exp();
        assert!((loss - (1.0 - gamma) * 2f32.ln()).abs() < 1e-6);
        let first = 1.0 / (1.0 + (-1.0f32).exp()); // scores 2 and 1
        assert!((slopes[0] - (1.0 - gamma) * (0.5 - first)).abs() < 1e-6, "{slopes:?}");
        assert_eq!(slopes[2], 0.0);
    }
}
