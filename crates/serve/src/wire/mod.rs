//! What crosses the network: ids, requests, answers and problems. The OpenAPI document is generated from
//! these types.

mod admin;
mod card;
mod event;
mod id;
mod json;
mod problem;
mod request;
mod response;
mod time;
mod trial;

pub(crate) use admin::{SwapRequest, Swapped, TrialRequest, TrialState};
pub use card::{ChallengerCard, GraphCard, ModelCard, ModelList};
pub use event::Event;
pub(crate) use event::{Appended, EventBatch, ExportParams, Forgotten, NewEvent};
pub use id::Id;
pub(crate) use json::{Object, escaped};
pub use problem::{FieldProblem, Problem};
pub use request::{BatchRequest, Request};
pub(crate) use request::{SearchParams, SimilarParams, UserParams};
pub use response::{
    Basis, BatchAnswer, Because, FallbackRung, OneAnswer, Recommendations, Recommended, Similar,
};
pub(crate) use response::{FoundItem, SearchResult};
pub(crate) use time::EventTime;
pub use trial::{Guard, TrialConfig, TrialMode, TrialReport};
