//! Vocabularies: a bijection between original ids (any UTF-8 text) and dense numbers `0..len`.
//!
//! A canonical decimal integer (`"42"`, `"-7"`, not `"042"` or `"+42"`) and the integer itself are the same
//! id. A vocabulary with only such ids stores 8-byte integers and no text; the first other id converts it to
//! text, once.

use crate::{Error, Result};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use std::borrow::Cow;
use std::hash::BuildHasher;

/// User ids or item ids, numbered in the order of their first appearance.
///
/// ```
/// use rankstill_core::Vocab;
///
/// let mut items = Vocab::new();
/// assert_eq!((items.intern("tea"), items.intern("milk"), items.intern("tea")), (0, 1, 0));
/// assert_eq!(items.id(1), "milk");
/// assert_eq!(items.get("coffee"), None);
/// assert_eq!(Vocab::from_bytes(&items.to_bytes())?, items);
/// # Ok::<(), rankstill_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Vocab(Form);

/// All ids as integers or all as text. Invariant: `Text` has at least one id that is not a canonical integer.
#[derive(Clone)]
enum Form {
    Ints { ids: Vec<i64>, index: HashMap<i64, u32> },
    Text(Text),
}

/// Id `i` is `bytes[ends[i - 1]..ends[i]]`; the hash table holds only numbers, so each id is stored once.
#[derive(Clone, Default)]
struct Text {
    bytes: String,
    ends: Vec<usize>,
    index: HashTable<u32>,
    // The seed differs between processes, so a crafted log cannot provoke collisions; no result depends on it.
    hasher: DefaultHashBuilder,
}

impl Vocab {
    /// The maximum number of ids; `u32::MAX` stays free to mean "none".
    pub const MAX_LEN: usize = u32::MAX as usize;

    /// An empty vocabulary.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From distinct integers, numbered in their order.
    ///
    /// # Errors
    /// When an id occurs twice.
    pub fn from_ints(ids: Vec<i64>) -> Result<Self> {
        if ids.len() > Self::MAX_LEN {
            return Err(broken(format!("{} ids, at most {} fit", ids.len(), Self::MAX_LEN)));
        }
        let mut index = HashMap::with_capacity(ids.len());
        for (number, &id) in ids.iter().enumerate() {
            if index.insert(id, number as u32).is_some() {
                return Err(broken(format!("id `{id}` occurs twice")));
            }
        }
        Ok(Self(Form::Ints { ids, index }))
    }

    /// From distinct ids, numbered in their order.
    ///
    /// # Errors
    /// When an id occurs twice.
    pub fn from_ids<S: AsRef<str>>(ids: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut vocab = Self::new();
        for (i, id) in ids.into_iter().enumerate() {
            let id = id.as_ref();
            if i == Self::MAX_LEN || vocab.intern(id) as usize != i {
                return Err(broken(format!("id `{id}` occurs twice")));
            }
        }
        Ok(vocab)
    }

