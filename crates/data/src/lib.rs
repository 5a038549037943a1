//! From files to the data shapes of `core`, and back: readers for the formats in which interaction logs come, filters, splits,
//! prepared data sets, the simulator, flat tables, rankings files.

pub mod audit;
pub mod columns;
pub mod dataset;
pub mod error;
pub mod filter;
pub mod format;
pub mod log;
mod part;
pub mod prepare;
pub mod rankings;
pub mod simulate;
pub mod split;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod timelines;

pub use columns::{Column, ColumnKind, ColumnTable, TableFormat, TableWriter, Texts};
pub use error::{Error, Result};
pub use format::{
    ColumnNames, FORMATS, Format, ItemText, ReadOptions, read_items, read_log, read_log_bytes,
};
pub use log::Log;
pub use rankings::{
    Dropped, RankingsFile, UserItemPairs, read_pairs, read_rankings, write_rankings,
};
