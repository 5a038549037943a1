//! Hierarchical Topology Distillation (Kang, Hwang, Kweon & Yu, "Topology Distillation for Recommender System", KDD 2021,
//! arXiv 2106.08700): a small student learns who is like whom within groups, and how everybody stands to the groups.
//!
//! ```text
//! L    = L_own + lambda ( gamma L_TD + (1 - gamma) L_GA )
//! L_TD = sum over the batch's users and items i, and groups g of ( cos(t_i, P^t_g) - cos(s_i, P^s_g) )^2
//!      + sum over pairs i, j of one group of ( cos(t_i, t_j) - cos(s_i, s_j) )^2
//! L_GA = DE(users) + DE(items), one expert a group (see `experts.rs`)
//! ```
//!
//! A vector's group is the expert with the largest share of it, by the teacher's vector and without noise; users have `groups` of
//! their own and items others. P_g, the mean of its members in the batch, is taken as it is: no gradient goes through it. L_GA
//! learns the groups, and pulls the student's vectors too. Each user and each item of a batch counts once; items are those that
//! the student's own loss lists.
//!
//! Values of the authors' code (SeongKu-Kang/Topology_Distillation_KDD21; its Group(P,e)). Differs from it: pairs of a group
//! count whatever their cosine (there, where the teacher's is above 0: the paper has no such condition), and the temperature of
//! the shares falls as in the paper (there it is 0.1). Sums over pairs are found from products of columns (see `topology.rs`).

use crate::beside_vectors::{Met, VectorTerm, beside_vectors, taught};
use crate::experts::{BothExperts, Task, annealed};
use crate::settings::{self, above_0, at_least_1, not_negative, wrong};
use crate::topology::{Units, pairs, to_landmarks};
use rankstill_core::kernel::dense::axpy;
use rankstill_core::kernel::optimizer::{Adam, Optimizer};
use rankstill_core::registry::Config;
use rankstill_core::{Cases, Distiller, Embedded, Objective, Requirements, Result, Tensors, Trace};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Keep the draws of different purposes apart.
const NOISE: [u64; 2] = [0x4854_4e51, 0x4854_4e49];
const FIRST: u64 = 0x4854_4649;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Htd {
    /// How many groups of users, and of items, there are.
    pub groups: usize,
    /// The topology's share of the loss; the rest is the assignment's.
    pub gamma: f32,
    /// Of the shares, in the first epoch: larger = more even.
    pub temperature: f32,
    /// In the end.
    pub final_temperature: f32,
    /// Epochs from the one to the other.
    pub anneal_epochs: usize,
    /// How the experts follow their gradient.
    pub optimizer: Optimizer,
    /// The distillation loss's weight. At 0 the student learns by its own objective alone.
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

impl Htd {
    /// From a configuration.
    ///
    /// # Errors
    /// When a setting is unknown, of the wrong type or out of its range.
    pub fn parse(config: Config<'_>) -> Result<Self> {
        settings::read(config, Self::check)
    }

    fn check(&self, path: &str) -> Result<()> {
        at_least_1(path, &[("groups", self.groups), ("anneal_epochs", self.anneal_epochs)])?;
        if !(0.0..=1.0).contains(&self.gamma) {
            let problem = format!("is {}, must be between 0 and 1", self.gamma);
            return Err(wrong(path, "gamma", problem));
        }
        above_0(path, "temperature", self.temperature)?;
        above_0(path, "final_temperature", self.final_temperature)?;
        settings::optimizer(path, &self.optimizer)?;
        not_negative(path, "lambda", self.lambda)
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
        self.check("")?;
        beside_vectors("htd", self.lambda, own, cases, traces, |teacher| {
            Groups::new(self.clone(), teacher)
        })
    }

    fn config(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

struct Groups {
    config: Htd,
    teacher: Arc<Embedded>,
    experts: BothExperts,
}

impl Groups {
    fn new(config: Htd, teacher: Arc<Embedded>) -> Self {
        let optimizer = config.optimizer.clone();
        let experts = BothExperts::new(teacher.dim(), config.groups, optimizer);
        Self { config, teacher, experts }
    }

    /// L_TD, for the members of each group that has any.
    fn topology(
        &self,
        met: &Met<'_>,
        teacher: &[Vec<f32>; 2],
        groups: &[Vec<usize>],
        weight: f32,
        grads: [&mut [f32]; 2],
    ) -> f64 {
        let theirs = teacher.each_ref().map(Vec::as_slice);
        let ours = met.sides.map(|side| side.vectors);
        let teacher = Units::of(self.teacher.dim(), &theirs);
        let student = Units::of(met.dim, &ours);
        let goals = Units::of(self.teacher.dim(), &[&means(&theirs, self.teacher.dim(), groups)]);
        let marks = Units::of(met.dim, &[&means(&ours, met.dim, groups)]);
        let mut slopes = student.slopes();
        let mut loss = to_landmarks((&teacher, &goals), (&student, &marks), &mut slopes);
        for members in groups {
            let (teacher, student) = (teacher.only(members), student.only(members));
            loss += pairs(&teacher, &student, members, &mut slopes);
        }
        student.back(&slopes, weight, grads);
        loss
    }
}

impl VectorTerm for Groups {
    fn loss(&self, met: &Met<'_>, scale: f32, grads: [&mut [f32]; 2]) -> f64 {
        let Htd { temperature, final_temperature, anneal_epochs, gamma, .. } = self.config;
        let temperature = annealed(temperature, final_temperature, anneal_epochs, met.epoch);
        let teacher = taught(&self.teacher, met);
        let [to_queries, to_items] = grads;
        self.experts.with(
            met.dim,
            |side| met.rng(FIRST, side),
            |experts| {
                let mut groups = vec![Vec::new(); 2 * self.config.groups];
                let (mut assigned, mut before) = (0.0, 0);
                let grads = [&mut *to_queries, &mut *to_items];
                for (side, (experts, grads)) in experts.iter_mut().zip(grads).enumerate() {
                    let own = experts.groups(&teacher[side]).into_iter().enumerate();
                    own.for_each(|(at, group)| {
                        groups[side * self.config.groups + group].push(before + at);
                    });
                    before += met.sides[side].ids.len();
                    let vectors = Task {
                        teacher: &teacher[side],
                        temperature,
                        rng: &|id| met.rng(NOISE[side], id),
                        weight: 1.0 - gamma,
                        scale: (1.0 - gamma) * scale,
                    };
                    assigned += experts.regress(met.sides[side], &vectors, grads);
                }
                groups.retain(|members| !members.is_empty());
                let grads = [to_queries, to_items];
                let topology = self.topology(met, &teacher, &groups, gamma, grads);
                f64::from(gamma) * topology + f64::from(1.0 - gamma) * assigned
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_mean_of_a_group_of_users_and_of_one_of_items() {
        let parts: [&[f32]; 2] = [&[1.0, 0.0, 3.0, 4.0], &[5.0, 6.0]];
        assert_eq!(means(&parts, 2, &[vec![0, 1], vec![2]]), [2.0, 2.0, 5.0, 6.0]);
    }
}
