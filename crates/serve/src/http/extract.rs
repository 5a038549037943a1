//! Extractors for bodies and parameters. Their errors name the invalid field.

use crate::app::Shared;
use crate::wire::{Id, Object, Problem, escaped};
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::{header, request::Parts};
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path as ErrorPath, Segment};

/// A JSON body.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.map_or("", |kind| kind.to_str().unwrap_or("?"));
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if essence != "application/json" && !essence.ends_with("+json") {
            return Err(Problem::media_type(kind));
        }
        let bytes = read(request.into_body(), app.limits.body, app.limits.arrival).await?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value: Object<T> = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let (path, inner) = (pointer(error.path()), error.into_inner());
            match inner.classify() {
                serde_json::error::Category::Data => Problem::field(path, inner.to_string()),
                // serde_json reports a number that is too large as a syntax error.
                _ if inner.to_string().starts_with("number out of range") => {
                    Problem::field(path, inner.to_string())
                }
                _ => Problem::unreadable(format!("the body is not JSON: {inner}")),
            }
        })?;
        json.end()
            .map_err(|error| Problem::unreadable(format!("the body is not JSON: {error}")))?;
        Ok(Self(value.0))
    }
}

/// The whole body, within the limits on size and time.
async fn read(
    body: Body,
    max_bytes: usize,
    arrival: std::time::Duration,
) -> Result<axum::body::Bytes, Problem> {
    let slow =
        || Problem::too_slow(format!("expected the whole body within {} s", arrival.as_secs_f64()));
    match tokio::time::timeout(arrival, to_bytes(body, max_bytes)).await.map_err(|_| slow())? {
        Ok(bytes) => Ok(bytes),
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                if error.to_string().contains("length limit exceeded") {
                    return Err(Problem::too_large(format!("expected at most {max_bytes} bytes")));
                }
                cause = error.source();
            }
            Err(Problem::unreadable(format!("the body ended early: {error}")))
        }
    }
}

/// The query parameters.
pub(super) struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::from_str::<Vec<(String, String)>>(query)
            .map_err(|error| Problem::unreadable(format!("invalid query string: {error}")))?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            if pairs[..at].iter().any(|(other, _)| other == name) {
                return Err(Problem::field(name, "given twice"));
            }
        }
        // Empty values are ignored: HTML forms send `?k=&model=x`.
        let given: Vec<_> = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let given = serde_urlencoded::to_string(given)
            .map_err(|error| Problem::unreadable(format!("invalid query string: {error}")))?;
        let parser = serde_urlencoded::Deserializer::new(form(given.as_bytes()));
        serde_path_to_error::deserialize(parser).map(Self).map_err(|error| {
            let (path, inner) = (error.path().to_string(), error.into_inner().to_string());
            let unknown =
                inner.strip_prefix("unknown field `").and_then(|tail| tail.split('`').next());
            Problem::field(unknown.unwrap_or(&path), inner.clone())
        })
    }
}

fn form(text: &[u8]) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(text)
}

/// The `{id}` of the path.
pub(super) struct PathId(pub Id);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::field("id", error.body_text()))?;
        if id.len() > Id::LONGEST {
            let problem = format!(
                "expected at most {} bytes, found {}; longer ids are not asked for over HTTP, even if a model knows them",
                Id::LONGEST,
                id.len()
            );
            return Err(Problem::field("id", problem));
        }
        let id = Id(id);
        match id.problem() {
            Some(problem) => Err(Problem::field("id", problem)),
            None => Ok(Self(id)),
        }
    }
}

/// A JSON pointer as a URI fragment without percent-encoding: `#/requests/3/k`.
fn pointer(path: &ErrorPath) -> String {
    let mut text = String::from("#");
    for segment in path.iter() {
        text.push('/');
        match segment {
            Segment::Seq { index } => text += &index.to_string(),
            Segment::Map { key } => text += &escaped(key),
            Segment::Enum { variant } => text += &escaped(variant),
            Segment::Unknown => text.push('?'),
        }
    }
    text
}
