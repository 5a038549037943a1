//! Optimiser states and lists as tensors, for checkpoints.

use crate::kernel::table::{TableState, WrongLength};
use crate::{Error, Lists, Result, Tensors};

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

/// Adds lists of numbers to a checkpoint.
pub fn insert_lists(state: &mut Tensors, name: &str, lists: &Lists<u32>) {
    let lengths: Vec<u32> = lists.iter().map(|list| list.len() as u32).collect();
    state.insert(format!("{name}.lengths"), &[lengths.len()], lengths);
    state.insert(name, &[lists.values().len()], lists.values().to_vec());
}

/// Reads the lists of [`insert_lists`].
///
/// # Errors
/// When they are missing, or their lengths do not add up.
pub fn lists_of(state: &Tensors, name: &str) -> Result<Lists<u32>> {
    let (lengths, values) = (state.u32s(&format!("{name}.lengths"))?, state.u32s(name)?);
    let mut starts = vec![0];
    starts.extend(lengths.iter().scan(0, |end, &length| {
        *end += length as usize;
        Some(*end)
    }));
    Lists::from_parts(starts, values.to_vec()).ok_or_else(|| Error::Tensor {
        name: name.to_owned(),
        problem: format!("{} lists do not hold {} values", lengths.len(), values.len()),
    })
}
