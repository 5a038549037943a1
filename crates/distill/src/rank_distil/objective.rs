//! The student's objective under Ranking Distillation.
//!
//! A row's slate is the own objective's, then the teacher's list, then (pair-wise) a rival for each of its items. Its probes
//! are the own objective's, then the samples of Algorithm 1, which are there only while ranks are estimated.

use super::samples::{Scratch, Shared};
use super::{Blend, Discrepancy, Form, PassOver, Population, RankDistil, Weighting, weights};
use crate::labelled::Labelled;
use crate::listwise::above;
use crate::rest::own_loss;
use rankstill_core::kernel::math::{sigmoid_slice, softplus_slice};
use rankstill_core::{
    Batch, Cases, Error, Grad, ItemId, Lists, Model, Objective, Ranker, Result, Row, Scores, Slate,
    Span, Tensors, TopK, VectorObjective,
};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Keep the draws of different purposes apart.
const SAMPLES: u64 = 0x5244_5341;
const SHARED: u64 = 0x5244_5348;
const RIVALS: u64 = 0x5244_5249;

/// Rows whose slates one task builds.
const CHUNK: usize = 64;
/// Lists up to this long are weighed on the stack.
const SHORT: usize = 64;

pub(super) struct Taught {
    config: RankDistil,
    own: Box<dyn Objective>,
    /// The teacher's items of each distinct query, or of each case where what is passed over are a case's own targets.
    lists: Lists<ItemId>,
    labelled: Labelled,
    /// Whether the own objective asks for [`Slate::WithComplement`]; an objective keeps its kind of slate.
    against: bool,
    /// w^a.
    position: Vec<f32>,
    /// Exact ranks, parallel to the lists' values; empty until they are first counted, and when they are estimated.
    ranks: Vec<u32>,
}

impl Taught {
    pub(super) fn new(
        config: RankDistil,
        own: Box<dyn Objective>,
        cases: &Cases,
        lists: Lists<ItemId>,
        labelled: Labelled,
    ) -> Self {
        let first = Batch::new(cases, &[0], 0, 0);
        let against =
            !cases.is_empty() && matches!(own.slate(&first), Slate::WithComplement { .. });
        let position = weights::position(config.k, config.lambda);
        Self { config, own, lists, labelled, against, position, ranks: Vec::new() }
    }
}

impl Objective for Taught {
    fn slate(&self, batch: &Batch<'_>) -> Slate {
        match self.own.slate(batch) {
            Slate::All => Slate::All,
            Slate::Lists { listed, probes } => {
                debug_assert!(!self.against, "an objective keeps its kind of slate");
                let probes = self.append_samples(batch, probes);
                Slate::Lists { listed: self.append_lists(batch, &listed), probes }
            }
            Slate::WithComplement { listed, left_out, asking, probes } => {
                debug_assert!(self.against, "an objective keeps its kind of slate");
                let probes = self.append_samples(batch, probes);
                let listed = self.append_lists(batch, &listed);
                Slate::WithComplement { listed, left_out, asking, probes }
            }
        }
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        if row.items.is_empty() && !scores.listed.is_empty() {
            return self.loss_of_all(row, scores, grad);
        }
        let query = query_of(&row);
        let parts = self.parts(row.batch, row.at, row.items.len());
        let n_samples = self.n_samples(row.batch, row.at);
        let (probes, samples) = scores.probes.split_at(scores.probes.len() - n_samples);
        let scores = Scores { probes, ..scores };

        // Asked for again, with the batch cut down to this row: an objective draws by row (see [`Batch::rng`]).
        let own_slate = self.against.then(|| self.own.slate(&row.batch.only(row.at)));
        let left_out = match &own_slate {
            Some(Slate::WithComplement { left_out, asking, .. }) if !asking.is_empty() => {
                Some(left_out.row(0))
            }
            _ => None,
        };
        let mut grad = grad;
        let own = own_loss(&*self.own, parts.list.start, left_out, row, scores, &mut grad);
        let Grad { listed: slopes, log_complement } = grad;
        let share = self.own_share();
        if share != 1.0 {
            slopes.iter_mut().chain([log_complement]).for_each(|slope| *slope *= share);
        }

        let taught = &scores.listed[parts.list.clone()];
        let rank = |at: usize| {
            let higher = weights::count_higher(samples, taught[at]);
            weights::estimated_rank(higher, samples.len(), self.population(query))
        };
        let rivals = &scores.listed[parts.rivals];
        let (to_list, to_rivals) = slopes[parts.list.start..].split_at_mut(taught.len());
        share * own + self.distil(row, taught, rivals, rank, to_list, to_rivals)
    }

