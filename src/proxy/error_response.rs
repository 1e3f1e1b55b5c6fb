//! Responses made by Baton itself: a status, `Proxy-Status` (RFC 9209) and one line of text.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

use crate::pool::{Evidence, Rejection};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// The methods that are forwarded, and others.
const ALLOWED: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH");

/// Returns the error type (RFC 9209, 2.3) and the line of text for a rejection.
fn words(rejection: Rejection, evidence: Option<Evidence>) -> (&'static str, &'static str) {
    match (rejection, evidence) {
        (Rejection::RequestsFull, _) => ("proxy_internal_error", "too many requests in flight"),
        (Rejection::QueueFull, _) => ("connection_limit_reached", "the queue is full"),
        (Rejection::QueueDeadline, _) => {
            ("destination_unavailable", "no backend took the request in time")
        }
        (Rejection::ShuttingDown, _) => ("proxy_internal_error", "the proxy is shutting down"),
        (Rejection::ResponseDeadline, _) => {
            ("http_response_timeout", "the backend did not answer in time")
        }
        (Rejection::BodyStalled, _) => {
            ("http_request_error", "the request body was not sent in time")
        }
        (Rejection::UploadBlocked, _) => {
            ("connection_write_timeout", "the backend did not take the request body in time")
        }
        (Rejection::HeadTooLarge, _) => {
            ("http_request_error", "the request head is too large for the backend")
        }
        (Rejection::AttemptFailed, Some(Evidence::NeverSent)) => {
            ("destination_unavailable", "the backend's connection failed")
        }
        (Rejection::AttemptFailed, _) => {
            ("connection_terminated", "the backend failed before its response")
        }
    }
}

/// Returns the response to a request that the pool rejected.
pub fn rejected(rejection: Rejection, evidence: Option<Evidence>) -> Response<Full<Bytes>> {
    let (error, line) = words(rejection, evidence);
    let status = StatusCode::from_u16(rejection.status()).expect("408, 431, 502, 503 or 504");
    let proof = evidence.map_or("-", Evidence::name);
    let details = format!("baton; error={error}; details=\"{line}; evidence={proof}\"");
    line_response(status, line, HeaderValue::try_from(details).expect("plain ASCII"))
}

/// Returns the response to a request that no intermediary may forward.
pub fn refused(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    let denied = HeaderValue::from_static("baton; error=http_request_denied");
    let mut response = line_response(status, line, denied);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // RFC 9110, 15.5.6: a 405 lists the allowed methods.
        response.headers_mut().insert(ALLOW, ALLOWED);
    }
    response
}

/// Returns the response to an OPTIONS or TRACE request that may not be forwarded any more (RFC
/// 9110, 7.6.2). Baton itself supports no TRACE.
pub fn last_recipient(method: &Method) -> Response<Full<Bytes>> {
    if method == Method::TRACE {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "Max-Forwards is 0");
    }
    let mut response = Response::new(Full::default());
    response.headers_mut().insert(ALLOW, ALLOWED);
    response
}

/// Marks the response to a request that is no HTTP (RFC 9209, 2.3.16).
pub fn note_error(response: &mut Response<Full<Bytes>>) {
    let error = HeaderValue::from_static("baton; error=http_request_error");
    response.headers_mut().insert(PROXY_STATUS, error);
}

/// Returns the response to a request that no route matches (RFC 9209, 2.3.3).
pub fn unrouted() -> Response<Full<Bytes>> {
    let unrouted = HeaderValue::from_static(
        "baton; error=destination_not_found; details=\"no route for this host and path\"",
    );
    line_response(StatusCode::NOT_FOUND, "no route for this host and path", unrouted)
}

fn line_response(
    status: StatusCode,
    line: &str,
    proxy_status: HeaderValue,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{line}\n"))));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response.headers_mut().insert(PROXY_STATUS, proxy_status);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rejection_has_its_status_and_error_type() {
        for (rejection, status, error) in [
            (Rejection::QueueFull, 503, "connection_limit_reached"),
            (Rejection::QueueDeadline, 503, "destination_unavailable"),
            (Rejection::ResponseDeadline, 504, "http_response_timeout"),
            (Rejection::AttemptFailed, 502, "connection_terminated"),
            (Rejection::HeadTooLarge, 431, "http_request_error"),
            (Rejection::UploadBlocked, 504, "connection_write_timeout"),
        ] {
            let response = rejected(rejection, Some(Evidence::Unknown));
            assert_eq!(response.status(), status);
            let value = response.headers()[PROXY_STATUS].to_str().expect("ASCII");
            assert!(value.starts_with(&format!("baton; error={error}; details=\"")), "{value}");
            assert!(value.contains("evidence=unknown"), "{value}");
        }
    }

    #[test]
    fn a_405_lists_the_allowed_methods() {
        let response = refused(StatusCode::METHOD_NOT_ALLOWED, "no");
        assert!(response.headers().contains_key(ALLOW));
    }
}
