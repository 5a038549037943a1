//! Distillation Experts (Kang, Hwang, Kweon & Yu, "DE-RRD", CIKM 2020, arXiv 2012.04357): a mixture of experts
//! reconstructs the teacher's vectors from the student's.
//!
//! ```text
//! L    = L_own + lambda ( DE(the batch's users) + items_weight DE(its items) )
//! DE   = sum over vectors of | t - sum_m z_m f_m(s) |^2           (equations 2 to 5; f, z: see `experts.rs`)
//! ```
//!
//! Each user and each item of a batch counts once; items are those that the student's own loss lists, for BPR the positive and the
//! negative ones. The temperature of z decays from `temperature` to `final_temperature` within `anneal_epochs`, by the same factor
//! in each. Values of the authors' code (SeongKu-Kang/DE-RRD_CIKM20). Their DE-RRD combines this with RRD: see
//! `kind = "several"`.
//!
//! The loss is proportional to the squared length of the teacher's vectors, so lambda depends on these. On CiteULike-t, for a student
//! of 20 dimensions and BPR-MF of 64 with a weight decay of 1e-4, the default changed nothing and 1 raised recall@50
//! on the validation part after 20 epochs from .182 to .231 (10 experts, annealed in 5 epochs).
//!
//! Differs from the code: the number of annealing epochs is a setting (there, the maximum number of epochs of the run); for an own
//! loss over the whole catalogue, items are those that it also lists, or else the targets; a "user" is any query, so that a
//! student of histories is taught too.

use crate::parts::experts::{Annealing, Purposes, Regression};
use crate::parts::settings::{Settings, at_least_1, check_optimizer, not_negative};
use crate::parts::vector_blend::{BatchVectors, VectorTerm, vector_blend};
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::{Cases, Distiller, Objective, Requirements, Result, Tensors, Trace};
use serde::{Deserialize, Serialize};

/// Keep the draws of different purposes apart.
const PURPOSES: Purposes = Purposes { first: 0x4445_4649, noise: [0x4445_4e51, 0x4445_4e49] };

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct De {
    /// Number of experts for users, and again for items.
    pub experts: usize,
    /// Temperature of the experts' shares in the first epoch: larger = more uniform.
    pub temperature: f32,
    /// The same after annealing.
    pub final_temperature: f32,
    /// Epochs of annealing.
    pub anneal_epochs: usize,
    /// Weight of the items, where that of the users is 1.
    pub items_weight: f32,
    /// Optimiser of the experts.
    pub optimizer: Optimizer,
    /// Weight of the distillation loss. At 0 the student learns only from its own objective.
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

impl Settings for De {
    fn check(&self) -> Result<()> {
        at_least_1(&[("experts", self.experts)])?;
        self.annealing().check()?;
        not_negative("items_weight", self.items_weight)?;
        check_optimizer(&self.optimizer)?;
        not_negative("lambda", self.lambda)
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
        self.check()?;
        vector_blend("de", self.lambda, own, cases, traces, |teacher| {
            let annealing = self.annealing();
            let experts =
                Regression::new(teacher, self.experts, annealing, &self.optimizer, PURPOSES);
            DeTerm { items_weight: self.items_weight, experts }
        })
    }
}

impl De {
    fn annealing(&self) -> Annealing {
        let Self { temperature, final_temperature, anneal_epochs, .. } = *self;
        Annealing { temperature, final_temperature, anneal_epochs }
    }
}

/// DE(users) + items_weight DE(items).
struct DeTerm {
    items_weight: f32,
    experts: Regression,
}

impl VectorTerm for DeTerm {
    fn loss(&self, batch: &BatchVectors<'_>, scale: f32, grads: [&mut [f32]; 2]) -> f64 {
        let weights = [1.0, self.items_weight];
        let [users, items] = self.experts.step(batch, weights, scale, grads, |_, _, _| {});
        users + f64::from(self.items_weight) * items
    }

    fn state(&self) -> Tensors {
        self.experts.state()
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.experts.restore(state)
    }
}
