//! Distillers: what teachers say is recorded once ([`trace`]) and turned into an objective for a student.

use rankstill_core::Distiller;
use rankstill_core::registry::Entry;

pub mod fusion;
pub mod het_comp;
pub mod labelled;
mod marks;
pub mod rank_distil;
pub mod recorded;
pub mod trace;

pub use fusion::{Fused, Fusion};
pub use het_comp::HetComp;
pub use rank_distil::RankDistil;
pub use recorded::Recorded;

/// Every distiller, by the name that a configuration gives as `kind`.
pub static DISTILLERS: &[Entry<dyn Distiller>] = &[
    Entry {
        name: "rank_distil",
        about: "Ranking Distillation (Tang & Wang, KDD 2018): the teacher's top-K as weighted extra positives",
        parse: |config| Ok(Box::new(RankDistil::parse(config)?)),
    },
    Entry {
        name: "het_comp",
        about: "HetComp (Kang et al., WWW 2023): an ensemble's rankings, easy to hard, from its members' training",
        parse: |config| Ok(Box::new(HetComp::parse(config)?)),
    },
];
