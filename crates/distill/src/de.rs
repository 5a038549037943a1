//! Distillation Experts (Kang, Hwang, Kweon & Yu, "DE-RRD", CIKM 2020, arXiv 2012.04357): the student's vectors shall hold what the
//! teacher's can be made of, by a mixture of experts.
//!
//! ```text
//! L    = L_own + lambda ( DE(the batch's users) + items_weight DE(its items) )
//! DE   = sum over vectors of | t - sum_m z_m f_m(s) |^2           (equations 2 to 5; f, z: see `experts.rs`)
//! ```
//!
//! Each user and each item of a batch counts once; items are those that the student's own loss lists, for BPR the positive and the
//! negative ones. The temperature of z falls from `temperature` to `final_temperature` in `anneal_epochs`, by the same factor each.
//! Values of the authors' code (SeongKu-Kang/DE-RRD_CIKM20). Their DE-RRD is this under RRD: see `kind = "several"`.
//!
//! The loss grows with the squared length of the teacher's vectors, and lambda is to be chosen with it. On CiteULike-t, for a student
//! of 20 dimensions and BPR-MF of 64 with a weight decay of 1e-4, the default changed nothing and 1 raised the validation part's
//! recall@50 after 20 epochs from .182 to .231 (10 experts, annealed in 5 epochs).
//!
//! Differs from the code: epochs of annealing are a setting of their own (there the most that a run has); where an own loss looks at
//! the whole catalogue, items are those that it lists besides or, of none, the targets; "user" is any query, so that a student of
//! histories learns too.

use crate::beside_vectors::{Met, VectorTerm, beside_vectors, taught};
use crate::experts::{BothExperts, Task, annealed};
use crate::settings::{self, above_0, at_least_1, not_negative};
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::registry::Config;
use rankstill_core::{Cases, Distiller, Embedded, Objective, Requirements, Result, Tensors, Trace};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Keep the draws of different purposes apart.
const NOISE: [u64; 2] = [0x4445_4e51, 0x4445_4e49];
const FIRST: u64 = 0x4445_4649;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct De {
    /// How many experts there are for users, and for items.
    pub experts: usize,
    /// Of the shares, in the first epoch: larger = more even.
    pub temperature: f32,
    /// In the end.
    pub final_temperature: f32,
    /// Epochs from the one to the other.
    pub anneal_epochs: usize,
    /// The items' weight beside the users' 1.
    pub items_weight: f32,
    /// How the experts follow their gradient.
    pub optimizer: Optimizer,
    /// The distillation loss's weight. At 0 the student learns by its own objective alone.
    pub lambda: f32,
}

impl Default for De {
    fn default() -> Self {
        Self {
            experts: 30,
            temperature: 1.0,
            final_temperature: 1e-10,
            anneal_epochs: 100,
            items_weight: 0.5,
            optimizer: Optimizer::Adam(Adam { weight_decay: 1e-3, ..Adam::default() }),
            lambda: 1e-2,
        }
    }
}

impl De {
    /// From a configuration.
    ///
    /// # Errors
    /// When a setting is unknown, of the wrong type or out of its range.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        settings::read(config, Self::check)
    }

    fn check(&self, path: &str) -> Result<()> {
        at_least_1(path, &[("experts", self.experts), ("anneal_epochs", self.anneal_epochs)])?;
        above_0(path, "temperature", self.temperature)?;
        above_0(path, "final_temperature", self.final_temperature)?;
        not_negative(path, "items_weight", self.items_weight)?;
        settings::optimizer(path, &self.optimizer)?;
        not_negative(path, "lambda", self.lambda)
    }
}

impl Distiller for De {
    fn requires(&self) -> Requirements {
        Requirements { vectors: true, ..Requirements::lists(0) }
    }

    /// Learns from the vectors of one teacher.
    ///
    /// # Errors
    /// When there is not exactly one, it has no vectors or answers other cases, or a setting is out of its range.
    fn teach(
        &self,
        own: Box<dyn Objective>,
        cases: &Cases,
        traces: &[Trace],
    ) -> Result<Box<dyn Objective>> {
        self.check("")?;
        beside_vectors("de", self.lambda, own, cases, traces, |teacher| {
            Mixture::new(self.clone(), teacher)
        })
    }

    fn config(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

struct Mixture {
    config: De,
    teacher: Arc<Embedded>,
    experts: BothExperts,
}

impl Mixture {
    fn new(config: De, teacher: Arc<Embedded>) -> Self {
        let optimizer = config.optimizer.clone();
        let experts = BothExperts::new(teacher.dim(), config.experts, optimizer);
        Self { config, teacher, experts }
    }
}

impl VectorTerm for Mixture {
    fn loss(&self, met: &Met<'_>, scale: f32, grads: [&mut [f32]; 2]) -> f64 {
        let De { temperature, final_temperature, anneal_epochs, items_weight, .. } = self.config;
        let temperature = annealed(temperature, final_temperature, anneal_epochs, met.epoch);
        let teacher = taught(&self.teacher, met);
        self.experts.with(
            met.dim,
            |side| met.rng(FIRST, side),
            |experts| {
                let mut loss = 0.0;
                for (side, (experts, grads)) in experts.iter_mut().zip(grads).enumerate() {
                    let weight = [1.0, items_weight][side];
                    let vectors = Task {
                        teacher: &teacher[side],
                        temperature,
                        rng: &|id| met.rng(NOISE[side], id),
                        weight,
                        scale: weight * scale,
                    };
                    let found = experts.regress(met.sides[side], &vectors, grads);
                    loss += f64::from(weight) * found;
                }
                loss
            },
        )
    }

    fn state(&self) -> Tensors {
        self.experts.state()
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.experts.restore(state)
    }
}