    fn of_vectors(&self) -> Option<&dyn VectorObjective> {
        self.own.of_vectors()
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        self.own.refresh(epoch, student, cases)?;
        let looks = self.config.discrepancy == Discrepancy::Exact && self.discerns(epoch);
        let due = || (epoch - self.config.warm_up).is_multiple_of(self.config.refresh_every);
        if looks && (self.ranks.is_empty() || due()) {
            self.ranks = exact_ranks(student, cases, &self.lists, self.config.pass_over)?;
        }
        Ok(())
    }

    fn state(&self) -> Tensors {
        let mut state = Tensors::default();
        state.insert_all("own.", self.own.state());
        if !self.ranks.is_empty() {
            state.insert("ranks", &[self.ranks.len()], self.ranks.clone());
        }
        state
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.own.restore(&state.with_prefix("own."))?;
        self.ranks = match state.get("ranks") {
            None => Vec::new(),
            Some(_) => state.u32s("ranks")?.to_vec(),
        };
        let (found, expected) = (self.ranks.len(), self.lists.values().len());
        if found != 0 && found != expected {
            let problem = format!("holds {found} ranks, the teacher's lists {expected} items");
            return Err(Error::Tensor { name: "ranks".into(), problem });
        }
        Ok(())
    }
}

/// The parts of a row's slate behind the own objective's.
struct Parts {
    list: Range<usize>,
    rivals: Range<usize>,
}

impl Taught {
    /// Alpha times the weighted loss of a row's list, from the scores of its items and of their rivals. `rank(at)` is the student's
    /// estimated rank of the item at 0-based place `at`. The slopes are added to what is there.
    fn distil(
        &self,
        row: Row<'_>,
        taught: &[f32],
        rivals: &[f32],
        rank: impl Fn(usize) -> u32,
        to_list: &mut [f32],
        to_rivals: &mut [f32],
    ) -> f32 {
        let epoch = row.batch.epoch;
        let places = self.lists.range(self.list_of(row.batch, row.at));
        let n = places.len();
        // Margins of an item of the list: against each of its rivals, or one against nothing.
        let each = (rivals.len() / n.max(1)).max(1);
        let needed = n + 2 * n * each;
        let (mut short, mut long) = ([0.0f32; 3 * SHORT], Vec::new());
        let room = if needed <= short.len() {
            &mut short[..needed]
        } else {
            long.resize(needed, 0.0f32);
            &mut long
        };
        let (weights, room) = room.split_at_mut(n);
        let (losses, slopes) = room.split_at_mut(n * each);

        let counted = (!self.ranks.is_empty()).then(|| &self.ranks[places]);
        let estimated = self.config.discrepancy == Discrepancy::Sampled;
        // Exact ranks that nobody has counted yet mean nothing, like those of a student that has just begun.
        let warming_up = !self.discerns(epoch) || !(estimated || counted.is_some());
        let rank = |at: usize| match counted {
            Some(ranks) => ranks[at],
            None => rank(at),
        };
        weights::fill(&self.config, &self.position, warming_up, rank, weights);
        let alpha = self.config.alpha;
        if self.config.loss == Form::ListWise {
            let weight = |at: usize| f64::from(alpha * weights[at]);
            return above(taught, rivals, weight, to_list, to_rivals) as f32;
        }

        let rival = |at: usize| rivals.get(at).copied().unwrap_or(0.0);
        losses.iter_mut().enumerate().for_each(|(at, loss)| *loss = rival(at) - taught[at / each]);
        slopes.copy_from_slice(losses);
        softplus_slice(losses); // -ln sigmoid(margin)
        sigmoid_slice(slopes); // minus its slope
        let mut loss = 0.0;
        for at in 0..n * each {
            let weight = weights[at / each] / each as f32;
            loss += weight * losses[at];
            let slope = alpha * weight * slopes[at];
            to_list[at / each] -= slope;
            if let Some(to_rival) = to_rivals.get_mut(at) {
                *to_rival += slope;
            }
        }
        alpha * loss
    }

