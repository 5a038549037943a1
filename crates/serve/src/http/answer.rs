//! Answers as JSON, within the limit on their size.

use crate::limits::Limits;
use crate::wire::Problem;
use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::io;

/// A JSON body.
pub(super) struct Answer(Bytes);

impl Answer {
    /// # Errors
    /// If it has more bytes than an answer may have.
    pub fn of(value: &impl Serialize, limits: &Limits) -> Result<Self, Problem> {
        let mut body = Limited { bytes: Vec::with_capacity(1024), left: limits.answer };
        match serde_json::to_writer(&mut body, value) {
            Ok(()) => Ok(Self(body.bytes.into())),
            Err(error) if error.is_io() => {
                let most = limits.answer;
                let problem =
                    format!("the answer has more than {most} bytes: ask for fewer items at a time");
                Err(Problem::field("#", problem))
            }
            Err(error) => Err(Problem::internal(error.to_string())),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

struct Limited {
    bytes: Vec<u8>,
    left: usize,
}

impl io::Write for Limited {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(more.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
