//! Full Topology Distillation (Kang, Hwang, Kweon & Yu, "Topology Distillation for Recommender System", KDD 2021,
//! arXiv 2106.08700): vectors that are similar in the teacher's space should be similar in the student's.
//!
//! ```text
//! L = L_own + lambda sum over all pairs i, j of a batch's users and items of ( cos(t_i, t_j) - cos(s_i, s_j) )^2
//! ```
//!
//! Each user and each item counts once; items are those that the student's own loss lists. lambda as in the authors' code
//! (SeongKu-Kang/Topology_Distillation_KDD21). For students that are nearly as large as their teacher; for small ones see
//! [`Htd`](crate::Htd).
//!
//! The loss is the same, but computed from products of columns (see `topology.rs`), at a hundredth of the cost.

use crate::parts::settings::{Settings, not_negative};
use crate::parts::topology::{UnitVectors, pairs};
use crate::parts::vector_blend::{BatchVectors, VectorTerm, teacher_vectors, vector_blend};
use rankstill_core::{Cases, Distiller, Embedded, Objective, Requirements, Result, Trace};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ftd {
    /// Weight of the distillation loss. At 0 the student learns only from its own objective.
    pub lambda: f32,
}

impl Default for Ftd {
    fn default() -> Self {
        Self { lambda: 1e-3 }
    }
}

impl Settings for Ftd {
    fn check(&self) -> Result<()> {
        not_negative("lambda", self.lambda)
    }
}

impl Distiller for Ftd {
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
        vector_blend("ftd", self.lambda, own, cases, traces, FtdTerm)
    }
}

/// The loss without its weight.
struct FtdTerm(Arc<Embedded>);

impl VectorTerm for FtdTerm {
    fn loss(&self, batch: &BatchVectors<'_>, _scale: f32, grads: [&mut [f32]; 2]) -> f64 {
        let [queries, items] = &teacher_vectors(&self.0, batch);
        let teacher = UnitVectors::of(self.0.dim(), &[queries, items]);
        let student = UnitVectors::of(batch.dim, &batch.sides.map(|side| side.vectors));
        let mut slopes = student.slopes();
        let all: Vec<usize> = (0..student.len()).collect();
        let loss = pairs(&teacher, &student, &all, &mut slopes);
        student.propagate(&slopes, 1.0, grads);
        loss
    }
}
