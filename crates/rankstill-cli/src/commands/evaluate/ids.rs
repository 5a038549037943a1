//! Ids that one file has and another lacks, and why that may be.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Removes one difference from an id.
type Removal = fn(&str) -> Cow<'_, str>;

/// Ways in which programs write the same id differently, and what removes the difference.
const CAUSES: [(&str, Removal); 5] = [
    ("a byte order mark", |id| id.trim_matches('\u{feff}').into()),
    ("surrounding blanks", |id| id.trim().into()),
    ("a trailing `.0`", without_fraction),
    ("leading zeros", without_leading_zeros),
    ("letter case", |id| id.to_lowercase().into()),
];

/// How ids of two files differ that are probably meant to be the same.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// As in "they differ by ...".
    pub by: String,
    /// An id of the first file.
    pub here: String,
    /// The id of the second file that it is probably meant to be.
    pub there: String,
    /// How many ids of the first file have such a counterpart.
    pub count: usize,
}

/// Why ids of `here` may be missing in another file, whose ids that are missing in the first file are `there`. `None` if they
/// are unlike in other ways.
pub fn difference<'a>(
    here: impl Iterator<Item = Cow<'a, str>>,
    there: impl Iterator<Item = Cow<'a, str>>,
) -> Option<Difference> {
    let mut plain: BTreeMap<String, Cow<'_, str>> = BTreeMap::new();
    for id in there {
        plain.entry(alike(&id)).or_insert(id);
    }
    let mut found: Option<Difference> = None;
    for id in here {
        let Some(other) = plain.get(&alike(&id)) else { continue };
        match &mut found {
            Some(known) => known.count += 1,
            None => {
                let by: Vec<&str> = causes(&id, other);
                found = Some(Difference {
                    by: by.join(" and "),
                    here: id.into_owned(),
                    there: other.to_string(),
                    count: 1,
                });
            }
        }
    }
    found
}

/// The id without any of the differences.
fn alike(id: &str) -> String {
    CAUSES.iter().fold(id.to_owned(), |id, (_, remove)| remove(&id).into_owned())
}

/// The differences between two ids that are alike.
fn causes(a: &str, b: &str) -> Vec<&'static str> {
    let (mut a, mut b) = (a.to_owned(), b.to_owned());
    let mut found = Vec::new();
    for (name, remove) in CAUSES {
        let (plain_a, plain_b) = (remove(&a).into_owned(), remove(&b).into_owned());
        if (plain_a != a) != (plain_b != b) || (name == "letter case" && a != b) {
            found.push(name);
        }
        (a, b) = (plain_a, plain_b);
    }
    found
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn without_fraction(id: &str) -> Cow<'_, str> {
    match id.split_once('.') {
        Some((whole, zeros))
            if is_number(whole.trim_start_matches('-'))
                && !zeros.is_empty()
                && zeros.bytes().all(|byte| byte == b'0') =>
        {
            whole.into()
        }
        _ => id.into(),
    }
}

fn without_leading_zeros(id: &str) -> Cow<'_, str> {
    if !is_number(id) {
        return id.into();
    }
    let rest = id.trim_start_matches('0');
    if rest.is_empty() { "0".into() } else { rest.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn between(here: &[&'static str], there: &[&'static str]) -> Option<Difference> {
        let ids = |ids: &[&'static str]| ids.iter().map(|id| Cow::from(*id)).collect::<Vec<_>>();
        difference(ids(here).into_iter(), ids(there).into_iter())
    }

    #[test]
    fn each_usual_difference_is_named_with_a_pair() {
        for (here, there, by) in [
            ("1", "1.0", "a trailing `.0`"),
            ("10.00", "10", "a trailing `.0`"),
            (" a1", "a1", "surrounding blanks"),
            ("Ann", "ann", "letter case"),
            ("007", "7", "leading zeros"),
            ("\u{feff}u1", "u1", "a byte order mark"),
            (" 07", "7.0", "surrounding blanks and a trailing `.0` and leading zeros"),
        ] {
            let found = between(&["other", here], &["else", there]).unwrap();
            assert_eq!((found.by.as_str(), found.count), (by, 1), "{here} {there}");
            assert_eq!((found.here.as_str(), found.there.as_str()), (here, there));
        }
    }

    #[test]
    fn other_ids_have_no_known_cause() {
        assert_eq!(between(&["a", "1.5", "", "-"], &["b", "1", "15", "0"]), None);
        assert_eq!(between(&["1", "2", "3"], &["1.0", "3.0"]).unwrap().count, 2);
    }
}