    /// A row of [`Slate::All`]: every score is there, so ranks are counted, and rivals drawn as they would be for a list.
    fn loss_of_all(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let query = query_of(&row);
        let Grad { listed: slopes, log_complement } = grad;
        let own = self.own.loss(row, scores, Grad { listed: &mut *slopes, log_complement });
        let share = self.own_share();
        if share != 1.0 {
            slopes.iter_mut().for_each(|slope| *slope *= share);
        }
        let all = scores.listed;
        let list = self.list(row.batch, row.at);
        let score = |at: usize| all[list[at] as usize];
        let rank = |at: usize| {
            let labelled = self.labelled.of(query).iter();
            let known = labelled.filter(|&&item| all[item as usize] > score(at)).count() as u32;
            weights::count_higher(all, score(at)) - known + 1
        };
        let mut rivals = vec![0; list.len() * (self.copies() - 1)];
        self.draw_rivals(row.batch, row.at, query, &mut rivals);
        let taught: Vec<f32> = (0..list.len()).map(score).collect();
        let rival_scores: Vec<f32> = rivals.iter().map(|&rival| all[rival as usize]).collect();
        let (mut to_list, mut to_rivals) = (vec![0.0; list.len()], vec![0.0; rivals.len()]);
        let distil = self.distil(row, &taught, &rival_scores, rank, &mut to_list, &mut to_rivals);
        for (&item, slope) in list.iter().chain(&rivals).zip(to_list.iter().chain(&to_rivals)) {
            slopes[item as usize] += slope;
        }
        share * own + distil
    }

    /// The own slate's rows with the teacher's list and its rivals behind each.
    fn append_lists(&self, batch: &Batch<'_>, own: &Lists<ItemId>) -> Lists<ItemId> {
        let len = |at: usize| own.row(at).len() + self.list(batch, at).len() * self.copies();
        let mut lists = laid_out((0..batch.len()).map(len));
        rows_mut(&mut lists).for_each(|(at, slate)| {
            let query = batch.cases.query_of(batch.rows[at] as usize);
            let parts = self.parts(batch, at, slate.len());
            slate[..parts.list.start].copy_from_slice(own.row(at));
            slate[parts.list].copy_from_slice(self.list(batch, at));
            self.draw_rivals(batch, at, query, &mut slate[parts.rivals]);
        });
        lists
    }

    /// The own probes with the samples of Algorithm 1 behind each row.
    fn append_samples(&self, batch: &Batch<'_>, own: Lists<ItemId>) -> Lists<ItemId> {
        if !self.samples_at(batch.epoch) {
            return own;
        }
        let own_row = |at: usize| if own.is_empty() { &[][..] } else { own.row(at) };
        let len = |at: usize| own_row(at).len() + self.n_samples(batch, at);
        let mut probes = laid_out((0..batch.len()).map(len));
        let n_items = self.labelled.positives().n_items();
        let RankDistil { epsilon, replacement, shared_samples, .. } = self.config;
        let shared = shared_samples
            .then(|| Shared::new(n_items, epsilon, replacement, &mut batch.rng(0, SHARED)));
        rows_mut(&mut probes).for_each_init(
            || Scratch::new(n_items as usize),
            |scratch, (at, row)| {
                let query = batch.cases.query_of(batch.rows[at] as usize);
                let (kept, samples) = row.split_at_mut(own_row(at).len());
                kept.copy_from_slice(own_row(at));
                let rng = batch.rng(at, SAMPLES);
                self.draw_samples(shared.as_ref(), query, rng, scratch, samples);
            },
        );
        probes
    }

    fn draw_rivals(&self, batch: &Batch<'_>, at: usize, query: usize, out: &mut [ItemId]) {
        let mut rng = batch.rng(at, RIVALS);
        let entry = self.labelled.entry(query);
        for rival in out {
            // There is one: the list's items are unlabelled themselves.
            *rival = self.labelled.positives().negative(entry, &mut rng).unwrap_or_default();
        }
    }

    fn draw_samples(
        &self,
        shared: Option<&Shared>,
        query: usize,
        mut rng: rankstill_core::kernel::rng::Rng,
        scratch: &mut Scratch,
        out: &mut [ItemId],
    ) {
        if out.is_empty() {
            return;
        }
        match shared {
            Some(shared) => {
                scratch.fill_shared(shared, &self.labelled, query, &mut rng, out);
            }
            None => {
                let replacement = self.config.replacement;
                scratch.fill(&self.labelled, query, replacement, &mut rng, out);
            }
        }
    }

    /// Where the parts of a row's slate of `len` items lie: ours are its end.
    fn parts(&self, batch: &Batch<'_>, at: usize, len: usize) -> Parts {
        let list = self.list(batch, at).len();
        let rivals = len - list * (self.copies() - 1)..len;
        Parts { list: rivals.start - list..rivals.start, rivals }
    }

    /// How often a list's length goes into a slate.
    fn copies(&self) -> usize {
        match self.config.loss {
            Form::PointWise => 1,
            Form::PairWise | Form::ListWise => 1 + self.config.rivals,
        }
    }

