//! One file per subcommand: its options and its output.

#[cfg(feature = "serve")]
pub mod bench;
pub mod compare;
pub mod compress;
pub mod distill;
pub mod evaluate;
#[cfg(feature = "serve")]
pub mod events;
pub mod inspect;
pub mod list;
pub mod prepare;
pub mod quickstart;
pub mod recommend;
pub mod report;
pub mod run;
#[cfg(feature = "serve")]
pub mod serve;
pub mod simulate;
#[cfg(feature = "serve")]
mod store;
pub mod train;
pub mod tune;
