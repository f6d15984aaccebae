//! Answers that are errors.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::config::problem::Problems;
use crate::plugin::gate::Unmet;
use crate::store::StoreError;
use crate::upstream::body::Outgoing;

/// An answer, or why there is none.
pub(super) type Answer = Result<Response<Outgoing>, Refused>;

/// Why a request is not answered as it was meant.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    code: &'static str,
    pub(super) message: String,
    allow: Option<&'static str>,
    problems: Option<Problems>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), allow: None, problems: None }
    }

    /// Something in the request cannot be read.
    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "parameter", message)
    }

    pub(super) fn unknown(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn method(allow: &'static str) -> Self {
        let refused = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", format!("expected {allow}"));
        Self { allow: Some(allow), ..refused }
    }

    /// A configuration that was not taken.
    pub(super) fn problems(problems: Problems) -> Self {
        let message = format!("nothing was changed:\n{problems}");
        let refused = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "configuration", message);
        Self { problems: Some(problems), ..refused }
    }

    /// As the client gets it.
    pub(super) fn response(self, request_id: &str) -> Response<Outgoing> {
        let mut error = json!({ "code": self.code, "message": self.message, "request_id": request_id });
        if let Some(problems) = self.problems {
            error["problems"] = json!(problems);
        }
        let mut response = json(&json!({ "error": error }));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

impl From<Unmet> for Refused {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::Unknown => Self::unknown("no such plugin"),
            Unmet::Impossible(why) => Self::new(StatusCode::CONFLICT, "state", why),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cursor => Self::parameter(format!("cursor: {error}")),
            StoreError::Failed(_)
            | StoreError::Corrupt(_)
            | StoreError::Locked(_)
            | StoreError::Full
            | StoreError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "store", error.to_string()),
        }
    }
}

/// A JSON answer.
pub(super) fn json(value: &Value) -> Response<Outgoing> {
    text(value.to_string(), "application/json")
}

/// An answer of this media type.
pub(super) fn text(body: impl Into<Bytes>, media: &'static str) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::full(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
