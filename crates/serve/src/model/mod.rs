//! Models as they are served: checked snapshots, similar items, approximate search, and how one version
//! replaces another.

mod challenger;
#[cfg(feature = "hnsw")]
mod graph;
mod item_table;
mod sample;
mod similarity;
mod slots;
mod snapshot;

pub(crate) use challenger::{Agreement, Challenger};
pub use item_table::{ItemRow, ItemTable};
pub(crate) use slots::{Models, Slot};
pub use snapshot::Snapshot;
