//! The generator as a ranker: in user mode from a history, in item mode as two tables.

use super::CfGan;
use crate::parts::fold_in::FoldIn;
use crate::parts::item_panels::{ItemPanels, factors};
use crate::parts::multinomial::distinct;
use crate::parts::perceptron::{Perceptron, stride};
use rankstill_core::kernel::activation::Activation;
use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::table::Table;
use rankstill_core::state::wrong;
use rankstill_core::{
    Error, Factored, Factors, Interactions, ItemId, Model, Query, Result, Tensors,
};
use rayon::prelude::*;
use std::sync::OnceLock;

/// Rows whose hidden layer is computed at a time.
const BLOCK: usize = 16;

/// The hidden layer of some rows, `stride(hidden)` numbers apart.
fn hidden<'a>(net: &Perceptron, rows: impl ExactSizeIterator<Item = &'a [ItemId]>) -> Vec<f32> {
    let (n, width) = (net.shape.inputs, stride(net.shape.inputs));
    let (mut x, mut out) = (vec![0.0; rows.len() * width], Vec::new());
    for (x, row) in x.chunks_exact_mut(width.max(1)).zip(rows) {
        distinct(row.iter().copied(), n).into_iter().for_each(|item| x[item as usize] = 1.0);
    }
    net.hidden(&x, &mut out);
    out
}

/// User mode.
pub(super) struct OfUsers {
    net: Perceptron,
    /// The last layer, with its bias as the last column.
    items: Vec<f32>,
    panels: ItemPanels,
}

impl OfUsers {
    /// From [`Model::tensors`].
    pub fn loaded(recipe: &CfGan, tensors: &Tensors) -> Result<Self> {
        let hidden = (recipe.hidden, Activation::Sigmoid);
        let net = Perceptron::load("generator", tensors, hidden, |outputs| outputs)?;
        Ok(Self { items: net.output_rows(), net, panels: ItemPanels::default() })
    }
}

crate::parts::item_panels::scores_by_products!(OfUsers);

impl Factored for OfUsers {
    fn items(&self) -> Factors<'_> {
        let dim = self.net.shape.hidden + 1;
        Factors { data: &self.items, len: self.net.shape.outputs, dim, stride: dim }
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let dim = self.net.shape.hidden + 1;
        let layer = hidden(&self.net, queries.iter().map(|query| query.history));
        for (out, layer) in out.chunks_exact_mut(dim).zip(layer.chunks_exact(stride(dim - 1))) {
            out[..dim - 1].copy_from_slice(&layer[..dim - 1]);
            out[dim - 1] = 1.0;
        }
    }
}

impl Model for OfUsers {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.net.export("generator", &mut tensors);
        tensors
    }

    fn n_parameters(&self) -> usize {
        self.net.shape.n_parameters()
    }
}

/// Item mode: an item's vector is the hidden layer of its users, a user's vector the user's row of the last layer. The user's
/// bias is left out: it does not change the order of the user's items.
pub(super) struct OfItems {
    users: Table,
    items: Table,
    panels: ItemPanels,
    fold_in: OnceLock<FoldIn>,
}

impl OfItems {
    /// The tensors of a generator; `rows` has the users of each item.
    pub fn decoded(net: &Perceptron, rows: &Interactions) -> Tensors {
        let (width, n_items) = (net.shape.hidden, rows.n_users());
        let mut items = vec![0.0; n_items * width];
        items.par_chunks_mut(BLOCK * width).enumerate().for_each(|(block, items)| {
            let of_block = (block * BLOCK..).take(items.len() / width);
            let of_block: Vec<&[ItemId]> = of_block.map(|row| rows.history(row as u32)).collect();
            let layer = hidden(net, of_block.into_iter());
            for (item, layer) in
                items.chunks_exact_mut(width).zip(layer.chunks_exact(stride(width)))
            {
                item.copy_from_slice(&layer[..width]);
            }
        });
        let last = net.output_rows();
        let users = last.chunks_exact(width + 1).flat_map(|row| &row[..width]).copied();
        let users: Vec<f32> = users.collect();
        let mut tensors = Tensors::default();
        tensors.insert("users", &[net.shape.outputs, width], users);
        tensors.insert("items", &[n_items, width], items);
        tensors
    }

    /// From [`Model::tensors`].
    pub fn loaded(recipe: &CfGan, tensors: &Tensors) -> Result<Self> {
        let table = |name: &str| {
            let (data, rows, columns) = tensors.matrix(name)?;
            if columns != recipe.hidden {
                let problem =
                    format!("expected rows of {}, found rows of {columns}", recipe.hidden);
                return Err(Error::Tensor { name: name.into(), problem });
            }
            let mut table = Table::new(rows, columns, Optimizer::Sgd(Sgd::default()));
            table.import(data).map_err(wrong(name))?;
            Ok(table)
        };
        let (users, items) = (table("users")?, table("items")?);
        Ok(Self { users, items, panels: ItemPanels::default(), fold_in: OnceLock::new() })
    }
}

crate::parts::item_panels::scores_by_products!(OfItems);

impl Factored for OfItems {
    fn items(&self) -> Factors<'_> {
        factors(&self.items)
    }

    fn embed(&self, queries: &[Query<'_>], out: &mut [f32]) {
        let dim = self.items.dim();
        let rows = out.par_chunks_mut(dim).zip(queries).with_min_len(16);
        rows.for_each(|(out, query)| match query.user {
            Some(user) if (user as usize) < self.users.n_rows() => {
                out.copy_from_slice(self.users.row(user as usize));
            }
            _ => {
                let new = || FoldIn::new(&self.users, &self.items, 0..dim);
                self.fold_in.get_or_init(new).embed(&self.items, query.history, out);
            }
        });
    }
}

impl Model for OfItems {
    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (name, table) in [("users", &self.users), ("items", &self.items)] {
            tensors.insert(name, &[table.n_rows(), table.dim()], table.export());
        }
        tensors
    }

    /// Those of the generator: what was learnt, not what is stored.
    fn n_parameters(&self) -> usize {
        let (n_users, hidden) = (self.users.n_rows(), self.users.dim());
        (n_users + 1) * hidden + (hidden + 1) * n_users
    }
}
