//! The answers that the host gives itself, as problem documents (RFC 9457).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

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
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad-request",
            Self::NotFound => "no-such-route",
            Self::BodyTooLarge => "body-too-large",
            Self::HeadTooLarge => "head-too-large",
            Self::TooSlow => "too-slow",
            Self::Failed => "internal",
            Self::Overloaded => "overloaded",
            Self::TimedOut => "timed-out",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "The request is malformed",
            Self::NotFound => "No route matches this path",
            Self::BodyTooLarge => "The request's body is too large",
            Self::HeadTooLarge => "The request's head is too large",
            Self::TooSlow => "The request's body took too long",
            Self::Failed => "The request could not be answered",
            Self::Overloaded => "The service is overloaded",
            Self::TimedOut => "The answer took too long",
        }
    }

    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let mut document = serde_json::json!({
            "type": format!("/problems/{}", self.code()),
            "title": self.title(),
            "status": self.status().as_u16(),
            "code": self.code(),
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
