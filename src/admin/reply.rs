//! Replies of the admin interface: text, JSON, and errors, which all have the same form.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// A complete reply.
pub(super) type Reply = Response<Full<Bytes>>;

/// An error: its status and its text.
pub(super) type Refused = (StatusCode, String);

/// The body of an error.
#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
}

/// A reply in plain text.
pub(super) fn text(status: StatusCode, text: String) -> Reply {
    typed(status, "text/plain; charset=utf-8", text)
}

/// A reply in JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    let text = serde_json::to_string(value).expect("all keys of the replies are strings");
    typed(status, "application/json", text + "\n")
}

/// An error reply: `{"error": "…"}`.
pub(super) fn error(status: StatusCode, error: &str) -> Reply {
    json(status, &Failure { error })
}

/// A 405 with the allowed methods.
pub(super) fn not_allowed(methods: &str, text: &str) -> Reply {
    let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, text);
    let methods = HeaderValue::from_str(methods).expect("names of methods are valid in a field");
    reply.headers_mut().insert(ALLOW, methods);
    reply
}

/// A reply with a given content type.
pub(super) fn typed(status: StatusCode, content_type: &'static str, text: String) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
