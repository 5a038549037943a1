//! The distillation loss of Ranking Distillation.
//!
//! A row lists the teacher's items, then (pair-wise and list-wise) the rivals of each. The samples of Algorithm 1 are probes;
//! they are drawn only while ranks are estimated.

use super::{ListLoss, PassOver, RankDistil, RankPopulation, StudentRanks, Weighting, weights};
use crate::parts::blend::{Context, ItemScores, Term, in_chunks};
use crate::parts::labelled::Labelled;
use crate::parts::losses::plackett_luce_above;
use crate::parts::teacher_lists::{per_item_state, ranks, restore_per_item};
use crate::parts::unlabelled_sampler::UnlabelledSampler;
use rankstill_core::item_sampler::SharedSample;
use rankstill_core::kernel::math::{sigmoid_slice, softplus_slice};
use rankstill_core::{Batch, Cases, ItemId, Lists, Model, Result, Tensors};
use std::sync::Arc;

/// Keep the draws of different purposes apart.
const SAMPLES: u64 = 0x5244_5341;
const SHARED: u64 = 0x5244_5348;
const RIVALS: u64 = 0x5244_5249;

/// Lists up to this length are weighted on the stack.
const SHORT: usize = 64;

/// alpha L^D: weighted already, and adds its slopes in place.
pub(super) struct PositionsTerm {
    config: RankDistil,
    /// The teacher's items for each distinct query, or for each case where only the case's targets are left out.
    lists: Lists<ItemId>,
    labelled: Arc<Labelled>,
    /// w^a.
    position: Vec<f32>,
    /// Exact ranks, parallel to the lists' values; empty before the first update, and where ranks are estimated.
    ranks: Vec<u32>,
}

impl PositionsTerm {
    pub fn new(config: RankDistil, lists: Lists<ItemId>, labelled: Arc<Labelled>) -> Self {
        let position = weights::position(config.k, config.lambda);
        Self { config, lists, labelled, position, ranks: Vec::new() }
    }

    fn list_of(&self, context: Context) -> usize {
        match self.config.pass_over {
            PassOver::Labelled => context.query,
            PassOver::Targets => context.case,
        }
    }

    /// Rivals of each item of a list.
    fn rivals(&self) -> usize {
        match self.config.loss {
            ListLoss::PointWise => 0,
            ListLoss::PairWise | ListLoss::ListWise => self.config.rivals,
        }
    }

    fn n_samples(&self, context: Context) -> usize {
        if self.lists.row(self.list_of(context)).is_empty() {
            return 0;
        }
        match self.config.replacement {
            true => self.config.epsilon,
            false => self.config.epsilon.min(self.labelled.n_unlabelled(context.query) as usize),
        }
    }

    /// Whether ranks are estimated in this epoch.
    fn estimates(&self, epoch: usize) -> bool {
        self.config.discrepancy == StudentRanks::Sampled && self.uses_ranks(epoch)
    }

    /// Whether the student's ranks count in this epoch.
    fn uses_ranks(&self, epoch: usize) -> bool {
        matches!(self.config.weighting, Weighting::Discrepancy | Weighting::Hybrid)
            && epoch >= self.config.warm_up
    }

    /// The student's rank of an item by its score: exact where all scores are known, otherwise by Algorithm 1.
    fn rank(&self, query: usize, score: f32, scores: &ItemScores<'_>) -> u32 {
        let Some(all) = scores.all else {
            let higher = weights::count_higher(scores.probes, score);
            let population = match self.config.population {
                RankPopulation::Unlabelled => self.labelled.n_unlabelled(query),
                RankPopulation::Catalogue => self.labelled.positives().n_items(),
            };
            return weights::estimated_rank(higher, scores.probes.len(), population);
        };
        let labelled = self.labelled.of(query).iter();
        let labelled_above = labelled.filter(|&&item| all[item as usize] > score).count() as u32;
        weights::count_higher(all, score) - labelled_above + 1
    }
}

impl Term for PositionsTerm {
    fn once_per_query(&self) -> bool {
        false
    }

    fn list_items(
        &self,
        context: Context,
        _sampler: &mut UnlabelledSampler,
        out: &mut Vec<ItemId>,
    ) {
        let list = self.lists.row(self.list_of(context));
        out.extend_from_slice(list);
        if self.rivals() == 0 {
            return;
        }
        let mut rng = context.case_rng(RIVALS);
        let entry = self.labelled.entry(context.query);
        // There is an unlabelled item: those of the list are.
        let rival = |_| self.labelled.positives().negative(entry, &mut rng).unwrap_or_default();
        out.extend((0..list.len() * self.rivals()).map(rival));
    }

