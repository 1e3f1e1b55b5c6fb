//! Answers of the admin interface: text, JSON, and the one form of an error.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// A whole answer.
pub(super) type Reply = Response<Full<Bytes>>;

/// The body of an answer that says why something was not done.
#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
}

/// Plain text.
pub(super) fn text(status: StatusCode, text: String) -> Reply {
    typed(status, "text/plain; charset=utf-8", text)
}

/// A value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    let text = serde_json::to_string(value).expect("what is answered has keys of text");
    typed(status, "application/json", text + "\n")
}

/// An error: `{"error": "…"}`.
pub(super) fn error(status: StatusCode, error: &str) -> Reply {
    json(status, &Failure { error })
}

/// A 405, with the methods that are allowed.
pub(super) fn not_allowed(methods: &str, text: &str) -> Reply {
    let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, text);
    let methods = HeaderValue::from_str(methods).expect("names of methods");
    reply.headers_mut().insert(ALLOW, methods);
    reply
}

/// Text of some type.
pub(super) fn typed(status: StatusCode, content_type: &'static str, text: String) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
