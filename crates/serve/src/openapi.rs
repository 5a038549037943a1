//! The OpenAPI 3.1 document, from the handlers and the types that they read and write.

use crate::limits::Limits;
use crate::{http, problem, request, store};
use serde_json::{Value, json};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rankstill",
        description = "Recommendations from distilled models. Problems are told as RFC 9457 has it, with the field that is wrong."
    ),
    modifiers(&Keys, &Problems),
    paths(
        http::for_user,
        http::post,
        http::batch,
        http::similar,
        http::search,
        http::models,
        http::append,
        http::forget,
        http::export,
        http::swap,
        http::rollback,
        http::challenge,
        http::dismiss,
        http::promote,
        http::live,
        http::ready,
        http::metrics
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
        request::GraphCard,
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

/// Says which routes ask for a key.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = |what: &str| {
            let mut scheme = Http::new(HttpAuthScheme::Bearer);
            scheme.description = Some(what.into());
            SecurityScheme::Http(scheme)
        };
        let components = document.components.get_or_insert_default();
        components
            .add_security_scheme("key", bearer("One of `--keys`; none where the server has none."));
        components.add_security_scheme("admin", bearer("One of `--admin-keys`."));
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

/// Says when a request is not answered, as far as that follows from what it is, and what is told then: whatever the status, a
/// [`problem::Problem`].
struct Problems;

impl Modify for Problems {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let told = RefOr::T(Content::new(Some(Ref::from_schema_name("Problem"))));
        let all = document.paths.paths.iter_mut();
        for (path, operation) in
            all.flat_map(|(path, item)| operations(item).map(move |one| (path, one)))
        {
            let of_key = operation.security.is_some().then_some("401");
            let of_admin = path.starts_with("/admin/").then_some("404"); // a server without administrators
            let of_body = operation.request_body.is_some().then_some(["400", "408", "413", "415"]);
            let responses = &mut operation.responses.responses;
            for status in of_body.into_iter().flatten().chain(of_key).chain(of_admin) {
                responses.entry(status.into()).or_insert_with(|| RefOr::T(Response::new("")));
            }
            for (status, response) in responses {
                if let (RefOr::T(response), Some('4' | '5')) = (response, status.chars().next()) {
                    response.content.insert("application/problem+json".into(), told.clone());
                }
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

/// The document as JSON, with a server's limits and the names of its models.
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
                Some("search") => json!({ "minLength": 1, "maxLength": request::Id::LONGEST }),
                Some("after") => json!({ "maximum": u64::MAX }),
                Some("model") => json!({ "enum": models }),
                Some("id") if path.starts_with("/admin/models/") => json!({ "enum": models }),
                _ => continue,
            };
            lay_over(&mut parameter["schema"], bounds);
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
            lay_over(schema, bounds);
        }
    }
    format!("{document:#}")
}

fn lay_over(schema: &mut Value, bounds: Value) {
    if let (Value::Object(schema), Value::Object(bounds)) = (schema, bounds) {
        schema.extend(bounds);
    }
}
