//! The student's objective: the targets as they are now, and the loss of the phase.

use super::curriculum::Curriculum;
use super::transfer::{Scored, Slopes, fine, overall};
use super::{HetComp, Transfer};
use crate::fusion::Said;
use rankstill_core::{
    Batch, Cases, Error, Grad, ItemId, Lists, Model, Objective, Result, Row, Scores, Slate,
    Tensors, TopK, Trace,
};
use rayon::prelude::*;

/// What the student learns from.
pub(super) struct Taught {
    config: HetComp,
    traces: Vec<Trace>,
    curriculum: Curriculum,
    over: bool,
    /// Whether the fine-grained loss has its turn.
    fine: bool,
    /// Of each query: its own items that are taught (P), how many they are, and then the targets (T).
    listed: Lists<ItemId>,
    n_own: Vec<u32>,
    /// P.
    observed: Lists<ItemId>,
    /// Of each query: its labelled items that are not taught.
    left_out: Lists<ItemId>,
}

impl Taught {
    pub fn new(
        config: HetComp,
        cases: &Cases,
        traces: &[Trace],
        observed: Lists<ItemId>,
    ) -> Result<Self> {
        let queries = cases.distinct_queries();
        let left_out = queries
            .iter()
            .zip(observed.iter())
            .map(|(query, own)| {
                let mut rest: Vec<ItemId> =
                    query.history.iter().chain(query.hidden).copied().collect();
                rest.sort_unstable();
                rest.dedup();
                rest.retain(|item| !own.contains(item));
                rest
            })
            .collect();
        let curriculum = Curriculum::new(queries.len(), traces, config.curriculum);
        let mut taught = Self {
            config,
            traces: traces.to_vec(),
            curriculum,
            over: false,
            fine: false,
            listed: Lists::default(),
            n_own: observed.iter().map(|own| own.len() as u32).collect(),
            observed,
            left_out,
        };
        taught.aim(0);
        Ok(taught)
    }

    /// Fuses the lists of the states that are taught now, and sees which loss it is.
    fn aim(&mut self, epoch: usize) {
        let n = self.traces.len();
        let of = |query: usize| -> Vec<ItemId> {
            let said = self.traces.iter().enumerate().map(|(x, trace)| {
                let state = self.curriculum.state[query * n + x] as usize;
                let said = &trace.checkpoints()[state].1;
                let (items, scores) = (said.items(query), said.scores(query));
                Said { items, scores, deviations: said.deviations(query) }
            });
            let said: Vec<Said<'_>> = said.collect();
            let fused = self.config.fusion.fuse(&said, None, self.config.k);
            let own = self.observed.row(query).iter().copied();
            own.chain(fused.into_iter().map(|(item, _)| item)).collect()
        };
        let rows: Vec<Vec<ItemId>> =
            (0..self.observed.len()).into_par_iter().with_min_len(16).map(of).collect();
        self.listed = rows.into_iter().collect();
        self.over = self.curriculum.is_over(&self.config, &self.traces);
        self.see_phase(epoch);
    }

    fn see_phase(&mut self, epoch: usize) {
        // Without easier states there is nothing to wait for but time.
        let states = self.traces.iter().map(|trace| trace.checkpoints().len()).max();
        let easy_to_hard = self.config.curriculum && states > Some(1);
        let ripe = if easy_to_hard { self.over } else { epoch >= self.config.overall_epochs };
        self.fine = match self.config.transfer {
            Transfer::Adaptive => ripe,
            Transfer::Overall => false,
            Transfer::Fine => true,
        };
    }
}

impl Objective for Taught {
    fn once_a_query(&self) -> bool {
        true
    }

    fn slate(&self, batch: &Batch<'_>) -> Slate {
        let of = |lists: &Lists<ItemId>| -> Lists<ItemId> {
            let query = |&row: &u32| batch.cases.query_of(row as usize);
            batch.rows.iter().map(|row| lists.row(query(row)).iter().copied()).collect()
        };
        Slate::with_complement(of(&self.listed), of(&self.left_out))
    }

    fn loss(&self, row: Row<'_>, scores: Scores<'_>, grad: Grad<'_>) -> f32 {
        let query = row.batch.cases.query_of(row.index());
        let n_own = self.n_own[query] as usize;
        let (own, target) = scores.listed.split_at(n_own);
        let (to_own, to_target) = grad.listed.split_at_mut(n_own);
        let scored = Scored { own, target, log_complement: scores.log_complement };
        let slopes = Slopes { own: to_own, target: to_target, log_complement: grad.log_complement };
        // The sum over the batch's users, where a step follows the mean over its rows.
        let rows = row.batch.len() as f64;
        let loss = if self.fine {
            fine(scored, f64::from(self.config.fine_weight) * rows, slopes)
        } else {
            overall(scored, f64::from(self.config.overall_weight) * rows, slopes)
        };
        loss as f32
    }

    fn refresh(&mut self, epoch: usize, student: &dyn Model, cases: &Cases) -> Result<()> {
        let looks = self.config.curriculum && !self.over;
        if looks && epoch > 0 && epoch.is_multiple_of(self.config.period) {
            let top = TopK::unseen(self.config.cutoff);
            let ranked = student.rank(&cases.distinct_queries(), &top)?;
            self.curriculum.look(&self.config, &self.traces, &ranked, epoch);
            self.aim(epoch);
        } else {
            self.see_phase(epoch);
        }
        Ok(())
    }

    fn state(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let states: Vec<f32> = self.curriculum.state.iter().map(|&state| state as f32).collect();
        tensors.insert("state", &[states.len()], states);
        tensors.insert("noted", &[self.curriculum.noted.len()], self.curriculum.noted.clone());
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
        self.curriculum.noted = state.f32s("noted", n)?.to_vec();
        self.aim(0);
        self.fine = state.f32s("fine", 1)?[0] > 0.0;
        Ok(())
    }
}
