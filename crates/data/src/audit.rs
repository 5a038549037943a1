//! The leakage audit: what a split gives away, and what it asks that no model can know.

use crate::split::{MaskTest, MaskValid, Part, Partition, Protocol};
use rankstill_core::text_table::{TextTable, thousands};
use serde::{Deserialize, Serialize};
use std::fmt;

/// All findings, also those of 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// In a fixed order.
    pub findings: Vec<Finding>,
}

/// How often something was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// A short name for programs.
    pub name: String,
    /// What it means.
    pub about: String,
    /// How often; `None` where it cannot be told (the log has no times).
    pub count: Option<usize>,
    /// Of how many.
    pub of: usize,
    /// Whether any of it puts the results in doubt. The rest is worth knowing and often intended.
    pub doubtful: bool,
}

impl Audit {
    /// Of a cut log, judged under a protocol. Works on any split, one's own or ready-made.
    #[must_use]
    pub fn of(partition: &Partition, protocol: &Protocol) -> Self {
        let sums = AuditCounts::of(partition, protocol);
        let counts = &partition.counts;
        let timed = partition.lines.times.is_some();
        let time = |count: usize| timed.then_some(count);
        let mut findings = Vec::new();
        let mut add = |doubtful, name: &str, count: Option<usize>, of, about: &str| {
            let (name, about) = (name.into(), about.into());
            findings.push(Finding { name, about, count, of, doubtful });
        };
        add(
            false,
            "duplicates_train",
            Some(sums.repeats[0]),
            counts.train,
            "training rows that repeat a user and item",
        );
        add(
            true,
            "duplicates_valid",
            Some(sums.repeats[1]),
            counts.valid,
            "validation rows that repeat a user and item",
        );
        add(
            true,
            "duplicates_test",
            Some(sums.repeats[2]),
            counts.test,
            "test rows that repeat a user and item",
        );
        add(
            true,
            "valid_in_train",
            Some(sums.valid_in_train),
            counts.valid,
            "validation rows whose user and item also train",
        );
        add(
            true,
            "test_in_train",
            Some(sums.test_in_train),
            counts.test,
            "test rows whose user and item also train",
        );
        add(
            true,
            "test_in_valid",
            Some(sums.test_in_valid),
            counts.test,
            "test rows whose user and item also validate",
        );
        add(
            true,
            "valid_masked",
            Some(sums.valid_masked),
            counts.valid,
            "validation targets that the mask hides: no model can hit them",
        );
        add(
            true,
            "test_masked",
            Some(sums.test_masked),
            counts.test,
            "test targets that the mask hides: no model can hit them",
        );
        add(
            true,
            "valid_before_own_train",
            time(sums.valid_before_own),
            counts.valid,
            "validation rows older than a training row of the same user",
        );
        add(
            true,
            "test_before_own_train",
            time(sums.test_before_own),
            counts.test,
            "test rows older than a training or validation row of the same user",
        );
        add(
            false,
            "valid_before_any_train",
            time(sums.valid_before_any),
            counts.valid,
            "validation rows older than the newest training row of anybody",
        );
        add(
            false,
            "test_before_any_train",
            time(sums.test_before_any),
            counts.test,
            "test rows older than the newest training row of anybody",
        );
        add(
            false,
            "users_never_trained",
            Some(counts.users - counts.train_users),
            counts.users,
            "users without training rows",
        );
        add(
            false,
            "items_never_trained",
            Some(counts.items - counts.train_items),
            counts.items,
            "items without training rows",
        );
        add(
            false,
            "valid_users_never_trained",
            Some(sums.valid_users_new),
            counts.valid_users,
            "validation cases of users without training rows",
        );
        add(
            false,
            "test_users_never_trained",
            Some(sums.test_users_new),
            counts.test_users,
            "test cases of users without training rows",
        );
        add(
            false,
            "valid_items_never_trained",
            Some(counts.valid_unseen),
            counts.valid,
            "validation rows of items without training rows",
        );
        add(
            false,
            "test_items_never_trained",
            Some(counts.test_unseen),
            counts.test,
            "test rows of items without training rows",
        );
        add(
            false,
            "users_without_valid",
            Some(counts.users - counts.valid_users),
            counts.users,
            "users without validation rows, not judged",
        );
        add(
            false,
            "users_without_test",
            Some(counts.users - counts.test_users),
            counts.users,
            "users without test rows, not judged",
        );
        Self { findings }
    }

    /// Findings that put the results in doubt.
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

#[derive(Default)]
struct AuditCounts {
    repeats: [usize; 3],
    valid_in_train: usize,
    test_in_train: usize,
    test_in_valid: usize,
    valid_masked: usize,
    test_masked: usize,
    valid_before_own: usize,
    test_before_own: usize,
    valid_before_any: usize,
    test_before_any: usize,
    valid_users_new: usize,
    test_users_new: usize,
}

impl AuditCounts {
    fn of(partition: &Partition, protocol: &Protocol) -> Self {
        let mut sums = Self::default();
        let lines = &partition.lines;
        let users = || 0..partition.n_users();
        let newest_anywhere = lines.times.as_ref().and_then(|times| {
            users().flat_map(|user| &times[partition.range(user, Part::Train)]).copied().max()
        });
        // Which parts of the current user hold an item, as bits; the stamp says whose bits they are.
        let mut held = vec![(u32::MAX, 0u8); lines.n_items];
        for user in users() {
            let parts = [Part::Train, Part::Valid, Part::Test];
            let ranges = parts.map(|part| partition.range(user, part));
            for (p, range) in ranges.iter().enumerate() {
                for &item in &lines.items[range.clone()] {
                    let held = &mut held[item as usize];
                    if held.0 != user as u32 {
                        *held = (user as u32, 0);
                    }
                    sums.repeats[p] += usize::from(held.1 & 1 << p != 0);
                    held.1 |= 1 << p;
                }
            }
            let [train, valid, test] = ranges;
            let is_in = |item: u32, p: u32| held[item as usize].1 & 1 << p != 0;
            for &item in &lines.items[valid.clone()] {
                let test_hides = protocol.mask.valid == MaskValid::TrainTest && is_in(item, 2);
                sums.valid_in_train += usize::from(is_in(item, 0));
                sums.valid_masked += usize::from(is_in(item, 0) || test_hides);
            }
            for &item in &lines.items[test.clone()] {
                let valid_hides = protocol.mask.test == MaskTest::TrainValid && is_in(item, 1);
                sums.test_in_train += usize::from(is_in(item, 0));
                sums.test_in_valid += usize::from(is_in(item, 1));
                sums.test_masked += usize::from(is_in(item, 0) || valid_hides);
            }
            sums.valid_users_new += usize::from(train.is_empty() && !valid.is_empty());
            sums.test_users_new += usize::from(train.is_empty() && !test.is_empty());
            let Some(times) = &lines.times else { continue };
            let older = |range: &std::ops::Range<usize>, newest: Option<i64>| {
                let newest = newest.unwrap_or(i64::MIN);
                times[range.clone()].iter().filter(|&&time| time < newest).count()
            };
            let own_train = times[train.clone()].iter().copied().max();
            let own_both = times[train.start..valid.end].iter().copied().max();
            sums.valid_before_own += older(&valid, own_train);
            sums.test_before_own += older(&test, own_both);
            sums.valid_before_any += older(&valid, newest_anywhere);
            sums.test_before_any += older(&test, newest_anywhere);
        }
        sums
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
