//! The leakage audit: what a split gives away to models, and which targets no model can hit.

use crate::split::{MaskTest, MaskValid, Part, Partition, Protocol, SplitCounts};
use rankstill_core::text_table::{TextTable, thousands};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;

/// The results of all checks, including those that found nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// In a fixed order.
    pub findings: Vec<Finding>,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// A short name for programs.
    pub name: String,
    /// What it means.
    pub about: String,
    /// Number of occurrences; `None` when the check needs times and the log has none.
    pub count: Option<usize>,
    /// Number of rows, users or items that were checked.
    pub of: usize,
    /// Whether any occurrence puts the results in doubt. The other checks are informative and their findings
    /// often intended.
    pub doubtful: bool,
}

/// One check; [`CHECKS`] lists them all.
struct Check {
    name: &'static str,
    about: &'static str,
    doubtful: bool,
    of: fn(&SplitCounts) -> usize,
    count: Count,
}

/// How occurrences are counted.
enum Count {
    /// From the sizes of the split.
    Split(fn(&SplitCounts) -> usize),
    /// User by user; the counts are added.
    Users(fn(&UserRows<'_>) -> usize),
    /// The same, for logs with times.
    Times(fn(&UserRows<'_>) -> usize),
}

/// All checks. Names and texts are part of every `manifest.json`.
static CHECKS: &[Check] = &[
    Check {
        name: "duplicates_train",
        about: "training rows that repeat a user and item",
        doubtful: false,
        of: |split| split.train,
        count: Count::Users(|user| user.repeats[TRAIN]),
    },
    Check {
        name: "duplicates_valid",
        about: "validation rows that repeat a user and item",
        doubtful: true,
        of: |split| split.valid,
        count: Count::Users(|user| user.repeats[VALID]),
    },
    Check {
        name: "duplicates_test",
        about: "test rows that repeat a user and item",
        doubtful: true,
        of: |split| split.test,
        count: Count::Users(|user| user.repeats[TEST]),
    },
    Check {
        name: "valid_in_train",
        about: "validation rows whose user and item also train",
        doubtful: true,
        of: |split| split.valid,
        count: Count::Users(|user| user.rows_found_in(VALID, &[TRAIN])),
    },
    Check {
        name: "test_in_train",
        about: "test rows whose user and item also train",
        doubtful: true,
        of: |split| split.test,
        count: Count::Users(|user| user.rows_found_in(TEST, &[TRAIN])),
    },
    Check {
        name: "test_in_valid",
        about: "test rows whose user and item also validate",
        doubtful: true,
        of: |split| split.test,
        count: Count::Users(|user| user.rows_found_in(TEST, &[VALID])),
    },
    Check {
        name: "valid_masked",
        about: "validation targets that the mask hides: no model can hit them",
        doubtful: true,
        of: |split| split.valid,
        count: Count::Users(|user| match user.protocol.mask.valid {
            MaskValid::Train => user.rows_found_in(VALID, &[TRAIN]),
            MaskValid::TrainTest => user.rows_found_in(VALID, &[TRAIN, TEST]),
        }),
    },
    Check {
        name: "test_masked",
        about: "test targets that the mask hides: no model can hit them",
        doubtful: true,
        of: |split| split.test,
        count: Count::Users(|user| match user.protocol.mask.test {
            MaskTest::Train => user.rows_found_in(TEST, &[TRAIN]),
            MaskTest::TrainValid => user.rows_found_in(TEST, &[TRAIN, VALID]),
        }),
    },
    Check {
        name: "valid_before_own_train",
        about: "validation rows older than a training row of the same user",
        doubtful: true,
        of: |split| split.valid,
        count: Count::Times(|user| user.rows_before(VALID, user.newest(&[TRAIN]))),
    },
    Check {
        name: "test_before_own_train",
        about: "test rows older than a training or validation row of the same user",
        doubtful: true,
        of: |split| split.test,
        count: Count::Times(|user| user.rows_before(TEST, user.newest(&[TRAIN, VALID]))),
    },
    Check {
        name: "valid_before_any_train",
        about: "validation rows older than the newest training row of anybody",
        doubtful: false,
        of: |split| split.valid,
        count: Count::Times(|user| user.rows_before(VALID, user.newest_train_of_all)),
    },
    Check {
        name: "test_before_any_train",
        about: "test rows older than the newest training row of anybody",
        doubtful: false,
        of: |split| split.test,
        count: Count::Times(|user| user.rows_before(TEST, user.newest_train_of_all)),
    },
    Check {
        name: "users_never_trained",
        about: "users without training rows",
        doubtful: false,
        of: |split| split.users,
        count: Count::Split(|split| split.users - split.train_users),
    },
    Check {
        name: "items_never_trained",
        about: "items without training rows",
        doubtful: false,
        of: |split| split.items,
        count: Count::Split(|split| split.items - split.train_items),
    },
    Check {
        name: "valid_users_never_trained",
        about: "validation cases of users without training rows",
        doubtful: false,
        of: |split| split.valid_users,
        count: Count::Users(|user| usize::from(user.has_no(TRAIN) && !user.has_no(VALID))),
    },
    Check {
        name: "test_users_never_trained",
        about: "test cases of users without training rows",
        doubtful: false,
        of: |split| split.test_users,
        count: Count::Users(|user| usize::from(user.has_no(TRAIN) && !user.has_no(TEST))),
    },
    Check {
        name: "valid_items_never_trained",
        about: "validation rows of items without training rows",
        doubtful: false,
        of: |split| split.valid,
        count: Count::Split(|split| split.valid_unseen),
    },
    Check {
        name: "test_items_never_trained",
        about: "test rows of items without training rows",
        doubtful: false,
        of: |split| split.test,
        count: Count::Split(|split| split.test_unseen),
    },
    Check {
        name: "users_without_valid",
        about: "users without validation rows, not judged",
        doubtful: false,
        of: |split| split.users,
        count: Count::Split(|split| split.users - split.valid_users),
    },
    Check {
        name: "users_without_test",
        about: "users without test rows, not judged",
        doubtful: false,
        of: |split| split.users,
        count: Count::Split(|split| split.users - split.test_users),
    },
];

/// Indices of the parts in [`UserRows`].
const TRAIN: usize = 0;
const VALID: usize = 1;
const TEST: usize = 2;

/// What the checks see of one user.
struct UserRows<'a> {
    protocol: &'a Protocol,
    /// The rows of each part, counted from the user's first row.
    parts: [Range<usize>; 3],
    /// For each row the parts in which the user has its item; bit *p* stands for part *p*.
    found_in: &'a [u8],
    /// For each part, the rows that repeat an earlier item of the part.
    repeats: [usize; 3],
    times: Option<&'a [i64]>,
    /// The newest training row of all users.
    newest_train_of_all: Option<i64>,
}

impl UserRows<'_> {
    /// Rows of `part` whose item the user also has in one of `others`.
    fn rows_found_in(&self, part: usize, others: &[usize]) -> usize {
        let wanted = others.iter().fold(0, |bits, other| bits | 1 << other);
        self.found_in[self.parts[part].clone()].iter().filter(|&&bits| bits & wanted != 0).count()
    }

    /// Rows of `part` that are older than `newest`.
    fn rows_before(&self, part: usize, newest: Option<i64>) -> usize {
        let newest = newest.unwrap_or(i64::MIN);
        self.times_of(part).iter().filter(|&&time| time < newest).count()
    }

    /// The time of the newest row in any of `parts`.
    fn newest(&self, parts: &[usize]) -> Option<i64> {
        parts.iter().flat_map(|&part| self.times_of(part)).copied().max()
    }

    fn times_of(&self, part: usize) -> &[i64] {
        self.times.map_or(&[], |times| &times[self.parts[part].clone()])
    }

    fn has_no(&self, part: usize) -> bool {
        self.parts[part].is_empty()
    }
}

impl Audit {
    /// Audits a split under an evaluation protocol. Works on any split, whether made here or ready-made.
    #[must_use]
    pub fn of(partition: &Partition, protocol: &Protocol) -> Self {
        let mut totals = vec![0; CHECKS.len()];
        for_each_user(partition, protocol, |user| {
            for (total, check) in totals.iter_mut().zip(CHECKS) {
                *total += match check.count {
                    Count::Split(_) => 0,
                    Count::Users(count) | Count::Times(count) => count(user),
                };
            }
        });
        let finding = |(check, total): (&Check, usize)| Finding {
            name: check.name.into(),
            about: check.about.into(),
            count: match check.count {
                Count::Split(count) => Some(count(&partition.counts)),
                Count::Users(_) => Some(total),
                Count::Times(_) => partition.lines.times.is_some().then_some(total),
            },
            of: (check.of)(&partition.counts),
            doubtful: check.doubtful,
        };
        Self { findings: CHECKS.iter().zip(totals).map(finding).collect() }
    }

    /// Findings that put the results in doubt and occur at least once.
    pub fn doubts(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.doubtful && finding.count.unwrap_or(0) > 0)
    }

    /// The finding of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.name == name)
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = TextTable::new(["leakage audit", "count", "of", "share", ""]);
        for finding in &self.findings {
            let (count, share) = match finding.count {
                Some(0) => ("0".into(), String::new()),
                Some(count) => {
                    (thousands(count), format!("{:.2}%", 100.0 * count as f64 / finding.of as f64))
                }
                None => ("no times".into(), String::new()),
            };
            let mark = if finding.doubtful && finding.count.unwrap_or(0) > 0 { "LEAK" } else { "" };
            table.push([finding.about.clone(), count, thousands(finding.of), share, mark.into()]);
        }
        table.fmt(f)
    }
}

