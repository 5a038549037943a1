//! Full Topology Distillation (Kang, Hwang, Kweon & Yu, "Topology Distillation for Recommender System", KDD 2021,
//! arXiv 2106.08700): who is like whom in the teacher's space shall be so in the student's.
//!
//! ```text
//! L = L_own + lambda sum over all pairs i, j of a batch's users and items of ( cos(t_i, t_j) - cos(s_i, s_j) )^2
//! ```
//!
//! Each user and each item counts once; items are those that the student's own loss lists. lambda as in the authors' code
//! (SeongKu-Kang/Topology_Distillation_KDD21). For students that are nearly as large as their teacher; for small ones see
//! [`Htd`](crate::Htd).
//!
//! Differs in the way only: the sum over pairs is found from products of columns (see `topology.rs`), at a hundredth of the cost.

use crate::beside_vectors::{Met, VectorTerm, beside_vectors, taught};
use crate::settings::{self, not_negative};
use crate::topology::{Units, pairs};
use rankstill_core::registry::Config;
use rankstill_core::{Cases, Distiller, Embedded, Objective, Requirements, Result, Trace};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ftd {
    /// The distillation loss's weight. At 0 the student learns by its own objective alone.
    pub lambda: f32,
}

impl Default for Ftd {
    fn default() -> Self {
        Self { lambda: 1e-3 }
    }
}

impl Ftd {
    /// From a configuration.
    ///
    /// # Errors
    /// When a setting is unknown, of the wrong type or out of its range.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        settings::read(config, Self::check)
    }

    fn check(&self, path: &str) -> Result<()> {
        not_negative(path, "lambda", self.lambda)
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
        self.check("")?;
        beside_vectors("ftd", self.lambda, own, cases, traces, Full)
    }

    fn config(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

struct Full(Arc<Embedded>);

impl VectorTerm for Full {
    fn loss(&self, met: &Met<'_>, _scale: f32, grads: [&mut [f32]; 2]) -> f64 {
        let [queries, items] = &taught(&self.0, met);
        let teacher = Units::of(self.0.dim(), &[queries, items]);
        let student = Units::of(met.dim, &met.sides.map(|side| side.vectors));
        let mut slopes = student.slopes();
        let all: Vec<usize> = (0..student.len()).collect();
        let loss = pairs(&teacher, &student, &all, &mut slopes);
        student.back(&slopes, 1.0, grads);
        loss
    }
}
