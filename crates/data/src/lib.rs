//! From files to the data shapes of `core`, and back: readers for the formats in which interaction logs come, flat tables,
//! rankings files.

pub mod columns;
pub mod error;
pub mod log;

pub use columns::{Column, Kind, Table, TableFile, TableWriter, Texts};
pub use error::{Error, Result};
pub use log::Log;
