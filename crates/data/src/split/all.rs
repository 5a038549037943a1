//! No split: for a model that goes into service, whose quality was measured before on a split of the same log.

use super::{Check, Part, Splitter};
use crate::Result;
use crate::timelines::Timelines;
use serde::{Deserialize, Serialize};

/// Every row trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct All {}

impl Check for All {}

impl Splitter for All {
    fn assign(&self, lines: &Timelines) -> Result<Vec<Part>> {
        Ok(vec![Part::Train; lines.len()])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::split::SplitConfig;
    use crate::testing::one_user;

    #[test]
    fn no_row_is_kept_from_training() {
        let counts = SplitConfig::of("all").cut(one_user(10)).unwrap().counts;
        assert_eq!((counts.train, counts.valid, counts.test, counts.test_users), (10, 0, 0, 0));
    }
}
