//! The compressed model: exact vectors or codes of users, or the vectors from which histories are summed; codes of items; and between
//! them a rotation, if there is one.

use crate::parts::fold_in::{FoldIn, VectorTable};
use crate::parts::history_sum::history_vector;
use rankstill_core::kernel::codes::{self, CodeTable, Ints, Scale};
use rankstill_core::kernel::dense::{axpy, dot};
use rankstill_core::kernel::panels::Rows;
use rankstill_core::{
    Error, HistorySum, ItemId, ItemSet, Lists, Model, Query, Rankings, Result, Scorer, Search,
    ServingBytes, Tensors,
};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

/// A table of codes that can be saved.
pub(crate) trait Stored: CodeTable {
    /// What it is rebuilt from.
    fn tensors(&self) -> Tensors;
}

/// Inserts the number of items and the length of a code.
pub(crate) fn insert_shape(tensors: &mut Tensors, codes: &dyn CodeTable) {
    tensors.insert("shape", &[2], vec![codes.n_items() as u32, codes.dim() as u32]);
}

/// Reads them back.
pub(crate) fn shape_of(tensors: &Tensors) -> Result<(usize, usize)> {
    match tensors.u32s("shape")? {
        &[n_items, dim] => Ok((n_items as usize, dim as usize)),
        other => Err(Error::Tensor {
            name: "shape".into(),
            problem: format!("expected items and dimensions, found {} numbers", other.len()),
        }),
    }
}

/// The user side.
pub(crate) enum Users {
    /// `users x dim`, in the base's space.
    Exact(Vec<f32>),
    /// Signs of the rotated vectors, 32 a word.
    Signs(Vec<u32>),
    /// None: a vector is the sum over the history.
    OfHistory(HistoryInputs),
}

/// The input vectors of a model whose users are sums over their histories (see [`rankstill_core::HistorySum`]), in 8 bits.
pub(crate) struct HistoryInputs {
    codes: Ints,
    alpha: f32,
}

impl HistoryInputs {
    /// `None` if the numbers are extreme.
    pub fn new(of: HistorySum<'_>) -> Option<Self> {
        Some(Self { codes: Ints::pack(of.inputs.rows(), 8, Scale::Nearest)?, alpha: of.alpha })
    }

    fn embed(&self, history: &[ItemId], out: &mut [f32]) {
        let mut decoded = vec![0.0; self.codes.dim()];
        let add = |item, out: &mut [f32]| {
            self.codes.decode(item, &mut decoded);
            axpy(1.0, &decoded, out);
        };
        history_vector(self.alpha, self.codes.n_items(), history, add, out);
    }

    fn insert(&self, tensors: &mut Tensors) {
        tensors.insert_all("inputs.", self.codes.tensors());
        tensors.insert("alpha", &[1], vec![self.alpha]);
    }

    /// What [`HistoryInputs::insert`] wrote, if it is there.
    fn of(tensors: &Tensors) -> Result<Option<Self>> {
        if tensors.get("alpha").is_none() {
            return Ok(None);
        }
        let codes = load_ints(&tensors.with_prefix("inputs."), 8)?;
        Ok(Some(Self { codes, alpha: tensors.f32s("alpha", 1)?[0] }))
    }
}

/// A compressed model.
pub(crate) struct CompressedModel {
    dim: usize,
    users: Users,
    /// `code length x dim`: queries are multiplied by it, decoded items by its transpose. None: the codes are of the base's space.
    rotation: Option<Vec<f32>>,
    codes: Box<dyn Stored>,
    fold_in: OnceLock<FoldIn>,
}

impl CompressedModel {
    /// The model with these users, items and rotation.
    pub fn new(
        dim: usize,
        users: Users,
        rotation: Option<Vec<f32>>,
        codes: Box<dyn Stored>,
    ) -> Self {
        Self { dim, users, rotation, codes, fold_in: OnceLock::new() }
    }

