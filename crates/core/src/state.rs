//! Optimiser states as tensors, for checkpoints.

use crate::kernel::table::{TableState, WrongLength};
use crate::{Error, Result, Tensors};

/// Adds the state of a table or a dense parameter, under `name`.
pub fn insert(tensors: &mut Tensors, name: &str, state: TableState) {
    tensors.insert(format!("{name}.step"), &[1], vec![state.step]);
    for (part, values) in [
        ("parameters", state.parameters),
        ("first_moments", state.first_moments),
        ("second_moments", state.second_moments),
    ] {
        tensors.insert(format!("{name}.{part}"), &[values.len()], values);
    }
    let last = state.last_step;
    tensors.insert(format!("{name}.last_step"), &[last.len()], last);
}

/// Reads the state that [`insert`] added.
///
/// # Errors
/// When a part is missing or of another type.
pub fn read(tensors: &Tensors, name: &str) -> Result<TableState> {
    let floats = |part: &str| {
        let key = format!("{name}.{part}");
        let len = tensors.get(&key).map_or(0, |tensor| tensor.data.len());
        tensors.f32s(&key, len).map(<[f32]>::to_vec)
    };
    let step = tensors.u32s(&format!("{name}.step"))?;
    let [step] = step else {
        return Err(wrong(name)(WrongLength { expected: 1, found: step.len() }));
    };
    Ok(TableState {
        step: *step,
        parameters: floats("parameters")?,
        first_moments: floats("first_moments")?,
        second_moments: floats("second_moments")?,
        last_step: tensors.u32s(&format!("{name}.last_step"))?.to_vec(),
    })
}

/// The error of a tensor of the wrong length.
pub fn wrong(name: &str) -> impl Fn(WrongLength) -> Error {
    let name = name.to_owned();
    move |error| Error::Tensor { name: name.clone(), problem: error.to_string() }
}
