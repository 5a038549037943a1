//! The log as a binary user-item matrix, in memory and as tensors of a saved model.

use rankstill_core::kernel::csr::Csr;
use rankstill_core::{Error, Interactions, ItemId, Lists, Result, Tensors};

/// Ascending, each once.
pub(crate) fn distinct(items: &[ItemId]) -> Vec<ItemId> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items.dedup();
    items
}

/// The users of every item, in the order of their numbers.
pub(crate) fn transposed(log: &Interactions) -> Result<Interactions> {
    let mut users: Vec<Vec<ItemId>> = vec![Vec::new(); log.n_items()];
    for (user, item, _) in log.iter() {
        users[item as usize].push(user);
    }
    Interactions::new(log.n_users(), Lists::from_iter(users), None, None)
}

/// Users x items: every user's distinct items, ascending.
pub(crate) fn baskets(train: &Interactions) -> Csr {
    let mut offsets = Vec::with_capacity(train.n_users() + 1);
    let mut items = Vec::with_capacity(train.len());
    offsets.push(0);
    for line in train.items().iter() {
        items.extend(distinct(line));
        offsets.push(items.len());
    }
    Csr::new(train.n_items(), offsets, items, None).expect("the log names items of its catalogue")
}

/// An estimate of how many ordered pairs of items (or of users, with the numbers exchanged) have occurred together, from the sizes of a
/// log alone: each row of `n_rows` histories pairs all that it holds. Histories of real logs are so uneven that the mean of their squared
/// lengths is some four times the square of the mean.
pub(crate) fn pairs_about(n_rows: usize, n_columns: usize, n_interactions: usize) -> u64 {
    let (rows, columns, n) = (n_rows.max(1) as f64, n_columns as f64, n_interactions as f64);
    (4.0 * n * n / rows).min(columns * columns) as u64
}

/// Inserts a sparse matrix as the tensors `starts`, `items` and, if it has values, `values`.
pub(crate) fn insert(tensors: &mut Tensors, matrix: &Csr) {
    let starts: Vec<u64> = matrix.offsets().iter().map(|&start| start as u64).collect();
    tensors.insert("starts", &[starts.len()], starts);
    tensors.insert("items", &[matrix.n_entries()], matrix.indices().to_vec());
    if let Some(values) = matrix.values() {
        tensors.insert("values", &[values.len()], values.to_vec());
    }
}

/// Reads the matrix back; rows must be strictly ascending, values finite.
///
/// # Errors
/// When a tensor is missing, or they are not such a matrix.
pub(crate) fn read(tensors: &Tensors, n_cols: usize, with_values: bool) -> Result<Csr> {
    let bad = |name: &str, problem: String| Error::Tensor { name: name.into(), problem };
    let starts = tensors.u64s("starts")?.iter().map(|&start| start as usize).collect();
    let items = tensors.u32s("items")?.to_vec();
    let values = match with_values {
        true => Some(tensors.f32s("values", items.len())?.to_vec()),
        false => None,
    };
    if let Some(odd) = values.iter().flatten().find(|value| !value.is_finite()) {
        return Err(bad("values", format!("expected finite numbers, found {odd}")));
    }
    let matrix =
        Csr::new(n_cols, starts, items, values).map_err(|error| bad("items", error.to_string()))?;
    let rises = |row: &usize| matrix.row(*row).windows(2).all(|pair| pair[0] < pair[1]);
    match (0..matrix.n_rows()).find(|row| !rises(row)) {
        Some(row) => Err(bad("items", format!("expected numbers that rise within row {row}"))),
        None => Ok(matrix),
    }
}

/// The catalogue's size as a tensor, for models whose other tensors do not determine it.
pub(crate) fn insert_n_items(tensors: &mut Tensors, n_items: usize) {
    tensors.insert("n_items", &[1], vec![n_items as u32]);
}

/// See [`insert_n_items`].
///
/// # Errors
/// When it is missing or not one number.
pub(crate) fn read_n_items(tensors: &Tensors) -> Result<usize> {
    match tensors.u32s("n_items")? {
        [n_items] => Ok(*n_items as usize),
        found => {
            let problem = format!("expected one number, found {}", found.len());
            Err(Error::Tensor { name: "n_items".into(), problem })
        }
    }
}