    /// From [`Model::tensors`], with the table that a compressor read. `both`: users are signs.
    pub fn loaded(
        tensors: &Tensors,
        codes: Box<dyn Stored>,
        rotated: bool,
        both: bool,
    ) -> Result<Self> {
        let wrong = |name: &str, problem: String| Err(Error::Tensor { name: name.into(), problem });
        let (rotation, dim) = if rotated {
            let (rotation, rows, dim) = tensors.matrix("rotation")?;
            if rows != codes.dim() {
                return wrong("rotation", format!("{rows} rows, for codes of {}", codes.dim()));
            }
            (Some(rotation.to_vec()), dim)
        } else {
            (None, codes.dim())
        };
        let users = if both {
            let words = tensors.u32s("user_signs")?;
            if dim == 0 || !words.len().is_multiple_of(codes.dim().div_ceil(32)) {
                return wrong("user_signs", format!("{} words", words.len()));
            }
            Users::Signs(words.to_vec())
        } else if let Some(inputs) = HistoryInputs::of(tensors)? {
            // The item table may have a bias in addition.
            let (n, found) = (inputs.codes.n_items(), inputs.codes.dim());
            if n != codes.n_items() || !(found == dim || found + 1 == dim) {
                let problem = format!("{n} x {found}, for {} items of {dim}", codes.n_items());
                return wrong("inputs.codes", problem);
            }
            Users::OfHistory(inputs)
        } else {
            let (users, _, found) = tensors.matrix("users")?;
            if found != dim {
                let problem = format!("expected rows of {dim}, found rows of {found}");
                return wrong("users", problem);
            }
            Users::Exact(users.to_vec())
        };
        Ok(Self::new(dim, users, rotation, codes))
    }

    fn n_users(&self) -> usize {
        match &self.users {
            Users::Exact(users) => users.len() / self.dim.max(1),
            Users::Signs(words) => words.len() / self.codes.dim().div_ceil(32).max(1),
            Users::OfHistory(_) => 0,
        }
    }

    /// The vector of a known user in the base's space.
    fn read_user(&self, user: usize, out: &mut [f32]) {
        match &self.users {
            Users::Exact(users) => out.copy_from_slice(&users[user * self.dim..][..self.dim]),
            Users::Signs(_) => {
                let mut signs = vec![0.0; self.codes.dim()];
                self.read_signs(user, &mut signs);
                self.back(&signs, out);
            }
            Users::OfHistory(_) => out.fill(0.0), // nobody is known
        }
    }

    /// The signs of a known user; nothing where users are exact.
    fn read_signs(&self, user: usize, out: &mut [f32]) {
        if let Users::Signs(words) = &self.users {
            let own = &words[user * out.len().div_ceil(32)..];
            for (k, x) in out.iter_mut().enumerate() {
                *x = if own[k / 32] >> (k % 32) & 1 == 1 { 1.0 } else { -1.0 };
            }
        }
    }

    /// From the base's space to that of the codes.
    fn rotate(&self, vector: &[f32], out: &mut [f32]) {
        match &self.rotation {
            None => out.copy_from_slice(vector),
            Some(rotation) => {
                for (out, row) in out.iter_mut().zip(rotation.chunks_exact(self.dim)) {
                    *out = dot(row, vector);
                }
            }
        }
    }

    /// And back.
    fn back(&self, vector: &[f32], out: &mut [f32]) {
        match &self.rotation {
            None => out.copy_from_slice(vector),
            Some(rotation) => {
                out.fill(0.0);
                for (x, row) in vector.iter().zip(rotation.chunks_exact(self.dim)) {
                    axpy(*x, row, out);
                }
            }
        }
    }

    /// The columns that are folded in: all but an item bias.
    fn folded(&self) -> Range<usize> {
        let is_bias = match &self.users {
            Users::Exact(users) if self.dim > 1 => {
                let mut last = users.iter().skip(self.dim - 1).step_by(self.dim).peekable();
                last.peek().is_some() && last.all(|&x| x == 1.0)
            }
            _ => false,
        };
        0..self.dim - usize::from(is_bias)
    }

    /// The vector of a query in the space of the codes.
    fn query_vector(&self, query: &Query<'_>, base: &mut [f32], out: &mut [f32]) {
        let known = query.user.map(|user| user as usize).filter(|&user| user < self.n_users());
        match (known, &self.users) {
            (Some(user), Users::Signs(_)) => return self.read_signs(user, out),
            (Some(user), Users::Exact(_)) => self.read_user(user, base),
            (_, Users::OfHistory(inputs)) => {
                base.fill(1.0); // for a bias
                inputs.embed(query.history, &mut base[..inputs.codes.dim()]);
            }
            (None, _) => {
                let fold_in = self
                    .fold_in
                    .get_or_init(|| FoldIn::new(&OfUsers(self), &OfItems(self), self.folded()));
                base.fill(1.0);
                let folded = fold_in.columns().len();
                fold_in.embed(&OfItems(self), query.history, &mut base[..folded]);
            }
        }
        self.rotate(base, out);
    }

    fn query_vectors(&self, queries: &[Query<'_>]) -> Vec<f32> {
        let dim = self.codes.dim();
        let mut vectors = vec![0.0; queries.len() * dim];
        vectors.par_chunks_mut(dim.max(1)).zip(queries).with_min_len(8).for_each_init(
            || vec![0.0; self.dim],
            |base, (out, query)| self.query_vector(query, base, out),
        );
        vectors
    }
}

/// The vectors of known users, as fold-in reads them.
struct OfUsers<'a>(&'a CompressedModel);