fn for_each_user(partition: &Partition, protocol: &Protocol, mut visit: impl FnMut(&UserRows<'_>)) {
    const PARTS: [Part; 3] = [Part::Train, Part::Valid, Part::Test];
    let lines = &partition.lines;
    let users = || 0..partition.n_users();
    let newest_train_of_all = lines.times.as_ref().and_then(|times| {
        users().flat_map(|user| &times[partition.range(user, Part::Train)]).copied().max()
    });
    // The parts in which the current user has an item, as bits, and the user whose bits they are.
    let mut parts_of_item = vec![(u32::MAX, 0u8); lines.n_items];
    let mut found_in = Vec::new();
    for user in users() {
        let rows = lines.range(user);
        let parts = PARTS.map(|part| partition.range(user, part));
        let mut repeats = [0; 3];
        for (p, range) in parts.iter().enumerate() {
            for &item in &lines.items[range.clone()] {
                let (owner, bits) = &mut parts_of_item[item as usize];
                if *owner != user as u32 {
                    (*owner, *bits) = (user as u32, 0);
                }
                repeats[p] += usize::from(*bits & 1 << p != 0);
                *bits |= 1 << p;
            }
        }
        found_in.clear();
        found_in
            .extend(lines.items[rows.clone()].iter().map(|&item| parts_of_item[item as usize].1));
        visit(&UserRows {
            protocol,
            parts: parts.map(|range| range.start - rows.start..range.end - rows.start),
            found_in: &found_in,
            repeats,
            times: lines.times.as_ref().map(|times| &times[rows]),
            newest_train_of_all,
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::split::SplitConfig;
    use crate::timelines::Timelines;

    /// User 0: train 0@1 1@5, valid 2@3, test 1@9 3@4; user 1: test 4@2 4@6; user 2: train 2@7.
    fn partition() -> Partition {
        use Part::{Test, Train, Valid};
        let lines = Timelines {
            n_items: 5,
            starts: vec![0, 5, 7, 8],
            items: vec![0, 1, 2, 1, 3, 4, 4, 2],
            times: Some(vec![1, 5, 3, 9, 4, 2, 6, 7]),
            ..Timelines::default()
        };
        Partition::new(lines, vec![Train, Train, Valid, Test, Test, Test, Test, Train], false)
            .unwrap()
    }

    #[test]
    fn every_finding_by_hand() {
        let audit = Audit::of(&partition(), &Protocol::default());
        let counts: Vec<(&str, usize)> = audit
            .findings
            .iter()
            .filter(|finding| finding.count.unwrap() > 0)
            .map(|finding| (finding.name.as_str(), finding.count.unwrap()))
            .collect();
        assert_eq!(
            counts,
            [
                ("duplicates_test", 1),
                ("test_in_train", 1),
                ("test_masked", 1),
                ("valid_before_own_train", 1),
                ("test_before_own_train", 1),
                ("valid_before_any_train", 1),
                ("test_before_any_train", 3),
                ("users_never_trained", 1),
                ("items_never_trained", 2),
                ("test_users_never_trained", 1),
                ("test_items_never_trained", 3),
                ("users_without_valid", 2),
                ("users_without_test", 1),
            ]
        );
        assert_eq!(audit.doubts().count(), 5);
        assert_eq!(audit.get("test_before_any_train").unwrap().of, 4);
        assert!(audit.to_string().contains("LEAK"));
    }

    #[test]
    fn masks_change_what_cannot_be_hit() {
        use Part::{Test, Train, Valid};
        let lines = Timelines {
            n_items: 2,
            starts: vec![0, 3],
            items: vec![0, 1, 1],
            ..Timelines::default()
        };
        let partition = Partition::new(lines, vec![Train, Valid, Test], false).unwrap();
        let masked = |text: &str| {
            let audit = Audit::of(&partition, &serde_json::from_str(text).unwrap());
            assert_eq!(audit.get("test_before_own_train").unwrap().count, None);
            ["valid_masked", "test_masked"].map(|name| audit.get(name).unwrap().count.unwrap())
        };
        assert_eq!(masked("{}"), [0, 1]);
        assert_eq!(masked(r#"{"mask": {"valid": "train+test"}}"#), [1, 1]);
        assert_eq!(masked(r#"{"mask": {"test": "train"}}"#), [0, 0]);
    }

    #[test]
    fn a_chronological_split_of_distinct_rows_has_no_doubts() {
        let mut lines = crate::testing::lines(60, 25, 9);
        let mut seen = std::collections::HashSet::new();
        let items = lines.items.clone();
        lines.retain(|user, row| seen.insert((user, items[row])));
        let partition = SplitConfig::default().cut(lines).unwrap();
        assert_eq!(Audit::of(&partition, &Protocol::default()).doubts().count(), 0);
    }
}
