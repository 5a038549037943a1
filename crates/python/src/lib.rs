//! The extension module of the Python package: what `python/rankstill` is made of.
//!
//! Classes and functions here know Python and Arrow; whatever they compute is in [`rankstill`] and in the library of the command line.
//! Signatures and types for Python are in `python/rankstill/_rankstill.pyi`.

mod arrow;
mod batch;
mod dataset;
mod error;
mod evaluate;
mod experiment;
mod fit;
mod ids;
mod model;
mod record;
mod server;
mod settings;
mod table;
mod teacher;
mod work;

use pyo3::prelude::*;

#[pymodule]
fn _rankstill(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("ConfigError", py.get_type::<error::ConfigError>())?;
    module.add("DataError", py.get_type::<error::DataError>())?;
    module.add("RankstillError", py.get_type::<error::RankstillError>())?;
    module.add_class::<dataset::Dataset>()?;
    module.add_class::<evaluate::Report>()?;
    module.add_class::<experiment::Run>()?;
    module.add_class::<model::Model>()?;
    module.add_class::<server::Server>()?;
    module.add_class::<table::Table>()?;
    module.add_class::<table::Rankings>()?;
    module.add_class::<teacher::Batch>()?;
    module.add_class::<teacher::Teacher>()?;
    module.add_function(wrap_pyfunction!(batch::recommend, module)?)?;
    module.add_function(wrap_pyfunction!(dataset::made_elsewhere, module)?)?;
    module.add_function(wrap_pyfunction!(evaluate::evaluate, module)?)?;
    module.add_function(wrap_pyfunction!(experiment::compress, module)?)?;
    module.add_function(wrap_pyfunction!(experiment::run, module)?)?;
    module.add_function(wrap_pyfunction!(experiment::simulate, module)?)?;
    module.add_function(wrap_pyfunction!(fit::distil, module)?)?;
    module.add_function(wrap_pyfunction!(fit::fit, module)?)?;
    module.add_function(wrap_pyfunction!(main, module)?)?;
    module.add_function(wrap_pyfunction!(model::load, module)?)?;
    module.add_function(wrap_pyfunction!(server::serve, module)?)?;
    module.add_function(wrap_pyfunction!(settings::resolve, module)?)?;
    module.add_function(wrap_pyfunction!(settings::ticks, module)?)?;
    Ok(())
}

/// Runs the command line with these arguments, the program's name first, and returns its exit code.
#[pyfunction]
fn main(py: Python<'_>, args: Vec<String>) -> u8 {
    py.detach(|| rankstill_cli::cli::main_with(args.into_iter().map(Into::into)))
}
