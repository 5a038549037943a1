//! Interaction logs: readers for the usual file formats, filters, splits, the leakage audit, prepared data
//! sets, a simulator, and files of rankings and flat tables.
//!
//! Read a log, filter it and split it:
//!
//! ```
//! use rankstill_data::dataset::{PrepareSettings, Prepared};
//! use rankstill_data::filter::Filter;
//! use rankstill_data::split::SplitConfig;
//! use rankstill_data::{ReadOptions, read_log_bytes};
//!
//! let csv = "user_id,item_id,timestamp\nann,x,1\nann,y,2\nann,z,3\nbob,x,1\nbob,z,5\nbob,y,9\ncy,x,7\n";
//! let log = read_log_bytes("log.csv", csv.as_bytes(), &ReadOptions::default())?.log;
//! let settings = PrepareSettings {
//!     filter: Filter { user_core: 3, ..Filter::default() }, // `cy` has a single interaction
//!     split: SplitConfig::of("leave_one_out"),
//!     ..PrepareSettings::default()
//! };
//! let data = Prepared::from_log(log, None, &settings)?.into_dataset()?;
//!
//! assert_eq!(data.users.iter().collect::<Vec<_>>(), ["ann", "bob"]);
//! let case = data.split.test.case(0);
//! assert_eq!(data.items.id(case.targets[0]), "z");
//! assert_eq!(case.query.history.len(), 2); // the training and the validation item
//! # Ok::<(), rankstill_data::Error>(())
//! ```

pub mod audit;
pub mod columns;
pub mod dataset;
pub mod error;
pub mod filter;
pub mod format;
pub mod instant;
pub mod log;
mod part;
pub mod prepare;
pub mod profile;
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
    ColumnNames, FORMATS, Format, ItemText, LogFile, LogSource, NumberUnit, ReadOptions,
    Understood, read_items, read_log, read_log_bytes,
};
pub use instant::Instant;
pub use log::Log;
pub use rankings::{
    Dropped, RankingsFile, UserItemPairs, read_pairs, read_rankings, write_rankings,
};
