//! Problem details (RFC 9457) for requests that cannot be answered. They name the invalid field.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A problem (RFC 9457), as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// The kind of problem, for programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, and what was expected.
    pub detail: String,
    /// The invalid fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// Seconds after which to try again.
    #[serde(skip)]
    pub retry_after: Option<u32>,
}

/// An invalid field.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// A JSON pointer into the body (`#/history/3`), or the name of a parameter.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:rankstill:problem:{kind}"),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// An invalid field.
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let (field, detail) = (field.into(), detail.into());
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-field",
            "A field is invalid",
            format!("{field}: {detail}"),
        );
        problem.errors.push(FieldProblem { field, detail });
        problem
    }

    /// A request that cannot be parsed.
    pub fn unreadable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unreadable", "The request cannot be read", detail)
    }

    /// A body of the wrong type.
    pub fn media_type(found: &str) -> Self {
        let detail = format!("expected a body of type application/json, found `{found}`");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            "The body has the wrong type",
            detail,
        )
    }

    /// A body over the limit.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    /// A body that arrives too slowly.
    pub fn too_slow(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "too-slow",
            "The body did not arrive in time",
            detail,
        )
    }

    /// A missing or wrong key.
    pub fn unauthorised() -> Self {
        let detail = "expected the header `authorization: Bearer KEY` with a valid key";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorised", "A key is required", detail)
    }

    /// Not possible in the current state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Not possible in the current state", detail)
    }

    /// Nothing has that name.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// A method that the path does not support.
    pub fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "The path does not support this method",
            "see /openapi.json for the allowed methods",
        )
    }

    /// Meant for another host.
    pub fn misdirected(host: &str) -> Self {
        let detail = format!(
            "this server does not answer for `{host}`; names besides its own are allowed with --host"
        );
        Self::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", "Meant for another host", detail)
    }

    /// Too much load: try later.
    pub fn overloaded(detail: impl Into<String>) -> Self {
        let title = "The server is overloaded";
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", title, detail);
        problem.retry_after = Some(1);
        problem
    }

    /// Something that the answer needs is missing: try later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let title = "A required service is unavailable";
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title, detail);
        problem.retry_after = Some(1);
        problem
    }

    /// The server's fault.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed", detail)
    }

    /// The same problem for a request without a body: its fields become parameters.
    #[must_use]
    pub fn as_parameter(mut self) -> Self {
        for error in &mut self.errors {
            if let Some(name) = error.field.strip_prefix("#/") {
                error.field = name.to_owned();
            }
        }
        self.with_detail_of_field()
    }

    /// The same problem inside another field, for requests of a batch.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        for error in &mut self.errors {
            let path = error.field.strip_prefix('#').unwrap_or(&error.field);
            error.field = format!("{parent}{path}");
        }
        self.with_detail_of_field()
    }

    fn with_detail_of_field(mut self) -> Self {
        if let [error] = &self.errors[..] {
            self.detail = format!("{}: {}", error.field, error.detail);
        }
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
