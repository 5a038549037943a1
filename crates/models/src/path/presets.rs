//! Published settings.

use super::{Filter, LowRank, OdeSolver, Path, Sharpen};
use serde::{Deserialize, Serialize};

/// A published method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// GF-CF.
    GfCf,
    /// Turbo-CF.
    TurboCf,
    /// LinkProp.
    LinkProp,
    /// BSPM with early merge.
    BspmEm,
    /// BSPM with late merge.
    BspmLm,
    /// SVD-AE.
    SvdAe,
}

impl Preset {
    /// All of them.
    #[cfg(test)]
    pub const ALL: [Self; 6] =
        [Self::GfCf, Self::TurboCf, Self::LinkProp, Self::BspmEm, Self::BspmLm, Self::SvdAe];

    /// Its settings.
    #[must_use]
    pub fn recipe(self) -> Path {
        // GF-CF's first term: two steps over the symmetrically normalised log.
        let plain = Path {
            preset: Some(self),
            history_degree: 0.5,
            neighbour_degree: 1.0,
            target_degree: 0.5,
            power: 1.0,
            ..Path::default()
        };
        let ideal = |rank, weight| LowRank { rank, weight, ..LowRank::default() };
        let ode = |low_rank| Sharpen::Ode {
            solver: OdeSolver::Rk4,
            time: 2.5,
            steps: 1,
            mean: false,
            low_rank,
        };
        match self {
            Self::GfCf => Path { low_rank: ideal(256, 0.3), ..plain },
            Self::TurboCf => Path {
                history_degree: 0.4,
                neighbour_degree: 1.2,
                target_degree: 0.4,
                power: 0.7,
                ..plain
            },
            Self::LinkProp => Path { neighbour_degree: 0.5, ..plain },
            Self::BspmEm => Path { low_rank: ideal(448, 0.2), sharpen: ode(true), ..plain },
            Self::BspmLm => Path { low_rank: ideal(448, 0.2), sharpen: ode(false), ..plain },
            Self::SvdAe => Path {
                weight: 0.0,
                low_rank: LowRank { filter: Filter::Inverse, ..ideal(1194, 1.0) },
                ..plain
            },
        }
    }
}
