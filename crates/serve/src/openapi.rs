//! The OpenAPI 3.1 document, from the handlers and the types that they read and write.

use crate::{http, problem, request, store};
use std::sync::LazyLock;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rankstill",
        description = "Recommendations from distilled models. Problems are told as RFC 9457 has it, with the field that is wrong."
    ),
    paths(
        http::for_user,
        http::post,
        http::batch,
        http::similar,
        http::search,
        http::models,
        http::append,
        http::forget,
        http::swap,
        http::rollback,
        http::challenge,
        http::dismiss,
        http::promote,
        http::live,
        http::ready
    ),
    components(schemas(
        request::Id,
        request::Request,
        request::BatchRequest,
        request::Recommendations,
        request::Recommended,
        request::Because,
        request::Basis,
        request::BatchAnswer,
        request::OneAnswer,
        request::Similar,
        request::ModelCard,
        request::ModelList,
        request::Rung,
        request::Found,
        request::FoundItem,
        request::ChallengerCard,
        crate::challenger::Trial,
        crate::challenger::Mode,
        crate::challenger::Guard,
        crate::challenger::TrialReport,
        http::SwapRequest,
        http::Swapped,
        http::TrialRequest,
        http::TrialState,
        store::Event,
        http::EventBatch,
        http::Appended,
        http::Forgotten,
        http::Health,
        problem::Problem,
        problem::FieldProblem
    ))
)]
struct Document;

/// The document as JSON.
#[must_use]
pub fn openapi() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        Document::openapi()
            .to_pretty_json()
            .unwrap_or_else(|error| format!("{{\"error\": {:?}}}", error.to_string()))
    });
    &TEXT
}
