//! A learning rate that falls linearly over the epochs of a plan, which averages out the noise of sampling towards the end.

use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::{Plan, Result};

/// The learning rate of an epoch: the optimiser's own in the first, `final_rate` times that in the plan's last. It follows from
/// the epoch alone, so that a resumed learner comes to the same one.
pub(crate) fn rate(optimizer: &Optimizer, final_rate: f64, plan: &Plan, epoch: usize) -> f64 {
    let done = epoch as f64 / (plan.epochs.max(2) - 1) as f64;
    optimizer.learning_rate() * (1.0 - (1.0 - final_rate) * done.min(1.0))
}

/// Whether `final_rate` is a share.
///
/// # Errors
/// When it is not.
pub(crate) fn check(final_rate: f64) -> Result<()> {
    if (0.0..=1.0).contains(&final_rate) {
        return Ok(());
    }
    Err(crate::invalid("final_rate", format!("must be from 0 to 1, is {final_rate}")))
}