    /// The number of ids.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Ints { ids, .. } => ids.len(),
            Form::Text(text) => text.ends.len(),
        }
    }

    /// Whether there are no ids.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of `id`; an unknown id gets the next free one.
    ///
    /// # Panics
    /// When the vocabulary is full ([`Vocab::MAX_LEN`]): readers of unbounded input check [`Vocab::len`] first.
    pub fn intern(&mut self, id: &str) -> u32 {
        if let Form::Ints { .. } = self.0 {
            match canonical_int(id) {
                Some(int) => return self.intern_int(int),
                None => self.make_text(),
            }
        }
        match &mut self.0 {
            Form::Text(text) => text.intern(id),
            Form::Ints { .. } => unreachable!("made text just above"),
        }
    }

    /// [`Vocab::intern`] for an integer id: the fast path.
    ///
    /// # Panics
    /// As [`Vocab::intern`].
    #[inline]
    pub fn intern_int(&mut self, id: i64) -> u32 {
        match &mut self.0 {
            Form::Ints { ids, index } => *index.entry(id).or_insert_with(|| {
                let number = next_number(ids.len());
                ids.push(id);
                number
            }),
            Form::Text(text) => text.intern(&id.to_string()),
        }
    }

    /// The number of `id`, if it is in the vocabulary.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<u32> {
        match &self.0 {
            Form::Ints { index, .. } => index.get(&canonical_int(id)?).copied(),
            Form::Text(text) => text.get(id),
        }
    }

    /// [`Vocab::get`] for an integer id.
    #[must_use]
    pub fn get_int(&self, id: i64) -> Option<u32> {
        match &self.0 {
            Form::Ints { index, .. } => index.get(&id).copied(),
            Form::Text(text) => text.get(&id.to_string()),
        }
    }

    /// The original id of `number`; panics if there is none.
    #[must_use]
    pub fn id(&self, number: u32) -> Cow<'_, str> {
        match &self.0 {
            Form::Ints { ids, .. } => Cow::Owned(ids[number as usize].to_string()),
            Form::Text(text) => Cow::Borrowed(text.id(number as usize)),
        }
    }

    /// All ids, by number.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> + '_ {
        (0..self.len()).map(|number| self.id(number as u32))
    }

    /// All ids as integers, by number, if every id is an integer.
    #[must_use]
    pub fn as_ints(&self) -> Option<&[i64]> {
        match &self.0 {
            Form::Ints { ids, .. } => Some(ids),
            Form::Text(_) => None,
        }
    }

    /// Keeps the ids whose flag is set and renumbers them in the same order. Returns the new number of each
    /// old one, `u32::MAX` for dropped ids.
    ///
    /// # Panics
    /// When there is not exactly one flag per id.
    pub fn retain(&mut self, keep: &[bool]) -> Vec<u32> {
        assert_eq!(keep.len(), self.len(), "one flag per id");
        let mut renumbered = vec![u32::MAX; keep.len()];
        let kept = (0..keep.len()).filter(|&old| keep[old]);
        kept.clone().enumerate().for_each(|(new, old)| renumbered[old] = new as u32);
        self.0 = match &self.0 {
            Form::Ints { ids, .. } => {
                let ids: Vec<i64> = kept.map(|old| ids[old]).collect();
                let index = ids.iter().enumerate().map(|(i, &id)| (id, i as u32)).collect();
                Form::Ints { ids, index }
            }
            Form::Text(text) => {
                let mut vocab = Self::new();
                kept.for_each(|old| _ = vocab.intern(text.id(old)));
                vocab.0
            }
        };
        renumbered
    }

    /// A vocabulary of only the given ids, in the given order.
    ///
    /// # Errors
    /// When a number occurs twice or is unknown.
    pub fn select(&self, numbers: &[u32]) -> Result<Self> {
        if let Some(number) = numbers.iter().find(|&&number| number as usize >= self.len()) {
            return Err(broken(format!("number {number} is not among {} ids", self.len())));
        }
        match &self.0 {
            Form::Ints { ids, .. } => {
                Self::from_ints(numbers.iter().map(|&number| ids[number as usize]).collect())
            }
            Form::Text(text) => {
                Self::from_ids(numbers.iter().map(|&number| text.id(number as usize)))
            }
        }
    }

    /// The file format, little-endian: `RKVOCAB1`, the form (u64: 0 integers, 1 text), the count (u64), then
    /// the integers (i64 each), or the lengths in bytes (u32 each) and the UTF-8 of all ids without
    /// separators.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        match &self.0 {
            Form::Ints { ids, .. } => {
                out.reserve(HEAD + 8 * ids.len());
                out.extend(0u64.to_le_bytes());
                out.extend((ids.len() as u64).to_le_bytes());
                ids.iter().for_each(|id| out.extend(id.to_le_bytes()));
            }
            Form::Text(text) => {
                out.reserve(HEAD + 4 * text.ends.len() + text.bytes.len());
                out.extend(1u64.to_le_bytes());
                out.extend((text.ends.len() as u64).to_le_bytes());
                (0..text.ends.len()).for_each(|i| {
                    out.extend((text.id(i).len() as u32).to_le_bytes());
                });
                out.extend(text.bytes.as_bytes());
            }
        }
        out
    }

    /// Reads [`Vocab::to_bytes`]. Sizes, UTF-8 and distinctness are checked.
    ///
    /// # Errors
    /// When these are not the bytes of a vocabulary; the message says why.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let word = |at: usize| {
            let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
            word.map(u64::from_le_bytes).ok_or_else(|| broken("the header is cut off".into()))
        };
        if !bytes.starts_with(MAGIC) {
            return Err(broken("the bytes do not begin with `RKVOCAB1`".into()));
        }
        let (form, count, body) = (word(8)?, word(16)?, &bytes[HEAD..]);
        let width = if form == 0 { 8 } else { 4 };
        let fits = usize::try_from(count).ok().and_then(|count| count.checked_mul(width));
        let Some(split) = fits.filter(|&split| split <= body.len()) else {
            return Err(broken(format!("{count} ids do not fit into {} bytes", body.len())));
        };
        let (numbers, rest) = body.split_at(split);
        match form {
            0 if !rest.is_empty() => {
                Err(broken(format!("{} bytes follow the last of {count} ids", rest.len())))
            }
            0 => {
                let (ids, _) = numbers.as_chunks::<8>();
                Self::from_ints(ids.iter().map(|&id| i64::from_le_bytes(id)).collect())
            }
            1 => {
                let (lengths, _) = numbers.as_chunks::<4>();
                let lengths = lengths.iter().map(|&length| u32::from_le_bytes(length) as usize);
                let total: u64 = lengths.clone().map(|length| length as u64).sum();
                if total != rest.len() as u64 {
                    return Err(broken(format!("ids of {total} bytes, found {}", rest.len())));
                }
                let mut text = std::str::from_utf8(rest)
                    .map_err(|error| broken(format!("the ids are not UTF-8: {error}")))?;
                let mut vocab = Self::new();
                for (i, length) in lengths.enumerate() {
                    let Some((id, rest)) = text.split_at_checked(length) else {
                        return Err(broken(format!("id {i} ends within a character")));
                    };
                    if vocab.intern(id) as usize != i {
                        return Err(broken(format!("id `{id}` occurs twice")));
                    }
                    text = rest;
                }
                Ok(vocab)
            }
            other => Err(broken(format!("form {other} is unknown, 0 and 1 are known"))),
        }
    }

    /// Converts integers to text.
    fn make_text(&mut self) {
        if let Form::Ints { ids, .. } = &self.0 {
            let mut text = Text::default();
            for id in ids {
                text.intern(&id.to_string());
            }
            self.0 = Form::Text(text);
        }
    }
}

