//! Knowledge distillation for recommenders: methods that teach a student the rankings, or the vectors, of one or several teachers.
//!
//! A teacher's lists for the distinct queries of the student's training cases are recorded once ([`trace`]). A method
//! ([`methods`]) turns them into the student's objective.
//!
//! ```
//! use rankstill_core::registry::{Config, parse};
//! use rankstill_distill::DISTILLERS;
//!
//! let settings = serde_json::json!({"kind": "rank_distil", "preset": "authors_code", "k": 20});
//! let (_, method) = parse(DISTILLERS, Config { path: "distill", value: &settings })?;
//! assert_eq!(method.requires().lists.k, 20); // the teacher's 20 best items for every query
//! assert_eq!(method.config()["blend"], "authors_code");
//! # Ok::<(), rankstill_core::Error>(())
//! ```

pub mod fusion;
pub mod methods;
mod parts;
pub mod recorded;
pub mod self_taught;
pub mod teacher;
#[cfg(test)]
mod testing;
pub mod trace;
pub mod trajectory;

pub use fusion::{Fused, Fusion, Selection};
pub use methods::DISTILLERS;
pub use methods::bd::Bd;
pub use methods::cd::Cd;
pub use methods::dcd::Dcd;
pub use methods::de::De;
pub use methods::ftd::Ftd;
pub use methods::het_comp::HetComp;
pub use methods::htd::Htd;
pub use methods::ir_rrd::IrRrd;
pub use methods::margin_mse::MarginMse;
pub use methods::rank_distil::RankDistil;
pub use methods::rce_kd::RceKd;
pub use methods::rrd::Rrd;
pub use methods::score_kd::ScoreKd;
pub use methods::several::Several;
pub use methods::unkd::UnKd;
pub use methods::{
    bd, cd, dcd, de, ftd, het_comp, htd, ir_rrd, margin_mse, rank_distil, rce_kd, rrd, score_kd,
    several, unkd,
};
pub use parts::item_side::UserOrder;
pub use parts::labelled;
pub use recorded::Recorded;
pub use self_taught::SelfTeaching;
pub use teacher::{Teacher, distil};
pub use trajectory::StateSelection;
