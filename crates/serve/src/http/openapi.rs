//! The OpenAPI 3.1 document, generated from the handlers and their types.

use super::{admin, events, health, items, recommend};
use crate::app::Shared;
use crate::limits::Limits;
use crate::wire;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rankstill",
        description = "Recommendations from distilled models. Errors are problem details (RFC 9457) that name the invalid field."
    ),
    modifiers(&SecuritySchemes, &ProblemResponses),
    paths(
        recommend::for_user,
        recommend::post,
        recommend::batch,
        items::similar,
        items::search,
        items::models,
        events::append,
        events::forget,
        events::export,
        admin::swap,
        admin::rollback,
        admin::challenge,
        admin::dismiss,
        admin::promote,
        health::live,
        health::ready,
        admin::metrics
    ),
    components(schemas(
        wire::Id,
        wire::Request,
        wire::BatchRequest,
        wire::Recommendations,
        wire::Recommended,
        wire::Because,
        wire::Basis,
        wire::BatchAnswer,
        wire::OneAnswer,
        wire::Similar,
        wire::ModelCard,
        wire::ModelList,
        wire::FallbackRung,
        wire::SearchResult,
        wire::FoundItem,
        wire::ChallengerCard,
        wire::GraphCard,
        wire::TrialConfig,
        wire::TrialMode,
        wire::Guard,
        wire::TrialReport,
        wire::SwapRequest,
        wire::Swapped,
        wire::TrialRequest,
        wire::TrialState,
        wire::NewEvent,
        wire::EventTime,
        wire::EventBatch,
        wire::Appended,
        wire::Forgotten,
        health::Health,
        wire::Problem,
        wire::FieldProblem
    ))
)]
struct Document;

/// Documents which routes need a key.
struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = |what: &str| {
            let mut scheme = Http::new(HttpAuthScheme::Bearer);
            scheme.description = Some(what.into());
            SecurityScheme::Http(scheme)
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(
            "key",
            bearer("A key from `--keys`; not needed if the server has none."),
        );
        components.add_security_scheme("admin", bearer("A key from `--admin-keys`."));
        for (path, item) in &mut document.paths.paths {
            let needed = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
            let security = match path.split('/').nth(1) {
                Some("v1" | "metrics") => vec![needed("key"), SecurityRequirement::default()],
                Some("admin") => vec![needed("admin")],
                _ => continue,
            };
            operations(item).for_each(|operation| operation.security = Some(security.clone()));
        }
    }
}

/// Documents the error responses that follow from the kind of route, and that every error is a [`wire::Problem`].
struct ProblemResponses;

impl Modify for ProblemResponses {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let problem = RefOr::T(Content::new(Some(Ref::from_schema_name("Problem"))));
        let all = document.paths.paths.iter_mut();
        for (path, operation) in
            all.flat_map(|(path, item)| operations(item).map(move |one| (path, one)))
        {
            let of_key = operation.security.is_some().then_some("401");
            let of_admin = path.starts_with("/admin/").then_some("404"); // a server without administrator keys
            let of_body = operation.request_body.is_some().then_some(["408", "413", "415"]);
            let of_host = ["400", "421"];
            let responses = &mut operation.responses.responses;
            let statuses = of_body.into_iter().flatten().chain(of_host);
            for status in statuses.chain(of_key).chain(of_admin) {
                responses.entry(status.into()).or_insert_with(|| RefOr::T(Response::new("")));
            }
            for (status, response) in responses {
                if let (RefOr::T(response), Some('4' | '5')) = (response, status.chars().next()) {
                    response.content.insert("application/problem+json".into(), problem.clone());
                }
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

/// `GET /openapi.json`
pub(super) async fn document(State(app): State<Shared>) -> impl IntoResponse {
    let document = app.document.get_or_init(|| {
        let names: Vec<&str> = app.models.all().map(|slot| slot.name.as_str()).collect();
        openapi(&app.limits, &names).into()
    });
    ([(header::CONTENT_TYPE, "application/json")], document.clone())
}

/// The OpenAPI document of a server with these limits and models, as JSON.
#[must_use]
pub fn openapi(limits: &Limits, models: &[&str]) -> String {
    let text = |error: serde_json::Error| json!({ "error": error.to_string() });
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_else(text);
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        let operations = item.as_object_mut().into_iter().flatten();
        let parameters =
            operations.filter_map(|(_, one)| one.get_mut("parameters")?.as_array_mut());
        for parameter in parameters.flatten() {
            let bounds = match parameter["name"].as_str() {
                Some("k") => json!({ "maximum": limits.k }),
                Some("explain") => json!({ "maximum": limits.explain }),
                Some("search") => json!({ "minLength": 1, "maxLength": wire::Id::LONGEST }),
                Some("after") => json!({ "maximum": u64::MAX }),
                Some("model") => json!({ "enum": models }),
                Some("id") if path.starts_with("/admin/models/") => json!({ "enum": models }),
                _ => continue,
            };
            merge(&mut parameter["schema"], bounds);
        }
    }
    let or_none: Vec<Option<&str>> = models.iter().copied().map(Some).chain([None]).collect();
    let long = json!({ "maxItems": limits.history });
    let of_request = [
        ("k", json!({ "maximum": limits.k })),
        ("explain", json!({ "maximum": limits.explain })),
        ("history", long.clone()),
        ("allow", long.clone()),
        ("deny", long.clone()),
        ("filter", json!({ "maxProperties": limits.filters })),
        ("filter/additionalProperties", long),
        ("model", json!({ "enum": or_none })),
    ];
    let of_request =
        of_request.map(|(field, bounds)| (format!("Request/properties/{field}"), bounds));
    let others = [
        ("BatchRequest/properties/requests".to_owned(), json!({ "maxItems": limits.batch })),
        ("EventBatch/properties/events".to_owned(), json!({ "maxItems": limits.events })),
    ];
    for (field, bounds) in of_request.into_iter().chain(others) {
        if let Some(schema) = document.pointer_mut(&format!("/components/schemas/{field}")) {
            merge(schema, bounds);
        }
    }
    format!("{document:#}")
}

fn merge(schema: &mut Value, bounds: Value) {
    if let (Value::Object(schema), Value::Object(bounds)) = (schema, bounds) {
        schema.extend(bounds);
    }
}