impl Default for Form {
    fn default() -> Self {
        Self::Ints { ids: Vec::new(), index: HashMap::new() }
    }
}

impl Text {
    fn id(&self, i: usize) -> &str {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }

    fn get(&self, id: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(id);
        self.index.find(hash, |&number| self.id(number as usize) == id).copied()
    }

    fn intern(&mut self, id: &str) -> u32 {
        let hash = self.hasher.hash_one(id);
        if let Some(&number) = self.index.find(hash, |&number| self.id(number as usize) == id) {
            return number;
        }
        let number = next_number(self.ends.len());
        self.bytes.push_str(id);
        self.ends.push(self.bytes.len());
        let Self { bytes, ends, index, hasher } = self;
        index.insert_unique(hash, number, |&number| {
            let i = number as usize;
            let start = if i == 0 { 0 } else { ends[i - 1] };
            hasher.hash_one(&bytes[start..ends[i]])
        });
        number
    }
}

impl PartialEq for Vocab {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Ints { ids: a, .. }, Form::Ints { ids: b, .. }) => a == b,
            (Form::Text(a), Form::Text(b)) => a.ends == b.ends && a.bytes == b.bytes,
            _ => false,
        }
    }
}

impl Eq for Vocab {}

impl std::fmt::Debug for Vocab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vocab of {} ids: ", self.len())?;
        f.debug_list().entries(self.iter().take(8)).finish()
    }
}

const MAGIC: &[u8; 8] = b"RKVOCAB1";
/// Magic, form, count.
const HEAD: usize = 24;

fn next_number(len: usize) -> u32 {
    assert!(len < Vocab::MAX_LEN, "a vocabulary holds at most {} ids", Vocab::MAX_LEN);
    len as u32
}

fn broken(problem: String) -> Error {
    Error::Config { key: "vocabulary".into(), problem }
}

/// The integer that `id` is the canonical decimal form of: no sign but `-`, no leading zero, no `-0`, within `i64`.
fn canonical_int(id: &str) -> Option<i64> {
    let bytes = id.as_bytes();
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let canonical = match digits {
        [] => false,
        [b'0'] => !negative,
        [first, ..] => *first != b'0' && digits.len() <= 19,
    };
    if !canonical {
        return None;
    }
    let mut value = 0i64;
    for &digit in digits {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        // Accumulated as a negative number, because -i64::MIN does not fit.
        value = value.checked_mul(10)?.checked_sub(digit)?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

#[cfg(test)]
mod tests;
