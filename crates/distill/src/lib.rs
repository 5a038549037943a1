//! Distillers: what teachers say is recorded once ([`trace`]) and turned into an objective for a student.

use rankstill_core::Distiller;
use rankstill_core::registry::Entry;

pub mod bd;
mod beside_own;
mod beside_vectors;
pub mod cd;
pub mod dcd;
pub mod de;
mod experts;
pub mod ftd;
pub mod fusion;
pub mod het_comp;
pub mod htd;
pub mod ir_rrd;
mod item_side;
pub mod labelled;
mod listwise;
mod places;
pub mod rank_distil;
pub mod rce_kd;
pub mod recorded;
mod rest;
pub mod rrd;
pub mod score_kd;
mod settings;
pub mod several;
pub mod teacher;
#[cfg(test)]
mod testing;
mod topology;
pub mod trace;
pub mod trajectory;
pub mod unkd;

pub use bd::Bd;
pub use cd::Cd;
pub use dcd::Dcd;
pub use de::De;
pub use ftd::Ftd;
pub use fusion::{Fused, Fusion};
pub use het_comp::HetComp;
pub use htd::Htd;
pub use ir_rrd::IrRrd;
pub use item_side::By;
pub use rank_distil::RankDistil;
pub use rce_kd::RceKd;
pub use recorded::Recorded;
pub use rrd::Rrd;
pub use score_kd::ScoreKd;
pub use several::Several;
pub use teacher::{Teacher, distil};
pub use trajectory::StateSelection;
pub use unkd::UnKd;

/// Every distiller, by the name that a configuration gives as `kind`.
pub static DISTILLERS: &[Entry<dyn Distiller>] = &[
    Entry {
        name: "rank_distil",
        about: "Ranking Distillation (Tang & Wang, KDD 2018): the teacher's top-K as weighted extra positives",
        small: "{}",
        parse: |config| Ok(Box::new(RankDistil::parse(config)?)),
    },
    Entry {
        name: "het_comp",
        about: "HetComp (Kang et al., WWW 2023): an ensemble's rankings, easy to hard, from its members' training",
        small: "{}",
        parse: |config| Ok(Box::new(HetComp::parse(config)?)),
    },
    Entry {
        name: "rrd",
        about: "Relaxed Ranking Distillation (Kang et al., CIKM 2020): the order of interesting items above the rest",
        small: "{}",
        parse: |config| Ok(Box::new(Rrd::parse(config)?)),
    },
    Entry {
        name: "ir_rrd",
        about: "IR-RRD (Kang et al., Information Sciences 2021): RRD, and the order of an item's users above others",
        small: "{}",
        parse: |config| Ok(Box::new(IrRrd::parse(config)?)),
    },
    Entry {
        name: "dcd",
        about: "Dual Correction Distillation (Lee & Kim, CIKM 2021): RRD, and what the student ranks too low above too high",
        small: "{}",
        parse: |config| Ok(Box::new(Dcd::parse(config)?)),
    },
    Entry {
        name: "unkd",
        about: "UnKD (Chen et al., WSDM 2023): the teacher's pairs within groups of items of like popularity",
        small: "{}",
        parse: |config| Ok(Box::new(UnKd::parse(config)?)),
    },
    Entry {
        name: "cd",
        about: "Collaborative Distillation (Lee et al., ICDM 2019): the teacher's soft labels on items sampled by rank",
        small: "{}",
        parse: |config| Ok(Box::new(Cd::parse(config)?)),
    },
    Entry {
        name: "bd",
        about: "Bidirectional Distillation (Kweon et al., WWW 2021): the teacher learns along, from what the two rank apart",
        small: "{}",
        parse: |config| Ok(Box::new(Bd::parse(config)?)),
    },
    Entry {
        name: "rce_kd",
        about: "RCE-KD (ICLR 2026): cross-entropy on the student's top items and on a closure of the teacher's",
        small: "{}",
        parse: |config| Ok(Box::new(RceKd::parse(config)?)),
    },
    Entry {
        name: "de",
        about: "Distillation Experts (Kang et al., CIKM 2020): the teacher's vectors, made out of the student's",
        small: "{}",
        parse: |config| Ok(Box::new(De::parse(config)?)),
    },
    Entry {
        name: "ftd",
        about: "Full Topology Distillation (Kang et al., KDD 2021): the cosines of all pairs of a batch",
        small: "{}",
        parse: |config| Ok(Box::new(Ftd::parse(config)?)),
    },
    Entry {
        name: "htd",
        about: "Hierarchical Topology Distillation (Kang et al., KDD 2021): cosines within groups, and to the groups",
        small: "{}",
        parse: |config| Ok(Box::new(Htd::parse(config)?)),
    },
    Entry {
        name: "score_kd",
        about: "Point-wise distillation: the teacher's scores over its list as soft labels",
        small: "{}",
        parse: |config| Ok(Box::new(ScoreKd::parse(config)?)),
    },
    Entry {
        name: "several",
        about: "several methods at once, each beside what the ones before made of the student's own loss (DE-RRD)",
        small: "{}",
        parse: |config| Ok(Box::new(Several::parse(config)?)),
    },
];
