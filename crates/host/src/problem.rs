//! The answers that the host gives itself, as problem documents (RFC 9457).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use tokengate_core::problem::ProblemCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    BadRequest(&'static str),
    NotFound,
    BodyTooLarge,
    HeadTooLarge,
    /// The client took too long to send the body.
    TooSlow,
    /// The component failed before it answered.
    Failed,
    /// No place or no instance came free in time.
    Overloaded,
    TimedOut,
}

/// Seconds after which a client may try again.
const RETRY_AFTER: &str = "1";

impl Problem {
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn code(self) -> ProblemCode {
        match self {
            Self::BadRequest(_) => ProblemCode::BadRequest,
            Self::NotFound => ProblemCode::RouteNotFound,
            Self::BodyTooLarge => ProblemCode::BodyTooLarge,
            Self::HeadTooLarge => ProblemCode::HeadTooLarge,
            Self::TooSlow => ProblemCode::RequestTimeout,
            Self::Failed => ProblemCode::InternalError,
            Self::Overloaded => ProblemCode::Overloaded,
            Self::TimedOut => ProblemCode::TimedOut,
        }
    }

    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let mut document = serde_json::json!({
            "type": self.code().type_uri(),
            "title": self.code().title(),
            "status": self.code().status(),
            "code": self.code().as_str(),
        });
        if let (Self::BadRequest(detail), Some(members)) = (self, document.as_object_mut()) {
            members.insert("detail".to_owned(), detail.into());
        }
        let mut response = Response::new(Full::from(document.to_string()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(self, Self::Overloaded | Self::TimedOut) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}
