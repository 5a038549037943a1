//! Rankstill distils recommenders: a small, fast student that ranks as its large teachers do.
//!
//! A log in memory, a BPR-MF teacher, a HetComp student of four dimensions, metrics, and an artefact on disk:
//!
//! ```
//! use rankstill::distill::{HetComp, StateSelection};
//! use rankstill::models::BprMf;
//! use rankstill::{Fit, Interactions, Teacher, artefact, distil, evaluate, recommend};
//! use std::sync::Arc;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let pairs = (0..300).flat_map(|user| (0..8).map(move |n| (user, user % 10 + 10 * (user * n * n % 31))));
//!     let log = Interactions::from_pairs(pairs); // users and items by any ids
//!     let (train, test) = log.interactions.leave_last_out();
//!     let train = Arc::new(train);
//!
//!     let (large, small) = (BprMf::default(), BprMf { dim: 4, ..BprMf::default() });
//!     let states = StateSelection::default();
//!     let teacher = Teacher::fit_with_states("MF-64", large, &train, &states, 100, &mut Fit::seeded(1))?;
//!     let student = distil(&small, &HetComp::default(), &[teacher], &train, &mut Fit::seeded(1))?;
//!
//!     println!("{:?}", evaluate(&*student, &test, &["recall@10", "ndcg@10"])?);
//!     println!("{:?}", recommend(&*student, &log, "7", 5)?);
//!     let place = std::env::temp_dir().join("rankstill-front-page");
//!     artefact::save(&place, artefact::About::new("MF-4", &small), &*student, &log)?;
//!     assert_eq!(artefact::load(&place)?.recommend("7", 5)?, recommend(&*student, &log, "7", 5)?);
//!     Ok(())
//! }
//! ```
//!
//! Teachers may be any models, other systems' rankings, or ensembles ([`Teacher`]); students any model that learns by
//! gradient; methods all of [`distill::DISTILLERS`]:
//!
//! ```
//! use rankstill::{Fit, Interactions, Teacher, distil};
//! use rankstill::{distill::{Fusion, RankDistil}, models::{BprMf, Ease, ItemCf}};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pairs = (0..200).flat_map(|user| (0..6).map(move |n| (user, (user % 20 + n * n) % 60)));
//! let train = Arc::new(Interactions::from_pairs(pairs).interactions);
//! let ease = Teacher::fit("EASE", Ease::default(), &train, &mut Fit::seeded(1))?;
//! let item_cf = Teacher::fit("ItemCF", ItemCf::default(), &train, &mut Fit::seeded(1))?;
//! let both = Teacher::ensemble("both", &[ease, item_cf], Fusion::default(), None)?;
//! let small = BprMf { dim: 4, ..BprMf::default() };
//! # let small = BprMf { train: rankstill::core::Plan { epochs: 4, ..small.train.clone() }, ..small };
//! let student = distil(&small, &RankDistil::default(), &[both], &train, &mut Fit::seeded(1))?;
//! assert_eq!(student.n_parameters(), 4 * (train.n_users() + train.n_items()));
//! # Ok(()) }
//! ```
//!
//! | module | contents |
//! | --- | --- |
//! | [`core`](mod@core) | data shapes, traits, the training loop, kernels |
//! | [`models`] | rankers: POP to LightGCN and SASRec |
//! | [`distill`] | methods, teachers, ensembles |
//! | [`eval`] (feature `eval`, default) | metrics, paired tests, reports |
//! | [`data`] (feature `data`) | readers, filters, splits, the simulator |
//! | [`serve`] (feature `serve`) | the HTTP server and its event store |

pub mod artefact;
#[cfg(feature = "eval")]
mod evaluate;
mod recommend;

pub use rankstill_core as core;
#[cfg(feature = "data")]
pub use rankstill_data as data;
pub use rankstill_distill as distill;
#[cfg(feature = "eval")]
pub use rankstill_eval as eval;
pub use rankstill_models as models;
#[cfg(feature = "serve")]
pub use rankstill_serve as serve;

pub use core::{Fit, IndexedLog, Interactions};
pub use distill::{Teacher, distil};
#[cfg(feature = "eval")]
pub use evaluate::evaluate;
pub use recommend::recommend;

/// The program in the project's README is tested as it stands there.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