    fn extend_probes(&self, batch: &Batch<'_>, own: Option<&Lists<ItemId>>) -> Lists<ItemId> {
        if !self.estimates(batch.epoch) {
            return own.cloned().unwrap_or_default();
        }
        let n_items = self.labelled.positives().n_items() as usize;
        let RankDistil { epsilon, replacement, shared_samples, .. } = self.config;
        let shared = shared_samples
            .then(|| SharedSample::new(n_items, epsilon, replacement, &mut batch.rng(0, SHARED)));
        let chunks = in_chunks(batch, |rows, sampler| {
            let (mut probes, mut row) = (Lists::default(), Vec::new());
            for at in rows {
                let context = Context::of(batch, at);
                row.clear();
                row.extend_from_slice(own.map_or(&[], |own| own.row(at)));
                let n_own = row.len();
                row.resize(n_own + self.n_samples(context), 0);
                let (out, mut rng) = (&mut row[n_own..], context.case_rng(SAMPLES));
                let (labelled, query) = (&self.labelled, context.query);
                match &shared {
                    _ if out.is_empty() => {}
                    Some(shared) => {
                        sampler.fill_from_shared(shared, labelled, query, &mut rng, out);
                    }
                    None => sampler.fill(labelled, query, &[], replacement, &mut rng, out),
                }
                probes.push(row.iter().copied());
            }
            probes
        });
        let mut probes = Lists::default();
        chunks.into_iter().for_each(|chunk| probes.append(chunk));
        probes
    }

    fn loss(
        &self,
        context: Context,
        scores: ItemScores<'_>,
        slopes: &mut [f32],
        _to_complement: &mut f64,
    ) -> f32 {
        let positions = self.lists.range(self.list_of(context));
        let n = positions.len();
        let (list, rivals) = scores.scores.split_at(n);
        let (to_list, to_rivals) = slopes.split_at_mut(n);
        // Margins of each item: one to each of its rivals, or one to 0.
        let each = self.rivals().max(1);
        let needed = n + 2 * n * each;
        let (mut short, mut long) = ([0.0f32; 3 * SHORT], Vec::new());
        let room = if needed <= short.len() {
            &mut short[..needed]
        } else {
            long.resize(needed, 0.0f32);
            &mut long
        };
        let (weights, room) = room.split_at_mut(n);
        let (losses, margins) = room.split_at_mut(n * each);

        let exact = (!self.ranks.is_empty()).then(|| &self.ranks[positions]);
        let estimated = self.config.discrepancy == StudentRanks::Sampled;
        // Before exact ranks are first computed, weights are by position, as in the warm-up.
        let warming_up = !self.uses_ranks(context.epoch) || !(estimated || exact.is_some());
        let rank = |at: usize| match exact {
            Some(ranks) => ranks[at],
            None => self.rank(context.query, list[at], &scores),
        };
        weights::fill(&self.config, &self.position, warming_up, rank, weights);
        let alpha = self.config.alpha;
        if self.config.loss == ListLoss::ListWise {
            let weight = |at: usize| f64::from(alpha * weights[at]);
            return plackett_luce_above(list, rivals, weight, to_list, to_rivals) as f32;
        }

        let rival = |at: usize| rivals.get(at).copied().unwrap_or(0.0);
        losses.iter_mut().enumerate().for_each(|(at, loss)| *loss = rival(at) - list[at / each]);
        margins.copy_from_slice(losses);
        softplus_slice(losses); // -ln sigmoid(margin)
        sigmoid_slice(margins); // minus its slope
        let mut loss = 0.0;
        for at in 0..n * each {
            let weight = weights[at / each] / each as f32;
            loss += weight * losses[at];
            let slope = alpha * weight * margins[at];
            to_list[at / each] -= slope;
            if let Some(to_rival) = to_rivals.get_mut(at) {
                *to_rival += slope;
            }
        }
        alpha * loss
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        let exact = self.config.discrepancy == StudentRanks::Exact && self.uses_ranks(epoch);
        let due = || (epoch - self.config.warm_up).is_multiple_of(self.config.refresh_every);
        if exact && (self.ranks.is_empty() || due()) {
            let skip_seen = self.config.pass_over == PassOver::Labelled;
            let queries = if skip_seen { cases.distinct_queries() } else { cases.queries() };
            self.ranks = ranks(student, cases.n_items(), &queries, &self.lists, skip_seen)?;
        }
        Ok(())
    }

    fn state(&self) -> Tensors {
        per_item_state("ranks", &self.ranks)
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.ranks = restore_per_item("ranks", state, &self.lists)?;
        Ok(())
    }
}