impl VectorTable for OfUsers<'_> {
    fn n_rows(&self) -> usize {
        self.0.n_users()
    }

    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let mut vector = vec![0.0; self.0.dim];
        self.0.read_user(row, &mut vector);
        out.copy_from_slice(&vector[columns]);
    }
}

/// The decoded vectors of items.
struct OfItems<'a>(&'a CompressedModel);

impl VectorTable for OfItems<'_> {
    fn n_rows(&self) -> usize {
        self.0.codes.n_items()
    }

    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let Self(model) = self;
        let mut decoded = vec![0.0; model.codes.dim()];
        model.codes.decode(row, &mut decoded);
        let mut vector = vec![0.0; model.dim];
        model.back(&decoded, &mut vector);
        out.copy_from_slice(&vector[columns]);
    }
}

impl Scorer for CompressedModel {
    fn n_items(&self) -> usize {
        self.codes.n_items()
    }

    fn score(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let (dim, n_items) = (self.codes.dim(), self.n_items());
        let vectors = self.query_vectors(queries);
        out.par_chunks_mut(n_items.max(1))
            .zip(vectors.par_chunks(dim.max(1)))
            .for_each(|(out, vector)| self.codes.scores(vector, out));
    }

    fn search(&self) -> Option<&dyn Search> {
        Some(self)
    }
}

impl Search for CompressedModel {
    fn top_k(
        &self,
        queries: &[Query<'_>],
        k: usize,
        masked: &[&[ItemId]],
        allowed: Option<&ItemSet>,
    ) -> Rankings {
        let vectors = self.query_vectors(queries);
        let rows = Rows::dense(&vectors, queries.len(), self.codes.dim());
        let lists = codes::top_k(&*self.codes, rows, k, masked, allowed);
        let items = Lists::from_parts(lists.offsets, lists.ids).unwrap_or_default();
        Rankings::new(items, lists.scores).unwrap_or_default()
    }
}

impl Model for CompressedModel {
    fn tensors(&self) -> Tensors {
        let mut tensors = self.codes.tensors();
        match &self.users {
            Users::Exact(users) => {
                tensors.insert("users", &[self.n_users(), self.dim], users.clone());
            }
            Users::Signs(words) => tensors.insert("user_signs", &[words.len()], words.clone()),
            Users::OfHistory(inputs) => inputs.insert(&mut tensors),
        }
        if let Some(rotation) = &self.rotation {
            tensors.insert("rotation", &[self.codes.dim(), self.dim], rotation.clone());
        }
        tensors
    }

    fn n_parameters(&self) -> usize {
        let users = match &self.users {
            Users::Exact(users) => users.len(),
            Users::Signs(_) => self.n_users() * self.codes.dim(),
            Users::OfHistory(inputs) => inputs.codes.n_numbers(),
        };
        users + self.rotation.as_ref().map_or(0, Vec::len) + self.codes.n_numbers()
    }

    /// The rotation belongs to the codes of the items, and so do the vectors from which histories are summed.
    fn serving_bytes(&self) -> ServingBytes {
        let rotation = self.rotation.as_ref().map_or(0, Vec::len);
        let (users, inputs) = match &self.users {
            Users::Exact(users) => (users.len(), 0),
            Users::Signs(words) => (words.len(), 0),
            Users::OfHistory(inputs) => (0, inputs.codes.bytes()),
        };
        let items = self.codes.bytes() + inputs + 4 * rotation;
        ServingBytes { items: items as u64, users: 4 * users as u64 }
    }
}

/// What [`Stored::tensors`] wrote.
pub(crate) fn load_ints(tensors: &Tensors, bits: u32) -> Result<Ints> {
    let (scales, n_items, _) = tensors.matrix("scales")?;
    let dim = tensors.u32s("dim")?.first().map_or(0, |dim| *dim as usize);
    let words = tensors.u32s("codes")?;
    Ints::from_parts((n_items, dim), bits, words, scales).ok_or_else(|| Error::Tensor {
        name: "codes".into(),
        problem: format!("{} words are not {n_items} items of {dim} x {bits} bits", words.len()),
    })
}

impl Stored for Ints {
    fn tensors(&self) -> Tensors {
        let words = self.words();
        let mut tensors = Tensors::default();
        tensors.insert("codes", &[words.len()], words);
        tensors.insert("scales", &[self.scales().len(), 1], self.scales().to_vec());
        tensors.insert("dim", &[1], vec![self.dim() as u32]);
        tensors
    }
}
