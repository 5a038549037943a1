//! Hierarchical Topology Distillation (Kang, Hwang, Kweon & Yu, "Topology Distillation for Recommender System", KDD 2021,
//! arXiv 2106.08700): a small student learns the similarities within groups, and those to the groups.
//!
//! ```text
//! L    = L_own + lambda ( gamma L_TD + (1 - gamma) L_GA )
//! L_TD = sum over the batch's users and items i, and groups g of ( cos(t_i, P^t_g) - cos(s_i, P^s_g) )^2
//!      + sum over pairs i, j of one group of ( cos(t_i, t_j) - cos(s_i, s_j) )^2
//! L_GA = DE(users) + DE(items), one expert a group (see `experts.rs`)
//! ```
//!
//! A vector's group is the expert with the largest share of it, given the teacher's vector and without noise; users and items have
//! `groups` groups each. P_g is the mean of the group's members in the batch; no gradient flows through it. L_GA learns the
//! groups, and also moves the student's vectors. Each user and each item of a batch counts once; items are those that the
//! student's own loss lists.
//!
//! Values of the authors' code (SeongKu-Kang/Topology_Distillation_KDD21; its Group(P,e)). Differs from it: all pairs of a group
//! count (there, those whose cosine is above 0 for the teacher; the paper has no such condition), and the temperature of the
//! shares decays as in the paper (there it is 0.1). Sums over pairs are computed from products of columns (see `topology.rs`).

use crate::parts::experts::{Annealing, Experts, Purposes, Regression};
use crate::parts::settings::{Settings, a_share, at_least_1, check_optimizer, not_negative};
use crate::parts::topology::{UnitVectors, pairs, to_landmarks};
use crate::parts::vector_blend::{BatchVectors, VectorTerm, teacher_vectors, vector_blend};
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::{Cases, Distiller, Embedded, Objective, Requirements, Result, Tensors, Trace};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Keep the draws of different purposes apart.
const PURPOSES: Purposes = Purposes { first: 0x4854_4649, noise: [0x4854_4e51, 0x4854_4e49] };

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Htd {
    /// Number of groups of users, and again of items.
    pub groups: usize,
    /// Weight of L_TD; that of L_GA is 1 - gamma.
    pub gamma: f32,
    /// Temperature of the experts' shares in the first epoch: larger = more uniform.
    pub temperature: f32,
    /// The same after annealing.
    pub final_temperature: f32,
    /// Epochs of annealing.
    pub anneal_epochs: usize,
    /// Optimiser of the experts.
    pub optimizer: Optimizer,
    /// Weight of the distillation loss. At 0 the student learns only from its own objective.
    pub lambda: f32,
}

impl Default for Htd {
    fn default() -> Self {
        Self {
            groups: 30,
            gamma: 0.5,
            temperature: 1.0,
            final_temperature: 1e-10,
            anneal_epochs: 100,
            optimizer: Optimizer::Adam(Adam { weight_decay: 1e-3, ..Adam::default() }),
            lambda: 1e-3,
        }
    }
}

impl Settings for Htd {
    fn check(&self) -> Result<()> {
        at_least_1(&[("groups", self.groups)])?;
        a_share("gamma", self.gamma)?;
        self.annealing().check()?;
        check_optimizer(&self.optimizer)?;
        not_negative("lambda", self.lambda)
    }
}

impl Distiller for Htd {
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
        vector_blend("htd", self.lambda, own, cases, traces, |teacher| HtdTerm {
            gamma: self.gamma,
            groups: self.groups,
            experts: Regression::new(
                Arc::clone(&teacher),
                self.groups,
                self.annealing(),
                &self.optimizer,
                PURPOSES,
            ),
            teacher,
        })
    }
}

impl Htd {
    fn annealing(&self) -> Annealing {
        let Self { temperature, final_temperature, anneal_epochs, .. } = *self;
        Annealing { temperature, final_temperature, anneal_epochs }
    }
}

