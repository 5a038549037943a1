//! From files to the data shapes of `core`, and back: readers for the formats in which interaction logs come, flat tables,
//! rankings files.

pub mod columns;
pub mod error;
pub mod format;
pub mod log;
pub mod rankings;

pub use columns::{Column, Kind, Table, TableFile, TableWriter, Texts};
pub use error::{Error, Result};
pub use format::{ColumnNames, FORMATS, Format, ReadOptions, read_log, read_log_bytes};
pub use log::Log;
pub use rankings::{Dropped, Pairs, RankingsFile, read_pairs, read_rankings, write_rankings};
