//! The student's objective: the current targets, and the loss of the current phase.

use super::curriculum::Curriculum;
use super::transfer::{UserScores, UserSlopes, fine, overall};
use super::{HetComp, Transfer};
use crate::fusion::RankedList;
use rankstill_core::{
    Batch, Cases, Error, Grad, ItemId, Lists, Model, Objective, Result, Row, Scores, Slate,
    Tensors, TopK, Trace,
};
use rayon::prelude::*;

/// Replaces the student's own objective.
pub(super) struct HetCompObjective {
    config: HetComp,
    traces: Vec<Trace>,
    curriculum: Curriculum,
    /// Whether every state is the last.
    over: bool,
    /// Whether the current loss is the fine-grained one.
    fine: bool,
    /// For each query: its own items that are taught (P), then the targets (T).
    listed: Lists<ItemId>,
    /// P.
    observed: Lists<ItemId>,
    /// For each query: its labelled items that are not taught.
    left_out: Lists<ItemId>,
    /// Of the fused scores, if popularity matters.
    discounts: Option<Vec<f32>>,
}

impl HetCompObjective {
    pub fn new(config: HetComp, cases: &Cases, traces: &[Trace], observed: Lists<ItemId>) -> Self {
        let queries = cases.distinct_queries();
        let left_out = queries
            .iter()
            .zip(observed.iter())
            .map(|(query, own)| {
                let mut others: Vec<ItemId> =
                    query.history.iter().chain(query.hidden).copied().collect();
                others.sort_unstable();
                others.dedup();
                others.retain(|item| !own.contains(item));
                others
            })
            .collect();
        let mut popularity = vec![0; cases.n_items()];
        for query in &queries {
            let labelled = query.history.iter().chain(query.hidden);
            labelled.for_each(|&item| popularity[item as usize] += 1);
        }
        let discounts = config.fusion.discounts(&popularity);
        let curriculum = Curriculum::new(queries.len(), traces, config.curriculum);
        let mut objective = Self {
            config,
            traces: traces.to_vec(),
            curriculum,
            over: false,
            fine: false,
            listed: Lists::default(),
            observed,
            left_out,
            discounts,
        };
        objective.update_targets(0);
        objective
    }

    /// Fuses the lists of the current states, and selects the loss.
    fn update_targets(&mut self, epoch: usize) {
        let n = self.traces.len();
        let of = |query: usize| -> Vec<ItemId> {
            let lists = self.traces.iter().enumerate().map(|(x, trace)| {
                let state = self.curriculum.state[query * n + x] as usize;
                let answers = &trace.checkpoints()[state].1;
                let (items, scores) = (answers.items(query), answers.scores(query));
                RankedList { items, scores, deviations: answers.deviations(query) }
            });
            let lists: Vec<RankedList<'_>> = lists.collect();
            let fused =
                self.config.fusion.fuse(&lists, None, self.discounts.as_deref(), self.config.k);
            let own = self.observed.row(query).iter().copied();
            own.chain(fused.into_iter().map(|(item, _)| item)).collect()
        };
        let rows: Vec<Vec<ItemId>> =
            (0..self.observed.len()).into_par_iter().with_min_len(16).map(of).collect();
        self.listed = rows.into_iter().collect();
        self.over = self.curriculum.is_over(&self.config, &self.traces);
        self.select_loss(epoch);
    }

    fn select_loss(&mut self, epoch: usize) {
        // Without earlier states the fine-grained loss begins after a number of epochs.
        let states = self.traces.iter().map(|trace| trace.checkpoints().len()).max();
        let easy_to_hard = self.config.curriculum && states > Some(1);
        let due = if easy_to_hard { self.over } else { epoch >= self.config.overall_epochs };
        self.fine = match self.config.transfer {
            Transfer::Adaptive => due,
            Transfer::Overall => false,
            Transfer::Fine => true,
        };
    }
}

impl Objective for HetCompObjective {
    fn once_per_query(&self) -> bool {
        true
    }

    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let of = |lists: &Lists<ItemId>| -> Lists<ItemId> {
            (0..batch.len()).map(|at| lists.row(batch.query_of(at)).iter().copied()).collect()
        };
        Slate::with_complement(of(&self.listed), of(&self.left_out))
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let n_own = self.observed.row(row.batch.query_of(row.at)).len();
        let (own, target) = scores.listed.split_at(n_own);
        let (to_own, to_target) = grad.listed.split_at_mut(n_own);
        let scores = UserScores { own, target, log_complement: scores.log_complement };
        let slopes =
            UserSlopes { own: to_own, target: to_target, log_complement: grad.log_complement };
        // A step follows the mean over the batch's rows; the loss is a sum over its users.
        let rows = row.batch.len() as f64;
        let loss = if self.fine {
            fine(scores, f64::from(self.config.fine_weight) * rows, slopes)
        } else {
            overall(scores, f64::from(self.config.overall_weight) * rows, slopes)
        };
        loss as f32
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        let advancing = self.config.curriculum && !self.over;
        if advancing && epoch > 0 && epoch.is_multiple_of(self.config.period) {
            let top = TopK::unseen(self.config.cutoff);
            let ranked = student.rank(&cases.distinct_queries(), &top)?;
            self.curriculum.compare(&self.config, &self.traces, &ranked, epoch);
            self.update_targets(epoch);
        } else {
            self.select_loss(epoch);
        }
        Ok(())
    }

    fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let states: Vec<f32> = self.curriculum.state.iter().map(|&state| state as f32).collect();
        tensors.insert("state", &[states.len()], states);
        tensors.insert(
            "noted",
            &[self.curriculum.recorded.len()],
            self.curriculum.recorded.clone(),
        );
        tensors.insert("fine", &[1], vec![f32::from(u8::from(self.fine))]);
        tensors
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        let n = self.curriculum.state.len();
        let states = state.f32s("state", n)?;
        let most = self.traces.iter().map(|trace| trace.checkpoints().len());
        for (state, most) in states.iter().zip(most.cycle()) {
            if !(*state >= 0.0 && (*state as usize) < most) {
                let problem = format!("state {state} of a teacher with {most}");
                return Err(Error::Checkpoint { problem });
            }
        }
        self.curriculum.state = states.iter().map(|&state| state as u32).collect();
        self.curriculum.recorded = state.f32s("noted", n)?.to_vec();
        self.update_targets(0);
        self.fine = state.f32s("fine", 1)?[0] > 0.0;
        Ok(())
    }
}