/// gamma L_TD + (1 - gamma) L_GA.
struct HtdTerm {
    gamma: f32,
    /// Of users, and of items.
    groups: usize,
    teacher: Arc<Embedded>,
    experts: Regression,
}

impl VectorTerm for HtdTerm {
    fn loss(&self, batch: &BatchVectors<'_>, scale: f32, grads: [&mut [f32]; 2]) -> f64 {
        let [to_queries, to_items] = grads;
        // The members of each group, users and then items.
        let mut groups = vec![Vec::new(); 2 * self.groups];
        let n_queries = batch.sides[0].ids.len();
        let weight = 1.0 - self.gamma;
        let assign = |side: usize, experts: &Experts, teacher: &[f32]| {
            for (at, group) in experts.groups(teacher).into_iter().enumerate() {
                groups[side * self.groups + group].push(side * n_queries + at);
            }
        };
        let grads = [&mut *to_queries, &mut *to_items];
        let [users, items] = self.experts.step(batch, [weight; 2], scale, grads, assign);
        groups.retain(|members| !members.is_empty());
        let topology = self.topology(batch, &groups, [to_queries, to_items]);
        f64::from(self.gamma) * topology + f64::from(weight) * (users + items)
    }

    fn state(&self) -> Tensors {
        self.experts.state()
    }

    fn restore(&mut self, state: &Tensors) -> Result<()> {
        self.experts.restore(state)
    }
}

impl HtdTerm {
    /// L_TD, for the members of each group that has any.
    fn topology(
        &self,
        batch: &BatchVectors<'_>,
        groups: &[Vec<usize>],
        grads: [&mut [f32]; 2],
    ) -> f64 {
        let vectors = teacher_vectors(&self.teacher, batch);
        let theirs = vectors.each_ref().map(Vec::as_slice);
        let ours = batch.sides.map(|side| side.vectors);
        let units = |dim: usize, vectors: &[&[f32]; 2]| {
            let centres = UnitVectors::of(dim, &[&means(vectors, dim, groups)]);
            (UnitVectors::of(dim, vectors), centres)
        };
        let (teacher, teacher_centres) = units(self.teacher.dim(), &theirs);
        let (student, student_centres) = units(batch.dim, &ours);
        let mut slopes = student.slopes();
        let to_centres = [(&teacher, &teacher_centres), (&student, &student_centres)];
        let mut loss = to_landmarks(to_centres[0], to_centres[1], &mut slopes);
        for members in groups {
            let (teacher, student) = (teacher.only(members), student.only(members));
            loss += pairs(&teacher, &student, members, &mut slopes);
        }
        student.propagate(&slopes, self.gamma, grads);
        loss
    }
}

/// The mean vector of each group.
fn means(parts: &[&[f32]; 2], dim: usize, groups: &[Vec<usize>]) -> Vec<f32> {
    let first = parts[0].len() / dim;
    let vector = |at: usize| match at.checked_sub(first) {
        None => &parts[0][at * dim..][..dim],
        Some(at) => &parts[1][at * dim..][..dim],
    };
    let mut means = vec![0.0; groups.len() * dim];
    for (mean, members) in means.chunks_mut(dim).zip(groups) {
        members.iter().for_each(|&at| axpy(1.0 / members.len() as f32, vector(at), mean));
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{is_reproducible, small};
    use serde_json::json;

    #[test]
    fn the_mean_of_a_group_of_users_and_of_one_of_items() {
        let parts: [&[f32]; 2] = [&[1.0, 0.0, 3.0, 4.0], &[5.0, 6.0]];
        assert_eq!(means(&parts, 2, &[vec![0, 1], vec![2]]), [2.0, 2.0, 5.0, 6.0]);
    }

    #[test]
    fn with_a_topology_loss_it_is_reproducible() {
        // Not its gradient: the groups' means move with the vectors, and have none.
        is_reproducible(&*small("htd", json!({"gamma": 0.4})));
    }
}
