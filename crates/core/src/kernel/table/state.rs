//! What a table holds as plain vectors: parameters for export, everything for checkpoints.

use super::Table;

/// A list of numbers has the wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} numbers, found {found}")]
pub struct WrongLength {
    /// The expected length.
    pub expected: usize,
    /// The length found.
    pub found: usize,
}

/// The complete state of a [`Table`] or a [`DenseParam`](crate::kernel::param::DenseParam): training resumes
/// from it with the same bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableState {
    /// Steps taken.
    pub step: u32,
    /// Parameters, row after row.
    pub parameters: Vec<f32>,
    /// Adam's mean of gradients, likewise; empty under SGD.
    pub first_moments: Vec<f32>,
    /// Adam's mean of squared gradients, likewise; empty under SGD.
    pub second_moments: Vec<f32>,
    /// The last step that each row has taken; empty if rows that are not in a batch stay unchanged.
    pub last_step: Vec<u32>,
}

impl Table {
    /// A copy of the parameters, row after row without gaps. The table must be settled.
    pub fn export(&self) -> Vec<f32> {
        debug_assert!(self.is_settled(), "rows lag behind: call `settle` first");
        self.part(0)
    }

    /// Sets the parameters from rows without gaps and resets the optimiser to step 0.
    ///
    /// # Errors
    /// If there are not `n_rows * dim` numbers; nothing is changed then.
    pub fn import(&mut self, parameters: &[f32]) -> Result<(), WrongLength> {
        check(self.n_parameters(), parameters.len())?;
        self.own();
        self.data.fill(0.0);
        self.set_part(0, parameters);
        self.last_step.fill(0);
        self.step = 0;
        Ok(())
    }

    /// The state for a checkpoint. The table need not be settled.
    pub fn state(&self) -> TableState {
        let moments = |part| if self.optimizer.width() > 1 { self.part(part) } else { Vec::new() };
        TableState {
            step: self.step,
            parameters: self.part(0),
            first_moments: moments(1),
            second_moments: moments(2),
            last_step: self.last_step.clone(),
        }
    }

    /// Restores a [`Table::state`] of a table with the same shape and optimiser.
    ///
    /// # Errors
    /// If a part of the state has the wrong length; nothing is changed then.
    pub fn restore(&mut self, state: &TableState) -> Result<(), WrongLength> {
        let moments = if self.optimizer.width() > 1 { self.n_parameters() } else { 0 };
        check(self.n_parameters(), state.parameters.len())?;
        check(moments, state.first_moments.len())?;
        check(moments, state.second_moments.len())?;
        check(self.last_step.len(), state.last_step.len())?;
        self.own();
        self.set_part(0, &state.parameters);
        if moments > 0 {
            self.set_part(1, &state.first_moments);
            self.set_part(2, &state.second_moments);
        }
        self.step = state.step;
        // A row can be at most one step ahead, by an `apply` whose `advance` is to come.
        for (own, &last) in self.last_step.iter_mut().zip(&state.last_step) {
            *own = last.min(state.step.saturating_add(1));
        }
        self.schedule.grow(self.step + 1);
        Ok(())
    }

    /// The parameters (0), first (1) or second moments (2), without gaps.
    fn part(&self, part: usize) -> Vec<f32> {
        if let Some(rows) = &self.fixed {
            return rows.to_vec();
        }
        let mut out = Vec::with_capacity(self.n_parameters());
        let (record, from) = (self.record(), part * self.stride());
        for row in 0..self.n_rows {
            out.extend_from_slice(&self.data[row * record + from..][..self.dim]);
        }
        out
    }

    pub(super) fn set_part(&mut self, part: usize, values: &[f32]) {
        let (record, dim, from) = (self.record(), self.dim, part * self.stride());
        for row in 0..self.n_rows {
            self.data[row * record + from..][..dim].copy_from_slice(&values[row * dim..][..dim]);
        }
    }
}

pub(in crate::kernel) fn check(expected: usize, found: usize) -> Result<(), WrongLength> {
    if expected == found { Ok(()) } else { Err(WrongLength { expected, found }) }
}
