//! From a request to an answer: looks up ids, scores on threads of its own, and falls back when the model
//! cannot answer in time.

mod context;
mod ladder;
mod query;
mod recommend;
mod scoring;

pub(crate) use ladder::Ladder;
pub(crate) use query::ResolvedQuery;
pub(crate) use recommend::Answered;
pub(crate) use scoring::{PendingAnswer, Scored, Scoring, ScoringError, ScoringTask, TaskKind};
