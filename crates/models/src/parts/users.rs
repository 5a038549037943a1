//! The users' vectors of a saved model.

use rankstill_core::kernel::optimizer::{Optimizer, Sgd};
use rankstill_core::kernel::table::Table;
use rankstill_core::{Error, Result, Tensors, state};

/// The tensor `users`, rows of `dim`; read in place if it is mapped from a file.
pub(crate) fn loaded(tensors: &Tensors, dim: usize) -> Result<Table> {
    let (rows, n_users, found) = tensors.matrix("users")?;
    if found != dim {
        let problem = format!("expected rows of {dim}, found rows of {found}");
        return Err(Error::Tensor { name: "users".into(), problem });
    }
    if let Some(mapped) = tensors.mapped("users") {
        return Table::over(mapped, n_users, dim).map_err(state::wrong("users"));
    }
    let mut table = Table::new(n_users, dim, Optimizer::Sgd(Sgd::default()));
    table.import(rows).map_err(state::wrong("users"))?;
    Ok(table)
}
