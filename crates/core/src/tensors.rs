//! Named arrays: the parameters of a saved model.

use crate::kernel::mapped::Mapped;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Arrays by name, sorted by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors(BTreeMap<String, Tensor>);

/// One array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub data: Data,
}

/// The numbers of a tensor.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Data {
    F32(Vec<f32>),
    /// Floats in a memory-mapped file.
    Mapped(Mapped<f32>),
    U32(Vec<u32>),
    U64(Vec<u64>),
}

impl PartialEq for Data {
    /// Floats in memory and in a mapped file compare equal.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::U32(a), Self::U32(b)) => a == b,
            (Self::U64(a), Self::U64(b)) => a == b,
            _ => self.floats().is_some() && self.floats() == other.floats(),
        }
    }
}

impl Data {
    /// The floats, in memory or mapped.
    #[must_use]
    pub fn floats(&self) -> Option<&[f32]> {
        match self {
            Self::F32(data) => Some(data),
            Self::Mapped(data) => Some(data),
            Self::U32(_) | Self::U64(_) => None,
        }
    }

    /// The type of the numbers.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::F32(_) | Self::Mapped(_) => "f32",
            Self::U32(_) => "u32",
            Self::U64(_) => "u64",
        }
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::Mapped(data) => data.len(),
            Self::U32(data) => data.len(),
            Self::U64(data) => data.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Vec<f32>> for Data {
    fn from(data: Vec<f32>) -> Self {
        Self::F32(data)
    }
}
impl From<Vec<u32>> for Data {
    fn from(data: Vec<u32>) -> Self {
        Self::U32(data)
    }
}
impl From<Vec<u64>> for Data {
    fn from(data: Vec<u64>) -> Self {
        Self::U64(data)
    }
}

impl<'a> FromIterator<(&'a str, Data)> for Tensors {
    /// From vectors and their names.
    fn from_iter<I: IntoIterator<Item = (&'a str, Data)>>(vectors: I) -> Self {
        let mut tensors = Self::default();
        for (name, data) in vectors {
            let shape = [data.len()];
            tensors.insert(name, &shape, data);
        }
        tensors
    }
}

impl Tensors {
    /// Adds an array. The product of `shape` must be its length; reading fails otherwise.
    pub fn insert(&mut self, name: impl Into<String>, shape: &[usize], data: impl Into<Data>) {
        let data = data.into();
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        self.0.insert(name.into(), Tensor { shape: shape.to_vec(), data });
    }

    /// Adds all arrays of `other`, with `prefix` before each name.
    pub fn insert_all(&mut self, prefix: &str, other: Self) {
        self.0
            .extend(other.0.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)));
    }

    /// The arrays whose names begin with `prefix`, which is removed.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Self {
        let inside = self.0.iter().filter_map(|(name, tensor)| {
            Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
        });
        Self(inside.collect())
    }

    /// The array of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// All arrays by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The number of elements of all arrays.
    #[must_use]
    pub fn n_numbers(&self) -> usize {
        self.0.values().map(|tensor| tensor.data.len()).sum()
    }

    /// A matrix of floats, with its number of rows and columns.
    ///
    /// # Errors
    /// When it is missing, of another type or rank.
    pub fn matrix(&self, name: &str) -> Result<(&[f32], usize, usize)> {
        let tensor = self.need(name)?;
        match (tensor.data.floats(), tensor.shape.as_slice()) {
            (Some(data), &[rows, columns]) if rows.checked_mul(columns) == Some(data.len()) => {
                Ok((data, rows, columns))
            }
            _ => Err(mismatch(name, tensor, "a matrix of f32")),
        }
    }

    /// The floats of an array of `len` numbers.
    ///
    /// # Errors
    /// When it is missing, of another type or length.
    pub fn f32s(&self, name: &str, len: usize) -> Result<&[f32]> {
        let tensor = self.need(name)?;
        match tensor.data.floats() {
            Some(data) if data.len() == len => Ok(data),
            _ => Err(mismatch(name, tensor, &format!("{len} f32"))),
        }
    }

    /// The floats of an array in a mapped file; `None` if it is missing or in memory.
    #[must_use]
    pub fn mapped(&self, name: &str) -> Option<Mapped<f32>> {
        match &self.0.get(name)?.data {
            Data::Mapped(data) => Some(data.clone()),
            _ => None,
        }
    }

    /// The integers of an array.
    ///
    /// # Errors
    /// When it is missing or of another type.
    pub fn u32s(&self, name: &str) -> Result<&[u32]> {
        let tensor = self.need(name)?;
        match &tensor.data {
            Data::U32(data) => Ok(data),
            _ => Err(mismatch(name, tensor, "u32")),
        }
    }

    /// The 64-bit integers of an array.
    ///
    /// # Errors
    /// When it is missing or of another type.
    pub fn u64s(&self, name: &str) -> Result<&[u64]> {
        let tensor = self.need(name)?;
        match &tensor.data {
            Data::U64(data) => Ok(data),
            _ => Err(mismatch(name, tensor, "u64")),
        }
    }

    fn need(&self, name: &str) -> Result<&Tensor> {
        self.0.get(name).ok_or_else(|| Error::Tensor {
            name: name.to_owned(),
            problem: format!(
                "is missing; there are: {}",
                self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
            ),
        })
    }
}

fn mismatch(name: &str, found: &Tensor, expected: &str) -> Error {
    let kind = found.data.kind();
    Error::Tensor {
        name: name.to_owned(),
        problem: format!("expected {expected}, found {kind} of shape {:?}", found.shape),
    }
}
