//! The methods of distillation, one file each, and their registry.

use crate::parts::settings::entry;
use rankstill_core::Distiller;
use rankstill_core::registry::Entry;

pub mod bd;
pub mod cd;
pub mod dcd;
pub mod de;
pub mod ftd;
pub mod het_comp;
pub mod htd;
pub mod ir_rrd;
pub mod margin_mse;
pub mod rank_distil;
pub mod rce_kd;
pub mod rrd;
pub mod score_kd;
pub mod several;
pub mod unkd;
#[cfg(test)]
mod worked_example;

/// Every distiller, by the name that a configuration gives as `kind`.
pub static DISTILLERS: &[Entry<dyn Distiller>] = &[
    entry::<rank_distil::RankDistil>(
        "rank_distil",
        "Ranking Distillation (Tang & Wang, KDD 2018): the teacher's top items as weighted extra positives",
        r#"{"k": 4, "warm_up": 1, "epsilon": 7, "mu": 0.05, "lambda": 2, "loss": "pair_wise", "rivals": 2}"#,
    ),
    entry::<het_comp::HetComp>(
        "het_comp",
        "HetComp (Kang et al., WWW 2023): the rankings of an ensemble, from easy to hard along its members' training",
        r#"{"k": 10, "observed": 3, "period": 2, "cutoff": 5, "fusion": {"cut": 12}}"#,
    ),
    entry::<rrd::Rrd>(
        "rrd",
        "Relaxed Ranking Distillation (Kang et al., CIKM 2020): interesting items in order, above uninteresting ones",
        r#"{"k": 4, "l": 5, "window": 10, "temperature": 3, "lambda": 0.7}"#,
    ),
    entry::<ir_rrd::IrRrd>(
        "ir_rrd",
        "IR-RRD (Kang et al., Information Sciences 2021): RRD, and the order of an item's users",
        r#"{"k": 4, "l": 5, "window": 10, "temperature": 3, "lambda": 0.7, "user_k": 3, "user_l": 2, "item_lambda": 0.5}"#,
    ),
    entry::<dcd::Dcd>(
        "dcd",
        "Dual Correction Distillation (Lee & Kim, CIKM 2021): RRD, and items ranked too low above items ranked too high",
        r#"{"k": 4, "l": 5, "window": 10, "temperature": 3, "lambda": 0.7, "corrected": 3, "correction": 0.5}"#,
    ),
    entry::<unkd::UnKd>(
        "unkd",
        "UnKD (Chen et al., WSDM 2023): the teacher's pairs within groups of items of similar popularity",
        r#"{"groups": 2, "pairs": 5, "temperature": 2}"#,
    ),
    entry::<cd::Cd>(
        "cd",
        "Collaborative Distillation (Lee et al., ICDM 2019): the teacher's soft labels on items sampled by rank",
        r#"{"samples": 3, "window": 9}"#,
    ),
    entry::<bd::Bd>(
        "bd",
        "Bidirectional Distillation (Kweon et al., WWW 2021): teacher and student train together and correct each other",
        r#"{"warm_up": 0, "refresh_every": 2, "to_student": 0.3}"#,
    ),
    entry::<rce_kd::RceKd>(
        "rce_kd",
        "RCE-KD (ICLR 2026): cross-entropy on the student's top items and on a closure of the teacher's",
        r#"{"k": 4, "l": 3, "m": 3, "temperature": 2, "tau": 0.8, "lambda": 0.5}"#,
    ),
    entry::<margin_mse::MarginMse>(
        "margin_mse",
        "Margin-MSE (Hofstätter et al., 2020): the teacher's differences between the scores of pairs of its items",
        r#"{"window": 10, "pairs": 4, "temperature": 3, "lambda": 0.5}"#,
    ),
    entry::<de::De>(
        "de",
        "Distillation Experts (Kang et al., CIKM 2020): the teacher's vectors are reconstructed from the student's",
        r#"{"experts": 3, "temperature": 0.7, "lambda": 0.5, "optimizer": {"kind": "sgd", "learning_rate": 0.05}}"#,
    ),
    entry::<ftd::Ftd>(
        "ftd",
        "Full Topology Distillation (Kang et al., KDD 2021): the cosines of all pairs of a batch",
        r#"{"lambda": 0.5}"#,
    ),
    entry::<htd::Htd>(
        "htd",
        "Hierarchical Topology Distillation (Kang et al., KDD 2021): cosines within groups, and to the groups",
        r#"{"groups": 3, "gamma": 0, "temperature": 0.7, "lambda": 0.5, "optimizer": {"kind": "sgd", "learning_rate": 0.05}}"#,
    ),
    entry::<score_kd::ScoreKd>(
        "score_kd",
        "Point-wise distillation: the teacher's scores of its list as soft labels",
        r#"{"k": 6}"#,
    ),
    Entry {
        name: "several",
        about: "several methods at once, each in addition to those before it (DE-RRD)",
        small: r#"{"of": [{"kind": "rrd", "mode": "direct", "k": 4}, {"kind": "ftd", "lambda": 0.5}]}"#,
        parse: |config| Ok(Box::new(several::Several::parse(config)?)),
    },
];
