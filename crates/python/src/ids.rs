//! Ids stay the caller's own: strings or integers, as they were given.

use crate::error::{DataError, Failure, Result};
use pyo3::IntoPyObjectExt as _;
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyString};
use rankstill::core::Vocab;
use rankstill::data::{Column, Texts};

/// Whether ids come back as text or as integers. A vocabulary does not know: to it, `"7"` and `7` are one id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    pub text_users: bool,
    pub text_items: bool,
}

impl Kinds {
    /// Of vocabularies whose ids come from a file: integers where all are.
    pub fn of(users: &Vocab, items: &Vocab) -> Self {
        Self { text_users: users.as_ints().is_none(), text_items: items.as_ints().is_none() }
    }
}

/// The ids of these numbers.
pub fn column(vocab: &Vocab, text: bool, numbers: &[u32]) -> Column {
    match text {
        true => Column::Text(numbers.iter().map(|&number| vocab.id(number)).collect()),
        false => Column::of_ids(vocab, numbers),
    }
}

/// One id as an object of Python.
pub fn object<'py>(
    py: Python<'py>,
    vocab: &Vocab,
    text: bool,
    number: u32,
) -> PyResult<Bound<'py, PyAny>> {
    match vocab.as_ints().filter(|_| !text) {
        Some(ids) => ids[number as usize].into_bound_py_any(py),
        None => vocab.id(number).into_bound_py_any(py),
    }
}

/// All ids of a vocabulary as a list of Python.
pub fn list<'py>(py: Python<'py>, vocab: &Vocab, text: bool) -> PyResult<Bound<'py, PyList>> {
    match vocab.as_ints().filter(|_| !text) {
        Some(ids) => PyList::new(py, ids),
        None => PyList::new(py, vocab.iter()),
    }
}

/// Ids from a list, an array or a column: whatever iterates over integers or strings.
pub fn read(given: &Bound<'_, PyAny>) -> Result<Column> {
    if given.is_instance_of::<PyString>() || given.is_instance_of::<PyInt>() {
        let problem = "expected a list of ids, found one id; write [id]";
        return Err(PyTypeError::new_err(problem).into());
    }
    // Arrays and columns give numbers of Python this way, not of NumPy.
    let plain = match given.getattr("tolist").or_else(|_| given.getattr("to_list")) {
        Ok(to_list) => to_list.call0()?,
        Err(_) => given.clone(),
    };
    let (mut ints, mut texts) = (Vec::new(), Texts::default());
    for id in plain.try_iter()? {
        let id = id?;
        match id.extract::<i64>() {
            Ok(int) if texts.is_empty() => ints.push(int),
            Ok(int) => texts.push(&int.to_string()),
            Err(_) => {
                // From the first string on, all ids are text.
                std::mem::take(&mut ints).iter().for_each(|int: &i64| texts.push(&int.to_string()));
                texts.push(id.extract::<&str>().map_err(|_| wrong(&id))?);
            }
        }
    }
    Ok(if texts.is_empty() { Column::I64(ints) } else { Column::Text(texts) })
}

fn wrong(id: &Bound<'_, PyAny>) -> Failure {
    let kind = id.get_type().to_string();
    PyTypeError::new_err(format!("an id is a string or an integer, found {kind}")).into()
}

/// The numbers of ids in a vocabulary; `None` for those that it lacks.
pub fn numbers(vocab: &Vocab, ids: &Column) -> Result<Vec<Option<u32>>> {
    match ids {
        Column::I64(ids) => Ok(ids.iter().map(|&id| vocab.get_int(id)).collect()),
        Column::Text(ids) => Ok(ids.iter().map(|id| vocab.get(id)).collect()),
        _ => Err(DataError::new_err("ids are strings or integers").into()),
    }
}

/// The same; an unknown id is a `KeyError`. `what` is `user` or `item`.
pub fn known(vocab: &Vocab, ids: &Column, what: &str) -> Result<Vec<u32>> {
    let found = numbers(vocab, ids)?;
    let all = found.iter().enumerate().map(|(at, number)| number.ok_or(at));
    all.collect::<std::result::Result<_, usize>>().map_err(|at| {
        let id = match ids {
            Column::I64(ids) => ids[at].to_string(),
            Column::Text(ids) => ids.get(at).to_owned(),
            _ => String::new(),
        };
        PyKeyError::new_err(format!("{what} `{id}` is not among the {} known ones", vocab.len()))
            .into()
    })
}
