//! Whose definition of a metric is used.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Whose definition of a metric to use, where the field disagrees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// As in most papers and in trec_eval.
    #[default]
    Standard,
    /// As in the code of Ranking Distillation and Caser: nDCG looks only at the first min(#targets, n) ranks.
    Rd,
    /// As in the code of HetComp.
    HetComp,
    /// As in RecBole: MAP@n is divided by min(#targets, n).
    RecBole,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Rd, Self::HetComp, Self::RecBole];

    /// The name used in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Rd => "rd",
            Self::HetComp => "hetcomp",
            Self::RecBole => "recbole",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dialect {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|d| d.name().eq_ignore_ascii_case(text.trim())).ok_or_else(
            || {
                let valid = Self::ALL.map(Self::name).join(", ");
                Error::Dialect { text: text.to_owned(), valid }
            },
        )
    }
}