    /// Which of the lists is that of the batch's row `at`.
    fn list_of(&self, batch: &Batch<'_>, at: usize) -> usize {
        let case = batch.rows[at] as usize;
        match self.config.pass_over {
            PassOver::Labelled => batch.cases.query_of(case),
            PassOver::Targets => case,
        }
    }

    fn list(&self, batch: &Batch<'_>, at: usize) -> &[ItemId] {
        self.lists.row(self.list_of(batch, at))
    }

    fn n_samples(&self, batch: &Batch<'_>, at: usize) -> usize {
        if !self.samples_at(batch.epoch) || self.list(batch, at).is_empty() {
            return 0;
        }
        let query = batch.cases.query_of(batch.rows[at] as usize);
        match self.config.replacement {
            true => self.config.epsilon,
            false => self.config.epsilon.min(self.labelled.n_unlabelled(query) as usize),
        }
    }

    /// Whether ranks are estimated in this epoch.
    fn samples_at(&self, epoch: usize) -> bool {
        self.config.discrepancy == Discrepancy::Sampled && self.discerns(epoch)
    }

    /// Whether the student's ranks count in this epoch.
    fn discerns(&self, epoch: usize) -> bool {
        matches!(self.config.weighting, Weighting::Discrepancy | Weighting::Hybrid)
            && epoch >= self.config.warm_up
    }

    fn population(&self, query: usize) -> u32 {
        match self.config.population {
            Population::Unlabelled => self.labelled.n_unlabelled(query),
            Population::Catalogue => self.labelled.positives().n_items(),
        }
    }

    fn own_share(&self) -> f32 {
        match self.config.blend {
            Blend::Paper => 1.0 - self.config.alpha,
            Blend::AuthorsCode => 1.0,
        }
    }
}

/// Rows of these lengths, not filled yet.
fn laid_out(lens: impl Iterator<Item = usize>) -> Lists<ItemId> {
    let mut starts = vec![0];
    let mut end = 0;
    starts.extend(lens.map(|len| {
        end += len;
        end
    }));
    // Sums of lengths: they begin at 0 and never fall.
    Lists::from_parts(starts, vec![0; end]).unwrap_or_default()
}

/// Every row with its number, in parallel.
fn rows_mut(
    lists: &mut Lists<ItemId>,
) -> impl IndexedParallelIterator<Item = (usize, &mut [ItemId])> {
    let starts = lists.starts().to_vec();
    let mut rows = Vec::with_capacity(lists.len());
    let mut left = lists.values_mut();
    for pair in starts.windows(2) {
        let (row, rest) = left.split_at_mut(pair[1] - pair[0]);
        left = rest;
        rows.push(row);
    }
    rows.into_par_iter().enumerate().with_min_len(CHUNK)
}

fn query_of(row: &Row<'_>) -> usize {
    row.batch.cases.query_of(row.index())
}

/// Where the student has each item of each list, among what is neither history nor hidden (or among everything, where only
/// targets are passed over): 1-based, parallel to the lists' values. What it does not rank at all comes last.
pub(crate) fn exact_ranks(
    student: &dyn Ranker,
    cases: &Cases,
    lists: &Lists<ItemId>,
    pass_over: PassOver,
) -> Result<Vec<u32>> {
    let n_items = cases.n_items();
    let skip_seen = pass_over == PassOver::Labelled;
    let top = TopK { skip_seen, ..TopK::unseen(n_items) };
    // A ranker that can only list everything holds so many items at a time: 8 million are 64 MB.
    let at_once = ((1 << 23) / n_items.max(1)).clamp(16, 1024);
    let queries = if skip_seen { cases.distinct_queries() } else { cases.queries() };
    let mut ranks = Vec::with_capacity(lists.values().len());
    for (b, block) in queries.chunks(at_once).enumerate() {
        let mut timeline = Vec::new();
        let mut put = |items: &[ItemId]| {
            timeline.extend_from_slice(items);
            timeline.len() - items.len()..timeline.len()
        };
        let mut spans = Vec::with_capacity(block.len());
        for (i, query) in block.iter().enumerate() {
            let (history, hidden) = (put(query.history), put(query.hidden));
            let targets = put(lists.row(b * at_once + i));
            spans.push(Span { user: query.user, history, hidden, targets });
        }
        let asked = Cases::new(n_items, Arc::new(timeline), spans)?;
        let found = student.target_ranks(&asked, &top)?;
        ranks.extend(
            found.values().iter().map(|&rank| if rank == 0 { n_items as u32 } else { rank }),
        );
    }
    if ranks.len() != lists.values().len() {
        return Err(Error::Length {
            what: "the student's ranks".into(),
            expected: lists.values().len(),
            found: ranks.len(),
        });
    }
    Ok(ranks)
}
