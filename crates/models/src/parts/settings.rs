//! What recipes share: how their settings are read and checked, and the settings of training.

use super::loss::Loss;
use rankstill_core::kernel::optimizer::Optimizer;
use rankstill_core::registry::Config;
use rankstill_core::{Error, Plan, Recipe, Result, UnderPath as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Settings that can be out of range.
pub(crate) trait Checked {
    /// Names the first setting that is out of range, by its key in the recipe.
    fn check(&self) -> Result<()>;
}

/// Reads a recipe of the registry over its defaults, and checks it.
pub(crate) fn parse<T>(config: Config<'_>) -> Result<Box<dyn Recipe>>
where
    T: Checked + Recipe + Default + Serialize + DeserializeOwned + 'static,
{
    let recipe: T = config.read_over_default()?;
    recipe.check().under(config.path)?;
    Ok(Box::new(recipe))
}

/// The error for a setting that is out of range; `key` is its name in the recipe.
pub(crate) fn invalid(key: &str, problem: impl Into<String>) -> Error {
    Error::Config { key: key.into(), problem: problem.into() }
}

/// "must be `bound`, is `value`", unless it is.
pub(crate) fn must(is: bool, key: &str, bound: impl Display, value: impl Display) -> Result<()> {
    if is { Ok(()) } else { Err(invalid(key, format!("must be {bound}, is {value}"))) }
}

/// A finite number above 0.
pub(crate) fn positive<T: Copy + Display + Into<f64>>(key: &str, value: T) -> Result<()> {
    let number: f64 = value.into();
    must(number > 0.0 && number.is_finite(), key, "above 0", value)
}

/// A finite number from 0.
pub(crate) fn not_negative(key: &str, value: f64) -> Result<()> {
    must(value >= 0.0 && value.is_finite(), key, "at least 0", value)
}

/// Within a range, bounds included.
pub(crate) fn within<T: PartialOrd + Display>(
    key: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<()> {
    let bound = format!("from {} to {}", range.start(), range.end());
    must(range.contains(&value), key, bound, value)
}

/// A probability of dropout.
pub(crate) fn dropout(value: f64) -> Result<()> {
    within("dropout", value, 0.0..=0.999)
}

/// A row of a table in memory: padded to a multiple of 16 numbers.
pub(crate) fn padded(dim: usize) -> u64 {
    dim.next_multiple_of(16) as u64
}

/// The settings that every recipe has that learns by gradient.
#[derive(Clone, Copy)]
pub(crate) struct Training<'a> {
    pub optimizer: &'a Optimizer,
    pub final_rate: f64,
    pub plan: &'a Plan,
}

impl Training<'_> {
    pub fn check(self) -> Result<()> {
        within("final_rate", self.final_rate, 0.0..=1.0)?;
        self.optimizer.check().map_err(|problem| invalid("optimizer", problem))
    }

    /// The learning rate of an epoch: the optimiser's own in the first, `final_rate` times that in the plan's last,
    /// linear in between. It depends on the epoch alone, so a resumed learner finds the same one.
    pub fn rate(self, epoch: usize) -> f64 {
        let done = epoch as f64 / (self.plan.epochs.max(2) - 1) as f64;
        self.optimizer.learning_rate() * (1.0 - (1.0 - self.final_rate) * done.min(1.0))
    }

    /// Numbers held for each parameter, the optimiser's state included.
    pub fn width(self) -> u64 {
        self.optimizer.width() as u64
    }

    /// Vectors in a batch of single targets: queries, targets and negatives.
    pub fn vectors(self, loss: &Loss) -> u64 {
        self.plan.batch_size as u64 * (2 + loss.negatives as u64)
    }
}

/// Defines a recipe that learns by gradient with a rate that may decay: the given fields, then those of
/// [`Training`].
///
/// A macro, because `#[serde(flatten)]` neither knows unknown keys nor the path of an error.
macro_rules! gradient_recipe {
    ($(#[$about:meta])* pub struct $recipe:ident {
        $($(#[$field_about:meta])* pub $field:ident: $type:ty,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $recipe {
            $($(#[$field_about])* pub $field: $type,)*
            /// How parameters follow their gradients.
            pub optimizer: rankstill_core::kernel::optimizer::Optimizer,
            /// The learning rate of the plan's last epoch as a share of the first epoch's; linear in between. 1
            /// = constant. A rate that decays averages out the noise of sampling: set the epochs to the number
            /// that is really trained.
            pub final_rate: f64,
            /// Epochs, batches and early stopping.
            pub train: rankstill_core::Plan,
        }

        impl $recipe {
            fn training(&self) -> $crate::parts::settings::Training<'_> {
                let Self { optimizer, final_rate, train: plan, .. } = self;
                $crate::parts::settings::Training { optimizer, final_rate: *final_rate, plan }
            }
        }
    };
}
pub(crate) use gradient_recipe;
